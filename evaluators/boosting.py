"""Gradient-boosted heads for few architectures: hyperparameters, fitting, cross-validation."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.stats import kendalltau, norm, rankdata

from nasseg.errors import ConfigError
from nasseg.evaluators.base import Matrix
from nasseg.evaluators.scores import FloatArray

LEAST_ROWS = 10
"""Fewest architectures a head is fitted to."""

# Shallow trees with few features a split and strong shrinkage: with some fifty architectures the
# variance of the fit costs more rank correlation than its bias.
DEFAULTS: dict[str, Any] = {
    "rounds": 100,
    "max_depth": 3,
    "eta": 0.05,
    "subsample": 0.9,
    "colsample_bynode": 0.3,
    "min_child_weight": 1,
    "reg_lambda": 10.0,
    "objective": "reg:squarederror",
    "response": "normal_scores",
}
MANY_ROWS = 500
"""Architectures from which on larger trees find more (by 0.015 of Kendall's tau on the 1,200 of
AnalogNAS's published table; with 200 of them, nothing)."""
FOR_MANY: dict[str, Any] = {"rounds": 200, "max_depth": 6, "colsample_bynode": 0.6}
"""Changes to the defaults there."""
TREND = "trend"
"""A further hyperparameter, of errors of values: the index of a column. A straight line over it is
fitted first, to what the trees learn (:data:`RESPONSES`), and they learn what it leaves (the
autoregressive model of Kennedy and O'Hagan, Biometrika 2000, for a column that is a cheaper version
of the target)."""

RESPONSES = ("normal_scores", "values")
"""What trees of errors of values learn: normal scores of the ranks, or the values themselves. A few
architectures that have learned nothing would else take all the trees, where what matters is the
order of the others. Predictions are mapped back: they are the value at the predicted rank, which is
no mean."""
BEYOND = 10.0
"""Normal scores by which the curve back to values goes on at either end, so that two predictions
beyond the best of the table still differ."""
STEEPEST = 0.1
"""Most of the table's range that it goes on by with each of these scores."""

OBJECTIVES = ("reg:squarederror", "reg:absoluteerror", "rank:pairwise")
"""Errors of values, or of the order of pairs. Predictions of the latter are only an order."""

TRIES = 24
"""Hyperparameters that :func:`tune` tries."""
GRID: dict[str, tuple[Any, ...]] = {
    "rounds": (100, 200, 400),
    "max_depth": (2, 3, 4, 6),
    "eta": (0.03, 0.05, 0.1),
    "subsample": (0.6, 0.8, 0.9),
    "colsample_bynode": (0.2, 0.3, 0.6),
    "min_child_weight": (1, 3),
    "reg_lambda": (1.0, 3.0, 10.0),
    "response": RESPONSES,
}
"""What :func:`tune` chooses from."""


def hyperparameters(changes: Mapping[str, Any] | None = None, rows: int = 0) -> dict[str, Any]:
    """The defaults for a table of so many ``rows`` with ``changes``; a key that is not among them
    is an error."""
    unknown = sorted(set(changes or {}) - {*DEFAULTS, TREND})
    if unknown:
        raise ConfigError(
            f"unknown surrogate hyperparameters {unknown}; allowed: {', '.join(DEFAULTS)}, {TREND}"
        )
    trend = (changes or {}).get(TREND, 0)
    if not isinstance(trend, int) or trend < 0:
        raise ConfigError(f"{TREND} is {trend!r}; allowed: the index of a column")
    defaults = {**DEFAULTS, **(FOR_MANY if rows >= MANY_ROWS else {})}
    settings = {**defaults, **(changes or {})}
    if settings["objective"] not in OBJECTIVES:
        raise ConfigError(
            f"objective is {settings['objective']!r}; allowed: {', '.join(OBJECTIVES)}"
        )
    if settings["response"] not in RESPONSES:
        raise ConfigError(f"response is {settings['response']!r}; allowed: {', '.join(RESPONSES)}")
    return settings


def check_rows(X: Matrix, y: FloatArray, name: str) -> None:
    """Refuse what cannot be fitted: too few rows, lengths that differ, values not finite."""
    if X.ndim != 2 or y.shape != (len(X),):
        raise ConfigError(
            f"{name}: {X.shape} features and {y.shape} targets; allowed: (n, F) and (n,)"
        )
    if len(X) < LEAST_ROWS:
        raise ConfigError(f"{name}: {len(X)} architectures; allowed: {LEAST_ROWS} or more")
    bad = np.flatnonzero(~np.isfinite(y))
    if len(bad):
        raise ConfigError(f"{name}: row {bad[0]} is {y[bad[0]]}; allowed: finite numbers")


def fit_head(
    X: Matrix,
    y: FloatArray,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    nthread: int = 1,
) -> xgb.Booster:
    """Boosting of ``y`` ``(n,)`` on ``X`` ``(n, F)``; same arguments, same trees."""
    settings = hyperparameters(params, len(X))
    rounds, trend = settings.pop("rounds"), settings.pop(TREND, None)
    values = settings["objective"].startswith("reg:")
    curve = None
    if settings.pop("response") == "normal_scores" and values and np.ptp(y) > 0:
        curve = response_curve(y)
        y = normal_scores(y)
    if trend is not None and trend >= X.shape[1]:
        raise ConfigError(f"{TREND} is {trend}; allowed: below {X.shape[1]}, the columns")
    settings |= {"tree_method": "hist", "seed": seed, "nthread": nthread}
    data = xgb.DMatrix(X, label=y, nthread=nthread)
    if settings["objective"].startswith("rank"):
        # One group, and pairs from all of it: by default they would be made around the top only.
        data.set_group([len(y)])
        settings |= {"lambdarank_pair_method": "mean", "lambdarank_num_pair_per_sample": 4}
    else:
        settings["base_score"] = float(np.mean(y))
    line = None
    if trend is not None and values and np.ptp(X[:, trend]) > 0:
        slope, start = np.polyfit(X[:, trend].astype(np.float64), y, 1)
        line = [int(trend), float(start), float(slope)]
        data.set_base_margin(_on_line(line, X))
    head = xgb.train(settings, data, num_boost_round=rounds)
    if line is not None:
        # Models are saved with their attributes, so that neither is ever lost.
        head.set_attr(**{TREND: json.dumps(line)})
    if curve is not None:
        head.set_attr(response=json.dumps(curve))
    return head


def normal_scores(y: FloatArray) -> FloatArray:
    """Normal scores ``(n,)`` of the ranks of ``y``; equal values share their mean rank."""
    found: FloatArray = norm.ppf((rankdata(y) - 0.5) / len(y))
    return found


Curve = list[list[float]]
"""Normal scores and the values at them, both rising."""


def response_curve(y: FloatArray) -> Curve:
    """From normal scores of ``y`` ``(n,)``, not all the same, back to its values."""
    values, first = np.unique(y, return_index=True)
    scores = normal_scores(y)[first]
    steepest = STEEPEST * (values[-1] - values[0])
    quarter = max(1, len(values) // 4)
    low, high = (
        min((values[j] - values[i]) / (scores[j] - scores[i]), steepest)
        for i, j in ((0, quarter), (-1 - quarter, -1))
    )
    return [
        [scores[0] - BEYOND, *scores.tolist(), scores[-1] + BEYOND],
        [values[0] - BEYOND * low, *values.tolist(), values[-1] + BEYOND * high],
    ]


def along(curve: Curve | None, scores: FloatArray) -> FloatArray:
    """The values of a curve at ``scores``, of any shape; without a curve these are the values."""
    if curve is None:
        return scores
    return np.asarray(np.interp(scores, curve[0], curve[1]), dtype=np.float64)


def _on_line(line: Sequence[Any], X: Matrix) -> FloatArray:
    column, start, slope = line
    found: FloatArray = start + slope * X[:, column].astype(np.float64)
    return found


def predict(head: xgb.Booster, X: Matrix) -> FloatArray:
    """Predictions ``(n,)`` of the rows of ``X``."""
    if len(X) == 0:
        return np.empty(0, dtype=np.float64)
    line, curve = head.attr(TREND), head.attr("response")
    margin = None if line is None else _on_line(json.loads(line), X)
    found = np.asarray(head.inplace_predict(X, base_margin=margin), dtype=np.float64)
    return along(None if curve is None else json.loads(curve), found)


def cross_validate(
    X: Matrix,
    y: FloatArray,
    k: int = 5,
    seed: int = 0,
    *,
    repeats: int = 3,
    params: Mapping[str, Any] | None = None,
    tuned: bool = False,
    nthread: int = 1,
) -> tuple[float, float]:
    """Kendall's tau of held-out predictions: mean and standard deviation over all folds.

    Rows of the same architecture stay in one fold. Every repeat divides the rows anew. A fold
    whose tau is undefined (constant targets) is left out; (NaN, NaN) where none is defined.
    ``tuned`` chooses the hyperparameters in every fold from the rows that it is fitted to.

    Raises:
        ConfigError: fewer than ``2 k`` different architectures, or targets not finite.
    """
    check_rows(X, y, "cross-validation")
    # Those of the whole table, which the head that this is said of is fitted to.
    settled = hyperparameters(params, len(X))
    taus = []
    rng = np.random.default_rng(seed)
    for repeat in range(repeats):
        for fold, held_out in enumerate(folds(X, k, rng)):
            fit_seed = seed + repeat * k + fold
            inner = settled
            if tuned:
                inner = tune(X[~held_out], y[~held_out], fit_seed, base=params, nthread=nthread)
            head = fit_head(X[~held_out], y[~held_out], inner, fit_seed, nthread)
            taus.append(tau(y[held_out], predict(head, X[held_out])))
    known = [value for value in taus if math.isfinite(value)]
    return (float(np.mean(known)), float(np.std(known))) if known else (math.nan, math.nan)


def tune(
    X: Matrix,
    y: FloatArray,
    seed: int = 0,
    *,
    base: Mapping[str, Any] | None = None,
    k: int = 5,
    nthread: int = 1,
) -> dict[str, Any]:
    """Hyperparameters by cross-validation: of :data:`TRIES` drawn from a grid and the defaults,
    those whose held-out predictions rank best. ``base`` are changes to the defaults that stay.

    The tau that made them win is no measure of them; cross-validate around this whole function
    for one (:func:`cross_validate` with ``tuned``).

    Returns:
        Changes to the defaults; ``base`` itself where there are too few architectures to choose.
    """
    kept = dict(base or {})
    if len(np.unique(X, axis=0)) < max(2 * k, 2 * LEAST_ROWS):
        return kept
    rng = np.random.default_rng([seed, 7])
    drawn: list[dict[str, Any]] = [kept]
    drawn += [
        {**{name: choices[rng.integers(len(choices))] for name, choices in GRID.items()}, **kept}
        for _ in range(TRIES)
    ]
    found = [
        cross_validate(X, y, k, seed, repeats=1, params=params, nthread=nthread)[0]
        for params in drawn
    ]
    return drawn[int(np.nanargmax(found))] if np.isfinite(found).any() else kept


def tau(truth: FloatArray, predicted: FloatArray) -> float:
    """Kendall's tau-b; 0 for constant predictions, NaN for constant truth."""
    if np.ptp(truth) == 0:
        return math.nan
    if np.ptp(predicted) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(kendalltau(truth, predicted).statistic)


def folds(X: Matrix, k: int, rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    """Masks of the held-out rows of ``k`` folds; equal rows are in one fold.

    Raises:
        ConfigError: fewer than ``2 k`` different rows.
    """
    unique, group = np.unique(X, axis=0, return_inverse=True)
    if k < 2 or len(unique) < 2 * k:
        raise ConfigError(
            f"cross-validation with k = {k} of {len(unique)} different architectures; "
            "allowed: k of 2 or more, and at least 2 k architectures"
        )
    fold_of_group = rng.permutation(len(unique)) % k
    fold_of_row = fold_of_group[np.reshape(group, -1)]
    for fold in range(k):
        yield fold_of_row == fold
