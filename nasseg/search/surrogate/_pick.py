"""Which architecture of a front a search returns."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nasseg.search.pareto import knee_distances

Pick = Literal["knee", "best"]
PICKS: tuple[Pick, ...] = ("knee", "best")


def pick_row(goals: NDArray[np.float64], pick: Pick) -> int:
    """Index of the front's row ``(n, m)`` that is taken; of equal ones the first."""
    if pick == "best" or goals.shape[1] == 1:
        return int(goals[:, 0].argmin())
    # Rounding must not tell apart what is equally far.
    return int(knee_distances(goals).round(12).argmax())
