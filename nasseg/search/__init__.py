"""Search for architectures: AnalogNAS's evolution, NSGA-II towards a front, random search, and
several runs of them.

Studies of measured architectures are on Optuna, which is imported with the first of their names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nasseg.records.pareto import FrontRow, front_csv
from nasseg.search.objectives import Constraint, Objective, parse_constraints, parse_objectives
from nasseg.search.surrogate.evolution import EAOptimizer
from nasseg.search.surrogate.nsga2 import NSGA2Optimizer
from nasseg.search.surrogate.optimizer import Optimizer
from nasseg.search.surrogate.random_search import RandomSearch
from nasseg.search.surrogate.result import Generation, RunSummary, SearchResult
from nasseg.search.surrogate.search import search
from nasseg.search.surrogate.worker import Worker

if TYPE_CHECKING:
    from nasseg.search.measured.distributions import suggest
    from nasseg.search.measured.sampler import AnalogNASSampler, list_samplers, register_sampler
    from nasseg.search.measured.study import MeasuredStudy

_LAZY = {
    "AnalogNASSampler": "nasseg.search.measured.sampler",
    "MeasuredStudy": "nasseg.search.measured.study",
    "list_samplers": "nasseg.search.measured.sampler",
    "register_sampler": "nasseg.search.measured.sampler",
    "suggest": "nasseg.search.measured.distributions",
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
