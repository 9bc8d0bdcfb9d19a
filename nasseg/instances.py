"""Match predicted instances with true ones: the measures of single nuclei, for arrays.

>>> counts = match_counts(prediction, label, np.array([0.5]))  # true, false positives, missed
"""

from __future__ import annotations

from nasseg.tasks.matching import (
    FALSE_POSITIVE,
    FATES,
    Fates,
    fates,
    match_counts,
    overlap_table,
    pair_iou,
)
from nasseg.tasks.metrics import average_precision, instance_scores, panoptic_quality

__all__ = [
    "FALSE_POSITIVE",
    "FATES",
    "Fates",
    "average_precision",
    "fates",
    "instance_scores",
    "match_counts",
    "overlap_table",
    "pair_iou",
    "panoptic_quality",
]
