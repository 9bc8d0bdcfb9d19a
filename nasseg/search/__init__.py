"""Search for architectures: AnalogNAS's evolution, random search, several runs of either.

Studies of measured architectures are on Optuna, which is imported with the first of their names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nasseg.search._optimizer import Optimizer
from nasseg.search.evolution import EAOptimizer
from nasseg.search.random_search import RandomSearch
from nasseg.search.result import Generation, RunSummary, SearchResult
from nasseg.search.study import search
from nasseg.search.worker import Worker

if TYPE_CHECKING:
    from nasseg.search.distributions import suggest
    from nasseg.search.measured import MeasuredStudy
    from nasseg.search.sampler import AnalogNASSampler, list_samplers, register_sampler

_LAZY = {
    "AnalogNASSampler": "nasseg.search.sampler",
    "MeasuredStudy": "nasseg.search.measured",
    "list_samplers": "nasseg.search.sampler",
    "register_sampler": "nasseg.search.sampler",
    "suggest": "nasseg.search.distributions",
}

__all__ = [
    "AnalogNASSampler",
    "EAOptimizer",
    "Generation",
    "MeasuredStudy",
    "Optimizer",
    "RandomSearch",
    "RunSummary",
    "SearchResult",
    "Worker",
    "list_samplers",
    "register_sampler",
    "search",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
