"""Architectures under search: drawn once, scored once, and how far they miss what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ConfigError
from nasseg.evaluators.cost import CostEvaluator
from nasseg.evaluators.scores import COLUMNS, Scores
from nasseg.search._rows import SeenRows
from nasseg.search.objectives import Constraint, Objective, violation
from nasseg.search.pareto import update_archive

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

Matrix = NDArray[np.float32]
FloatArray = NDArray[np.float64]

ACCURACY = (Objective("day1", maximize=True),)
"""AnalogNAS's objective."""
MACS_PER_PIXEL = "macs_per_pixel"
"""A bound's own column, counted by the space, that the scores do not have."""


@dataclass(frozen=True, eq=False)
class Population:
    """Scored architectures, one a row."""

    X: Matrix
    """Encoded architectures, float32 ``(n, F)``."""
    table: FloatArray
    """Columns of the scores, in their order, ``(n, C)``; NaN where nobody was asked."""
    goals: FloatArray
    """Objectives ``(n, m)``, smaller is better; infinite where unknown."""
    violation: FloatArray
    """By how much the bounds and constraints are missed in all, ``(n,)``; 0 = feasible."""
    columns: tuple[str, ...] = COLUMNS
    """Names of the columns of the table: those of the scores, then an evaluator's own."""

    def __len__(self) -> int:
        return len(self.X)

    def column(self, name: str) -> FloatArray:
        """A column of the scores ``(n,)``."""
        values: FloatArray = self.table[:, self.columns.index(name)]
        return values

    @property
    def scores(self) -> Scores:
        """The table as :class:`~nasseg.evaluators.Scores`."""
        known = dict(zip(self.columns, self.table.T, strict=True))
        extra = {name: known.pop(name) for name in self.columns[len(COLUMNS) :]}
        return Scores(**known, extra=extra)

    def take(self, index: NDArray[Any]) -> Population:
        """The rows at ``index``."""
        X, table, goals, violation = (rows[index] for rows in self._rows())
        return Population(X, table, goals, violation, self.columns)

    def join(self, other: Population) -> Population:
        """The rows of both, these first."""
        pairs = zip(self._rows(), other._rows(), strict=True)
        X, table, goals, violation = (np.concatenate(pair) for pair in pairs)
        return Population(X, table, goals, violation, self.columns)

    def _rows(self) -> tuple[NDArray[Any], ...]:
        return self.X, self.table, self.goals, self.violation

    def feasible(self) -> Population:
        """The rows within all bounds and constraints."""
        return self.take(self.violation == 0)

    def best_first(self, n: int) -> Population:
        """The ``n`` rows best in the first objective, best first; of equal ones those that come
        first here."""
        return self.take(np.argsort(self.goals[:, 0], kind="stable")[:n])


@dataclass(frozen=True)
class Bounds:
    """What everything that is kept fulfils; None = no bound."""

    max_params: int | None
    max_avm: float | None
    max_macs_per_pixel: float | None = None


@dataclass
class Limit:
    """A bound or a constraint, and the nearest that any architecture came to it."""

    column: str
    op: str
    value: float
    words: str
    """What was asked, with ``{}`` for the nearest value seen."""
    nearest: float = field(init=False)

    def __post_init__(self) -> None:
        self.nearest = np.inf if self.upper else -np.inf

    @property
    def upper(self) -> bool:
        """Whether smaller is safer."""
        return self.op.startswith("<")

    def see(self, values: FloatArray) -> FloatArray:
        """Violation of ``values`` ``(n,)``; remembers the nearest of them. NaN is no value."""
        nearest = np.fmin if self.upper else np.fmax
        self.nearest = float(nearest.reduce(values, initial=self.nearest))
        return violation(values, self.op, self.value)

    def __str__(self) -> str:
        return self.words.format(self.nearest)


def limits_of(bounds: Bounds, constraints: Sequence[Constraint]) -> list[Limit]:
    """Bounds and constraints in one list."""
    found = []
    if (most := bounds.max_params) is not None:
        words = f"at most {most:,} parameters (fewest seen: {{:,.0f}})"
        found.append(Limit("params", "<=", most, words))
    if (macs := bounds.max_macs_per_pixel) is not None:
        words = f"at most {macs:,.0f} multiply-accumulates per pixel (fewest seen: {{:,.0f}})"
        found.append(Limit(MACS_PER_PIXEL, "<=", macs, words))
    if (avm := bounds.max_avm) is not None:
        words = f"a predicted AVM of at most {avm:g} points (lowest seen: {{:.3g}})"
        found.append(Limit("avm", "<=", avm, words))
    for constraint in constraints:
        words = f"{constraint} (nearest seen: {{:.6g}})"
        found.append(Limit(constraint.name, constraint.op, constraint.value, words))
    return found


@dataclass
class Candidates:
    """Scores rows of one search, no row twice.

    ``surrogate`` is an :class:`~nasseg.evaluators.Evaluator`, or anything with AnalogNAS's
    ``query_pop``. What it does not know is asked of ``cost``.
    """

    space: SearchSpace
    surrogate: Any
    bounds: Bounds
    cost: CostEvaluator
    objectives: tuple[Objective, ...] = ACCURACY
    constraints: tuple[Constraint, ...] = ()
    keep_front: bool = False
    """Whether :attr:`front` is kept."""
    front: Population | None = None
    """All feasible architectures scored so far that no other one dominates."""
    queries: int = 0
    """Architectures scored so far."""
    columns: tuple[str, ...] = field(init=False)
    """Columns of the scores, then those that only the surrogate has."""
    _limits: list[Limit] = field(init=False)
    _counted: frozenset[str] | None = field(init=False, default=None)
    """Columns asked of ``cost``; None until the surrogate's first answer tells which it lacks."""
    _seen: SeenRows = field(init=False, default_factory=SeenRows)

    def __post_init__(self) -> None:
        self.columns = (*COLUMNS, *getattr(self.surrogate, "extra_columns", ()))
        self._limits = limits_of(self.bounds, self.constraints)

    def unseen(self, X: Matrix, n: int) -> Matrix:
        """The first ``n`` rows that were never returned before, each once."""
        return X[self._seen.add_new(X, n)]

    def score(self, X: Matrix) -> Population:
        """Score rows ``(n, F)``; an objective that is not finite makes a row infeasible.

        Raises:
            ConfigError: an objective or a constraint is over a column that nobody here knows.
        """
        table = self._columns(X)
        goals = np.empty((len(X), len(self.objectives)))
        for k, objective in enumerate(self.objectives):
            goals[:, k] = objective.sign * table[:, self.columns.index(objective.name)]
        unknown = ~np.isfinite(goals)
        total = np.where(unknown.any(axis=1), np.inf, 0.0)
        goals[np.isnan(goals)] = np.inf
        for limit in self._limits:
            if limit.column == MACS_PER_PIXEL:
                channels = self.cost.in_channels, self.cost.out_channels
                values = self.space.count_macs_per_pixel(X, *channels)
            else:
                values = table[:, self.columns.index(limit.column)]
            total += limit.see(values)
        self.queries += len(X)
        scored = Population(X, table, goals, total, self.columns)
        if self.keep_front:
            self._extend_front(scored.feasible())
        return scored

    def _extend_front(self, new: Population) -> None:
        if self.front is None:
            self.front = new.take(np.zeros(0, dtype=np.intp))
        keep_old, keep_new = update_archive(self.front.goals, new.goals)
        if keep_new.any():
            self.front = self.front.take(keep_old).join(new.take(keep_new))

    def _needed(self) -> list[str]:
        """Columns that objectives and limits are over, each once."""
        names = [objective.name for objective in self.objectives]
        names += [limit.column for limit in self._limits if limit.column != MACS_PER_PIXEL]
        return list(dict.fromkeys(names))

    def _columns(self, X: Matrix) -> FloatArray:
        """Columns of the scores ``(n, C)``: the surrogate's, completed by counted ones."""
        table = self._predicted(X)
        if len(X) == 0:
            return table
        if self._counted is None:
            known = np.asarray(~np.isnan(table).all(axis=0))
            self._counted = self._find_counted(X, known)
        if not self._counted:
            return table
        if self._counted == {"params"}:
            # The space's formula alone: the evaluator may count more than is asked.
            table[:, self.columns.index("params")] = self.cost.params_matrix(X)
            return table
        counted = self.cost.evaluate_matrix(X)
        for name in self._counted:
            table[:, self.columns.index(name)] = getattr(counted, name)
        return table

    def _predicted(self, X: Matrix) -> FloatArray:
        if hasattr(self.surrogate, "evaluate_matrix"):
            return as_table(self.surrogate.evaluate_matrix(X), self.columns)
        table = np.full((len(X), len(self.columns)), np.nan)
        if len(X):
            pair = self.surrogate.query_pop([[arch] for arch in self.space.decode(X)])
            for name, values in zip(("day1", "avm"), pair, strict=True):
                table[:, self.columns.index(name)] = np.asarray(values, dtype=np.float64).ravel()
        return table

    def _find_counted(self, X: Matrix, known: NDArray[np.bool_]) -> frozenset[str]:
        """Needed columns that the surrogate's first answer lacks.

        Raises:
            ConfigError: one that cannot be counted either.
        """
        lacking = [name for name in self._needed() if not known[self.columns.index(name)]]
        if not lacking or lacking == ["params"]:
            return frozenset(lacking)
        countable = ~np.isnan(as_table(self.cost.evaluate_matrix(X[:1]), self.columns))[0]
        for name in lacking:
            if not countable[self.columns.index(name)]:
                predicted = [c for c, yes in zip(self.columns, known, strict=True) if yes]
                counted = [c for c, yes in zip(self.columns, countable, strict=True) if yes]
                raise ConfigError(
                    f"{name} is an objective or a constraint, but no evaluator at hand knows it; "
                    f"known: {', '.join(predicted)} (surrogate), {', '.join(counted)} (counted)"
                )
        return frozenset(lacking)

    def nothing_feasible(self) -> ConfigError:
        """The error for a search in which no architecture was within the bounds."""
        wanted = " and ".join(map(str, self._limits)) or "a finite predicted score"
        loosen = "raise the bounds" if not self.constraints else "loosen bounds or constraints"
        return ConfigError(
            f"none of {self.queries} architectures of {self.space.name!r} has {wanted}; {loosen}"
        )


def as_table(scores: Scores, columns: Sequence[str] = COLUMNS) -> FloatArray:
    """Columns of scores side by side, ``(n, C)``; NaN where the scores have none of that name."""
    return np.stack([scores.column(name) for name in columns], axis=1)
