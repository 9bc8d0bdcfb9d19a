"""Single nuclei at native scale: foreground and relative depth, told apart by a watershed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import (
    PIXEL_NOTE,
    Batches,
    ImageScores,
    TaskContext,
    TaskType,
    register_task,
)

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
        "pq": "PQ",
        "sq": "SQ",
        "rq": "RQ",
        "count_error": "count error",
        "count_mae": "mean count difference",
    }
    shown = ("dice", "ap50", "ap", "pq", "count_error")
    lower_is_better = frozenset({"count_error", "count_mae"})
    note = (
        f"{PIXEL_NOTE} AP (average precision) and PQ (panoptic quality) are of single nuclei and "
        "means over images too. The count error of an image is the difference of the numbers of "
        "nuclei, predicted and true, over the true one."
    )
    monitor = "dice"

    def evaluate(self, net: nn.Module, loader: Batches, context: TaskContext) -> dict[str, float]:
        """Dice and IoU of the foreground, and scores of the instances."""
        return self._score(net, loader)[0]

    def evaluate_images(
        self, net: nn.Module, loader: Batches, context: TaskContext
    ) -> tuple[dict[str, float], list[ImageScores]]:
        """The same, and the scores and instances of each image."""
        predictions: list[npt.NDArray[Any]] = []
        metrics, scores = self._score(net, loader, predictions.append)
        return metrics, [ImageScores(*both) for both in zip(scores, predictions, strict=True)]

    def _score(
        self,
        net: nn.Module,
        loader: Batches,
        on_image: Callable[[npt.NDArray[Any]], object] | None = None,
    ) -> tuple[dict[str, float], list[dict[str, float]]]:
        """Metrics, and those of each image; ``on_image`` is called with its instances."""
        from nasseg.tasks.inference import predict_whole
        from nasseg.tasks.metrics import InstanceMetrics, SegmentationMetrics

        device = next(net.parameters()).device
        masks, instances = SegmentationMetrics(), InstanceMetrics()
        for image, ids in loader:
            logits = predict_whole(net, image.to(device))
            masks.update(logits[:, :1] > 0, ids.to(device) > 0)
            probability = self.probability(logits).cpu().numpy()
            for row, true in zip(probability, ids[:, 0].cpu().numpy(), strict=True):
                predicted = self.decode(row)
                instances.update(predicted, true)
                if on_image is not None:
                    on_image(predicted)
        scores = [
            {**pixels, **nuclei}
            for pixels, nuclei in zip(masks.images, instances.images, strict=True)
        ]
        return {**masks.compute(), **instances.compute()}, scores


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
