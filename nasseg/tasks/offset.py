"""Single nuclei by votes: every pixel points at the centre of its nucleus.

After Kendall et al., CVPR 2018, and Cheng et al. (Panoptic-DeepLab), CVPR 2020. Here the density of
the votes themselves takes the place of a channel for centres.
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

REACH = 63.75
"""Largest offset in pixels, in either direction; longer ones are cut."""
UNIT = 8.0
"""Offset in pixels that an output of 1 stands for."""


@register_task("instances_offset")
class OffsetInstances(InstanceTask):
    """Three channels: the foreground, and the way to the centre of the nucleus, down and right."""

    title = "single nuclei by offsets to their centres"
    channels = 3
    target_scale = 255.0
    directional = True
    decoder: Mapping[str, float] = {
        "threshold": 0.4,
        "rise": 0.5,
        "spread": 1.5,
        "confidence": 0.75,
        "min_pixels": 25,
    }
    decoder_choices: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "threshold": THRESHOLDS,
        "rise": (0.3, 0.4, 0.5, 0.6, 0.8),
        "spread": (1.0, 1.5, 2.0, 3.0),
        "confidence": CONFIDENCES,
        "min_pixels": SMALLEST,
    }

    def targets(self, label: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """uint8 (3, H, W): foreground; offsets from -:data:`REACH` (0) to :data:`REACH` (255)."""
        import numpy as np

        from nasseg.tasks.watershed import instance_centres

        way = np.moveaxis(instance_centres(label)[label], -1, 0) - np.indices(label.shape)
        share = np.where(label > 0, np.clip(way / REACH, -1, 1), 0)
        target = np.concatenate([label[None] > 0, 0.5 + 0.5 * share])
        return np.rint(target * 255.0).astype(np.uint8)

    def loss(self, context: TaskContext) -> nn.Module:
        """Dice and cross-entropy of the foreground; inside, smooth absolute errors of offsets."""
        from nasseg.tasks.losses import VectorLoss

        return VectorLoss(REACH / UNIT)

    def soft(self, logits: Tensor) -> Tensor:
        """Probability of the foreground, and offsets as :meth:`targets` has them."""
        import torch

        offsets = 0.5 + logits[:, 1:] * (0.5 * UNIT / REACH)
        return torch.cat([logits[:, :1].sigmoid(), offsets], dim=1)

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss without its Dice, which takes certain targets."""
        from torch.nn import functional

        from nasseg.tasks.losses import vector_error

        foreground = functional.binary_cross_entropy_with_logits(logits[:, :1], target[:, :1])
        return foreground + vector_error(logits, target, REACH / UNIT)

    def unscaled(self, logits: Tensor, factor: float) -> Tensor:
        """With offsets in pixels of the image."""
        import torch

        return torch.cat([logits[:, :1], logits[:, 1:] / factor], dim=1)

    def probability(self, logits: Tensor) -> Tensor:
        """Probability of the foreground, and offsets as :meth:`targets` has them, cut alike."""
        return self.soft(logits).clamp(0.0, 1.0)

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Instance ids (H, W): pixels whose votes fall onto one hill of the density of votes."""
        return split_by_votes(probability[0], (2.0 * probability[1:] - 1.0) * REACH, **self.decoder)


def split_by_votes(
    foreground: npt.NDArray[np.floating[Any]],
    offsets: npt.NDArray[np.floating[Any]],
    *,
    threshold: float,
    rise: float,
    spread: float,
    confidence: float,
    min_pixels: float,
) -> npt.NDArray[np.int32]:
    """Single nuclei by the votes of their pixels for a centre.

    Args:
        foreground: probability of nucleus (H, W), 0 to 1.
        offsets: way to the centre in pixels (2, H, W), down and right.
        threshold: probability from which a pixel is nucleus.
        rise: height of the top of a hill of votes above the saddle to the next one, in square
            roots of votes a pixel.
        spread: standard deviation in pixels of the Gaussian over the votes.
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
    # One pixel's vote is noise, that of its neighbourhood in the foreground is not.
    share = ndimage.gaussian_filter(foreground, 1.0)[mask]
    smoothed = [ndimage.gaussian_filter(part * foreground, 1.0)[mask] / share for part in offsets]
    height, width = mask.shape
    places = np.argwhere(mask) + np.stack(smoothed, axis=1)
    rows, columns = np.clip(np.rint(places), 0, (height - 1, width - 1)).astype(np.intp).T
    votes = np.bincount(rows * width + columns, minlength=height * width).reshape(mask.shape)
    density = np.sqrt(ndimage.gaussian_filter(votes.astype(np.float32), spread))
    hills = basins(density, density > 0, rise)
    ids = np.zeros(mask.shape, dtype=np.int32)
    ids[mask] = hills[rows, columns]
    return keep_certain(ids, foreground, confidence, min_pixels)
