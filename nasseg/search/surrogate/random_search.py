"""Uniform random search: the baseline every other search has to beat."""

from __future__ import annotations

import numpy as np

from nasseg.search.surrogate.candidates import Candidates, Population
from nasseg.search.surrogate.optimizer import Optimizer, record
from nasseg.search.surrogate.result import Generation


class RandomSearch(Optimizer):
    """The best of ``population_size * (nb_iter + 1)`` uniform samples within the bounds.

    Arguments and result are those of :class:`~nasseg.search.EAOptimizer`, without mutations; the
    budget of queries is the same too.
    """

    def _initial(
        self, candidates: Candidates, rng: np.random.Generator, history: list[Generation]
    ) -> Population:
        # The first sample within the bounds may take more than one generation's worth.
        new = 0
        for _ in range(max(100, self.nb_iter + 1)):
            good, drawn = self._draw(candidates, rng)
            new += drawn
            if len(good):
                break
        else:
            raise candidates.nothing_feasible()
        kept = good.best_first(self.population_size)
        record(history, kept, candidates, new, len(good))
        return kept

    def _next(
        self,
        population: Population,
        candidates: Candidates,
        rng: np.random.Generator,
        history: list[Generation],
    ) -> Population:
        good, drawn = self._draw(candidates, rng)
        kept = population.join(good).best_first(self.population_size)
        record(history, kept, candidates, drawn, len(good))
        return kept

    def _draw(self, candidates: Candidates, rng: np.random.Generator) -> tuple[Population, int]:
        X = candidates.space.sample_matrix(self.population_size, rng)
        X = candidates.unseen(X, self.population_size)
        return candidates.score(X).feasible(), len(X)
