"""Single nuclei as three classes of pixels: background, inside, and the border of each nucleus.

After Caicedo et al., Cytometry A 2019. Dice, which is relative to the size of a class, weights the
thin borders up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import TaskContext, register_task
from nasseg.tasks.instances import (
    CONFIDENCES,
    CONVEXITIES,
    SMALLEST,
    THRESHOLDS,
    InstanceTask,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn


@register_task("instances_boundary")
class BoundaryInstances(InstanceTask):
    """Three channels that exclude each other: background, inside of a nucleus, border of one."""

    title = "single nuclei by boundary classes"
    channels = 3
    target_scale = 255.0
    decoder_before: ClassVar[Mapping[str, float]] = {"convexity": 0.0}
    decoder: Mapping[str, float] = {
        "threshold": 0.45,
        "rise": 0.1,
        "smooth": 1.0,
        "convexity": 0.93,
        "confidence": 0.75,
        "min_pixels": 25,
    }
    decoder_choices: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "threshold": THRESHOLDS,
        "rise": (0.05, 0.1, 0.15, 0.2, 0.3),
        "smooth": (0.7, 1.0, 1.5),
        "convexity": CONVEXITIES,
        "confidence": CONFIDENCES,
        "min_pixels": SMALLEST,
    }

    def targets(self, label: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """uint8 (3, H, W): 255 in the class of each pixel; a border is one pixel wide, inside."""
        import numpy as np
        from skimage.segmentation import find_boundaries

        border = find_boundaries(label, mode="inner", connectivity=2)
        inside = (label > 0) & ~border
        return np.stack([label == 0, inside, border]).astype(np.uint8) * np.uint8(255)

    def loss(self, context: TaskContext) -> nn.Module:
        """Dice of inside and border, and cross-entropy of all three classes."""
        from nasseg.tasks.losses import exclusive_loss

        return exclusive_loss()

    def soft(self, logits: Tensor) -> Tensor:
        """Shares of the classes."""
        return logits.softmax(1)

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(logits, target)

    def probability(self, logits: Tensor) -> Tensor:
        """Foreground (inside or border), inside, border."""
        import torch

        shares = logits.softmax(1)
        return torch.cat([1.0 - shares[:, :1], shares[:, 1:]], dim=1)

    def picture(self, logits: Tensor) -> Tensor:
        """Probability of the foreground."""
        return self.probability(logits)[:, 0]

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Instance ids (H, W) by watershed from where the inside is most certain."""
        from nasseg.tasks.watershed import split_instances

        return split_instances(probability[0], probability[1], **self.decoder)
