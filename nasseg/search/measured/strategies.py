"""Which architectures to measure next, from those measured so far.

A strategy is a pure function of what was measured and a generator, so that an interrupted study
goes on as if nothing had happened, and strategies can be compared on a table in seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nasseg._registry import Registry
from nasseg.errors import ConfigError
from nasseg.evaluators.boosting import LEAST_ROWS
from nasseg.search.measured.domain import Domain, Matrix

if TYPE_CHECKING:
    from nasseg.evaluators.ensemble import Ensemble

FloatArray = NDArray[np.float64]

INITIAL = 10
"""Architectures measured before a strategy has anything to go by."""
COVERING = 1
"""Of those, from 0, the one that covers the domain where something is known beforehand, so that
not all are alike; the others are the most promising. With every second one such, the median of
queries until one of the best 1 % of NASSeg-Bench was found (four fifths of it, 24 times) was 11
instead of 4, and without what a search proposed 12 instead of 7."""


@dataclass(frozen=True, eq=False)
class History:
    """What was measured, in the order in which it was asked for."""

    X: Matrix
    """Encoded architectures, float32 ``(n, F)``."""
    y: FloatArray
    """Their scores ``(n,)``, higher is better; NaN where measuring failed."""
    pending: Matrix | None = None
    """Architectures being measured now ``(m, F)``."""

    def __post_init__(self) -> None:
        if len(self.X) != len(self.y):
            raise ConfigError(f"{len(self.X)} architectures with {len(self.y)} scores")

    def __len__(self) -> int:
        return len(self.X)

    def asked(self) -> Matrix:
        """Everything that was asked for."""
        return self.X if self.pending is None else np.concatenate([self.X, self.pending])

    def known(self) -> tuple[Matrix, FloatArray]:
        """The rows whose score is known."""
        ok = np.isfinite(self.y)
        return self.X[ok], self.y[ok]


class Strategy(ABC):
    """Proposes architectures to measure.

    Args:
        domain: what it moves in.
        initial: architectures that cover the domain, measured first.
    """

    def __init__(self, domain: Domain, initial: int = INITIAL) -> None:
        if initial < 1:
            raise ConfigError(f"initial is {initial!r}; allowed: 1 or more")
        self.domain = domain
        self.initial = initial

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        """``n`` architectures that are neither measured nor being measured, best guess first.

        Raises:
            ConfigError: so many are not left.
        """
        taken = self.taken(history)
        if len(history.asked()) < self.initial or len(history.known()[0]) < 2:
            X = self._initial(history, n, rng)
        else:
            X = self._propose(history, n, rng)
        return self.domain.fresh(X, n, taken, rng)

    def taken(self, history: History) -> set[bytes]:
        """Keys, in the domain, of everything that was asked for."""
        return set(self.domain.keys(history.asked()))

    def _initial(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        """The same while there is nothing to go by yet."""
        return self.domain.spread(n, rng)

    @abstractmethod
    def _propose(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        """At least ``n`` rows, best guess first; the domain makes known ones new."""


PROPOSERS: Registry[type[Strategy]] = Registry("strategy")
"""Strategies by name, for comparisons on tables of measured architectures. What a run does is
set by ``search.strategy`` and ``search.sampler``."""


class RandomStrategy(Strategy):
    """Uniform samples: the baseline that every other strategy has to beat."""

    def _propose(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        return self.domain.sample(4 * n, rng)


class RegularizedEvolution(Strategy):
    """Regularised evolution (Real et al., AAAI 2019): the oldest dies, not the worst.

    The population is the last ``population`` architectures measured; the parent is the best of
    ``tournament`` drawn from it, the child one mutation away.
    """

    def __init__(
        self, domain: Domain, initial: int = INITIAL, population: int = 20, tournament: int = 5
    ) -> None:
        super().__init__(domain, initial)
        self.population = population
        self.tournament = tournament

    def _propose(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        X, y = history.known()
        X, y = X[-self.population :], y[-self.population :]
        drawn = rng.integers(len(X), size=(4 * n, min(self.tournament, len(X))))
        parents = drawn[np.arange(4 * n), y[drawn].argmax(1)]
        return self.domain.mutate(X[parents], rng)


class AnalogNASEvolution(Strategy):
    """AnalogNAS's evolution (Benmeziane et al. 2023) over measured architectures.

    The ``population`` best of all live; children as :func:`offspring` makes them. (The sampler of
    that name in studies has generations, which many workers need.)
    """

    def __init__(self, domain: Domain, initial: int = INITIAL, population: int = 20) -> None:
        super().__init__(domain, initial)
        self.population = population

    def _propose(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        X, y = history.known()
        best = np.argsort(-y, kind="stable")[: self.population]
        return offspring(self.domain, X[best], 4 * n, rng)


def offspring(
    domain: Domain,
    X: Matrix,
    n: int,
    rng: np.random.Generator,
    crossover: float = 0.5,
    mutation: float = 0.8,
) -> Matrix:
    """``n`` children of a population sorted best first ``(P, F)``, by binary tournament.

    With the chance ``crossover`` a child mixes two parents; with the chance ``mutation`` it is
    mutated, and always where it has one parent alone, whose copy it would be.
    """
    first, second = rng.integers(len(X), size=(2, 2, n)).min(axis=1)
    children: Matrix = X[first]
    mixed = np.flatnonzero((rng.random(n) < crossover) & (first != second))
    if len(mixed):
        children[mixed] = domain.crossover(children[mixed], X[second[mixed]], rng)
    changed = np.flatnonzero((rng.random(n) < mutation) | ~np.isin(np.arange(n), mixed))
    children[changed] = domain.mutate(children[changed], rng)
    return children


class SurrogateAssisted(Strategy):
    """Fit an ensemble to what is measured, evolve on it, measure the best and most diverse.

    The next architecture is the one of the highest upper confidence bound; of the others of a
    batch, what lies near to those already chosen counts as known, so that its uncertainty is no
    reason to measure it. Deterministic in the history: the seed of the trees is its length.

    Args:
        domain: what it moves in.
        initial: architectures measured first, which cover the domain.
        kappa: standard deviations added to the prediction.
        generations: of the evolution on the surrogate, where the domain cannot be listed.
        population: of that evolution.
        members: of the ensemble.
        trend: column of the domain's features that says beforehand what to expect, such as the
            low fidelity of :class:`~nasseg.evaluators.features.Features`: the ensemble follows a
            line over it first, and the first architectures are the best by it instead, but for
            the one at ``COVERING``.
    """

    def __init__(
        self,
        domain: Domain,
        initial: int = INITIAL,
        kappa: float = 0.5,
        generations: int = 20,
        population: int = 200,
        members: int = 16,
        trend: int | None = None,
    ) -> None:
        super().__init__(domain, max(initial, LEAST_ROWS))
        self.kappa = kappa
        self.generations = generations
        self.population = population
        self.members = members
        self.trend = trend

    def promising(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        """``n`` architectures that the trend says most for, none like another.

        Raises:
            ConfigError: so many are not left.
        """
        best = self._by_trend(history, n, rng)
        return self.domain.fresh(best, n, self.taken(history), rng)

    def _by_trend(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        pool = self.domain.all_rows()
        pool = self.domain.sample(10 * self.population, rng) if pool is None else pool
        pool = self.domain.new(pool, self.taken(history))
        if self.trend is None or not len(pool):
            return pool
        said = self.domain.features(pool)[:, self.trend].astype(np.float64)
        known = history.asked()
        # As uncertain as they differ; what lies near to one that was asked for promises less.
        best: Matrix = pool[self._batch(said, np.full(len(pool), said.std()), pool, known, pool, n)]
        return best

    def _initial(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        X = super()._initial(history, n, rng)
        if self.trend is None:
            return X
        best = self._by_trend(history, n, rng)
        # The turn counts over all proposals, whatever the size of a batch.
        turn = len(history.asked())
        if turn <= COVERING < turn + n:
            best = np.insert(best, min(COVERING - turn, len(best)), X[0], axis=0)
        return np.concatenate([best[:n], X])

    def _fitted(self, X: Matrix, y: FloatArray, seed: int) -> Ensemble:
        from nasseg.evaluators.ensemble import Ensemble

        params = {} if self.trend is None else {"trend": self.trend}
        ensemble = Ensemble(self.members, params, groups=self.domain.groups)
        return ensemble.fit(self.domain.features(X), y, seed)

    def _propose(self, history: History, n: int, rng: np.random.Generator) -> Matrix:
        X, y = history.known()
        if len(X) < LEAST_ROWS:
            return self.domain.spread(n, rng)
        model = self._fitted(X, y, len(history))
        pool = self._pool(model, history, X, y, rng)
        if not len(pool):
            return pool
        said = model.predict(self.domain.features(pool))
        mean = said.latent.copy()
        if not said.outside.all():
            mean[said.outside] = -np.inf
        near = history.X[:0] if history.pending is None else history.pending
        best: Matrix = pool[self._batch(mean, said.latent_std, pool, near, history.X, n)]
        return best

    def expected_gain(self, history: History, rng: np.random.Generator) -> float:
        """By how much the best proposal is expected to beat the best that is measured.

        In units of the score (:meth:`~nasseg.evaluators.ensemble.Prediction.gain`); where it is
        below the noise of a measurement, going on is of no use. Infinite before there is anything
        to go by.
        """
        X, y = history.known()
        if len(X) < self.initial:
            return np.inf
        model = self._fitted(X, y, len(history))
        pool = self._pool(model, history, X, y, rng)
        if not len(pool):
            return 0.0
        said = model.predict(self.domain.features(pool))
        gain = said.gain(float(y.max()))
        # Where nothing is known, nothing says that there is no gain.
        return np.inf if said.outside.all() else float(gain[~said.outside].max())

    def _pool(
        self,
        model: Ensemble,
        history: History,
        X: Matrix,
        y: FloatArray,
        rng: np.random.Generator,
    ) -> Matrix:
        """Rows to choose from: everything, or where an evolution on the surrogate came by."""
        every = self.domain.all_rows()
        if every is not None:
            return self.domain.new(every, self.taken(history))

        def bound(rows: Matrix) -> FloatArray:
            said = model.predict(self.domain.features(rows))
            # Outside the region of the table the trees repeat what they say at its edge.
            upper = said.latent + self.kappa * said.latent_std
            return np.where(said.outside, -np.inf, upper)

        best = np.argsort(-y, kind="stable")[: self.population // 4]
        living = np.concatenate([X[best], self.domain.sample(self.population, rng)])
        seen: set[bytes] = set()
        score = bound(living)
        for _ in range(self.generations):
            order = np.argsort(-score, kind="stable")[: self.population]
            living, score = living[order], score[order]
            seen |= set(self.domain.keys(living))
            children = offspring(self.domain, living, self.population, rng)
            children = self.domain.settle(children, seen, rng)
            seen |= set(self.domain.keys(children))
            living = np.concatenate([children, living])
            score = np.concatenate([bound(children), score])
        return self.domain.new(living, self.taken(history))

    def _batch(
        self,
        mean: FloatArray,
        std: FloatArray,
        pool: Matrix,
        near: Matrix,
        scale: Matrix,
        n: int,
    ) -> list[int]:
        """Rows of the pool with the highest bounds, which what lies near to them, or to ``near``,
        lowers; distances are in units of what ``scale`` spans."""
        span = np.ptp(scale, axis=0)
        unit = np.where(span > 0, span, 1.0)
        unknown = np.ones(len(pool))
        for row in near:
            unknown = np.minimum(unknown, self._novelty(pool, row, unit))
        chosen: list[int] = []
        for _ in range(min(n, len(pool))):
            bound = mean + self.kappa * std * unknown - (1 - unknown) * std
            bound[chosen] = -np.inf
            pick = int(bound.argmax())
            chosen.append(pick)
            unknown = np.minimum(unknown, self._novelty(pool, pool[pick], unit))
        return chosen

    def _novelty(self, pool: Matrix, row: Matrix, unit: NDArray[np.float32]) -> FloatArray:
        """0 where a row of ``pool`` is ``row``, towards 1 with the share of columns that differ."""
        gap = self.domain.gaps(pool, row, unit).sum(1)
        found: FloatArray = 1.0 - np.exp(-gap.astype(np.float64))
        return found


PROPOSERS.register("random", RandomStrategy)
PROPOSERS.register("regularized", RegularizedEvolution)
PROPOSERS.register("analognas", AnalogNASEvolution)
PROPOSERS.register("surrogate", SurrogateAssisted)
