"""Losses of the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CROP_SMOOTH = 100.0
"""Pixels added to numerator and denominator of the Dice of a crop. Many crops show no nucleus; with
next to nothing added, such a one has no gradient until all of it together is next to 0, and then
pulls its logits without end (on DSB2018 after 100 epochs at twice the default learning rate)."""


def foreground_loss(smooth: float = 1e-5) -> nn.Module:
    """Dice and cross-entropy: logits (B, 1, H, W) against 0 to 1.

    ``smooth``: pixels added to numerator and denominator of each image's Dice.
    """
    from monai.losses import DiceCELoss

    loss: nn.Module = DiceCELoss(sigmoid=True, smooth_nr=smooth, smooth_dr=smooth)
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
        self._foreground = foreground_loss(CROP_SMOOTH)

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


def exclusive_loss() -> nn.Module:
    """Dice and cross-entropy: logits (B, K, H, W) against shares of the classes (B, K, H, W); the
    first class, the background, has no Dice."""
    from monai.losses import DiceCELoss

    loss: nn.Module = DiceCELoss(softmax=True, include_background=False)
    return loss


def vector_error(logits: Tensor, target: Tensor, reach: float) -> Tensor:
    """Smooth absolute error of vectors, inside.

    Args:
        logits: (B, 3, H, W): foreground and vectors.
        target: the same, 0 to 1; 0 and 1 are vectors of -``reach`` and ``reach``.
        reach: largest component of a vector in units of the logits.
    """
    vectors = (2.0 * target[:, 1:] - 1.0) * reach
    error = F.smooth_l1_loss(logits[:, 1:], vectors, reduction="none")
    return _inside_mean(error, target[:, :1])


class VectorLoss(nn.Module):
    """The foreground's loss plus :func:`vector_error`."""

    def __init__(self, reach: float) -> None:
        super().__init__()
        self._foreground = foreground_loss(CROP_SMOOTH)
        self._reach = reach

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and targets (B, 3, H, W), 0 to 1, to a scalar."""
        foreground: Tensor = self._foreground(logits[:, :1], target[:, :1])
        return foreground + vector_error(logits, target, self._reach)


COORDINATES = 4.0
"""Factor on squared errors of coordinates: they run over 1 here, over 2 in HoVer-Net."""


def coordinate_error(logits: Tensor, target: Tensor) -> Tensor:
    """Squared errors of two coordinates and of their slopes, inside.

    Args:
        logits: (B, 3, H, W): foreground, vertical and horizontal coordinate.
        target: the same, 0 to 1.
    """
    inside = target[:, :1]
    error = logits[:, 1:].sigmoid() - target[:, 1:]
    # Central differences over two pixels, each coordinate along its own axis.
    vertical = error[:, :1, 2:] - error[:, :1, :-2]
    horizontal = error[:, 1:, :, 2:] - error[:, 1:, :, :-2]
    squares = (
        2.0 * _inside_mean(error.square(), inside)
        + _inside_mean(vertical.square(), inside[:, :, 1:-1])
        + _inside_mean(horizontal.square(), inside[:, :, :, 1:-1])
    )
    return COORDINATES * squares


class CoordinateLoss(nn.Module):
    """The foreground's loss plus :func:`coordinate_error`."""

    def __init__(self) -> None:
        super().__init__()
        self._foreground = foreground_loss(CROP_SMOOTH)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and targets (B, 3, H, W), 0 to 1, to a scalar."""
        foreground: Tensor = self._foreground(logits[:, :1], target[:, :1])
        return foreground + coordinate_error(logits, target)


def ray_error(logits: Tensor, target: Tensor, reach: float, unit: float) -> Tensor:
    """Relative error of distances to the border, weighted by depth.

    Args:
        logits: (B, 2 + R, H, W): foreground, depth, rays.
        target: the same, 0 to 1; distances are over ``reach``.
        reach: longest distance in pixels.
        unit: distance in pixels of a softplus of 1.
    """
    true = target[:, 2:] * reach
    error = (F.softplus(logits[:, 2:]) * unit - true).abs() / (true + 4.0)
    return _inside_mean(error, target[:, 1:2])


class StarLoss(nn.Module):
    """The loss of foreground and depth plus :func:`ray_error`."""

    def __init__(self, reach: float, unit: float) -> None:
        super().__init__()
        self._pixels = InstanceLoss()
        self._reach = reach
        self._unit = unit

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and targets (B, 2 + R, H, W) to a scalar."""
        rays = ray_error(logits, target, self._reach, self._unit)
        total: Tensor = self._pixels(logits[:, :2], target[:, :2]) + rays
        return total


def _inside_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of (B, K, H, W) over channels, and over pixels by ``weights`` (B, 1, H, W)."""
    return (values * weights).sum() / (values.shape[1] * weights.sum() + 1.0)
