"""Architectures measured first: those known to be good, or expected to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nasseg.errors import ArchError, ConfigError
from nasseg.evaluators import load_surrogate
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search_spaces import SearchSpace

DRAWN = 4096
"""Architectures that are drawn, of which the surrogate names the best."""
SHARE = 0.25
"""Of the candidates of a first rung, those that a surrogate proposes at most: what it knows is of
other images."""
NEAR = 1 / 3
"""Of the candidates of a first rung, those near the network that a space has by default."""
MOST_CHANGES = 2
"""Hyperparameters in which they differ from it."""


def predicted_best(
    space: SearchSpace, bounds: SizeBounds, count: int, seed: int
) -> list[dict[str, Any]]:
    """Architectures within the bounds that the surrogate shipped for a space expects most of.

    Args:
        space: that is searched.
        bounds: of the architectures.
        count: how many.
        seed: of those that are drawn.

    Returns:
        The best first; none where no surrogate is shipped, or nothing drawn is within the bounds.
    """
    try:
        surrogate = load_surrogate("auto", space)
    except ConfigError:
        return []
    X = space.sample_matrix(DRAWN, np.random.default_rng(seed))
    X = np.asarray(X)[bounds.within(space, X)]
    if not len(X) or count < 1:
        return []
    expected = surrogate.evaluate_matrix(X).column("day1")
    found: dict[str, dict[str, Any]] = {}
    for row in np.argsort(-expected, kind="stable"):
        (arch,) = space.decode(X[row : row + 1])
        found.setdefault(space.arch_id(arch), arch)
        if len(found) == count:
            break
    return list(found.values())


def nearest_within(
    space: SearchSpace, arch: Mapping[str, Any], bounds: SizeBounds, count: int
) -> list[dict[str, Any]]:
    """An architecture and those that differ from it in as few hyperparameters as possible.

    A space's default network is one that somebody found to be good; where bounds exclude it, what
    is best within them is often near it.

    Args:
        space: of the architecture.
        arch: where it starts, within the bounds or not.
        bounds: of those that are returned.
        count: how many, at most.

    Returns:
        By the number of changes, at most :data:`MOST_CHANGES`, and of as many the most parameters
        first: within bounds, what a network can learn is worth more than what it costs.
    """
    start = space.canonical(arch)
    shell, seen = [start], {space.arch_id(start)}
    found: list[dict[str, Any]] = []
    for changes in range(MOST_CHANGES + 1):
        if len(found) >= count:
            break
        if changes:
            shell = [new for old in shell for new in _changed(space, old, seen)]
        if not shell:
            break
        X = np.asarray(space.encode(shell))
        params = space.count_params(X, bounds.in_channels, bounds.out_channels)
        kept = np.flatnonzero(bounds.within(space, X))
        found += [shell[row] for row in sorted(kept, key=lambda row: -params[row])]
    return found[:count]


def _changed(
    space: SearchSpace, arch: Mapping[str, Any], seen: set[str]
) -> Iterator[dict[str, Any]]:
    """Architectures that differ in one hyperparameter and are not in ``seen``, which they join."""
    for hyperparameter in space.hyperparameters:
        for choice in hyperparameter.choices:
            try:
                new = space.canonical({**arch, hyperparameter.name: choice})
            except ArchError:  # others would have to change with it
                continue
            if (name := space.arch_id(new)) not in seen:
                seen.add(name)
                yield new
