"""Foreground and background of resized images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import PIXEL_NOTE, Batches, TaskContext, TaskType, register_task

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

MASK_CORE = 0.7
"""Depth relative to the whole part of the mask from which a pixel belongs to a core, where the
network gives no depth: round nuclei that overlap by a fifth of their width are told apart."""


@register_task("segmentation")
class Segmentation(TaskType):
    """One foreground: a probability for each pixel."""

    title = "one foreground"
    noun = "nuclei"
    native = "instances"
    scales = frozenset({"resized", "native"})
    labels = "foreground"
    metrics: ClassVar[Mapping[str, str]] = {
        "dice": "Dice",
        "iou": "IoU",
        "iou_pooled": "pooled IoU",
    }
    note = PIXEL_NOTE
    monitor = "dice"

    def loss(self, context: TaskContext) -> nn.Module:
        """Dice and cross-entropy."""
        from nasseg.tasks.losses import foreground_loss

        return foreground_loss()

    def evaluate(self, net: nn.Module, loader: Batches, context: TaskContext) -> dict[str, float]:
        """Dice and IoU as means over images, IoU over all pixels."""
        from nasseg.tasks.metrics import SegmentationMetrics

        device = next(net.parameters()).device
        metrics = SegmentationMetrics()
        for image, label in loader:
            metrics.update(net(image.to(device)) > 0, label.to(device) > 0)
        return metrics.compute()

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Single nuclei; the depth of the mask stands in for the one that no channel gives."""
        import numpy as np
        from skimage.measure import label

        from nasseg.tasks.watershed import depth_map, split_instances

        foreground = probability[0]
        parts = label(foreground > 0.5, connectivity=1).astype(np.int32)
        depth = depth_map(parts, np.inf)
        return split_instances(foreground, depth, threshold=0.5, rise=0.0, core=MASK_CORE)
