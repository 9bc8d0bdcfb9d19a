"""The evolutionary search of AnalogNAS (Benmeziane et al. 2023, arXiv:2305.10459).

Its arguments and its result are those of ``EAOptimizer`` in github.com/IBM/analog-nas; it does
what the paper describes where that release does not (mutations are local, the best of parents and
children survive, the bounds hold for all of them, the best one is returned).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nasseg.errors import ArchError
from nasseg.search.surrogate.candidates import Candidates, Matrix, Population
from nasseg.search.surrogate.optimizer import Optimizer, check, record
from nasseg.search.surrogate.result import Generation

KINDS = ("width", "depth", "other")
KIND_WEIGHTS = (0.4, 0.4, 0.2)
"""How often a child is offered each kind of mutation, as in AnalogNAS."""
INITIAL_ROUNDS = 100
"""Latin hypercubes drawn until the initial population is full."""
SPARE_CHILDREN = 2
"""Children made for each one wanted, as some were seen before."""


class EAOptimizer(Optimizer):
    """Evolution: maximise the predicted 1-day metric within bounds on parameters and AVM.

    The initial population is a Latin hypercube, topped up by further ones until it is full of
    feasible architectures. In each generation, parents are chosen by binary tournament, children
    made by crossover and one mutation; the best of parents and children within the bounds are
    kept, so that the best never gets worse. No architecture is scored twice. All steps work on
    the whole population at once.

    Args:
        surrogate: An evaluator, or anything with AnalogNAS's ``query_pop``.
        nb_iter: Generations after the initial population.
        population_size: Architectures kept, and children made, in each generation.
        mutation_prob_width: Chance that a width mutation, offered to 40 % of the children,
            happens (initial channels, widening factors).
        mutation_prob_depth: The same for depth (stages, blocks), offered to 40 %.
        mutation_prob_other: The same for the rest (kernels, block types, branches), to 20 %.
        generic_mutation_prob: Chance that a child mixes two parents. (AnalogNAS's batched mode
            mixes every architecture with a random one.)
        max_nb_param: Most *millions* of parameters (AnalogNAS's unit); None = no bound.
        T_AVM: Highest predicted AVM in points; None = no bound.
        batched_evaluation: AnalogNAS's switch; without effect, as evaluation is always batched.
        seed: The k-th call of ``run`` draws from the k-th stream of this seed.
        in_channels: Image channels of the networks whose parameters are counted.
        out_channels: Output channels of these networks.
        progress: Show a bar with the best score, where standard error is a terminal.
        max_macs_per_pixel: Most multiply-accumulates per pixel of the image; None = no bound.

    Raises:
        ConfigError: a value that is not allowed.
    """

    def __init__(
        self,
        surrogate: Any,
        nb_iter: int = 200,
        population_size: int = 50,
        mutation_prob_width: float = 0.8,
        mutation_prob_depth: float = 0.8,
        mutation_prob_other: float = 0.6,
        generic_mutation_prob: float = 0.5,
        max_nb_param: float | None = 1,
        T_AVM: float | None = 10,
        batched_evaluation: bool = False,
        *,
        seed: int = 0,
        in_channels: int = 3,
        out_channels: int = 1,
        progress: bool = True,
        max_macs_per_pixel: float | None = None,
    ) -> None:
        super().__init__(
            surrogate,
            nb_iter,
            population_size,
            max_nb_param,
            T_AVM,
            seed=seed,
            in_channels=in_channels,
            out_channels=out_channels,
            progress=progress,
            max_macs_per_pixel=max_macs_per_pixel,
        )
        for key, value in (
            ("mutation_prob_width", mutation_prob_width),
            ("mutation_prob_depth", mutation_prob_depth),
            ("mutation_prob_other", mutation_prob_other),
            ("generic_mutation_prob", generic_mutation_prob),
        ):
            check(0 <= value <= 1, key, value, "0 to 1")
        self.mutation_prob_width = mutation_prob_width
        self.mutation_prob_depth = mutation_prob_depth
        self.mutation_prob_other = mutation_prob_other
        self.generic_mutation_prob = generic_mutation_prob
        self.batched_evaluation = batched_evaluation

    def _initial(
        self, candidates: Candidates, rng: np.random.Generator, history: list[Generation]
    ) -> Population:
        kept: Population | None = None
        new = feasible = 0
        for _ in range(INITIAL_ROUNDS):
            X = candidates.space.sample_lhs_matrix(self.population_size, rng)
            X = candidates.unseen(X, self.population_size)
            good = candidates.score(X).feasible()
            new, feasible = new + len(X), feasible + len(good)
            kept = good if kept is None else kept.join(good)
            if len(kept) >= self.population_size:
                break
        if kept is None or len(kept) == 0:
            raise candidates.nothing_feasible()
        kept = kept.best_first(self.population_size)
        record(history, kept, candidates, new, feasible)
        return kept

    def _next(
        self,
        population: Population,
        candidates: Candidates,
        rng: np.random.Generator,
        history: list[Generation],
    ) -> Population:
        X = self._children(population, candidates, rng)
        children = candidates.score(candidates.unseen(X, self.population_size))
        good = children.feasible()
        # Children before parents: of equal scores the newer is kept, so that the population
        # wanders over the plateaus of a tree model instead of resting on them.
        kept = good.join(population).best_first(self.population_size)
        record(history, kept, candidates, len(children), len(good))
        return kept

    def _children(
        self, population: Population, candidates: Candidates, rng: np.random.Generator
    ) -> Matrix:
        n, space = SPARE_CHILDREN * self.population_size, candidates.space
        # The population is sorted, so the lower index wins the tournament.
        first, second = rng.integers(len(population), size=(2, 2, n)).min(axis=1)
        X: Matrix = population.X[first]
        mixed = np.flatnonzero((rng.random(n) < self.generic_mutation_prob) & (first != second))
        if len(mixed):
            X[mixed] = space.crossover_matrix(X[mixed], population.X[second[mixed]], rng)
        offered = rng.choice(len(KINDS), size=n, p=KIND_WEIGHTS)
        chance = np.array(
            [self.mutation_prob_width, self.mutation_prob_depth, self.mutation_prob_other]
        )
        happens = rng.random(n) < chance[offered]
        for k, kind in enumerate(KINDS):
            rows = np.flatnonzero(happens & (offered == k))
            if len(rows) == 0:
                continue
            try:
                X[rows] = space.mutate_matrix(X[rows], rng, kind)
            except ArchError:
                # An edited space can have nothing of this kind to change.
                X[rows] = space.mutate_matrix(X[rows], rng)
        return X
