"""Segmentation metrics: per-image Dice and IoU by MONAI, and IoU over all pixels."""

from __future__ import annotations

import torch
from monai.metrics import compute_dice, compute_iou
from torch import Tensor


class SegmentationMetrics:
    """Accumulates foreground metrics over batches of binary masks.

    An image whose label and prediction are both empty scores 1; one of the two empty scores 0.
    """

    def __init__(self) -> None:
        self._dice: list[Tensor] = []
        self._iou: list[Tensor] = []
        self._intersection = 0
        self._union = 0

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add a batch of masks (B, 1, H, W), boolean or 0/1."""
        prediction, label = prediction.bool(), label.bool()
        masks = {"y_pred": prediction.float(), "y": label.float()}
        self._dice.append(compute_dice(**masks, ignore_empty=False).flatten().cpu())
        self._iou.append(compute_iou(**masks, ignore_empty=False).flatten().cpu())
        self._intersection += int((prediction & label).sum())
        self._union += int((prediction | label).sum())

    def compute(self) -> dict[str, float]:
        """``dice`` and ``iou`` as means over images, ``iou_pooled`` over all pixels.

        Raises:
            ValueError: no image was added.
        """
        if not self._dice:
            raise ValueError("no image to evaluate: the loader gave no batch")
        return {
            "dice": float(torch.cat(self._dice).double().mean()),
            "iou": float(torch.cat(self._iou).double().mean()),
            "iou_pooled": self._intersection / self._union if self._union else 1.0,
        }
