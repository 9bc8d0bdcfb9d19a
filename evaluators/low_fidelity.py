"""What short trainings of many architectures say of any one: a further input of a surrogate.

A training of seconds ranks architectures less well than one of minutes, but for the price of one
of these there are a dozen of those, and which kinds of network learn fast is most of what there is
to know. Predictors of different cost say more together than each alone (White et al., How powerful
are performance predictors in neural architecture search?, NeurIPS 2021).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb

from nasseg.errors import ConfigError, DataError
from nasseg.evaluators.base import Matrix
from nasseg.evaluators.boosting import (
    LEAST_ROWS,
    check_rows,
    cross_validate,
    fit_head,
    normal_scores,
    predict,
)
from nasseg.evaluators.scores import FloatArray
from nasseg.evaluators.tables import read_column

if TYPE_CHECKING:
    from nasseg.evaluators.features import Features
    from nasseg.search_spaces import SearchSpace

TARGET = "digital"
"""Column of a table that is learned: after a short training, noise says little more."""


class LowFidelity:
    """Predicts how an architecture compares with others after a short training.

    Args:
        head: the fitted trees.
        facts: what they were fitted to, for ``schema.json``; with ``channels``, input and output
            channels of the networks whose features they see, and ``inputs``, the names of these.
    """

    def __init__(self, head: xgb.Booster, facts: dict[str, Any]) -> None:
        self.head = head
        self.facts = facts

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels of the networks whose features it sees."""
        one, two = self.facts["channels"]
        return int(one), int(two)

    def features(self, space: SearchSpace) -> Features:
        """The features that it sees of architectures of ``space``.

        Raises:
            ConfigError: it was fitted to features that this version does not make.
        """
        from nasseg.evaluators.features import Features

        inputs = self.facts.get("inputs")
        if inputs is None:
            # Fitted before choices had columns of their own.
            return Features(space, *self.channels, one_hot=False)
        return Features.named(inputs, space, *self.channels)

    @classmethod
    def fit(
        cls,
        features: Features,
        X: Matrix,
        values: FloatArray,
        seed: int = 0,
        nthread: int = 1,
    ) -> LowFidelity:
        """Fit to the ``features`` of encoded architectures ``X`` float32 ``(n, F)`` and a metric
        after short trainings ``(n,)``.

        Normal scores of the ranks are learned: many networks have learned nothing yet.

        Raises:
            ConfigError: fewer than 10 architectures, a value that is not finite, or all the same.
        """
        Z = features.matrix(X)
        check_rows(Z, values, "low fidelity")
        if np.ptp(values) == 0:
            raise ConfigError(
                f"low fidelity: all {len(values)} architectures have the same value, {values[0]:g}"
            )
        scores = normal_scores(values)
        # The scores are what is asked for, so trees learn them as they are.
        params = {"response": "values"}
        mean, std = cross_validate(Z, scores, seed=seed, repeats=1, params=params, nthread=nthread)
        facts = {
            "n": len(Z),
            "target": TARGET,
            "channels": list(features.channels),
            "inputs": list(features.names),
            "tau_mean": mean if math.isfinite(mean) else None,
            "tau_std": std if math.isfinite(std) else None,
        }
        return cls(fit_head(Z, scores, params, seed, nthread), facts)

    def predict(self, Z: Matrix) -> FloatArray:
        """Normal scores ``(n,)`` of features ``(n, K)``."""
        return predict(self.head, Z)


def fit_low_fidelity(
    path: str | Path, features: Features, known: Matrix, seed: int = 0, nthread: int = 1
) -> LowFidelity:
    """Fit to a table of ``nasseg label`` at a small budget (``docs/screen.yaml``).

    Args:
        path: the table, with a column ``digital``; or a bench, of which the budget ``screen`` is
            read.
        features: of the space of the table, without low fidelity.
        known: encoded architectures ``(n, F)`` of which better is known. They are left out, so
            that what is held out of them is as new to this as to the surrogate.

    Raises:
        DataError: the table cannot be read, lacks the column, or has too few other architectures.
        ConfigError: a value is not finite, or all are the same.
    """
    X, values = read_column(path, TARGET, features.space)
    rows = {row.tobytes() for row in known}
    new = np.array([row.tobytes() not in rows for row in X], dtype=bool)
    if np.count_nonzero(new) < LEAST_ROWS:
        raise DataError(
            f"{path}: {np.count_nonzero(new)} architectures that are not in the table itself "
            f"({len(X)} in all); {LEAST_ROWS} or more are needed"
        )
    return LowFidelity.fit(features, X[new], values[new], seed, nthread)
