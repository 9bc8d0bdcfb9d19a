"""Architectures under search: drawn once, scored once, and kept only where they are feasible."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ConfigError
from nasseg.evaluators.cost import CostEvaluator, row_keys

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

Matrix = NDArray[np.float32]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Population:
    """Scored architectures, one a row."""

    X: Matrix
    """Encoded architectures, float32 ``(n, F)``."""
    day1: FloatArray
    """Predicted 1-day metric ``(n,)``."""
    avm: FloatArray
    """Predicted AVM in points ``(n,)``."""
    params: FloatArray
    """Parameters ``(n,)``; NaN where no bound asks for them."""
    macs: FloatArray
    """Multiply-accumulates per input pixel ``(n,)``; NaN where no bound asks for them."""

    def __len__(self) -> int:
        return len(self.X)

    def take(self, index: NDArray[Any]) -> Population:
        """The rows at ``index``."""
        return Population(*(getattr(self, f.name)[index] for f in fields(self)))

    def join(self, other: Population) -> Population:
        """The rows of both, these first."""
        return Population(
            *(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self))
        )

    def best_first(self, n: int) -> Population:
        """The ``n`` best rows, best first; of equal ones those that come first here."""
        return self.take(np.argsort(-self.day1, kind="stable")[:n])


@dataclass(frozen=True)
class Bounds:
    """What everything that is kept fulfils; None = no bound."""

    max_params: int | None
    max_avm: float | None
    max_macs_per_pixel: float | None = None


@dataclass
class Candidates:
    """Scores rows of one search with one surrogate, no row twice.

    ``surrogate`` is an :class:`~nasseg.evaluators.Evaluator`, or anything with AnalogNAS's
    ``query_pop``.
    """

    space: SearchSpace
    surrogate: Any
    bounds: Bounds
    cost: CostEvaluator
    queries: int = 0
    """Architectures scored so far."""
    least_params: float = np.inf
    """Fewest parameters of all of them."""
    least_avm: float = np.inf
    """Lowest predicted AVM of all of them."""
    least_macs: float = np.inf
    """Fewest multiply-accumulates per pixel of all of them."""
    _seen: set[bytes] = field(default_factory=set)

    def unseen(self, X: Matrix, n: int) -> Matrix:
        """The first ``n`` rows that were never returned before, each once."""
        fresh: list[int] = []
        for i, key in enumerate(row_keys(X)):
            if len(fresh) == n:
                break
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(i)
        return X[fresh]

    def score(self, X: Matrix) -> Population:
        """Score rows ``(n, F)``; a NaN prediction counts as the worst possible."""
        if hasattr(self.surrogate, "evaluate_matrix"):
            scores = self.surrogate.evaluate_matrix(X)
            day1, avm = scores.day1, scores.avm
        elif len(X):
            day1, avm = self.surrogate.query_pop([[arch] for arch in self.space.decode(X)])
        else:
            day1, avm = [], []
        day1 = np.asarray(day1, dtype=np.float64).reshape(len(X))
        avm = np.asarray(avm, dtype=np.float64).reshape(len(X))
        params = np.full(len(X), np.nan)
        if self.bounds.max_params is not None:
            params = self.cost.params_matrix(X).astype(np.float64)
            self.least_params = min(self.least_params, params.min(initial=np.inf))
        macs = np.full(len(X), np.nan)
        if self.bounds.max_macs_per_pixel is not None:
            channels = self.cost.in_channels, self.cost.out_channels
            macs = self.space.count_macs_per_pixel(X, *channels)
            self.least_macs = min(self.least_macs, macs.min(initial=np.inf))
        self.queries += len(X)
        self.least_avm = min(self.least_avm, np.nanmin(avm, initial=np.inf))
        return Population(X, np.where(np.isnan(day1), -np.inf, day1), avm, params, macs)

    def feasible(self, population: Population) -> Population:
        """The rows within the bounds; a NaN or infinite prediction is not."""
        ok = np.isfinite(population.day1)
        if self.bounds.max_avm is not None:
            ok &= population.avm <= self.bounds.max_avm
        if self.bounds.max_params is not None:
            ok &= population.params <= self.bounds.max_params
        if self.bounds.max_macs_per_pixel is not None:
            ok &= population.macs <= self.bounds.max_macs_per_pixel
        return population.take(ok)

    def nothing_feasible(self) -> ConfigError:
        """The error for a search in which no architecture was within the bounds."""
        wanted = []
        if self.bounds.max_params is not None:
            wanted.append(
                f"at most {self.bounds.max_params:,} parameters (fewest seen: "
                f"{self.least_params:,.0f})"
            )
        if self.bounds.max_macs_per_pixel is not None:
            wanted.append(
                f"at most {self.bounds.max_macs_per_pixel:,.0f} multiply-accumulates per pixel "
                f"(fewest seen: {self.least_macs:,.0f})"
            )
        if self.bounds.max_avm is not None:
            wanted.append(
                f"a predicted AVM of at most {self.bounds.max_avm:g} points (lowest seen: "
                f"{self.least_avm:.3g})"
            )
        return ConfigError(
            f"none of {self.queries} architectures of {self.space.name!r} has "
            f"{' and '.join(wanted) or 'a finite predicted score'}; raise the bounds"
        )
