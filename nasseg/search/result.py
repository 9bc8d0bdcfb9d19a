"""What a search returns and records."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Generation:
    """One generation of one run."""

    generation: int
    """0 = the initial population."""
    best: float
    """Highest predicted 1-day metric of the population kept."""
    mean: float
    """Mean over the population kept."""
    queries: int
    """Architectures scored so far, this generation's included."""
    feasible: float
    """Share of this generation's new architectures within the bounds; NaN where none was new."""


@dataclass(frozen=True)
class RunSummary:
    """One evolution of several."""

    arch_id: str
    """Its best architecture."""
    day1: float
    """That architecture's predicted 1-day metric."""
    history: tuple[Generation, ...]
    """Its generations."""


@dataclass(frozen=True)
class SearchResult:
    """The best architecture of all runs, and what it took to find it."""

    space: str
    """Name of the search space."""
    arch: dict[str, Any]
    """The best architecture, canonical."""
    arch_id: str
    """Its hash."""
    scores: dict[str, float]
    """Its predicted and counted scores; NaN where unknown."""
    mean: float
    """Mean over the runs of the best predicted 1-day metric."""
    std: float
    """Standard deviation over the runs; NaN with a single run."""
    seed: int
    """Seed of the search."""
    runs: tuple[RunSummary, ...]
    """Every run."""
    budget: dict[str, Any] = field(default_factory=dict)
    """Settings of the evolution."""
    surrogate: dict[str, Any] = field(default_factory=dict)
    """Size and cross-validated rank correlations of the surrogate, where it tells them."""

    @property
    def history(self) -> tuple[tuple[Generation, ...], ...]:
        """The generations of every run."""
        return tuple(run.history for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON takes it: NaN is None. Holds no times, so equal searches are equal."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
