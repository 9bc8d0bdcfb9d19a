"""What a search is after: objectives and constraints over the columns of ``Scores``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nasseg._registry import near_name
from nasseg.errors import ConfigError
from nasseg.evaluators.scores import COLUMNS
from nasseg.evaluators.shipping import extra_columns

if TYPE_CHECKING:
    from nasseg.config import SearchConfig

FloatArray = NDArray[np.float64]

OPERATORS = ("<=", ">=", "<", ">")
"""What a constraint may say; the longer ones first, as they are looked for in this order."""
LEAST_VIOLATION = 1e-12
"""Violation of a strict bound by the value that equals it."""
_COMPARE = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}


@dataclass(frozen=True)
class Objective:
    """A column of the scores to be made as large, or as small, as possible.

    Raises:
        ConfigError: there is no such column; the message has the nearest one.
    """

    name: str
    """Column of :class:`~nasseg.evaluators.Scores`."""
    maximize: bool
    """Whether larger is better."""
    columns: InitVar[tuple[str, ...]] = COLUMNS
    """Names that are allowed."""

    def __post_init__(self, columns: tuple[str, ...]) -> None:
        _check_column(self.name, "objective", columns)

    def __str__(self) -> str:
        return f"{'maximize' if self.maximize else 'minimize'} {self.name}"

    @property
    def sign(self) -> float:
        """Factor that makes smaller better."""
        return -1.0 if self.maximize else 1.0


@dataclass(frozen=True)
class Constraint:
    """A bound on a column of the scores.

    Raises:
        ConfigError: there is no such column or operator, or the bound is not a finite number.
    """

    name: str
    """Column of :class:`~nasseg.evaluators.Scores`."""
    op: str
    """``<``, ``<=``, ``>`` or ``>=``."""
    value: float
    """The bound, in the column's unit."""
    columns: InitVar[tuple[str, ...]] = COLUMNS
    """Names that are allowed."""

    def __post_init__(self, columns: tuple[str, ...]) -> None:
        _check_column(self.name, "constraint", columns)
        if self.op not in OPERATORS:
            raise ConfigError(
                f"constraint on {self.name}: operator {self.op!r}; allowed: {', '.join(OPERATORS)}"
            )
        if not math.isfinite(self.value):
            raise ConfigError(f"constraint on {self.name}: {self.value}; allowed: a finite number")

    def __str__(self) -> str:
        return f"{self.name} {self.op} {self.value:.12g}"

    def violation(self, values: FloatArray) -> FloatArray:
        """By how much ``values`` ``(n,)`` miss the bound, as a fraction of it; 0 where they keep
        it, infinite where they are NaN.

        A bound of 0 has no fractions: then it is the distance itself.
        """
        return violation(values, self.op, self.value)


def violation(values: FloatArray, op: str, bound: float) -> FloatArray:
    """As :meth:`Constraint.violation`, of any numbers."""
    kept = _COMPARE[op](values, bound)
    excess = np.abs(values - bound) / (abs(bound) or 1.0)
    excess = np.where(np.isnan(values), np.inf, np.maximum(excess, LEAST_VIOLATION))
    return np.where(kept, 0.0, excess)


def parse_constraints(
    texts: str | Iterable[str], columns: tuple[str, ...] = COLUMNS
) -> tuple[Constraint, ...]:
    """Constraints from text: ``"params<1e6"``, ``"params < 1e6, p05 >= 0.85"``, or several.

    Args:
        texts: the constraints.
        columns: names that are allowed; those of the scores, and those of an evaluator's own.

    Raises:
        ConfigError: what is not ``COLUMN OPERATOR NUMBER``, named with what is allowed.
    """
    return tuple(_constraint(text, columns) for text in _split(texts))


def parse_objectives(
    maximize: str | Iterable[str] = (),
    minimize: str | Iterable[str] = (),
    columns: tuple[str, ...] = COLUMNS,
) -> tuple[Objective, ...]:
    """Objectives from names with commas between, or several such; those to maximise first.

    Args:
        maximize: columns to make as large as possible.
        minimize: columns to make as small as possible.
        columns: names that are allowed; those of the scores, and those of an evaluator's own.

    Raises:
        ConfigError: a column that does not exist, or one that is named twice.
    """
    found = [Objective(name, True, columns) for name in _split(maximize)]
    found += [Objective(name, False, columns) for name in _split(minimize)]
    names = [objective.name for objective in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"objective {name!r} is given twice; allowed: each column once")
    return tuple(found)


def goals_of(config: SearchConfig) -> tuple[tuple[Objective, ...], tuple[Constraint, ...]]:
    """Objectives and constraints of a configuration; both are empty by default.

    With constraints alone, the objective is AnalogNAS's: the predicted 1-day metric.

    Raises:
        ConfigError: as the parsers, the setting named.
    """
    columns = COLUMNS
    if config.maximize or config.minimize or config.constraints:
        columns += extra_columns(config.surrogate)
    try:
        objectives = parse_objectives(config.maximize, config.minimize, columns)
    except ConfigError as error:
        raise ConfigError(f"search.maximize, search.minimize: {error}") from None
    try:
        constraints = parse_constraints(config.constraints, columns)
    except ConfigError as error:
        raise ConfigError(f"search.constraints: {error}") from None
    if constraints and not objectives:
        objectives = (Objective("day1", True),)
    return objectives, constraints


def _constraint(text: str, columns: tuple[str, ...]) -> Constraint:
    match = re.fullmatch(r"\s*([^<>=\s]+)\s*([<>=!]+)\s*(\S+)\s*", text)
    if match is None:
        raise ConfigError(
            f"{text!r} is no constraint; allowed: COLUMN OPERATOR NUMBER, as in params<1e6 "
            f"(operators: {', '.join(OPERATORS)})"
        )
    name, op, number = match.groups()
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(
            f"{text!r}: {number!r} is not a number; allowed: COLUMN OPERATOR NUMBER, as in "
            "params<1e6"
        ) from None
    return Constraint(name, op, value, columns)


def _split(texts: str | Iterable[str]) -> list[str]:
    parts = [texts] if isinstance(texts, str) else list(texts)
    return [word.strip() for text in parts for word in text.split(",") if word.strip()]


def _check_column(name: str, what: str, columns: tuple[str, ...]) -> None:
    if name in columns:
        return
    hint = near_name(name, columns)
    raise ConfigError(
        f"{what} {name!r} is no column of the scores{hint} (columns: {', '.join(columns)})"
    )
