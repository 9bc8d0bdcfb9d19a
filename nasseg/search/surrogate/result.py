"""What a search returns and records."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from nasseg.records.pareto import FrontRow


@dataclass(frozen=True)
class Generation:
    """One generation of one run."""

    generation: int
    """0 = the initial population."""
    best: float
    """Highest predicted 1-day metric of the population kept; with objectives of one's own, the
    best of the first one over what is feasible, NaN where nothing is."""
    mean: float
    """Mean over the population kept."""
    queries: int
    """Architectures scored so far, this generation's included."""
    feasible: float
    """Share of this generation's new architectures within the bounds; NaN where none was new."""
    hypervolume: float = math.nan
    """With several objectives: hypervolume of all feasible architectures scored so far, in units
    of the box that the first feasible population spans; its worst corner is the reference."""


@dataclass(frozen=True)
class RunSummary:
    """One evolution of several."""

    arch_id: str
    """Its best architecture."""
    day1: float
    """That architecture's predicted 1-day metric; NaN where nobody predicts it."""
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
    """Mean over the runs of the best predicted 1-day metric, or of the best first objective."""
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
    interval: dict[str, Any] = field(default_factory=dict)
    """``low`` and ``high`` end of what is to hold the 1-day metric of an architecture in ``share``
    of all cases, the share that was ``held`` in cross-validation, and whether this one lies
    ``outside`` the surrogate's table; empty where the surrogate cannot say."""

    objectives: tuple[str, ...] = ()
    """Objectives of one's own, as in ``maximize day1``; none = AnalogNAS's."""
    constraints: tuple[str, ...] = ()
    """Constraints of one's own, as in ``params < 1000000``."""
    reference: dict[str, float] = field(default_factory=dict)
    """Reference point of the hypervolumes, a value for each objective: the worst values of the
    first feasible population of the first run."""
    front: tuple[FrontRow, ...] = ()
    """With several objectives: what the runs kept, ranked; the front has rank 0."""

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
