"""Dice and IoU by MONAI, IoU over all pixels; precision, quality and number of instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_dice, compute_iou
from monai.networks import one_hot
from torch import Tensor

from nasseg.tasks.matching import MATCH, Shares, counts_above, overlap_table, pair_iou
from nasseg.tasks.watershed import Ids

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

    @property
    def images(self) -> list[dict[str, float]]:
        """``dice`` and ``iou`` of each image, in the order in which they were added."""
        if not self._dice:
            return []
        both = zip(torch.cat(self._dice).tolist(), torch.cat(self._iou).tolist(), strict=True)
        return [{"dice": dice, "iou": iou} for dice, iou in both]

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


def average_precision(counts: npt.NDArray[np.int64]) -> Shares:
    """Average precision of one image as in the 2018 Data Science Bowl: TP / (TP + FP + FN).

    An image without nuclei in which none are found scores 1; one in which some are found, 0.
    After Caicedo et al., Nature Methods 2019.

    Args:
        counts: true positives, false positives and false negatives at each threshold, (T, 3).

    Returns:
        (T,).
    """
    total = counts.sum(axis=1)
    precision: Shares = np.where(total > 0, counts[:, 0] / np.maximum(total, 1), 1.0)
    return precision


class Panoptic(NamedTuple):
    """Panoptic quality of one image, and the two numbers whose product it is."""

    pq: float
    """Panoptic quality."""
    sq: float
    """Segmentation quality: mean IoU of the matches."""
    rq: float
    """Recognition quality: F1 score of the matches."""


def panoptic_quality(matched_iou: float, tp: int, fp: int, fn: int) -> Panoptic:
    """Panoptic quality of one image (Kirillov et al., CVPR 2019).

    An image without nuclei in which none are found scores 1 in all three. One without a match, be
    it that all its nuclei are missed or that all it has are false positives, scores 0 in all three.

    Args:
        matched_iou: sum of the IoU of the matches.
        tp: matches, of IoU above 0.5.
        fp: predicted instances without a match.
        fn: true ones without a match.
    """
    if not tp + fp + fn:
        return Panoptic(1.0, 1.0, 1.0)
    sq = matched_iou / tp if tp else 0.0
    rq = 2 * tp / (2 * tp + fp + fn)
    return Panoptic(sq * rq, sq, rq)


def instance_scores(prediction: Ids, label: Ids) -> dict[str, float]:
    """Scores of the instances of one image.

    Args:
        prediction: instance ids (H, W), numbered from 1 without gaps.
        label: the same.

    Returns:
        ``ap50`` (:func:`average_precision` at IoU 0.5), ``ap`` (its mean over thresholds of 0.5
        to 0.95), ``pq``, ``sq`` and ``rq`` (:func:`panoptic_quality`), ``count_error`` (difference
        of the numbers of instances over the true number, or over 1 where that is 0) and
        ``count_mae`` (the difference itself).
    """
    iou = pair_iou(overlap_table(prediction, label))
    precision = average_precision(counts_above(iou, IOU_THRESHOLDS))
    matched = iou.data[iou.data > MATCH]
    predicted, true = iou.shape
    found = len(matched)
    quality = panoptic_quality(float(matched.sum()), found, predicted - found, true - found)
    wrong = abs(predicted - true)
    return {
        "ap50": float(precision[0]),
        "ap": float(precision.mean()),
        **quality._asdict(),
        "count_error": wrong / max(true, 1),
        "count_mae": float(wrong),
    }


class InstanceMetrics:
    """Accumulates :func:`instance_scores` over images."""

    def __init__(self) -> None:
        self.images: list[dict[str, float]] = []
        """Scores of each image, in the order in which they were added."""

    def update(self, prediction: Ids, label: Ids) -> None:
        """Add one image: instance ids (H, W), each numbered from 1 without gaps."""
        self.images.append(instance_scores(prediction, label))

    def compute(self) -> dict[str, float]:
        """The mean of every score over images.

        As PQ is a mean over images too, it is not the product of mean SQ and mean RQ.

        Raises:
            ValueError: no image was added.
        """
        if not self.images:
            raise ValueError("no image to evaluate: the loader gave no batch")
        return {
            name: float(np.mean([scores[name] for scores in self.images]))
            for name in self.images[0]
        }
