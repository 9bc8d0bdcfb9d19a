"""Evolution towards a front: NSGA-II (Deb et al. 2002) on AnalogNAS's variation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ConfigError
from nasseg.evaluators.cost import CostEvaluator
from nasseg.evaluators.scores import Scores
from nasseg.search.objectives import Constraint, Objective
from nasseg.search.pareto import PICKS, Pick, best_first, hypervolume, pick_row
from nasseg.search.surrogate.candidates import Bounds, Candidates, Population
from nasseg.search.surrogate.evolution import EAOptimizer
from nasseg.search.surrogate.optimizer import check, record
from nasseg.search.surrogate.result import Generation

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Box:
    """What hypervolumes are measured in: the box of the first feasible population."""

    reference: FloatArray
    """Its worst corner ``(m,)``, smaller is better: the reference point (nadir)."""
    sides: FloatArray
    """Its sides ``(m,)``; 1 where it has none."""

    @classmethod
    def around(cls, goals: FloatArray) -> Box:
        """The box around objectives ``(n, m)``."""
        sides = np.ptp(goals, axis=0)
        return cls(goals.max(axis=0), np.where(sides > 0, sides, 1.0))

    def hypervolume(self, goals: FloatArray) -> float:
        """Hypervolume of objectives ``(n, m)``, in units of the box."""
        return hypervolume((goals - self.reference) / self.sides, np.zeros(len(self.sides)))


class NSGA2Optimizer(EAOptimizer):
    """Evolution of a population towards all best compromises of several objectives.

    The first population is one Latin hypercube. Parents are chosen by binary tournament and
    children made as by :class:`~nasseg.search.EAOptimizer`; of parents and children, those of the
    best fronts survive, of the last front the least crowded. Bounds and constraints work by
    constrained domination: what keeps them comes before what does not, and of the latter the
    smaller total violation wins, each as a fraction of its bound. So a search may begin where
    nothing is feasible. No architecture is scored twice, and every feasible one that no other one
    dominates is kept in :attr:`front`, whether or not it survives in the population.

    With one objective this is an elitist evolution under constraints.

    Args:
        surrogate: An evaluator, or anything with AnalogNAS's ``query_pop``.
        objectives: What is maximised or minimised; the first one leads where one must.
        constraints: What an architecture must keep beside the bounds.
        pick: The architecture that :meth:`run` returns: the ``knee`` of the front
            (:func:`~nasseg.search.pareto.knee_distances`), or the ``best`` in the first objective.
        cost: Counts the columns that the surrogate does not know; none = one of the space for
            ``in_channels`` and ``out_channels``.
        **settings: The arguments of :class:`~nasseg.search.EAOptimizer`.

    Raises:
        ConfigError: no objectives, one of them twice, or a value that is not allowed.
    """

    def __init__(
        self,
        surrogate: Any,
        objectives: Iterable[Objective],
        constraints: Iterable[Constraint] = (),
        *,
        pick: Pick = "knee",
        cost: CostEvaluator | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(surrogate, **settings)
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"objectives are {names}; allowed: one or more different columns")
        check(pick in PICKS, "pick", pick, " or ".join(PICKS))
        self.pick: Pick = pick
        self.cost = cost
        self.front: list[dict[str, Any]] = []
        """All feasible architectures that the last finished run scored and none dominates, the
        best in the first objective first."""
        self.front_scores = Scores.of(0)
        """Their scores."""
        self.box: Box | None = None
        """What hypervolumes are measured in; of the first finished run, so that the hypervolumes
        of several runs compare."""
        self._kept: Population | None = None
        self._fronts: list[tuple[FloatArray, FloatArray]] = []

    @property
    def found(self) -> Population | None:
        """Front and feasible population of the last finished run, encoded and scored."""
        return self._kept

    def run(self, cs: SearchSpace) -> tuple[dict[str, Any], float]:
        """Search ``cs``; returns the picked architecture and its value of the first objective.

        The value has its sign turned where it is minimised, so that the higher of two is the
        better one, as :class:`~nasseg.search.Worker` has it.

        Raises:
            ConfigError: ``cs`` is not a space of ours or not the surrogate's, a column that nobody
                knows, or no feasible architecture was found; the message says how near it came.
        """
        self._fronts = []
        return super().run(cs)

    def _candidates(self, cs: SearchSpace) -> Candidates:
        return Candidates(
            cs,
            self.surrogate,
            Bounds(self.max_params, self.T_AVM, self.max_macs_per_pixel),
            self.cost or CostEvaluator(cs, self.in_channels, self.out_channels),
            self.objectives,
            self.constraints,
            keep_front=True,
        )

    def _initial(
        self, candidates: Candidates, rng: np.random.Generator, history: list[Generation]
    ) -> Population:
        X = candidates.space.sample_lhs_matrix(self.population_size, rng)
        drawn = candidates.score(candidates.unseen(X, self.population_size))
        return self._survivors(drawn, drawn, candidates, history)

    def _next(
        self,
        population: Population,
        candidates: Candidates,
        rng: np.random.Generator,
        history: list[Generation],
    ) -> Population:
        X = self._children(population, candidates, rng)
        children = candidates.score(candidates.unseen(X, self.population_size))
        # Children before parents, so that equal ones take turns, as in the parent class.
        return self._survivors(children.join(population), children, candidates, history)

    def _survivors(
        self,
        everyone: Population,
        new: Population,
        candidates: Candidates,
        history: list[Generation],
    ) -> Population:
        """The best of ``everyone``, best first; appends a generation in which ``new`` came."""
        order = best_first(everyone.goals, everyone.violation)[: self.population_size]
        kept = everyone.take(order)
        feasible = kept.feasible()
        record(history, feasible, candidates, len(new), int((new.violation == 0).sum()))
        front = candidates.front
        self._fronts.append(
            (np.empty((0, 0)) if front is None else front.goals, feasible.goals),
        )
        return kept

    def _finish(
        self, population: Population, candidates: Candidates, history: list[Generation]
    ) -> tuple[dict[str, Any], float]:
        front = candidates.front
        if front is None or len(front) == 0:
            raise candidates.nothing_feasible()
        front = front.take(np.lexsort((front.column("params"), *front.goals.T[::-1])))
        space = candidates.space
        if len(self.objectives) > 1:
            history = self._measured(history)
        self.history = tuple(history)
        kept = population.feasible()
        self.population = space.decode(kept.X)
        self.front, self.front_scores = space.decode(front.X), front.scores
        self._kept = front.join(kept)
        chosen = pick_row(front.goals, self.pick)
        return dict(self.front[chosen]), -float(front.goals[chosen, 0])

    def _measured(self, history: list[Generation]) -> list[Generation]:
        """Generations with their hypervolume."""
        if self.box is None:
            # The first population with as many feasible architectures as any later one: the first
            # of all where the constraints are loose.
            sizes = [len(kept) for _, kept in self._fronts]
            self.box = Box.around(self._fronts[int(np.argmax(sizes))][1])
        return [
            dataclasses.replace(
                generation, hypervolume=self.box.hypervolume(goals) if len(goals) else 0.0
            )
            for generation, (goals, _) in zip(history, self._fronts, strict=True)
        ]
