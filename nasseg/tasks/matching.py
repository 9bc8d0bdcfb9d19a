"""Predicted instances against true ones: overlaps, matches, and what became of each nucleus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.tasks.watershed import Ids

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

MATCH = 0.5
"""IoU above which two instances match; from 0.5 on none has two matches."""
FATES = ("matched", "missed", "split", "merged", "badly outlined")
"""What can become of a true nucleus; :func:`fates` gives places in this tuple."""
FALSE_POSITIVE = "false positive"
"""Name of a predicted instance where no nucleus is."""


def overlap_table(prediction: Ids, label: Ids) -> Counts:
    """Count the pixels that every predicted and every true instance have in common.

    Args:
        prediction: instance ids (H, W), every number from 1 to the largest in use.
        label: the same.

    Returns:
        (P + 1, L + 1); row and column 0 are the background.
    """
    rows, columns = int(prediction.max(initial=0)) + 1, int(label.max(initial=0)) + 1
    pairs = prediction.ravel().astype(np.int64) * columns + label.ravel()
    return np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)


def pair_iou(overlap: Counts) -> Shares:
    """Return the IoU (P, L) of all pairs of instances of an :func:`overlap_table`."""
    union = overlap.sum(1)[1:, None] + overlap.sum(0)[None, 1:] - overlap[1:, 1:]
    iou: Shares = overlap[1:, 1:] / np.maximum(union, 1)
    return iou


def counts_above(iou: Shares, thresholds: npt.NDArray[np.floating[Any]]) -> Counts:
    """Count true positives, false positives and false negatives at each IoU threshold.

    Args:
        iou: of all pairs (P, L).
        thresholds: (T,), 0.5 or more, above which an instance counts as found.

    Returns:
        (T, 3).
    """
    predicted, true = iou.shape
    found = (iou[None] > np.asarray(thresholds)[:, None, None]).sum((1, 2))
    return np.stack([found, predicted - found, true - found], axis=1).astype(np.int64)


def match_counts(prediction: Ids, label: Ids, thresholds: npt.NDArray[np.floating[Any]]) -> Counts:
    """Count true positives, false positives and false negatives of two maps of instances.

    Args:
        prediction: instance ids (H, W), every number from 1 to the largest in use.
        label: the same.
        thresholds: as :func:`counts_above` takes them.

    Returns:
        (T, 3).
    """
    return counts_above(pair_iou(overlap_table(prediction, label)), thresholds)


@dataclass(frozen=True)
class Fates:
    """What became of the true nuclei of an image, and which predictions are of none."""

    label: npt.NDArray[np.int8]
    """Place in :data:`FATES` of each true nucleus (L,)."""
    false_positive: npt.NDArray[np.bool_]
    """True for each predicted instance (P,) where no nucleus is."""

    def counts(self) -> dict[str, int]:
        """Number of nuclei of each fate, and of false positives, by name."""
        found = np.bincount(self.label, minlength=len(FATES))
        return {
            **{name: int(n) for name, n in zip(FATES, found, strict=True)},
            FALSE_POSITIVE: int(self.false_positive.sum()),
        }


def fates(overlap: Counts) -> Fates:
    """Tell what became of every true nucleus.

    Every nucleus has one fate, the first of these that holds:

    - *matched*: IoU with a prediction above 0.5;
    - *missed*: predictions together cover no more than half of it;
    - *split*: they cover more than half of it, but none alone does;
    - *merged*: the one that covers more than half of it covers more than half of another too;
    - *badly outlined*: the one that covers more than half of it is much larger than it.

    A prediction is a false positive if it matches no nucleus, covers more than half of none, and
    lies by half or more on the background. Parts of split nuclei are none, so that there are fewer
    than average precision and panoptic quality count.

    Args:
        overlap: (P + 1, L + 1), as :func:`overlap_table` gives it.
    """
    inside = overlap[1:, 1:]
    size, extent = overlap.sum(0)[1:], overlap.sum(1)[1:]
    matches = pair_iou(overlap) > MATCH
    over_half = 2 * inside > size
    covered = 2 * inside.sum(0) > size
    merges = over_half & (over_half.sum(1, keepdims=True) > 1)
    conditions = [matches.any(0), ~covered, ~over_half.any(0), merges.any(0)]
    label = np.select(conditions, [0, 1, 2, 3], 4).astype(np.int8)
    on_nuclei = 2 * inside.sum(1) > extent
    return Fates(label, ~matches.any(1) & ~over_half.any(1) & ~on_nuclei)
