"""Single nuclei by horizontal and vertical coordinates inside each, which jump between two.

After HoVer-Net (Graham et al., Medical Image Analysis 2019): both coordinates run from -1 to 1
through every nucleus, so that where two touch they fall back from 1 to -1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import TaskContext, register_task
from nasseg.tasks.instances import CONFIDENCES, SMALLEST, THRESHOLDS, InstanceTask

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn


@register_task("instances_gradient")
class GradientInstances(InstanceTask):
    """Three channels: the foreground, and the vertical and horizontal coordinate inside a nucleus,
    0 to 1 from its first to its last row or column, 0.5 at its centre and outside."""

    title = "single nuclei by horizontal and vertical coordinates"
    channels = 3
    target_scale = 255.0
    directional = True
    decoder: Mapping[str, float] = {
        "threshold": 0.4,
        "fall": 0.02,
        "smooth": 1.5,
        "confidence": 0.75,
        "min_pixels": 25,
    }
    decoder_choices: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "threshold": THRESHOLDS,
        "fall": (0.005, 0.01, 0.02, 0.03, 0.05),
        "smooth": (0.7, 1.0, 1.5, 2.0),
        "confidence": CONFIDENCES,
        "min_pixels": SMALLEST,
    }

    def targets(self, label: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """uint8 (3, H, W): foreground, and both coordinates from 0 to 255."""
        import numpy as np
        from scipy import ndimage

        from nasseg.tasks.watershed import instance_centres

        inside = label > 0
        share = np.zeros((2, *label.shape), np.float32)
        numbers = np.arange(int(label.max(initial=0)) + 1)
        centres = instance_centres(label)
        for axis, grid in enumerate(np.indices(label.shape)):
            # First and last row (column) of each instance.
            low = np.asarray(ndimage.minimum(grid, label, numbers))
            high = np.asarray(ndimage.maximum(grid, label, numbers))
            centre = centres[:, axis]
            way = grid - centre[label]
            reach = np.where(way < 0, (centre - low)[label], (high - centre)[label])
            share[axis] = np.where(inside, np.clip(way / np.maximum(reach, 1e-6), -1, 1), 0)
        target = np.concatenate([inside[None], 0.5 + 0.5 * share])
        made: npt.NDArray[np.uint8] = np.rint(target * 255.0).astype(np.uint8)
        return made

    def loss(self, context: TaskContext) -> nn.Module:
        """Dice and cross-entropy of the foreground; inside, squared errors of the coordinates and
        of how fast they change."""
        from nasseg.tasks.losses import CoordinateLoss

        return CoordinateLoss()

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss without its Dice, which takes certain targets."""
        from torch.nn import functional

        from nasseg.tasks.losses import coordinate_error

        foreground = functional.binary_cross_entropy_with_logits(logits[:, :1], target[:, :1])
        return foreground + coordinate_error(logits, target)

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Instance ids (H, W), parted where a coordinate falls."""
        return split_by_falls(probability[0], probability[1:], **self.decoder)


def split_by_falls(
    foreground: npt.NDArray[np.floating[Any]],
    coordinates: npt.NDArray[np.floating[Any]],
    *,
    threshold: float,
    fall: float,
    smooth: float,
    confidence: float,
    min_pixels: float,
) -> npt.NDArray[np.int32]:
    """Single nuclei, told apart where a coordinate falls instead of rising.

    Args:
        foreground: probability of nucleus (H, W), 0 to 1.
        coordinates: vertical and horizontal coordinate (2, H, W), 0 to 1.
        threshold: probability from which a pixel is nucleus.
        fall: decrease a pixel between two nuclei, at least.
        smooth: standard deviation in pixels of the Gaussian whose derivative is taken.
        confidence: mean probability below which an instance is dropped.
        min_pixels: smaller instances are dropped.

    Returns:
        Instance ids (H, W), numbered from 1.
    """
    import numpy as np
    from scipy import ndimage

    from nasseg.tasks.watershed import basins, keep_certain

    mask = foreground > threshold
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int32)
    vertical, horizontal = (np.asarray(part, dtype=np.float32) for part in coordinates)
    slopes = np.minimum(
        ndimage.gaussian_filter(vertical, smooth, order=(1, 0)),
        ndimage.gaussian_filter(horizontal, smooth, order=(0, 1)),
    )
    # Rising coordinates are all alike: how fast depends on the size of the nucleus.
    ids = basins(np.minimum(slopes, 0.0), mask, fall)
    return keep_certain(ids, foreground, confidence, min_pixels)
