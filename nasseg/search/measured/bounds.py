"""Which architectures are measured at all, and a spread-out list of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ConfigError

if TYPE_CHECKING:
    from nasseg.evaluators.scores import Scores
    from nasseg.search.objectives import Constraint
    from nasseg.search_spaces import SearchSpace

SIZE_BINS = 6
"""Classes of parameter counts, evenly spaced in logarithm, that are drawn from in turn."""
LHS_BLOCK = 1024
"""Architectures of one Latin hypercube."""
LHS_BLOCKS = 200
"""Hypercubes drawn before there are too few architectures within the bounds."""


class Counts(Protocol):
    """Knows what encoded architectures cost."""

    def evaluate_matrix(self, X: Any) -> Scores:
        """Scores of rows ``(n, F)``, those that are counted known."""


@dataclass(frozen=True)
class SizeBounds:
    """Bounds that are checked without building or training a network; None = no bound."""

    min_params: int = 0
    """Fewest parameters."""
    max_params: int | None = None
    """Most parameters."""
    max_macs_per_pixel: float | None = None
    """Most multiply-accumulates per pixel of the image."""
    in_channels: int = 3
    """Image channels of the networks."""
    out_channels: int = 1
    """Output channels of the networks."""
    constraints: tuple[Constraint, ...] = ()
    """Further bounds, on what ``cost`` counts."""
    cost: Counts | None = None
    """Counts what the constraints are on."""

    def within(self, space: SearchSpace, X: object) -> NDArray[np.bool_]:
        """Which of encoded architectures ``(n, F)`` are within the bounds, bool ``(n,)``."""
        channels = self.in_channels, self.out_channels
        params = space.count_params(X, *channels)
        keep = params >= self.min_params
        if self.max_params is not None:
            keep &= params <= self.max_params
        if self.max_macs_per_pixel is not None:
            keep &= space.count_macs_per_pixel(X, *channels) <= self.max_macs_per_pixel
        if self.constraints and self.cost is not None and keep.any():
            rows = np.flatnonzero(keep)
            scores = self.cost.evaluate_matrix(np.asarray(X)[rows])
            for constraint in self.constraints:
                keep[rows] &= constraint.violation(scores.column(constraint.name)) == 0
        return keep

    def __str__(self) -> str:
        return (
            f"{self.min_params} to {self.max_params} parameters, max_macs_per_pixel "
            f"{self.max_macs_per_pixel}"
            + "".join(f", {constraint}" for constraint in self.constraints)
        )


def spread_architectures(
    space: SearchSpace, count: int, seed: int, bounds: SizeBounds
) -> list[dict[str, Any]]:
    """``count`` different architectures within the bounds, a function of the other arguments.

    A longer list begins with a shorter one's.

    Raises:
        ConfigError: so few architectures are within the bounds that ``count`` cannot be drawn.
    """
    found = list(itertools.islice(iterate_spread(space, seed, bounds), count))
    if len(found) < count:
        raise ConfigError(
            f"only {len(found)} architectures of {space.name!r} found within {bounds}; "
            f"count is {count}: widen the bounds"
        )
    return found


def iterate_spread(space: SearchSpace, seed: int, bounds: SizeBounds) -> Iterator[dict[str, Any]]:
    """Different architectures within the bounds, until no new ones turn up.

    Latin hypercubes of a fixed size, thinned to what is within the bounds and evened out over
    sizes.
    """
    rng = np.random.default_rng([seed, 1])
    seen: set[str] = set()
    for _ in range(LHS_BLOCKS):
        X = space.sample_lhs_matrix(LHS_BLOCK, rng)
        params = space.count_params(X, bounds.in_channels, bounds.out_channels)
        for arch in space.decode(X[_even_in_size(params, bounds.within(space, X))]):
            arch_id = space.arch_id(arch)
            if arch_id not in seen:
                seen.add(arch_id)
                yield arch
        if len(seen) == space.size():
            return


def _even_in_size(params: NDArray[Any], keep: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the rows to keep, a few of every size in turn, as many of each as there are.

    A uniform sample of a space is mostly small networks; the good ones are among the larger.
    """
    index = np.flatnonzero(keep)
    if not len(index):
        return index
    edges = np.geomspace(params[index].min(), params[index].max() + 1, SIZE_BINS + 1)
    bins = np.digitize(params[index], edges[1:-1])
    members = [index[bins == k] for k in range(SIZE_BINS)]
    each = min(len(m) for m in members if len(m))
    turns = [m[turn] for turn in range(max(each, 1)) for m in members if turn < len(m)]
    return np.array(turns, dtype=np.intp)
