"""Pareto dominance, crowding, knee and hypervolume of whole populations.

Every function takes objectives as a matrix ``(n, m)``, one row an architecture, *smaller is
better* in every column (negate what is maximised), and works on all rows at once. Values must be
finite. Dominance and hypervolumes are computed by moocore (github.com/multi-objective/moocore).
"""

from __future__ import annotations

from typing import Literal

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasseg.errors import ConfigError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


def nondominated(F: ArrayLike) -> BoolArray:
    """Which rows no other row dominates, bool ``(n,)``; equal rows do not dominate one another.

    A row dominates another where it is no worse in any objective and better in one.
    """
    found: BoolArray = moocore.is_nondominated(_matrix(F), keep_weakly=True)
    return found


def nondominated_ranks(F: ArrayLike) -> IntArray:
    """Front of every row ``(n,)``: 0 is not dominated, 1 only by front 0, and so on.

    The non-dominated sorting of NSGA-II (Deb et al. 2002, IEEE Trans. Evol. Comput. 6(2), section
    III-A).
    """
    f = _matrix(F)
    if f.shape[1] == 1:
        # A front for every value.
        alone: IntArray = np.unique(f[:, 0], return_inverse=True)[1].astype(np.intp)
        return alone
    ranks: IntArray = moocore.pareto_rank(f).astype(np.intp)
    return ranks


def constrained_ranks(F: ArrayLike, violation: ArrayLike) -> IntArray:
    """As :func:`nondominated_ranks`, under Deb's constrained domination.

    Feasible rows (violation 0) come first, by their objectives; the others after all of these, by
    violation alone (Deb et al. 2002, definition 1). Objectives of infeasible rows are not looked
    at and may be anything.

    Args:
        F: Objectives ``(n, m)``.
        violation: Total violation of every row ``(n,)``, 0 or more; infinity is the worst.
    """
    f, total = _matrix(F), np.asarray(violation, dtype=np.float64)
    feasible = total == 0
    ranks = np.empty(len(f), dtype=np.intp)
    ranks[feasible] = nondominated_ranks(f[feasible])
    fronts = ranks[feasible].max(initial=-1) + 1
    ranks[~feasible] = fronts + np.unique(total[~feasible], return_inverse=True)[1]
    return ranks


def crowding_distances(F: ArrayLike, ranks: ArrayLike | None = None) -> FloatArray:
    """How far apart the neighbours of every row are on its front ``(n,)``; infinite at the ends.

    The crowding distance of NSGA-II (Deb et al. 2002, section III-B): the sum over objectives of
    the distance between the next better and the next worse row of the same front, in units of the
    front's range. Of equal rows at an end only one is infinite.

    Args:
        F: Objectives ``(n, m)``.
        ranks: Front of every row; none = all are one front.
    """
    f = _matrix(F)
    n = len(f)
    front = np.zeros(n, dtype=np.intp) if ranks is None else np.asarray(ranks, dtype=np.intp)
    distance = np.zeros(n)
    if n == 0:
        return distance
    for k in range(f.shape[1]):
        # All fronts side by side, each in rising order.
        order = np.lexsort((f[:, k], front))
        value, group = f[order, k], front[order]
        change = np.flatnonzero(np.diff(group))
        first, last = np.r_[0, change + 1], np.r_[change, n - 1]
        span = np.repeat(value[last] - value[first], last - first + 1)
        gap = np.zeros(n)
        gap[1:-1] = value[2:] - value[:-2]
        # Where a front has no range in an objective, that objective tells nobody apart.
        apart = np.divide(gap, span, out=np.zeros(n), where=span > 0)
        ends = np.r_[first, last]
        apart[ends] = np.where(span[ends] > 0, np.inf, 0.0)
        distance[order] += apart
    return distance


def best_first(F: ArrayLike, violation: ArrayLike) -> IntArray:
    """Indices of all rows in NSGA-II's order: by front, the less crowded first ``(n,)``.

    Of equal rows those that come first here come first (the sort is stable).
    """
    f, total = _matrix(F), np.asarray(violation, dtype=np.float64)
    ranks = constrained_ranks(f, total)
    crowding = np.zeros(len(f))
    feasible = total == 0
    crowding[feasible] = crowding_distances(f[feasible], ranks[feasible])
    order: IntArray = np.lexsort((-crowding, ranks))
    return order


def update_archive(archive: ArrayLike, new: ArrayLike) -> tuple[BoolArray, BoolArray]:
    """Which rows of a non-dominated ``archive`` and of ``new`` are not dominated among them all."""
    old, fresh = _matrix(archive), _matrix(new)
    keep = nondominated(np.concatenate([old, fresh]))
    return keep[: len(old)], keep[len(old) :]


def knee_distances(F: ArrayLike) -> FloatArray:
    """How far every row bulges out of the plane of the front's extremes ``(n,)``.

    The knee of a front is the row with the greatest distance: from there, gaining a little in one
    objective costs much in another. Definition: objectives are scaled to [0, 1] over the front;
    the plane goes through its extremes, the best row of each objective (of equal ones, the row
    with the least sum of the others); distances are positive on the side of the ideal point (Das
    1999, "On characterizing the 'knee' of the Pareto curve", Struct. Optim. 18, 107-115; Branke et
    al. 2004, PPSN VIII, find knees for the same reason). With two objectives the plane is the line
    between the ends of the front. Where the extremes span no plane that faces the ideal point (one
    row is best in two objectives, say), the plane is that of equal weights.

    On a front that bulges nowhere, no row has a positive distance and the ends have 0.

    Args:
        F: Objectives ``(n, m)`` of a front.
    """
    f = _matrix(F)
    if len(f) == 0:
        return np.zeros(0)
    low, span = f.min(axis=0), np.ptp(f, axis=0)
    # An objective that is the same everywhere is 0 everywhere, and has no say.
    unit = (f - low) / np.where(span > 0, span, 1.0)
    varied = np.flatnonzero(span > 0)
    if len(varied) == 0:
        return np.zeros(len(f))
    unit = unit[:, varied]
    m = len(varied)
    sums = unit.sum(axis=1)
    extremes = unit[[np.lexsort((sums, unit[:, k]))[0] for k in range(m)]]
    normal = np.ones(m)
    if np.linalg.matrix_rank(extremes) == m:
        solved = np.linalg.solve(extremes, np.ones(m))
        if (solved > 0).all():
            normal = solved
    # All extremes lie at 1, except with equal weights, where the plane touches the nearest one.
    level = (extremes @ normal).min()
    distance: FloatArray = (level - unit @ normal) / np.linalg.norm(normal)
    return distance


Pick = Literal["knee", "best"]
PICKS: tuple[Pick, ...] = ("knee", "best")


def pick_row(goals: FloatArray, pick: Pick) -> int:
    """Index of the front's row ``(n, m)`` that is taken; of equal ones the first."""
    if pick == "best" or goals.shape[1] == 1:
        return int(goals[:, 0].argmin())
    # Rounding must not tell apart what is equally far.
    return int(knee_distances(goals).round(12).argmax())


def hypervolume(F: ArrayLike, reference: ArrayLike) -> float:
    """Volume between the rows ``(n, m)`` and the ``reference`` point ``(m,)``.

    Rows that are not better than the reference in every objective add nothing. Exact hypervolumes
    of four and more objectives take more than a few lines: this is the C code of moocore (Fonseca,
    Paquete and Lopez-Ibanez 2006, CEC).

    Raises:
        ConfigError: the reference has another number of objectives.
    """
    f, point = _matrix(F), np.asarray(reference, dtype=np.float64)
    if point.shape != (f.shape[1],):
        raise ConfigError(
            f"hypervolume: reference of shape {point.shape}; allowed: ({f.shape[1]},), a value "
            "for each objective"
        )
    inside = f[(f < point).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if f.shape[1] == 1:
        return float((point - inside).max())
    return float(moocore.hypervolume(inside, ref=point))


def _matrix(F: ArrayLike) -> FloatArray:
    f = np.asarray(F, dtype=np.float64)
    if f.ndim != 2:
        raise ConfigError(f"objectives have shape {f.shape}; allowed: (n, m)")
    return f
