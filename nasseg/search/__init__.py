"""Search for architectures: AnalogNAS's evolution, NSGA-II towards a front, random search, and
several runs of them.

Studies of measured architectures are on Optuna, which is imported with the first of their names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nasseg.search._optimizer import Optimizer
from nasseg.search.evolution import EAOptimizer
from nasseg.search.front import FrontRow, front_csv
from nasseg.search.nsga2 import NSGA2Optimizer
from nasseg.search.objectives import Constraint, Objective, parse_constraints, parse_objectives
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
    "Constraint",
    "EAOptimizer",
    "FrontRow",
    "Generation",
    "MeasuredStudy",
    "NSGA2Optimizer",
    "Objective",
    "Optimizer",
    "RandomSearch",
    "RunSummary",
    "SearchResult",
    "Worker",
    "front_csv",
    "list_samplers",
    "parse_constraints",
    "parse_objectives",
    "register_sampler",
    "search",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
