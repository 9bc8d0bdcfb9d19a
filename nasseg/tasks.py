"""Tasks: what is learned and how it is scored. A task is a loss and metrics over a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasseg._registry import Registry

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


class InstanceLoss(nn.Module):
    """Dice and cross-entropy of the foreground plus cross-entropy of the relative depth.

    Logits (B, 2, H, W) against targets (B, 2, H, W), 0 to 1, to a scalar.
    """

    def __init__(self) -> None:
        super().__init__()
        self._foreground = _segmentation_loss()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both."""
        depth = nn.functional.binary_cross_entropy_with_logits(logits[:, 1:], target[:, 1:])
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
    from nasseg.instances import split_instances
    from nasseg.training.metrics import InstanceMetrics, SegmentationMetrics

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
        soft_loss=nn.functional.binary_cross_entropy_with_logits,
        evaluate=_evaluate_instances,
    ),
)
