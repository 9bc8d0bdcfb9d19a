"""What all searchers share: arguments, bounds, history, and the pair that is returned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from nasseg.errors import ConfigError
from nasseg.evaluators.cost import CostEvaluator
from nasseg.search.surrogate.candidates import Bounds, Candidates, Population
from nasseg.search.surrogate.result import Generation

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

MOST_MILLIONS = 100_000.0
"""A bound above this was meant in parameters, not in millions of them."""
NEEDED = ("sample_matrix", "sample_lhs_matrix", "mutate_matrix", "crossover_matrix", "decode")


class Optimizer(ABC):
    """Searches a space for the architecture that a surrogate scores highest.

    Args:
        surrogate: An evaluator, or anything with AnalogNAS's ``query_pop``.
        nb_iter: Generations after the initial population.
        population_size: Architectures kept from one generation to the next, and drawn in each.
        max_nb_param: Most *millions* of parameters (AnalogNAS's unit); None = no bound.
        T_AVM: Highest predicted AVM in points; None = no bound.
        seed: The k-th call of :meth:`run` draws from the k-th stream of this seed: several runs
            differ, and a new optimizer of the same seed repeats them.
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
        max_nb_param: float | None = 1,
        T_AVM: float | None = 10,
        *,
        seed: int = 0,
        in_channels: int = 3,
        out_channels: int = 1,
        progress: bool = True,
        max_macs_per_pixel: float | None = None,
    ) -> None:
        check(nb_iter >= 0, "nb_iter", nb_iter, "0 or more")
        check(population_size >= 4, "population_size", population_size, "4 or more")
        check(
            max_nb_param is None or 0 < max_nb_param <= MOST_MILLIONS,
            "max_nb_param",
            max_nb_param,
            f"above 0 and at most {MOST_MILLIONS:,.0f} (millions of parameters), or None",
        )
        check(seed >= 0, "seed", seed, "0 or more")
        if not hasattr(surrogate, "evaluate_matrix") and not hasattr(surrogate, "query_pop"):
            raise ConfigError(
                f"surrogate {surrogate!r} has neither evaluate_matrix nor query_pop; "
                "an evaluator has both"
            )
        self.surrogate = surrogate
        self.nb_iter = nb_iter
        self.population_size = population_size
        self.max_nb_param = max_nb_param
        self.T_AVM = T_AVM
        self.seed = seed
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.progress = progress
        check(
            max_macs_per_pixel is None or max_macs_per_pixel > 0,
            "max_macs_per_pixel",
            max_macs_per_pixel,
            "above 0, or None",
        )
        self.max_macs_per_pixel = max_macs_per_pixel
        self.history: tuple[Generation, ...] = ()
        """Generations of the last finished run."""
        self.population: list[dict[str, Any]] = []
        """Architectures kept by the last finished run, best first."""
        self._runs = 0

    @property
    def max_params(self) -> int | None:
        """The bound on the number of parameters."""
        return None if self.max_nb_param is None else round(self.max_nb_param * 1e6)

    def run(self, cs: SearchSpace) -> tuple[dict[str, Any], float]:
        """Search ``cs``; returns the best architecture and its predicted 1-day metric.

        Of equally good ones, the architecture with the fewest parameters is returned.

        Raises:
            ConfigError: ``cs`` is not a space of ours or not the surrogate's, or no architecture
                within the bounds was found; the message names the bounds and the least seen.
        """
        self._check_space(cs)
        candidates = self._candidates(cs)
        rng = np.random.default_rng([self.seed, self._runs])
        history: list[Generation] = []
        population = None
        with tqdm(
            total=self.nb_iter, desc="search", unit="gen", disable=None if self.progress else True
        ) as bar:
            population = self._initial(candidates, rng, history)
            for _ in range(self.nb_iter):
                population = self._next(population, candidates, rng, history)
                bar.set_postfix(best=f"{history[-1].best:.4f}", refresh=False)
                bar.update()
        # Assigned at the end, so that an interrupted run leaves the last finished one.
        found = self._finish(population, candidates, history)
        self._runs += 1
        return found

    def _candidates(self, cs: SearchSpace) -> Candidates:
        """What a run scores its architectures with."""
        return Candidates(
            cs,
            self.surrogate,
            Bounds(self.max_params, self.T_AVM, self.max_macs_per_pixel),
            CostEvaluator(cs, self.in_channels, self.out_channels),
        )

    def _finish(
        self, population: Population, candidates: Candidates, history: list[Generation]
    ) -> tuple[dict[str, Any], float]:
        """Keep a run's results on the optimizer; the best architecture and its score."""
        order = np.lexsort((population.column("params"), population.goals[:, 0]))
        population = population.take(order)
        self.population = candidates.space.decode(population.X)
        self.history = tuple(history)
        return dict(self.population[0]), float(population.column("day1")[0])

    @abstractmethod
    def _initial(
        self, candidates: Candidates, rng: np.random.Generator, history: list[Generation]
    ) -> Population:
        """The first population, feasible and not empty; appends generation 0."""

    @abstractmethod
    def _next(
        self,
        population: Population,
        candidates: Candidates,
        rng: np.random.Generator,
        history: list[Generation],
    ) -> Population:
        """The population after ``population``; appends one generation."""

    def _check_space(self, cs: Any) -> None:
        missing = [name for name in NEEDED if not hasattr(cs, name)]
        if missing:
            raise ConfigError(
                f"{type(cs).__name__} is no search space of nasseg (it lacks "
                f"{', '.join(missing)}); get one with nasseg.search_spaces.get_space"
            )
        scored = getattr(self.surrogate, "space", None)
        if scored is not None and (
            (scored.name, scored.version) != (cs.name, cs.version)
            or list(scored.feature_names) != list(cs.feature_names)
        ):
            raise ConfigError(
                f"the surrogate scores {scored.name!r} version {scored.version} "
                f"({len(scored.feature_names)} features), the search is in {cs.name!r} version "
                f"{cs.version} ({len(cs.feature_names)} features)"
            )


def record(
    history: list[Generation], kept: Population, candidates: Candidates, new: int, feasible: int
) -> None:
    """Append the generation that ended with the feasible architectures ``kept``."""
    objective, goal = candidates.objectives[0], kept.goals[:, 0]
    history.append(
        Generation(
            generation=len(history),
            best=objective.sign * float(goal.min()) if len(goal) else math.nan,
            mean=objective.sign * float(goal.mean()) if len(goal) else math.nan,
            queries=candidates.queries,
            feasible=feasible / new if new else math.nan,
        )
    )


def check(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raise the error for a setting that is not allowed."""
    if not ok:
        raise ConfigError(f"{key} is {value!r}; allowed: {allowed}")
