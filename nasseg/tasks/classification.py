"""A class for each image, or any number of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.errors import ConfigError
from nasseg.tasks.base import TASKS, Batches, TaskContext, TaskData, TaskType, register_task

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Weights of classes in inverse proportion to their images; their mean over images is 1."""
    present = [count for count in counts if count]
    total = sum(present)
    return [total / (len(present) * count) if count else 0.0 for count in counts]


@register_task("classification")
class Classification(TaskType):
    """One class an image.

    Logits (B, K) against class numbers int64 (B,), or class shares (B, K).
    """

    title = "a class for each image"
    network = "classification"
    labels = "class"
    metrics: ClassVar[Mapping[str, str]] = {
        "accuracy": "accuracy",
        "auc": "AUC",
        "balanced_accuracy": "balanced accuracy",
        "f1": "F1",
    }
    note = "Balanced accuracy, AUC (one class against the rest) and F1 are means over classes."
    monitor = "accuracy"
    channels = None
    several = False
    """True if an image may have several classes, or none."""

    def loss(self, context: TaskContext) -> nn.Module:
        """Cross-entropy, with weights and smoothing as the training has them."""
        from nasseg.tasks.losses import SoftCrossEntropy

        balanced = context.train.class_weights == "balanced"
        weights = balanced_weights(context.class_counts) if balanced else None
        return SoftCrossEntropy(weights, context.train.label_smoothing)

    def soft(self, logits: Tensor) -> Tensor:
        """Shares of the classes."""
        return logits.softmax(1)

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(logits, target)

    def evaluate(self, net: nn.Module, loader: Batches, context: TaskContext) -> dict[str, float]:
        """Accuracy, AUC and F1."""
        from nasseg.tasks.class_metrics import classification_metrics, predict_probabilities

        probabilities, labels = predict_probabilities(
            net, loader, multilabel=self.several, tta=context.train.tta
        )
        return classification_metrics(probabilities, labels, multilabel=self.several)

    def facts(self, data: TaskData) -> dict[str, Any]:
        """The classes, and whether an image may have several."""
        return {"classes": tuple(data.classes), "multilabel": self.several}

    def of_run(self, facts: Mapping[str, Any]) -> TaskType:
        """The variant with several classes an image where the data had these."""
        return TASKS["multilabel"] if facts.get("multilabel") else self

    def probability(self, logits: Tensor) -> Tensor:
        """Classes exclude each other."""
        return logits.softmax(1)

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Class numbers (N,) of probabilities (N, K)."""
        found: npt.NDArray[Any] = probability.argmax(1)
        return found

    def titles(self, known: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Those that were measured."""
        measured = set(known)
        return tuple(entry for entry in self.metrics.items() if entry[0] in measured)


@register_task("multilabel")
class Multilabel(Classification):
    """Any number of classes an image.

    Logits (B, K) against 0 and 1 (B, K).
    """

    title = "any number of classes for each image"
    selectable = False
    settings = "classification"
    monitor = "auc"
    several = True

    def check(self, context: TaskContext) -> None:
        """Refuse settings that need one class an image."""
        train = context.train
        for key, value in (
            ("label_smoothing", train.label_smoothing),
            ("class_weights", train.class_weights != "none"),
        ):
            if value:
                raise ConfigError(
                    f"train.{key} is set, but an image of these data may have several classes; "
                    "it is for one class an image"
                )
        if train.monitor == "balanced_accuracy":
            raise ConfigError(
                "train.monitor is 'balanced_accuracy', but an image of these data may have several "
                "classes; allowed: auto, accuracy, auc, f1"
            )

    def loss(self, context: TaskContext) -> nn.Module:
        """Cross-entropy of each class by itself."""
        from torch import nn

        return nn.BCEWithLogitsLoss()

    def soft(self, logits: Tensor) -> Tensor:
        """Probability of each class."""
        return logits.sigmoid()

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of each class by itself."""
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(logits, target)

    def probability(self, logits: Tensor) -> Tensor:
        """Each class by itself."""
        return logits.sigmoid()

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """0 and 1, (N, K), of probabilities (N, K)."""
        return (probability > 0.5).astype("int64")
