"""Single nuclei at native scale: foreground and relative depth, told apart by a watershed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import (
    PIXEL_NOTE,
    Batches,
    DecoderFit,
    ImageScores,
    TaskContext,
    TaskType,
    register_task,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn


DECODER_BEFORE: Mapping[str, float] = {
    "threshold": 0.5,
    "rise": 0.0,
    "smooth": 1.0,
    "convexity": 0.0,
    "confidence": 0.0,
    "min_pixels": 25,
}
"""Parameters of the decoder of versions that did not store them."""
THRESHOLDS = (0.35, 0.4, 0.45, 0.5)
"""Probabilities, one of which is that from which a pixel is nucleus: choices of every head."""
CONVEXITIES = (0.0, 0.91, 0.93, 0.95)
"""Shares of their convex hull, from one of which what may be two instances is one."""
CONFIDENCES = (0.0, 0.6, 0.7, 0.75, 0.8, 0.85)
"""Mean probabilities, below one of which an instance is dropped."""
SMALLEST = (15, 25, 35)
"""Sizes in pixels, below one of which an instance is dropped."""


class InstanceTask(TaskType):
    """Single nuclei at native scale, whatever the network gives of them: how they are scored.

    A task that derives from it gives what its network learns and how that becomes instances:
    :attr:`channels`, :meth:`targets`, :meth:`loss` and :meth:`decode`. The first channel is the
    foreground. Dice and IoU are of the pixels of the decoded instances, which are what a prediction
    gives. Parameters that :attr:`decoder_choices` has values of are fitted by average precision.
    """

    noun = "nuclei"
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
    ranking = "ap50"
    # Young networks are unsure of every nucleus; of one of DSB2018 after 4 epochs the default drops
    # all of them.
    decoder_young: ClassVar[Mapping[str, float]] = {"confidence": 0.0}
    masks_of_logits = False
    """True: Dice and IoU are of the first channel above 0, whatever becomes of it."""

    def evaluate(self, net: nn.Module, loader: Batches, context: TaskContext) -> dict[str, float]:
        """Dice and IoU of the pixels of instances, and scores of the instances."""
        return self._score(net, loader, context)[0]

    def evaluate_images(
        self, net: nn.Module, loader: Batches, context: TaskContext
    ) -> tuple[dict[str, float], list[ImageScores]]:
        """The same, and the scores and instances of each image."""
        predictions: list[npt.NDArray[Any]] = []
        metrics, scores = self._score(net, loader, context, predictions.append)
        return metrics, [ImageScores(*both) for both in zip(scores, predictions, strict=True)]

    def _score(
        self,
        net: nn.Module,
        loader: Batches,
        context: TaskContext,
        on_image: Callable[[npt.NDArray[Any]], object] | None = None,
    ) -> tuple[dict[str, float], list[dict[str, float]]]:
        """Metrics, and those of each image; ``on_image`` is called with its instances."""
        import numpy as np
        import torch

        from nasseg.tasks.inference import predict_at_scale
        from nasseg.tasks.metrics import InstanceMetrics, SegmentationMetrics

        device = next(net.parameters()).device
        masks, instances = SegmentationMetrics(), InstanceMetrics()
        for image, ids in loader:
            logits = predict_at_scale(net, image.to(device), self, context.diameter)
            probability = self.probability(logits).cpu().numpy()
            decoded = [self.decode(row) for row in probability]
            if self.masks_of_logits:
                masks.update(logits[:, :1] > 0, ids.to(device) > 0)
            else:
                masks.update(torch.from_numpy(np.stack(decoded))[:, None] > 0, ids.cpu() > 0)
            for predicted, true in zip(decoded, ids[:, 0].cpu().numpy(), strict=True):
                instances.update(predicted, true)
                if on_image is not None:
                    on_image(predicted)
        scores = [
            {**pixels, **nuclei}
            for pixels, nuclei in zip(masks.images, instances.images, strict=True)
        ]
        return {**masks.compute(), **instances.compute()}, scores

    def fit_decoder(self, net: nn.Module, loader: Batches, context: TaskContext) -> DecoderFit:
        """Choose parameters by AP50 plus mean AP, each a mean over images."""
        from nasseg.tasks.decoder import fit_decoder

        return fit_decoder(self, net, loader, context.diameter)


@register_task("instances")
class Instances(InstanceTask):
    """Two channels: the probability of nucleus, and how deep inside one a pixel lies."""

    title = "single nuclei"
    channels = 2
    target_scale = 255.0
    decoder_before = DECODER_BEFORE
    decoder: Mapping[str, float] = {
        "threshold": 0.4,
        "rise": 0.1,
        "smooth": 1.0,
        "convexity": 0.93,
        "confidence": 0.75,
        "min_pixels": 25,
    }
    decoder_choices: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "threshold": THRESHOLDS,
        "rise": (0.06, 0.08, 0.1, 0.12, 0.15, 0.2),
        "smooth": (0.7, 1.0, 1.5),
        "convexity": CONVEXITIES,
        "confidence": CONFIDENCES,
        "min_pixels": SMALLEST,
    }

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
        """Instance ids (H, W) by watershed from the maxima of the depth; parameters are those of
        :func:`~nasseg.tasks.watershed.split_instances`."""
        from nasseg.tasks.watershed import split_instances

        return split_instances(probability[0], probability[1], **self.decoder)

    def as_before(self) -> Instances:
        """With cores as seeds, nothing dropped that is large enough, and Dice of the logits."""
        changed = copy.copy(self)
        changed.decoder = self.decoder_before
        changed.masks_of_logits = True
        return changed
