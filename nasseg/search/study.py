"""The search as a run does it: from a configuration to a :class:`SearchResult`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from nasseg.config import SearchConfig
from nasseg.evaluators.cost import CostEvaluator
from nasseg.search.evolution import EAOptimizer
from nasseg.search.result import RunSummary, SearchResult
from nasseg.search.worker import Worker

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

BUDGET_KEYS = (
    "population_size",
    "nb_iter",
    "runs",
    "max_params",
    "max_macs_per_pixel",
    "max_avm",
)


def search(
    space: SearchSpace,
    surrogate: Any,
    config: SearchConfig | None = None,
    seed: int = 0,
    progress: bool = True,
    *,
    in_channels: int = 3,
    out_channels: int = 1,
) -> SearchResult:
    """Run ``config.runs`` evolutions and return the best architecture with mean and spread.

    Args:
        space: The search space.
        surrogate: An evaluator of that space.
        config: Population, generations, runs and bounds; none = the defaults.
        seed: Seed of all runs; same seed, same result.
        progress: Show a bar for every run, where standard error is a terminal.
        in_channels: Image channels of the networks whose parameters are counted.
        out_channels: Output channels of these networks.

    Raises:
        ConfigError: the surrogate is not of this space, or nothing within the bounds was found.
    """
    config = config or SearchConfig()
    optimizer = EAOptimizer(
        surrogate,
        nb_iter=config.nb_iter,
        population_size=config.population_size,
        max_nb_param=None if config.max_params is None else config.max_params / 1e6,
        T_AVM=config.max_avm,
        seed=seed,
        in_channels=in_channels,
        out_channels=out_channels,
        progress=progress,
        max_macs_per_pixel=config.max_macs_per_pixel,
    )
    worker = Worker(space, optimizer=optimizer, runs=config.runs)
    worker.search()
    arch = space.canonical(worker.best_config or {})
    settings = dataclasses.asdict(config)
    return SearchResult(
        space=space.name,
        arch=arch,
        arch_id=space.arch_id(arch),
        scores=_scores(space, surrogate, arch, in_channels, out_channels),
        mean=worker.mean_acc,
        std=worker.std,
        seed=seed,
        runs=tuple(
            RunSummary(space.arch_id(best), score, history)
            for (best, score), history in zip(worker.results, worker.histories, strict=True)
        ),
        budget={key: settings[key] for key in BUDGET_KEYS},
        surrogate=_surrogate(surrogate),
    )


def _scores(
    space: SearchSpace,
    surrogate: Any,
    arch: dict[str, Any],
    in_channels: int,
    out_channels: int,
) -> dict[str, float]:
    counted = CostEvaluator(space, in_channels, out_channels).evaluate([arch])
    if not hasattr(surrogate, "evaluate"):
        day1, avm = surrogate.query_pop([[arch]])
        return {**counted.rows()[0], "day1": float(day1[0]), "avm": float(avm[0])}
    scores: dict[str, float] = surrogate.evaluate([arch]).rows()[0]
    return {**scores, "params": float(counted.params[0]), "tiles": float(counted.tiles[0])}


def _surrogate(surrogate: Any) -> dict[str, Any]:
    schema = getattr(surrogate, "schema", None)
    if not schema:
        return {}
    return {
        "n": schema["n"],
        "tau": {name: entry["tau_mean"] for name, entry in schema["targets"].items()},
        "table": schema.get("table"),
    }
