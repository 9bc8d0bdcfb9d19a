"""Scores of architectures: one table, whatever evaluator it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasseg._registry import nearest
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

    def __post_init__(self) -> None:
        lengths = {}
        for name in COLUMNS:
            column = np.asarray(getattr(self, name), dtype=np.float64)
            if column.ndim != 1:
                raise ConfigError(f"scores column {name!r} has shape {column.shape}; allowed: (n,)")
            object.__setattr__(self, name, column)
            lengths[name] = len(column)
        if len(set(lengths.values())) > 1:
            raise ConfigError(f"scores columns differ in length: {lengths}")

    @classmethod
    def of(cls, n: int, **known: ArrayLike) -> Scores:
        """Scores of ``n`` architectures from the columns that are known; the others are NaN."""
        _check_columns(known)
        filled = {name: np.full(n, np.nan) for name in COLUMNS}
        for name, values in known.items():
            column = np.asarray(values, dtype=np.float64)
            filled[name] = np.full(n, float(column)) if column.ndim == 0 else column
            if filled[name].shape != (n,):
                raise ConfigError(
                    f"scores column {name!r} has shape {column.shape}; allowed: ({n},)"
                )
        return cls(**filled)

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
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.day1)

    def rows(self) -> list[dict[str, float]]:
        """One dict a row, every column present, NaN where unknown."""
        columns = {name: getattr(self, name).tolist() for name in COLUMNS}
        return [{name: columns[name][i] for name in COLUMNS} for i in range(len(self))]

    def take(self, index: ArrayLike) -> Scores:
        """The rows at ``index`` (integers or a boolean mask), in that order."""
        chosen = np.asarray(index)
        if chosen.size == 0:
            chosen = chosen.astype(np.intp)
        return Scores(**{name: getattr(self, name)[chosen] for name in COLUMNS})


COLUMNS: tuple[str, ...] = tuple(column.name for column in fields(Scores))
"""Names of the columns of :class:`Scores`, in order."""


def _check_columns(names: Iterable[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            near = nearest(name, COLUMNS)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ConfigError(
                f"no scores column named {name!r}{hint} (allowed: {', '.join(COLUMNS)})"
            )
