"""What a repeat of a measurement with another seed changes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from nasseg.evaluators.scores import FloatArray


class Noise(NamedTuple):
    """How well measurements of the same architectures agree; NaN where none has several."""

    deviation: float
    """Standard deviation within architectures, in units of the value."""
    ceiling: float
    """Kendall's tau between two repeats: the noise ceiling, as no prediction from the architecture
    alone can rank a single measurement much better."""
    several: int
    """Architectures with several measurements."""


NOTHING_REPEATED = Noise(np.nan, np.nan, 0)
"""Where every architecture was measured once."""


def repeat_noise(
    archs: Sequence[Hashable], repeats: Sequence[int] | None, values: FloatArray
) -> Noise:
    """The noise of ``n`` measurements.

    Args:
        archs: which architecture was measured ``(n,)``.
        repeats: the seed, or the number of the repeat ``(n,)``; none = counted in order.
        values: what was measured ``(n,)``.
    """
    import pandas as pd

    from nasseg.evaluators._boosting import tau

    rows = pd.DataFrame({"arch": list(archs), "value": np.asarray(values, dtype=np.float64)})
    rows["repeat"] = rows.groupby("arch").cumcount() if repeats is None else list(repeats)
    several = rows[rows.duplicated("arch", keep=False)]
    if several.empty:
        return NOTHING_REPEATED
    groups = several.groupby("arch").value
    wide = several.pivot_table(index="arch", columns="repeat", values="value")
    pairs = [wide[list(pair)].dropna().to_numpy() for pair in combinations(wide.columns, 2)]
    taus = [tau(both[:, 0], both[:, 1]) for both in pairs if len(both) > 2]
    return Noise(
        float(np.sqrt(groups.var(ddof=1).mean())),
        float(np.mean(taus)) if taus else np.nan,
        len(groups),
    )
