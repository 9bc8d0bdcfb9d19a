"""Search for architectures: AnalogNAS's evolution, NSGA-II towards a front, random search, and
several runs of them."""

from __future__ import annotations

from nasseg.search._optimizer import Optimizer
from nasseg.search.evolution import EAOptimizer
from nasseg.search.front import FrontRow, front_csv
from nasseg.search.nsga2 import NSGA2Optimizer
from nasseg.search.objectives import Constraint, Objective, parse_constraints, parse_objectives
from nasseg.search.random_search import RandomSearch
from nasseg.search.result import Generation, RunSummary, SearchResult
from nasseg.search.study import search
from nasseg.search.worker import Worker

__all__ = [
    "Constraint",
    "EAOptimizer",
    "FrontRow",
    "Generation",
    "NSGA2Optimizer",
    "Objective",
    "Optimizer",
    "RandomSearch",
    "RunSummary",
    "SearchResult",
    "Worker",
    "front_csv",
    "parse_constraints",
    "parse_objectives",
    "search",
]
