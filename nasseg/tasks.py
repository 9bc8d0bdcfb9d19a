"""Tasks: what is learned and how it is scored. A task is a loss and metrics over a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasseg._registry import Registry

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


def get_task(name: str) -> Task:
    """The task of that name; UnknownName with the nearest match otherwise."""
    return TASKS[name]


def _segmentation_loss() -> nn.Module:
    from monai.losses import DiceCELoss

    loss: nn.Module = DiceCELoss(sigmoid=True)
    return loss


@torch.no_grad()
def _evaluate_segmentation(net: nn.Module, loader: Batches) -> dict[str, float]:
    from nasseg.training.metrics import SegmentationMetrics

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
        soft_loss=nn.functional.binary_cross_entropy_with_logits,
        evaluate=_evaluate_segmentation,
    ),
)
