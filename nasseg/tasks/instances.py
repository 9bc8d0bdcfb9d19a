"""Single nuclei at native scale: foreground and relative depth, told apart by a watershed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import PIXEL_NOTE, Batches, TaskContext, TaskType, register_task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn


class InstanceTask(TaskType):
    """Single nuclei at native scale, whatever the network gives of them: how they are scored.

    A task that derives from it gives what its network learns and how that becomes instances:
    :attr:`channels`, :meth:`targets`, :meth:`loss` and :meth:`decode`. The first channel is the
    foreground, of which Dice and IoU are.
    """

    noun = "nuclei"
    selectable = False
    scales = frozenset({"native"})
    labels = "instances"
    metrics: ClassVar[Mapping[str, str]] = {
        "dice": "Dice",
        "iou": "IoU",
        "iou_pooled": "pooled IoU",
        "ap50": "AP at IoU 0.5",
        "ap": "AP 0.5 to 0.95",
    }
    shown = ("dice", "ap50", "ap")
    note = PIXEL_NOTE
    monitor = "dice"

    def evaluate(self, net: nn.Module, loader: Batches, context: TaskContext) -> dict[str, float]:
        """Dice and IoU of the foreground, and the average precision of instances."""
        from nasseg.tasks.inference import predict_whole
        from nasseg.tasks.metrics import InstanceMetrics, SegmentationMetrics

        device = next(net.parameters()).device
        masks, instances = SegmentationMetrics(), InstanceMetrics()
        for image, ids in loader:
            logits = predict_whole(net, image.to(device))
            masks.update(logits[:, :1] > 0, ids.to(device) > 0)
            probability = self.probability(logits).cpu().numpy()
            for predicted, true in zip(probability, ids[:, 0].cpu().numpy(), strict=True):
                instances.update(self.decode(predicted), true)
        return {**masks.compute(), **instances.compute()}


@register_task("instances")
class Instances(InstanceTask):
    """Two channels: the probability of nucleus, and how deep inside one a pixel lies."""

    title = "single nuclei"
    channels = 2
    target_scale = 255.0

    def targets(self, label: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """uint8 (2, H, W): foreground, 0 or 255, and relative depth, 0 to 255."""
        import numpy as np

        from nasseg.tasks.watershed import depth_map

        target = np.stack([label > 0, depth_map(label)]) * np.float32(255)
        return np.rint(target).astype(np.uint8)

    def loss(self, context: TaskContext) -> nn.Module:
        """Dice and cross-entropy of the foreground plus cross-entropy of the depth."""
        from nasseg.tasks.losses import InstanceLoss

        return InstanceLoss()

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Instance ids (H, W) by watershed from the cores of the depth."""
        from nasseg.tasks.watershed import split_instances

        return split_instances(probability[0], probability[1])
