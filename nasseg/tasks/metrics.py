"""Segmentation metrics: Dice and IoU by MONAI, IoU over all pixels, precision of instances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_iou
from monai.networks import one_hot
from torch import Tensor

from nasseg.tasks.watershed import Ids, match_counts

IOU_THRESHOLDS = np.round(np.arange(0.5, 1.0, 0.05), 2)
"""Of the mean average precision: 0.5 to 0.95 in steps of 0.05, as in the 2018 Data Science Bowl."""


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


class SemanticMetrics:
    """Accumulates Dice and IoU of each class but the first, the background, over images.

    A class that is neither in the label nor in the prediction of an image scores 1 there; one that
    is in one of the two scores 0.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._dice: list[Tensor] = []
        self._iou: list[Tensor] = []

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add a batch of class numbers (B, 1, H, W)."""
        count = len(self._classes)
        masks = {
            "y_pred": one_hot(prediction, count)[:, 1:],
            "y": one_hot(label.long(), count)[:, 1:],
        }
        self._dice.append(compute_dice(**masks, ignore_empty=False).cpu())
        self._iou.append(compute_iou(**masks, ignore_empty=False).cpu())

    def compute(self) -> dict[str, float]:
        """``dice`` and ``iou`` as means over classes of means over images, ``dice_NAME`` of each.

        Raises:
            ValueError: no image was added.
        """
        if not self._dice:
            raise ValueError("no image to evaluate: the loader gave no batch")
        dice = torch.cat(self._dice).double().mean(0)
        return {
            "dice": float(dice.mean()),
            "iou": float(torch.cat(self._iou).double().mean()),
            **{f"dice_{name}": float(d) for name, d in zip(self._classes[1:], dice, strict=True)},
        }


class InstanceMetrics:
    """Accumulates the average precision of instances over images.

    As in the 2018 Data Science Bowl (Caicedo et al., Nature Methods 2019): at an IoU threshold,
    TP / (TP + FP + FN) of each image, then the mean over images. An image without nuclei in which
    none are found scores 1.
    """

    def __init__(self) -> None:
        self._precision: list[np.ndarray] = []

    def update(self, prediction: Ids, label: Ids) -> None:
        """Add one image: instance ids (H, W), each numbered from 1 without gaps."""
        counts = match_counts(prediction, label, IOU_THRESHOLDS)
        total = counts.sum(axis=1)
        self._precision.append(np.where(total > 0, counts[:, 0] / np.maximum(total, 1), 1.0))

    def compute(self) -> dict[str, float]:
        """``ap50`` at IoU 0.5, and ``ap``, the mean over thresholds of 0.5 to 0.95.

        Raises:
            ValueError: no image was added.
        """
        if not self._precision:
            raise ValueError("no image to evaluate: the loader gave no batch")
        mean = np.mean(self._precision, axis=0)
        return {"ap50": float(mean[0]), "ap": float(mean.mean())}
