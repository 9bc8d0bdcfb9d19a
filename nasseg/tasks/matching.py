"""Predicted instances against true ones: overlaps, matches, and what became of each nucleus.

Few of all pairs of instances touch, so tables of pairs are sparse: time and memory grow with the
pixels and with the pairs that overlap, not with the product of the two numbers of instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from nasseg.tasks.watershed import Ids

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]
Sparse = Any
"""A SciPy ``csr_array``, its entries ordered by row and column."""

MATCH = 0.5
"""IoU above which two instances match; from 0.5 on none has two matches."""
FATES = ("matched", "missed", "split", "merged", "badly outlined")
"""What can become of a true nucleus; :func:`fates` gives places in this tuple."""
_STRIP = 1 << 17
"""Pixels whose pairs of instances are counted at a time: bounds the memory of a large image."""
FALSE_POSITIVE = "false positive"
"""Name of a predicted instance where no nucleus is."""


def overlap_table(prediction: Ids, label: Ids) -> Sparse:
    """Count the pixels that every predicted and every true instance have in common.

    Args:
        prediction: instance ids (H, W), every number from 1 to the largest in use.
        label: the same.

    Returns:
        Sparse (P + 1, L + 1) int64; row and column 0 are the background.

    Raises:
        ValueError: the two maps differ in shape.
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction is {prediction.shape} and label {label.shape} pixels; they must be alike"
        )
    rows, columns = int(prediction.max(initial=0)) + 1, int(label.max(initial=0)) + 1
    predicted, true = prediction.reshape(-1), label.reshape(-1)
    strips = [
        _pixels_of_pairs(
            predicted[first : first + _STRIP].astype(np.int64) * columns
            + true[first : first + _STRIP]
        )
        for first in range(0, predicted.size, _STRIP)
    ]
    pairs = np.concatenate([pair for pair, _ in strips] or [np.zeros(0, np.int64)])
    pixels = np.concatenate([count for _, count in strips] or [np.zeros(0, np.int64)])
    # The constructor adds up what several strips have of a pair.
    table = csr_array((pixels, (pairs // columns, pairs % columns)), shape=(rows, columns))
    table.sort_indices()
    return table


def _pixels_of_pairs(pairs: Counts) -> tuple[Counts, Counts]:
    """The different numbers of a row of pixels, and how often each occurs.

    Neighbours mostly have the same number, so runs are sorted instead of pixels.
    """
    starts = np.concatenate([[0], np.flatnonzero(pairs[1:] != pairs[:-1]) + 1])
    lengths = np.diff(starts, append=len(pairs))
    found, place = np.unique(pairs[starts], return_inverse=True)
    return found, np.bincount(place, weights=lengths).astype(np.int64)


def pair_iou(overlap: Sparse) -> Sparse:
    """Return the IoU of all pairs of instances of an :func:`overlap_table`.

    Returns:
        Sparse (P, L) float64; pairs without a common pixel, whose IoU is 0, have no entry.
    """
    inside = overlap[1:, 1:].tocoo()
    extent, size = overlap.sum(axis=1)[1:], overlap.sum(axis=0)[1:]
    rows, columns = inside.coords
    shares = inside.data / (extent[rows] + size[columns] - inside.data)
    return csr_array((shares, (rows, columns)), shape=inside.shape)


def counts_above(iou: Sparse, thresholds: npt.NDArray[np.floating[Any]]) -> Counts:
    """Count true positives, false positives and false negatives at each IoU threshold.

    Args:
        iou: of all pairs, sparse (P, L), as :func:`pair_iou` gives it.
        thresholds: (T,), 0.5 or more, above which an instance counts as found.

    Returns:
        (T, 3).
    """
    predicted, true = iou.shape
    found = (iou.data > np.asarray(thresholds)[:, None]).sum(1)
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


def fates(overlap: Sparse) -> Fates:
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
        overlap: sparse (P + 1, L + 1), as :func:`overlap_table` gives it.
    """
    inside = overlap[1:, 1:].tocoo()
    rows, columns = inside.coords
    size, extent = overlap.sum(axis=0)[1:], overlap.sum(axis=1)[1:]
    predicted, true = inside.shape

    def of_true(pairs: npt.NDArray[Any]) -> Counts:
        return np.bincount(columns[pairs], minlength=true)

    def of_predicted(pairs: npt.NDArray[Any]) -> Counts:
        return np.bincount(rows[pairs], minlength=predicted)

    matches = pair_iou(overlap).tocoo().data > MATCH
    over_half = 2 * inside.data > size[columns]
    covered = 2 * inside.sum(axis=0) > size
    merges = over_half & (of_predicted(over_half)[rows] > 1)
    matched, held, merged = (of_true(pairs) > 0 for pairs in (matches, over_half, merges))
    label = np.select([matched, ~covered, ~held, merged], [0, 1, 2, 3], 4).astype(np.int8)
    on_nuclei = 2 * inside.sum(axis=1) > extent
    alone = (of_predicted(matches) == 0) & (of_predicted(over_half) == 0)
    return Fates(label, alone & ~on_nuclei)
