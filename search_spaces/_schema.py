"""A tuple of hyperparameters, and everything done to whole populations of them.

A population is a matrix of *indices*, one row an architecture, one column a hyperparameter: 0 for
inactive, ``1 ... K`` for its K choices. All operations are vectorised over the rows and draw a
fixed number of random values from the generator they are given, so a seed fixes the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ArchError
from nasseg.search_spaces.hyperparameters import ENCODING_TOLERANCE, KINDS, Hyperparameter

Indices = NDArray[np.intp]
Encoded = NDArray[np.float32]

KIND_WEIGHTS = (0.4, 0.4, 0.2)
"""Chance of a width, depth and other mutation when the kind is left open (AnalogNAS)."""
STEP_PROBABILITY = 0.5
"""Chance that an ordinal hyperparameter moves to a neighbour instead of to any other choice."""
EXTRA_CHANGES = 0.5
"""Mean number of further hyperparameters of the same kind that one mutation changes."""


@dataclass(frozen=True, slots=True)
class _Level:
    """Columns of equal depth in the tree of conditions, with what governs them."""

    columns: Indices
    """The governed columns ``(c,)``."""
    parents: Indices
    """Parent column of every gate ``(g,)``, the gates of one column side by side."""
    offsets: Indices
    """Where each gate's table begins in ``table`` ``(g,)``."""
    table: NDArray[np.bool_]
    """All tables in a row: whether a parent's index lets its child be active."""
    starts: Indices
    """First gate of every column ``(c,)``."""

    def active(self, indices: Indices) -> NDArray[np.bool_]:
        """Which of ``columns`` matter where the parents of rows ``(n, F)`` are settled."""
        gates = self.table[indices[:, self.parents] + self.offsets]
        active: NDArray[np.bool_] = np.logical_and.reduceat(gates, self.starts, axis=1)
        return active


class Schema:
    """Immutable: an edited space gets a new schema.

    Raises:
        ArchError: two hyperparameters share a name, or a condition names a hyperparameter that is
            unknown or not listed before the one it governs.
    """

    def __init__(self, hyperparameters: Sequence[Hyperparameter]) -> None:
        self.hyperparameters = tuple(hyperparameters)
        self.names = [h.name for h in self.hyperparameters]
        self.column = {name: j for j, name in enumerate(self.names)}
        if not self.names:
            raise ArchError("a search space needs at least one hyperparameter")
        if len(self.column) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise ArchError(f"hyperparameter names must be unique; repeated: {twice}")
        counts = [h.size() for h in self.hyperparameters]
        self._counts: Indices = np.array(counts, dtype=np.intp)
        self._codes: Encoded = np.zeros((len(counts), max(counts) + 1), dtype=np.float32)
        # Per column: (parent column, table over the parent's index that says "active").
        self._gates: list[list[tuple[int, NDArray[np.bool_]]]] = []
        for j, h in enumerate(self.hyperparameters):
            self._codes[j, 1 : counts[j] + 1] = h.codes
            gates = []
            for condition in h.conditions:
                parent = self.column.get(condition.parent, len(counts))
                if parent >= j:
                    raise ArchError(
                        f"hyperparameter {h.name!r} depends on {condition.parent!r}, "
                        f"which must be listed before it"
                    )
                table = np.zeros(counts[parent] + 1, dtype=np.bool_)
                for value in condition.values:
                    position = self.hyperparameters[parent].index(value)
                    if position is not None:
                        table[position] = True
                gates.append((parent, table))
            self._gates.append(gates)
        self._levels = self._by_depth()
        self._nearest_code()
        self._conditional = np.array([bool(g) for g in self._gates])
        self._categorical = np.array([h.categorical for h in self.hyperparameters])
        self._kind = np.array([KINDS.index(h.kind) for h in self.hyperparameters])
        self._columns = np.arange(len(counts))

    def _by_depth(self) -> list[_Level]:
        """The governed columns, those without governed parents first."""
        depth: list[int] = []
        for gates in self._gates:
            depth.append(1 + max((depth[parent] for parent, _ in gates), default=-1))
        levels = []
        for level in range(1, max(depth) + 1):
            columns = [j for j, d in enumerate(depth) if d == level]
            gates = [gate for j in columns for gate in self._gates[j]]
            sizes = [len(table) for _, table in gates]
            counts = [len(self._gates[j]) for j in columns]
            levels.append(
                _Level(
                    np.array(columns, dtype=np.intp),
                    np.array([parent for parent, _ in gates], dtype=np.intp),
                    np.cumsum([0, *sizes[:-1]], dtype=np.intp),
                    np.concatenate([table for _, table in gates]),
                    np.cumsum([0, *counts[:-1]], dtype=np.intp),
                )
            )
        return levels

    def _nearest_code(self) -> None:
        """Tables by which one search over the codes of all columns finds the index in each."""
        every = np.unique(np.concatenate([self._codes[j, 1 : n + 1] for j, n in self._sizes()]))
        self._edges = (every[1:] + every[:-1]) / 2
        self._index_of = np.empty((len(self.names), len(every)), dtype=np.intp)
        for j, count in self._sizes():
            codes = self._codes[j, 1 : count + 1]
            self._index_of[j] = np.searchsorted((codes[1:] + codes[:-1]) / 2, every) + 1

    def _sizes(self) -> list[tuple[int, int]]:
        return list(enumerate(self._counts.tolist()))

    # -- activity ---------------------------------------------------------------------------

    def settle(self, indices: Indices, fill: Indices) -> Indices:
        """Canonical rows: inactive columns become 0, active columns that are 0 take ``fill``."""
        out = np.where(indices == 0, fill, indices)
        for level in self._levels:
            out[:, level.columns] *= level.active(out)
        return out

    def inactive_reason(self, row: Indices, j: int) -> str | None:
        """Why column ``j`` is inactive in a settled ``row``, in words; None where it is active."""
        for parent, table in self._gates[j]:
            if not table[row[parent]]:
                h = self.hyperparameters[parent]
                value = h.choices[row[parent] - 1] if row[parent] else 0
                return f"{h.name} = {value!r}"
        return None

    def size(self) -> int:
        """Exact number of canonical rows."""
        parents = sorted({parent for gates in self._gates for parent, _ in gates})
        total = 0
        seen: set[tuple[int, ...]] = set()
        for values in product(*(range(1, int(self._counts[p]) + 1) for p in parents)):
            row = np.ones((1, len(self.names)), dtype=np.intp)
            row[0, parents] = values
            row = self.settle(row, row)
            key = tuple(int(v) for v in row[0, parents])
            if key in seen:
                continue  # a parent that is itself inactive counts once
            seen.add(key)
            free = 1
            for j, count in enumerate(self._counts):
                if j not in parents and row[0, j]:
                    free *= int(count)
            total += free
        return total

    def every(self) -> Iterator[Indices]:
        """Every canonical row ``(F,)`` once; the first column changes slowest."""
        row = np.zeros(len(self.names), dtype=np.intp)

        def fill(j: int) -> Iterator[Indices]:
            if j == len(row):
                yield row.copy()
                return
            # Parents stand before what they govern, so they are filled in by now.
            active = self.inactive_reason(row, j) is None
            for value in range(1, int(self._counts[j]) + 1) if active else (0,):
                row[j] = value
                yield from fill(j + 1)

        return fill(0)

    # -- drawing ----------------------------------------------------------------------------

    def _spread(self, unit: NDArray[np.float64]) -> Indices:
        """Numbers in [0, 1) to indices 1 ... K, each choice equally wide."""
        scaled = np.floor(unit * self._counts).astype(np.intp)
        # unit * K can round up to K for units just below one.
        return np.minimum(scaled, self._counts - 1) + 1

    def draw(self, n: int, rng: np.random.Generator) -> Indices:
        """Every hyperparameter drawn uniformly and independently, then settled."""
        values = self._spread(rng.random((n, len(self.names))))
        return self.settle(values, values)

    def draw_lhs(self, n: int, rng: np.random.Generator) -> Indices:
        """Latin hypercube: each hyperparameter's n values are spread evenly over its choices."""
        shape = (n, len(self.names))
        strata = np.tile(np.arange(n, dtype=np.float64)[:, None], (1, shape[1]))
        strata = rng.permuted(strata, axis=0)
        values = self._spread((strata + rng.random(shape)) / max(n, 1))
        return self.settle(values, values)

    # -- variation --------------------------------------------------------------------------

    def mutate(self, indices: Indices, rng: np.random.Generator, kind: str | None) -> Indices:
        """Change at least one active hyperparameter of one kind; settle what depends on it.

        Raises:
            ArchError: unknown kind, or a row without anything of that kind to change.
        """
        n, width = indices.shape
        choosable = (indices > 0) & (self._counts > 1)
        if kind is None:
            weights = np.array(KIND_WEIGHTS)[None, :] * np.stack(
                [(choosable & (self._kind == k)).any(axis=1) for k in range(len(KINDS))], axis=1
            )
            edges = np.cumsum(weights, axis=1)
            total = edges[:, -1:]
            rows_kind = (rng.random((n, 1)) * total >= edges).sum(axis=1)
        else:
            if kind not in KINDS:
                raise ArchError(f"mutation kind must be one of {list(KINDS)} or None; got {kind!r}")
            rows_kind = np.full(n, KINDS.index(kind))
        eligible = choosable & (self._kind[None, :] == rows_kind[:, None])
        count = eligible.sum(axis=1, keepdims=True)
        if n and not count.all():
            what = "hyperparameter" if kind is None else f"{kind} hyperparameter"
            raise ArchError(f"cannot mutate: no active {what} has more than one choice")

        change = eligible & (rng.random((n, width)) * np.maximum(count, 1) < EXTRA_CHANGES)
        first = np.argmax(np.where(eligible, rng.random((n, width)), -1.0), axis=1)
        change[np.arange(n), first] = True

        # Any other choice: 1 ... K without the present one.
        other = np.floor(rng.random((n, width)) * (self._counts - 1)).astype(np.intp) + 1
        other = np.clip(other, 1, np.maximum(self._counts - 1, 1))
        other += other >= indices
        # A neighbour; at an end of the range the only one there is.
        up = rng.random((n, width)) < 0.5
        up = (up | (indices == 1)) & (indices != self._counts)
        neighbour = indices + np.where(up, 1, -1)
        near = (rng.random((n, width)) < STEP_PROBABILITY) & ~self._categorical
        moved = np.where(change, np.where(near, neighbour, other), indices)
        return self.settle(moved, self._spread(rng.random((n, width))))

    def crossover(self, a: Indices, b: Indices, rng: np.random.Generator) -> Indices:
        """Uniform crossover; a column that one parent has inactive comes from the other."""
        take_a = rng.random(a.shape) < 0.5
        child = np.where(take_a, a, b)
        spare = np.where(take_a, b, a)
        fill = self._spread(rng.random(a.shape))
        return self.settle(child, np.where(spare > 0, spare, fill))

    # -- encoding ---------------------------------------------------------------------------

    def encode(self, indices: Indices) -> Encoded:
        """Indices to codes, float32 (n, F): numbers as themselves, strings by position."""
        return self._codes[self._columns, indices]

    def decode(self, matrix: object) -> Indices:
        """The inverse of :meth:`encode`.

        Raises:
            ArchError: wrong shape, or a value that no canonical architecture has there.
        """
        try:
            X = np.asarray(matrix, dtype=np.float32)
        except (TypeError, ValueError):
            raise ArchError("encoded architectures must be a matrix of numbers") from None
        if X.ndim != 2 or X.shape[1] != len(self.names):
            raise ArchError(
                f"encoded architectures must have shape (n, {len(self.names)}); got {X.shape}"
            )
        indices = self._index_of[self._columns, np.searchsorted(self._edges, X)]
        indices[self._conditional & (X == 0)] = 0
        # What this schema encoded itself comes back exactly, and needs no closer look.
        exact = (self.encode(indices) == X).all()
        if exact and ((indices > 0) == self.active(indices)).all():
            return indices
        settled = self.settle(indices, indices)
        expected = self.encode(settled)
        # Written so that NaN counts as wrong.
        good = np.abs(X - expected) <= ENCODING_TOLERANCE * np.maximum(1.0, np.abs(expected))
        good &= settled == indices
        good &= ~((settled == 0) & (self.active(settled)))
        if not good.all():
            row, j = (int(v) for v in np.argwhere(~good)[0])
            raise ArchError(
                f"row {row}: {self.names[j]} cannot be {X[row, j]:g}; "
                f"{self.allowed(settled[row], j)}"
            )
        return settled

    def active(self, settled: Indices) -> NDArray[np.bool_]:
        """Which columns of settled rows matter, bool (n, F)."""
        active = np.ones(settled.shape, dtype=np.bool_)
        for level in self._levels:
            active[:, level.columns] = level.active(settled)
        return active

    def allowed(self, settled_row: Indices, j: int) -> str:
        """What column ``j`` may be in this row, in words."""
        h = self.hyperparameters[j]
        reason = self.inactive_reason(settled_row, j)
        if reason is not None:
            return f"allowed: 0 (inactive, since {reason})"
        return f"allowed: {', '.join(repr(v) for v in h.choices)}"
