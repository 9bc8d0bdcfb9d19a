"""Search for architectures: AnalogNAS's evolution, random search, several runs of either."""

from __future__ import annotations

from nasseg.search._optimizer import Optimizer
from nasseg.search.evolution import EAOptimizer
from nasseg.search.random_search import RandomSearch
from nasseg.search.result import Generation, RunSummary, SearchResult
from nasseg.search.study import search
from nasseg.search.worker import Worker

__all__ = [
    "EAOptimizer",
    "Generation",
    "Optimizer",
    "RandomSearch",
    "RunSummary",
    "SearchResult",
    "Worker",
    "search",
]
