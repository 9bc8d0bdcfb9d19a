"""A class for each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import PIXEL_NOTE, Batches, TaskContext, TaskType, register_task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

PREFIX = "dice_"
"""Of the key of one class's Dice."""


@register_task("semantic")
class Semantic(TaskType):
    """One of several classes for each pixel; the first is the background and not scored.

    Logits (B, K, H, W) against class numbers (B, 1, H, W).
    """

    title = "a class for each pixel"
    noun = "parts"
    labels = "classes"
    metrics: ClassVar[Mapping[str, str]] = {"dice": "Dice", "iou": "IoU"}
    note = PIXEL_NOTE
    monitor = "dice"
    channels = None

    def loss(self, context: TaskContext) -> nn.Module:
        """Dice and cross-entropy over all classes."""
        from nasseg.tasks.losses import classes_loss

        return classes_loss()

    def soft(self, logits: Tensor) -> Tensor:
        """Shares of the classes."""
        return logits.softmax(1)

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(logits, target)

    def evaluate(self, net: nn.Module, loader: Batches, context: TaskContext) -> dict[str, float]:
        """Dice and IoU as means over classes and images, and the Dice of each class."""
        from nasseg.tasks.metrics import SemanticMetrics

        device = next(net.parameters()).device
        metrics = SemanticMetrics(context.classes)
        for image, label in loader:
            metrics.update(net(image.to(device)).argmax(1, keepdim=True), label.to(device))
        return metrics.compute()

    def probability(self, logits: Tensor) -> Tensor:
        """Classes exclude each other."""
        return logits.softmax(1)

    def certainty(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The probability of any class but the background."""
        found: npt.NDArray[Any] = probability[1:].sum(0)
        return found

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Numbers of classes (H, W); of equal probabilities, the background's comes last."""
        import numpy as np

        classes = np.roll(probability, -1, axis=0).argmax(0)
        found: npt.NDArray[Any] = ((classes + 1) % len(probability)).astype(np.int32)
        return found

    def count(self, labels: npt.NDArray[Any]) -> int:
        """Parts of one class that hang together."""
        from skimage.measure import label

        return int(label(labels, connectivity=1).max())

    def picture(self, logits: Tensor) -> Tensor:
        """Numbers of classes (B, H, W), of the type that labels have."""
        import torch

        return logits.argmax(1).to(torch.uint8)

    def label_picture(self, label: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The numbers as they are."""
        return label.astype("uint8")

    def titles(self, known: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Those of all classes together, then each class's Dice."""
        own = sorted(key for key in known if key.startswith(PREFIX))
        return (
            *self.metrics.items(),
            *((key, f"Dice {key.removeprefix(PREFIX)}") for key in own),
        )

    def measures(self, key: str) -> bool:
        """Also the Dice of any class."""
        return key in self.metrics or key.startswith(PREFIX)
