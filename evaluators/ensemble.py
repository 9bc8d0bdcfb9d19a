"""Boosted trees that say how sure they are: an ensemble over subsets, calibrated out of bag.

Every member is fitted to a random share of the architectures. The prediction is the mean of the
members; how far they disagree says where the table tells little, and the errors on what a member
did not see say how wide an interval must be to hold what it claims (conformal prediction with
out-of-bag errors, Johansson et al., Machine Learning 97, 2014; Barber et al., Annals of
Statistics 49, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import norm

from nasseg.errors import ConfigError
from nasseg.evaluators.base import Matrix
from nasseg.evaluators.boosting import (
    LEAST_ROWS,
    Curve,
    along,
    check_rows,
    fit_head,
    folds,
    hyperparameters,
    normal_scores,
    predict,
    response_curve,
    tune,
)
from nasseg.evaluators.one_hot import Groups
from nasseg.evaluators.scores import FloatArray

MEMBERS = 16
"""Members of an ensemble. An architecture is unseen by six or seven of them, whose disagreement is
like that of all on an architecture outside the table."""
SHARE = 0.6
"""Share of the architectures that a member is fitted to."""
LEAST_MEMBERS = 4
"""Fewest members whose disagreement can be told."""
FLOOR = 0.25
"""Least disagreement counted, as a share of the mean one: members agree by chance too."""
OUTSIDE = 0.99
"""Share of the architectures of the table that lie nearer to another one than one outside."""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What an ensemble says of ``n`` architectures.

    Members vote, and are calibrated, in the unit that they learned: normal scores of the ranks, or
    values. Only what comes of it is mapped to values, so that no interval leaves the range of the
    table by far, however steep the way from the failed architectures to the others is.
    """

    latent: FloatArray
    """Mean of the members ``(n,)``, in the unit that they learned; higher is higher."""
    latent_std: FloatArray
    """Standard deviation of the error to expect ``(n,)``, in that unit."""
    outside: NDArray[np.bool_]
    """Whether the architecture is farther from those of the table than they are from each other
    ``(n,)``; trees do not extrapolate, so nothing said of it can be relied on."""
    curve: Curve | None = None
    """From that unit to values; none where they learned values."""

    def __repr__(self) -> str:
        # In units of the value, and without the curve, which has a point for each of the table.
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in ("mean", "std", "outside"))
        return f"{type(self).__name__}({shown})"

    @property
    def mean(self) -> FloatArray:
        """Predicted value ``(n,)``."""
        return along(self.curve, self.latent)

    @property
    def std(self) -> FloatArray:
        """Error to expect ``(n,)``, in units of the value: half of the interval of a standard
        deviation to either side."""
        low, high = self._within(1.0)
        return (high - low) / 2

    def interval(self, share: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end ``(n,)`` of what holds the true value in ``share`` of all cases."""
        return self._within(float(norm.ppf(0.5 + share / 2)))

    def gain(self, best: float) -> FloatArray:
        """By how much the values are expected to exceed ``best``, ``(n,)``: the expected
        improvement (Jones et al., Journal of Global Optimization 13, 1998)."""
        drawn = self.latent[:, None] + self.latent_std[:, None] * _NORMAL
        found: FloatArray = np.maximum(along(self.curve, drawn) - best, 0.0).mean(1)
        return found

    def _within(self, deviations: float) -> tuple[FloatArray, FloatArray]:
        half = deviations * self.latent_std
        return along(self.curve, self.latent - half), along(self.curve, self.latent + half)


_NORMAL = norm.ppf((np.arange(256) + 0.5) / 256)
"""Points of equal probability of a normal distribution."""


class Ensemble:
    """Members fitted to random shares of a table of architectures.

    Args:
        members: how many.
        params: changes to the default hyperparameters of the trees.
        nthread: threads for fitting and predicting.
        groups: for each column of the features a number; columns with one number are the choices
            of one hyperparameter, and count as one feature in distances. None: none are.
    """

    STATE = (
        *("scale", "floor", "error", "unit", "far", "points", "curve"),
        *("hyperparameters", "files"),
    )
    """Keys of what :meth:`restore` needs, and of the files of the models."""

    def __init__(
        self,
        members: int = MEMBERS,
        params: Mapping[str, Any] | None = None,
        nthread: int = 1,
        *,
        groups: Groups | None = None,
    ) -> None:
        if members < LEAST_MEMBERS:
            raise ConfigError(f"members is {members!r}; allowed: {LEAST_MEMBERS} or more")
        self.params = hyperparameters(params)
        self._changes = dict(params or {})
        self.members = members
        self.nthread = nthread
        self._groups = groups
        self.scale = math.nan
        """Standard deviation of an error over the disagreement of the members."""
        self.error = math.nan
        """Root mean square of the out-of-bag errors, in units of the value."""
        self._curve: Curve | None = None
        self._heads: list[xgb.Booster] = []
        self._floor = math.nan
        self._unit = np.empty(0)
        self._far = math.nan
        self._tree = cKDTree(np.empty((0, 1)))

    def fit(self, X: Matrix, y: FloatArray, seed: int = 0) -> Ensemble:
        """Fit to ``X`` float32 ``(n, F)`` and ``y`` ``(n,)``; returns the ensemble itself.

        Raises:
            ConfigError: fewer than 10 architectures, or a value that is not finite.
        """
        check_rows(X, y, "ensemble")
        self.params = hyperparameters(self._changes, len(X))
        # Repeats of an architecture are seen or unseen together: one that was seen tells the other.
        group = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
        seen = self._shares(group.max() + 1, np.random.default_rng([seed, len(X)]))[:, group]
        self._curve, target = None, y
        if self.params["response"] == "normal_scores" and np.ptp(y) > 0:
            # One curve of the whole table, so that members can be compared before it.
            self._curve, target = response_curve(y), normal_scores(y)
        params = {**self.params, "response": "values"}
        self._heads = [
            fit_head(X[rows], target[rows], params, seed + k, self.nthread)
            for k, rows in enumerate(seen)
        ]
        said = np.stack([predict(head, X) for head in self._heads])
        self._scale_distances(X)
        self._calibrate(said, seen, target)
        return self

    def _shares(self, n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which of ``n`` architectures each member is fitted to, ``(members, n)``.

        Everyone is unseen by as many members as everyone else, give or take one.
        """
        hidden = max(1, round(n * (1 - SHARE)))
        seen = np.ones((self.members, n), dtype=bool)
        unseen_by = np.zeros(n)
        for row in seen:
            # Those unseen by the fewest so far come first, in random order among themselves.
            chosen = np.lexsort((rng.random(n), unseen_by))[:hidden]
            row[chosen] = False
            unseen_by[chosen] += 1
        return seen

    def dump(self) -> tuple[dict[str, Any], list[bytes]]:
        """What JSON takes, and the models as UBJ."""
        state = {
            "scale": self.scale,
            "floor": self._floor,
            "error": self.error,
            "unit": self._unit.tolist(),
            "far": self._far,
            "points": np.asarray(self._tree.data).tolist(),
            "curve": self._curve,
            "hyperparameters": self.params,
        }
        return state, [bytes(head.save_raw("ubj")) for head in self._heads]

    @classmethod
    def restore(cls, state: Mapping[str, Any], heads: Sequence[xgb.Booster]) -> Ensemble:
        """The ensemble that :meth:`dump` describes."""
        ensemble = cls(len(heads), state["hyperparameters"])
        ensemble._heads = list(heads)
        ensemble.scale = float(state["scale"])
        ensemble.error = float(state["error"])
        ensemble._floor = float(state["floor"])
        ensemble._unit = np.array(state["unit"], dtype=np.float64)
        ensemble._far = float(state["far"])
        ensemble._curve = state["curve"]
        ensemble._tree = cKDTree(np.array(state["points"], dtype=np.float64))
        return ensemble

    def _scale_distances(self, X: Matrix) -> None:
        spread = X.std(axis=0, dtype=np.float64)
        if self._groups is not None:
            # The mean squared distance of two architectures of the table is then 2 for every
            # hyperparameter, whatever the number of its columns.
            total = np.sqrt(np.bincount(self._groups, weights=spread**2))[self._groups]
            several = np.bincount(self._groups)[self._groups] > 1
            spread = np.where(several, total, spread)
        self._unit = np.where(spread > 1e-6 * (1 + np.abs(X).max(axis=0)), spread, 1.0)
        unique = np.unique(X, axis=0)
        self._tree = cKDTree(unique / self._unit)
        if len(unique) > 1:
            nearest = self._tree.query(unique / self._unit, k=2)[0][:, 1]
            self._far = float(np.quantile(nearest, OUTSIDE))
        else:
            self._far = 0.0

    def _calibrate(self, said: NDArray[np.float64], seen: NDArray[np.bool_], y: FloatArray) -> None:
        hidden = ~seen
        counted = hidden.sum(0)
        known = counted > 1
        count = counted[known]
        mean = np.where(hidden, said, 0.0).sum(0)[known] / count
        error = np.abs(mean - y[known])
        # Those who saw an architecture agree on it better than anyone will on a new one.
        deviation = np.where(hidden, said, 0.0)[:, known] - np.where(hidden[:, known], mean, 0.0)
        spread = np.sqrt((deviation**2).sum(0) / (count - 1))
        self._floor = FLOOR * max(float(spread.mean()), 1e-12)
        # The factor that makes nine of ten errors lie within the interval of 90 %, and not the
        # mean square: a few hopeless architectures would make all intervals too wide.
        ratio = error / (spread + self._floor)
        level = min(1.0, 0.9 * (1 + 1 / len(ratio)))
        self.scale = float(np.quantile(ratio, level) / norm.ppf(0.95))
        off = along(self._curve, mean) - along(self._curve, y[known])
        self.error = float(np.sqrt(np.mean(off**2)))

    def predict(self, X: Matrix) -> Prediction:
        """What the ensemble says of the rows of ``X``, float32 ``(n, F)``."""
        if len(X) == 0:
            nothing = np.empty(0)
            return Prediction(nothing, nothing, np.empty(0, dtype=bool))
        said = np.stack([predict(head, X) for head in self._heads])
        distance = self.distance(X)
        spread = self.scale * (said.std(0, ddof=1) + self._floor)
        return Prediction(said.mean(0), spread, distance > self._far, self._curve)

    def distance(self, X: Matrix) -> FloatArray:
        """Distance ``(n,)`` to the nearest architecture of the table, each feature in units of its
        standard deviation there; the columns of one hyperparameter, of their common one."""
        found: FloatArray = self._tree.query(np.asarray(X, dtype=np.float64) / self._unit)[0]
        return found


def coverage(
    X: Matrix,
    y: FloatArray,
    k: int = 5,
    seed: int = 0,
    *,
    share: float = 0.9,
    params: Mapping[str, Any] | None = None,
    tuned: bool = False,
    nthread: int = 1,
) -> float:
    """Share of held-out architectures, over ``k`` folds, whose value lies in the interval.

    ``tuned`` chooses the hyperparameters in every fold, as :func:`cross_validate` does. NaN where
    the folds would leave too few architectures to fit to.
    """
    inside = np.zeros(len(X), dtype=bool)
    for fold, held_out in enumerate(folds(X, k, np.random.default_rng(seed))):
        if np.count_nonzero(~held_out) < LEAST_ROWS:
            return math.nan
        inner = hyperparameters(params, len(X))
        if tuned:
            inner = tune(X[~held_out], y[~held_out], seed + fold, base=params, nthread=nthread)
        model = Ensemble(params=inner, nthread=nthread).fit(X[~held_out], y[~held_out], seed + fold)
        low, high = model.predict(X[held_out]).interval(share)
        inside[held_out] = (low <= y[held_out]) & (y[held_out] <= high)
    return float(inside.mean())
