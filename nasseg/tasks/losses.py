"""Losses of the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def foreground_loss() -> nn.Module:
    """Dice and cross-entropy: logits (B, 1, H, W) against 0 to 1."""
    from monai.losses import DiceCELoss

    loss: nn.Module = DiceCELoss(sigmoid=True)
    return loss


def classes_loss() -> nn.Module:
    """Dice and cross-entropy: logits (B, K, H, W) against class numbers (B, 1, H, W)."""
    from monai.losses import DiceCELoss

    loss: nn.Module = DiceCELoss(softmax=True, to_onehot_y=True)
    return loss


class InstanceLoss(nn.Module):
    """Dice and cross-entropy of the foreground plus cross-entropy of the relative depth.

    Logits (B, 2, H, W) against targets (B, 2, H, W), 0 to 1, to a scalar.
    """

    def __init__(self) -> None:
        super().__init__()
        self._foreground = foreground_loss()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both."""
        depth = F.binary_cross_entropy_with_logits(logits[:, 1:], target[:, 1:])
        total: Tensor = self._foreground(logits[:, :1], target[:, :1]) + depth
        return total


class SoftCrossEntropy(nn.Module):
    """Cross-entropy against class numbers (B,) or class shares (B, K).

    Args:
        weights: of the classes; None: 1 each.
        smoothing: share of each target that is spread over all classes.
    """

    weight: Tensor | None

    def __init__(self, weights: Sequence[float] | None, smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weight", None if weights is None else torch.tensor(weights))
        self.smoothing = smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch."""
        weight = self.weight
        if weight is not None:
            weight = weight.to(logits.device)
        return F.cross_entropy(logits, target, weight=weight, label_smoothing=self.smoothing)
