"""Scores of architectures: one table, whatever evaluator it comes from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasseg._registry import near_name
from nasseg.errors import ConfigError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Columns of equal length ``n``, one row an architecture; NaN where unknown.

    Build with :meth:`of` or :meth:`from_rows`, which fill what is not known.
    """

    day1: FloatArray
    """Task metric (Dice, accuracy; 0 to 1) one day after programming, mean over chips; higher
    is better."""
    avm: FloatArray
    """Metric at 1 s minus metric at 30 days, in points (hundredths); lower is better."""
    std: FloatArray
    """Chip-to-chip standard deviation of the metric at one day."""
    digital: FloatArray
    """Metric of the digital network."""
    p05: FloatArray
    """Metric of the 5th percentile chip at one day."""
    params: FloatArray
    """Number of parameters."""
    tiles: FloatArray
    """Number of crossbars."""
    energy_uj: FloatArray
    """Energy of one image in microjoules."""
    latency_us: FloatArray
    """Time of one image in microseconds."""
    extra: Mapping[str, FloatArray] = field(default_factory=dict)
    """Further columns that an evaluator knows, by name: its
    :attr:`~nasseg.evaluators.Evaluator.extra_columns`."""

    def __post_init__(self) -> None:
        columns = {
            name: np.asarray(column, dtype=np.float64)
            for name, column in (
                *((name, getattr(self, name)) for name in COLUMNS),
                *self.extra.items(),
            )
        }
        for name, column in columns.items():
            if column.ndim != 1:
                raise ConfigError(f"scores column {name!r} has shape {column.shape}; allowed: (n,)")
        for name in COLUMNS:
            object.__setattr__(self, name, columns[name])
        object.__setattr__(self, "extra", {name: columns[name] for name in self.extra})
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ConfigError(f"scores columns differ in length: {lengths}")

    @classmethod
    def of(cls, n: int, **known: ArrayLike) -> Scores:
        """Scores of ``n`` architectures from the columns that are known; the others are NaN."""
        _check_columns(known)
        filled = {name: np.full(n, np.nan) for name in COLUMNS}
        filled |= {name: _filled(name, values, n) for name, values in known.items()}
        return cls(**filled, extra={})

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Scores:
        """Scores from one mapping a row; absent keys and None are NaN, unknown keys an error."""
        table = list(rows)
        for row in table:
            _check_columns(row)
        columns = {}
        for name in COLUMNS:
            values = [row.get(name) for row in table]
            columns[name] = np.array(
                [math.nan if value is None else float(value) for value in values], dtype=np.float64
            )
        return cls(**columns, extra={})

    def __len__(self) -> int:
        return len(self.day1)

    def with_extra(self, **columns: ArrayLike) -> Scores:
        """The same scores with further columns, which ``extra`` then has."""
        more = {name: _filled(name, values, len(self)) for name, values in columns.items()}
        return dataclasses.replace(self, extra={**self.extra, **more})

    def column(self, name: str) -> FloatArray:
        """A column ``(n,)``, one of the evaluator's own included; NaN where there is none."""
        found: FloatArray | None = self.extra.get(name, getattr(self, name, None))
        return np.full(len(self), np.nan) if found is None else found

    def rows(self) -> list[dict[str, float]]:
        """One dict a row, every column present, NaN where unknown."""
        columns = {name: self.column(name).tolist() for name in (*COLUMNS, *self.extra)}
        return [{name: values[i] for name, values in columns.items()} for i in range(len(self))]

    def take(self, index: ArrayLike) -> Scores:
        """The rows at ``index`` (integers or a boolean mask), in that order."""
        chosen = np.asarray(index)
        if chosen.size == 0:
            chosen = chosen.astype(np.intp)
        extra = {name: column[chosen] for name, column in self.extra.items()}
        return Scores(**{name: getattr(self, name)[chosen] for name in COLUMNS}, extra=extra)


COLUMNS: tuple[str, ...] = tuple(c.name for c in fields(Scores) if c.name != "extra")
"""Names of the columns of :class:`Scores`, in order."""


def _filled(name: str, values: ArrayLike, n: int) -> FloatArray:
    column = np.asarray(values, dtype=np.float64)
    filled = np.full(n, float(column)) if column.ndim == 0 else column
    if filled.shape != (n,):
        raise ConfigError(f"scores column {name!r} has shape {column.shape}; allowed: ({n},)")
    return filled


def _check_columns(names: Iterable[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            hint = near_name(name, COLUMNS)
            raise ConfigError(
                f"no scores column named {name!r}{hint} (allowed: {', '.join(COLUMNS)})"
            )
