"""Gradient-boosted heads for few architectures: hyperparameters, fitting, cross-validation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.stats import kendalltau

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
}


def hyperparameters(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The defaults with ``changes``; a key that is not among them is an error."""
    unknown = sorted(set(changes or {}) - set(DEFAULTS))
    if unknown:
        raise ConfigError(
            f"unknown surrogate hyperparameters {unknown}; allowed: {', '.join(DEFAULTS)}"
        )
    return {**DEFAULTS, **(changes or {})}


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
    """Squared-error boosting of ``y`` ``(n,)`` on ``X`` ``(n, F)``; same arguments, same trees."""
    settings = hyperparameters(params)
    rounds = settings.pop("rounds")
    settings |= {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "base_score": float(np.mean(y)),
        "seed": seed,
        "nthread": nthread,
    }
    data = xgb.DMatrix(X, label=y, nthread=nthread)
    return xgb.train(settings, data, num_boost_round=rounds)


def predict(head: xgb.Booster, X: Matrix) -> FloatArray:
    """Predictions ``(n,)`` of the rows of ``X``."""
    if len(X) == 0:
        return np.empty(0, dtype=np.float64)
    return np.asarray(head.inplace_predict(X), dtype=np.float64)


def cross_validate(
    X: Matrix,
    y: FloatArray,
    k: int = 5,
    seed: int = 0,
    *,
    repeats: int = 3,
    params: Mapping[str, Any] | None = None,
    nthread: int = 1,
) -> tuple[float, float]:
    """Kendall's tau of held-out predictions: mean and standard deviation over all folds.

    Rows of the same architecture stay in one fold. Every repeat divides the rows anew. A fold
    whose tau is undefined (constant targets) is left out; (NaN, NaN) where none is defined.

    Raises:
        ConfigError: fewer than ``2 k`` different architectures, or targets not finite.
    """
    check_rows(X, y, "cross-validation")
    taus = []
    rng = np.random.default_rng(seed)
    for repeat in range(repeats):
        for fold, held_out in enumerate(_folds(X, k, rng)):
            fit_seed = seed + repeat * k + fold
            head = fit_head(X[~held_out], y[~held_out], params, fit_seed, nthread)
            taus.append(tau(y[held_out], predict(head, X[held_out])))
    known = [value for value in taus if math.isfinite(value)]
    return (float(np.mean(known)), float(np.std(known))) if known else (math.nan, math.nan)


def tau(truth: FloatArray, predicted: FloatArray) -> float:
    """Kendall's tau-b; 0 for constant predictions, NaN for constant truth."""
    if np.ptp(truth) == 0:
        return math.nan
    if np.ptp(predicted) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(kendalltau(truth, predicted).statistic)


def _folds(X: Matrix, k: int, rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
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
