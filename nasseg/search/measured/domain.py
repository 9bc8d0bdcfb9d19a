"""What a strategy moves in: a search space, or the architectures of a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ConfigError
from nasseg.evaluators.cost import row_keys
from nasseg.evaluators.one_hot import Groups, OneHot

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

Matrix = NDArray[np.float32]

LHS_BLOCK = 1024
"""Architectures of a hypercube that is thinned to bounds."""
TRIES = 50
"""Rounds of new draws where all that was proposed is known already."""


class Domain(ABC):
    """Encoded architectures and the ways from one to another; rows are float32 ``(n, F)``."""

    names: Sequence[str]
    """Names of the F columns."""
    see: Callable[[Matrix], Matrix] | None = None
    """Rows ``(n, F)`` to what surrogates see of them ``(n, K)``; none = the rows, with a column
    for every choice of categorical ones."""
    groups: Groups | None = None
    """Number, for each of the K, of the hyperparameter it tells of; none = each is one."""
    categorical: Collection[str] = ()
    """Names of columns whose values have no order."""
    encoding: OneHot | None = None
    """The columns that surrogates see where there is no ``see``; none = the rows themselves."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> Matrix:
        """``n`` architectures at random."""

    @abstractmethod
    def spread(self, n: int, rng: np.random.Generator) -> Matrix:
        """``n`` architectures that cover the domain, to begin with."""

    @abstractmethod
    def mutate(self, X: Matrix, rng: np.random.Generator) -> Matrix:
        """One neighbour of every row."""

    @abstractmethod
    def crossover(self, A: Matrix, B: Matrix, rng: np.random.Generator) -> Matrix:
        """One child of every pair of rows."""

    @abstractmethod
    def all_rows(self) -> Matrix | None:
        """Every architecture, where there are few enough to look at all; None otherwise."""

    @abstractmethod
    def settle(self, X: Matrix, taken: set[bytes], rng: np.random.Generator) -> Matrix:
        """Of the rows of ``X`` what is in the domain with a key not ``taken``, each once, in
        order."""

    def features(self, X: Matrix) -> Matrix:
        """What surrogates see of the rows: float32 ``(n, K)``."""
        if self.see is not None:
            return self.see(X)
        return X if self.encoding is None else self.encoding.matrix(X)

    def gaps(self, X: Matrix, row: Matrix, unit: NDArray[np.floating]) -> Matrix:
        """How far the rows ``X`` differ from ``row`` in each column, in units of ``unit``
        ``(F,)``; 1 where categorical ones differ."""
        found: Matrix = np.abs(X - row) / unit
        for j, name in enumerate(self.names):
            if name in self.categorical:
                found[:, j] = found[:, j] > 0
        return found

    def keys(self, X: Matrix) -> list[bytes]:
        """A key for each row; what has a key that is known is not measured again."""
        return row_keys(X)

    def new(self, X: Matrix, taken: set[bytes]) -> Matrix:
        """The rows with a key not ``taken``, each once, in order."""
        seen, rows = set(taken), []
        for i, key in enumerate(self.keys(X)):
            if key not in seen:
                seen.add(key)
                rows.append(i)
        return X[rows]

    def fresh(self, X: Matrix, n: int, taken: set[bytes], rng: np.random.Generator) -> Matrix:
        """``n`` rows of the domain not ``taken``: those of ``X`` first, then random ones.

        Raises:
            ConfigError: fewer are left.
        """
        taken = set(taken)
        found: list[Matrix] = []
        for _ in range(TRIES):
            X = self.settle(X, taken, rng)[: n - sum(map(len, found))]
            taken |= set(self.keys(X))
            found.append(X)
            if sum(map(len, found)) == n:
                return np.concatenate(found)
            X = self.sample(4 * n, rng)
        raise ConfigError(f"no {n} architectures are left that were not measured yet")


class SpaceDomain(Domain):
    """A search space, within bounds.

    Args:
        space: the space.
        allowed: rows ``(n, F)`` to a mask ``(n,)`` of those within the bounds; none = all.
        see: rows ``(n, F)`` to what surrogates see of them ``(n, K)``; none = the rows, with a
            column for every choice of categorical hyperparameters.
        groups: for each of the K, the number of the hyperparameter it tells of
            (:class:`~nasseg.evaluators.features.Features`).
    """

    def __init__(
        self,
        space: SearchSpace,
        allowed: Callable[[Matrix], NDArray[np.bool_]] | None = None,
        see: Callable[[Matrix], Matrix] | None = None,
        groups: Groups | None = None,
    ) -> None:
        self.space = space
        self.names = space.feature_names
        self.categorical = {h.name for h in space.hyperparameters if h.categorical}
        self.encoding = OneHot.of_space(space)
        self.see = see
        self.groups = self.encoding.groups if see is None else groups
        self._allowed = allowed

    def sample(self, n: int, rng: np.random.Generator) -> Matrix:
        """Uniform samples within the bounds; fewer where few are."""
        return self._within(self.space.sample_matrix(4 * n, rng))[:n]

    def spread(self, n: int, rng: np.random.Generator) -> Matrix:
        """A Latin hypercube, thinned to the bounds; fewer where few are within them."""
        found: list[Matrix] = []
        for _ in range(TRIES):
            # Large hypercubes, so that narrow bounds leave some of them.
            drawn = self._within(self.space.sample_lhs_matrix(max(n, LHS_BLOCK), rng))
            found.append(drawn[rng.permutation(len(drawn))])
            if sum(map(len, found)) >= n:
                break
        return np.concatenate(found)[:n]

    def mutate(self, X: Matrix, rng: np.random.Generator) -> Matrix:
        """One mutation of width, depth or the rest each."""
        return self.space.mutate_matrix(X, rng)

    def crossover(self, A: Matrix, B: Matrix, rng: np.random.Generator) -> Matrix:
        """Uniform crossover."""
        return self.space.crossover_matrix(A, B, rng)

    def all_rows(self) -> Matrix | None:
        """None: spaces are large."""
        return None

    def keys(self, X: Matrix) -> list[bytes]:
        """Those of the networks: some architectures build the same."""
        return self.space.network_keys(X)

    def settle(self, X: Matrix, taken: set[bytes], rng: np.random.Generator) -> Matrix:
        """The rows within the bounds that are not taken."""
        return self.new(self._within(X), taken)

    def _within(self, X: Matrix) -> Matrix:
        return X if self._allowed is None else X[self._allowed(X)]


class TableDomain(Domain):
    """The architectures of a table, and no others.

    A neighbour differs in one column, by a value that occurs there; what is not in the table
    becomes the nearest row that is (fewest columns that differ, then the least difference of
    those that are numbers).

    Args:
        X: every architecture once, ``(n, F)``.
        names: of the columns.
        see: rows ``(n, F)`` to what surrogates see of them ``(n, K)``; none = the rows, with a
            column for every value of ``categorical`` ones.
        groups: for each of the K, the number of the hyperparameter it tells of.
        categorical: names of columns whose values have no order.

    Raises:
        ConfigError: an architecture is there twice, or no column has a name in ``categorical``.
    """

    def __init__(
        self,
        X: Matrix,
        names: Sequence[str],
        see: Callable[[Matrix], Matrix] | None = None,
        groups: Groups | None = None,
        categorical: Collection[str] = (),
    ) -> None:
        self.X = np.ascontiguousarray(X, dtype=np.float32)
        self.names = list(names)
        if unknown := sorted(set(categorical) - set(self.names)):
            raise ConfigError(f"categorical is {unknown}; allowed: {', '.join(self.names)}")
        self.categorical = set(categorical)
        self.see = see
        self.values = [np.unique(column) for column in self.X.T]
        """Values that occur in each column, sorted."""
        choices = {
            name: {f"{value:.9g}": float(value) for value in values}
            for name, values in zip(self.names, self.values, strict=True)
            if name in self.categorical
        }
        self.encoding = OneHot(self.names, choices)
        self.groups = self.encoding.groups if see is None else groups
        self._keys = row_keys(self.X)
        if len(set(self._keys)) < len(self._keys):
            raise ConfigError("the table has an architecture twice; each is allowed once")
        self.row_of = {key: i for i, key in enumerate(self._keys)}
        """Row of every architecture by its bytes (:func:`~nasseg.evaluators.cost.row_keys`)."""
        span = np.ptp(self.X, axis=0)
        self._span = np.where(span > 0, span, 1.0)

    def sample(self, n: int, rng: np.random.Generator) -> Matrix:
        """Rows at random, each once."""
        return self.X[rng.permutation(len(self.X))[:n]]

    def spread(self, n: int, rng: np.random.Generator) -> Matrix:
        """The same: tables are not drawn from anew."""
        return self.sample(n, rng)

    def mutate(self, X: Matrix, rng: np.random.Generator) -> Matrix:
        """Another value in one column that has several."""
        X = X.copy()
        free = [j for j, values in enumerate(self.values) if len(values) > 1]
        if not free:
            return X
        for row in X:
            j = free[rng.integers(len(free))]
            others = self.values[j][self.values[j] != row[j]]
            row[j] = others[rng.integers(len(others))]
        return X

    def crossover(self, A: Matrix, B: Matrix, rng: np.random.Generator) -> Matrix:
        """Each column from one of the two."""
        return np.where(rng.random(A.shape) < 0.5, A, B)

    def all_rows(self) -> Matrix:
        """The table."""
        return self.X

    def settle(self, X: Matrix, taken: set[bytes], rng: np.random.Generator) -> Matrix:
        """The nearest rows of the table that are not taken."""
        free = np.array([key not in taken for key in self._keys])
        found = []
        for row in X:
            left = np.flatnonzero(free)
            if not len(left):
                break
            gaps = self.gaps(self.X[left], row, self._span)
            # One column that differs outweighs any differences within columns.
            distance = np.count_nonzero(gaps, axis=1) + gaps.mean(1) * 0.5
            nearest = left[distance <= distance.min() + 1e-6]
            pick = int(nearest[rng.integers(len(nearest))])
            free[pick] = False
            found.append(pick)
        return self.X[found]
