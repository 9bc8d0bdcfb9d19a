"""What a shipped surrogate would measure first."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasseg.errors import ConfigError
from nasseg.evaluators import load_surrogate
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search_spaces import SearchSpace

DRAWN = 4096
"""Architectures that are drawn, of which the surrogate names the best."""
SHARE = 0.25
"""Of the candidates of a first rung, those that a surrogate proposes at most: what it knows is of
other images."""


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
