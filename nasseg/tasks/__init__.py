"""Tasks: what is learned and how it is scored. A task is a loss and metrics over a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasseg._registry import Registry
from nasseg.config import TrainConfig
from nasseg.errors import ConfigError

if TYPE_CHECKING:
    from nasseg.data import Data

WINDOW = 1024
"""Side in pixels above which an image is evaluated in overlapping windows."""
OVERLAP = 0.125
"""Share of a window that it has in common with the next one."""

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Task:
    """What to learn, in terms that one training loop serves for all."""

    name: str
    monitor: str
    """The metric (higher is better) that selects checkpoints and labels architectures."""
    out_channels: int
    loss: Callable[[], nn.Module]
    """Makes the loss: (logits, target) -> scalar."""
    soft: Callable[[Tensor], Tensor]
    """Logits of a teacher -> the target that the same logits would be compared with."""
    soft_loss: Callable[[Tensor, Tensor], Tensor]
    """(logits, soft target) -> scalar, for distillation."""
    evaluate: Callable[[nn.Module, Batches], Mapping[str, float]]
    """(network in evaluation mode, loader) -> metrics by name."""


TASKS: Registry[Task] = Registry("task")
"""Tasks that are the same for all data."""


def get_task(name: str) -> Task:
    """The task of that name; UnknownName with the nearest match otherwise."""
    return TASKS[name]


def task_for(data: Data, train: TrainConfig | None = None) -> Task:
    """The task that loaded data are for.

    Args:
        data: of any kind.
        train: says how classification weighs classes and what it is selected by; none = defaults.

    Raises:
        ConfigError: the training asks for what the data cannot have.
    """
    from nasseg.data import ClassificationData, SegmentationData

    train = train or TrainConfig()
    if isinstance(data, SegmentationData) and data.classes:
        return semantic_task(data.classes)
    if isinstance(data, ClassificationData):
        weights = balanced_weights(data.class_counts) if train.class_weights == "balanced" else None
        return classification_task(
            data.classes,
            multilabel=data.multilabel,
            weights=weights,
            smoothing=train.label_smoothing,
            monitor=train.monitor,
            tta=train.tta,
        )
    return get_task(data.kind)


def _segmentation_loss() -> nn.Module:
    from monai.losses import DiceCELoss

    loss: nn.Module = DiceCELoss(sigmoid=True)
    return loss


@torch.no_grad()
def _evaluate_segmentation(net: nn.Module, loader: Batches) -> dict[str, float]:
    from nasseg.tasks.metrics import SegmentationMetrics

    device = next(net.parameters()).device
    metrics = SegmentationMetrics()
    for image, label in loader:
        metrics.update(net(image.to(device)) > 0, label.to(device) > 0)
    return metrics.compute()


TASKS.register(
    "segmentation",
    Task(
        name="segmentation",
        monitor="dice",
        out_channels=1,
        loss=_segmentation_loss,
        soft=torch.sigmoid,
        soft_loss=F.binary_cross_entropy_with_logits,
        evaluate=_evaluate_segmentation,
    ),
)


class InstanceLoss(nn.Module):
    """Dice and cross-entropy of the foreground plus cross-entropy of the relative depth.

    Logits (B, 2, H, W) against targets (B, 2, H, W), 0 to 1, to a scalar.
    """

    def __init__(self) -> None:
        super().__init__()
        self._foreground = _segmentation_loss()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both."""
        depth = F.binary_cross_entropy_with_logits(logits[:, 1:], target[:, 1:])
        total: Tensor = self._foreground(logits[:, :1], target[:, :1]) + depth
        return total


def predict_whole(net: nn.Module, image: Tensor) -> Tensor:
    """Logits of whole images of any size, in windows where they are large.

    Args:
        net: fully convolutional network, in evaluation mode.
        image: normalised (B, C, H, W).

    Returns:
        (B, K, H, W); Gaussian-weighted means where windows overlap.
    """
    if max(image.shape[2:]) <= WINDOW:
        logits: Tensor = net(image)
        return logits
    from monai.inferers import sliding_window_inference

    size = [min(side, WINDOW) for side in image.shape[2:]]
    whole: Tensor = sliding_window_inference(image, size, 1, net, overlap=OVERLAP, mode="gaussian")
    return whole


@torch.no_grad()
def _evaluate_instances(net: nn.Module, loader: Batches) -> dict[str, float]:
    from nasseg.tasks.metrics import InstanceMetrics, SegmentationMetrics
    from nasseg.tasks.watershed import split_instances

    device = next(net.parameters()).device
    masks, instances = SegmentationMetrics(), InstanceMetrics()
    for image, ids in loader:
        logits = predict_whole(net, image.to(device))
        masks.update(logits[:, :1] > 0, ids.to(device) > 0)
        probability = logits.sigmoid().cpu().numpy()
        for said, true in zip(probability, ids[:, 0].cpu().numpy(), strict=True):
            instances.update(split_instances(said[0], said[1]), true)
    return {**masks.compute(), **instances.compute()}


TASKS.register(
    "instances",
    Task(
        name="instances",
        monitor="dice",
        out_channels=2,
        loss=InstanceLoss,
        soft=torch.sigmoid,
        soft_loss=F.binary_cross_entropy_with_logits,
        evaluate=_evaluate_instances,
    ),
)


def semantic_task(classes: Sequence[str]) -> Task:
    """A class for each pixel; the first class is the background and not scored.

    Logits (B, K, H, W) against class numbers (B, 1, H, W).
    """

    def loss() -> nn.Module:
        from monai.losses import DiceCELoss

        made: nn.Module = DiceCELoss(softmax=True, to_onehot_y=True)
        return made

    @torch.no_grad()
    def score(net: nn.Module, loader: Batches) -> dict[str, float]:
        from nasseg.tasks.metrics import SemanticMetrics

        device = next(net.parameters()).device
        metrics = SemanticMetrics(classes)
        for image, label in loader:
            metrics.update(net(image.to(device)).argmax(1, keepdim=True), label.to(device))
        return metrics.compute()

    return Task(
        name="semantic",
        monitor="dice",
        out_channels=len(classes),
        loss=loss,
        soft=partial(torch.softmax, dim=1),
        soft_loss=F.cross_entropy,
        evaluate=score,
    )


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Weights of classes in inverse proportion to their images; their mean over images is 1."""
    present = [count for count in counts if count]
    total = sum(present)
    return [total / (len(present) * count) if count else 0.0 for count in counts]


class _SoftCrossEntropy(nn.Module):
    """Cross-entropy against class numbers (B,) or class shares (B, K)."""

    weight: Tensor | None

    def __init__(self, weights: Sequence[float] | None, smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weight", None if weights is None else torch.tensor(weights))
        self.smoothing = smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        weight = self.weight
        if weight is not None:
            weight = weight.to(logits.device)
        return F.cross_entropy(logits, target, weight=weight, label_smoothing=self.smoothing)


def classification_task(
    classes: Sequence[str],
    *,
    multilabel: bool = False,
    weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
    monitor: str = "auto",
    tta: bool = False,
) -> Task:
    """A class for each image, or with ``multilabel`` any number of them.

    Logits (B, K) against class numbers int64 (B,), class shares (B, K), or 0 and 1 (B, K).

    Args:
        classes: names.
        multilabel: an image may have several classes, or none.
        weights: of the classes in the loss; none = 1 each.
        smoothing: share of each target that is spread over all classes.
        monitor: ``accuracy``, ``balanced_accuracy``, ``auc``, ``f1`` or ``auto``.
        tta: evaluate on mirror images too.

    Raises:
        ConfigError: several classes an image, and a setting that needs one each.
    """
    if multilabel:
        for key, value in (("label_smoothing", smoothing), ("class_weights", weights)):
            if value:
                raise ConfigError(
                    f"train.{key} is set, but an image of these data may have several classes; "
                    "it is for one class an image"
                )
        if monitor == "balanced_accuracy":
            raise ConfigError(
                "train.monitor is 'balanced_accuracy', but an image of these data may have several "
                "classes; allowed: auto, accuracy, auc, f1"
            )
    if monitor == "auto":
        monitor = "auc" if multilabel else "accuracy"

    def score(net: nn.Module, loader: Batches) -> dict[str, float]:
        from nasseg.tasks.class_metrics import classification_metrics, predict_probabilities

        probabilities, labels = predict_probabilities(net, loader, multilabel=multilabel, tta=tta)
        return classification_metrics(probabilities, labels, multilabel=multilabel)

    return Task(
        name="multilabel" if multilabel else "classification",
        monitor=monitor,
        out_channels=len(classes),
        loss=nn.BCEWithLogitsLoss if multilabel else partial(_SoftCrossEntropy, weights, smoothing),
        soft=torch.sigmoid if multilabel else partial(torch.softmax, dim=1),
        soft_loss=F.binary_cross_entropy_with_logits if multilabel else F.cross_entropy,
        evaluate=score,
    )
