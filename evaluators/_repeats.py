"""What a repeat of a measurement with another seed changes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from nasseg.evaluators.scores import FloatArray


class Noise(NamedTuple):
    """How well measurements of the same architectures agree; NaN where none has several."""

    deviation: float
    """Standard deviation within architectures, in units of the value."""
    agreement: float
    """Kendall's tau between two measurements, the mean over pairs of repeats by their size."""
    ceiling: float
    """Tau of the true values with a single measurement, which no prediction from the architecture
    alone exceeds: what ``agreement`` makes of it where values and noise are normal."""
    several: int
    """Architectures with several measurements."""


NOTHING_REPEATED = Noise(np.nan, np.nan, np.nan, 0)
"""Where every architecture was measured once."""


def repeat_noise(
    archs: Sequence[Hashable], repeats: Sequence[int] | None, values: FloatArray
) -> Noise:
    """The noise of ``n`` measurements.

    Args:
        archs: which architecture was measured ``(n,)``.
        repeats: the seed, or the number of the repeat ``(n,)``; none = counted in order, and equal
            values of one architecture are one measurement that is there twice.
        values: what was measured ``(n,)``.
    """
    import pandas as pd

    from nasseg.evaluators.boosting import tau

    rows = pd.DataFrame({"arch": list(archs), "value": np.asarray(values, dtype=np.float64)})
    if repeats is None:
        rows = rows.drop_duplicates()
        rows["repeat"] = rows.groupby("arch").cumcount()
    else:
        rows["repeat"] = list(repeats)
    several = rows[rows.duplicated("arch", keep=False)]
    if several.empty:
        return NOTHING_REPEATED
    groups = several.groupby("arch").value
    wide = several.pivot(index="arch", columns="repeat", values="value")
    pairs = [wide[list(pair)].dropna().to_numpy() for pair in combinations(wide.columns, 2)]
    pairs = [both for both in pairs if len(both) > 2]
    taus = [tau(both[:, 0], both[:, 1]) for both in pairs]
    sizes = [len(both) * (len(both) - 1) for both in pairs]
    agreement = float(np.average(taus, weights=sizes)) if pairs else math.nan
    return Noise(
        float(np.sqrt(groups.var(ddof=1).mean())), agreement, _ceiling(agreement), len(groups)
    )


def _ceiling(agreement: float) -> float:
    """Tau between a truth and its noisy measurement, from that between two measurements.

    Of normal variables tau is 2/pi asin(r) (Greiner's relation), and r with the truth the root of r
    between two measurements (Spearman 1904, correction for attenuation).
    """
    reliability = math.sin(math.pi / 2 * max(agreement, 0.0))
    return 2 / math.pi * math.asin(math.sqrt(reliability))
