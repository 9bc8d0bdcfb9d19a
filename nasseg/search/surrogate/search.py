"""The search as a run does it: from a configuration to a :class:`SearchResult`."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nasseg.config import SearchConfig, setting_facts
from nasseg.errors import ConfigError
from nasseg.evaluators.cost import CostEvaluator
from nasseg.search.objectives import Constraint, goals_of
from nasseg.search.surrogate.evolution import EAOptimizer
from nasseg.search.surrogate.front import merge_runs
from nasseg.search.surrogate.nsga2 import NSGA2Optimizer
from nasseg.search.surrogate.optimizer import Optimizer
from nasseg.search.surrogate.random_search import RandomSearch
from nasseg.search.surrogate.result import RunSummary, SearchResult
from nasseg.search.surrogate.worker import Worker

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

logger = logging.getLogger(__name__)


def search(
    space: SearchSpace,
    surrogate: Any,
    config: SearchConfig | None = None,
    seed: int = 0,
    progress: bool = True,
    *,
    in_channels: int = 3,
    out_channels: int = 1,
    cost: CostEvaluator | None = None,
) -> SearchResult:
    """Run ``config.runs`` evolutions and return the best architecture with mean and spread.

    With ``config.strategy`` "random" each of them is as many random architectures instead.

    With objectives or constraints in ``config`` the evolution is
    :class:`~nasseg.search.NSGA2Optimizer`, and the architecture returned is the one that
    ``config.pick`` says of the front of all runs together.

    Args:
        space: The search space.
        surrogate: An evaluator of that space.
        config: Population, generations, runs and bounds; none = the defaults.
        seed: Seed of all runs; same seed, same result.
        progress: Show a bar for every run, where standard error is a terminal.
        in_channels: Image channels of the networks whose parameters are counted.
        out_channels: Output channels of these networks.
        cost: Counts what the surrogate does not know of objectives, constraints and the front;
            none = one for these channels.

    Raises:
        ConfigError: the surrogate is not of this space, nothing within the bounds was found, or
            an objective or a constraint is over a column that nobody knows.
    """
    config = config or SearchConfig()
    objectives, constraints = goals_of(config)
    settings: dict[str, Any] = {
        "nb_iter": config.nb_iter,
        "population_size": config.population_size,
        "max_nb_param": None if config.max_params is None else config.max_params / 1e6,
        "T_AVM": config.max_avm,
        "seed": seed,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "progress": progress,
        "max_macs_per_pixel": config.max_macs_per_pixel,
    }
    check_strategy(space, config)
    if config.strategy == "darts":
        raise ConfigError(
            "search.strategy is 'darts', which learns from images, not from a surrogate: call "
            "nasseg.search.darts.search.search_darts; allowed here: evolution, random"
        )
    if objectives:
        _say_tighter_bounds(config, constraints)
        cost = cost or CostEvaluator(space, in_channels, out_channels)
        nsga2 = NSGA2Optimizer(
            surrogate, objectives, constraints, pick=config.pick, cost=cost, **settings
        )
        return _search_front(space, nsga2, config, cost)
    make: type[Optimizer] = RandomSearch if config.strategy == "random" else EAOptimizer
    optimizer = make(surrogate, **settings)
    worker = Worker(space, optimizer=optimizer, runs=config.runs)
    worker.search()
    arch = space.canonical(worker.best_config or {})
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
        budget=_budget(config),
        surrogate=_surrogate(surrogate),
        interval=_interval(surrogate, arch),
    )


def check_strategy(space: SearchSpace, config: SearchConfig) -> None:
    """Refuse a strategy that cannot do what else is asked for, before anything takes long.

    Raises:
        ConfigError: measuring, objectives or a space that the strategy is not for.
    """
    if config.strategy == "evolution":
        return
    if config.strategy == "darts":
        from nasseg.search.darts.search import check_darts

        check_darts(space, config)
        plain = SearchConfig()
        for key in ("sampler", "stop_gain", "storage") if config.measure else ():
            # Nor a storage: another folder's supernet would propose others to the same study.
            if getattr(config, key) != getattr(plain, key):
                raise ConfigError(
                    f"search.{key} is {getattr(config, key)!r}, but search.strategy is 'darts', "
                    "which proposes what is measured; allowed: the default, "
                    f"{getattr(plain, key)!r}"
                )
        return
    if config.measure:
        raise ConfigError(
            f"search.strategy is {config.strategy!r}, but search.measure is {config.measure}: "
            "search.sampler proposes what is measured; allowed with it: evolution, the default, "
            "and darts"
        )
    asked = (*config.maximize, *config.minimize, *config.constraints)
    if asked:
        raise ConfigError(
            f"search.strategy is 'random', but objectives or constraints ({', '.join(asked)}) are "
            "given, which are for NSGA-II; allowed with them: evolution"
        )


def _search_front(
    space: SearchSpace, optimizer: NSGA2Optimizer, config: SearchConfig, cost: CostEvaluator
) -> SearchResult:
    """Several runs towards a front, and the architecture that is taken of it."""
    first = optimizer.objectives[0]
    runs, values, found = [], [], []
    for run in range(config.runs):
        arch, _ = optimizer.run(space)
        scores = optimizer.front_scores.take([optimizer.front.index(arch)]).rows()[0]
        # The front is sorted, so its first row is the best in the first objective.
        values.append(float(optimizer.front_scores.column(first.name)[0]))
        runs.append(RunSummary(space.arch_id(arch), scores["day1"], optimizer.history))
        if optimizer.found is not None:
            found.append(optimizer.found)
        size = len(optimizer.front)
        logger.info("run %d of %d: front of %d architectures", run + 1, config.runs, size)
    rows, taken = merge_runs(space, found, cost, config.pick)
    reference = {}
    if optimizer.box is not None:
        reference = {
            objective.name: objective.sign * float(value)
            for objective, value in zip(optimizer.objectives, optimizer.box.reference, strict=True)
        }
    return SearchResult(
        space=space.name,
        arch=rows[taken].arch,
        arch_id=rows[taken].arch_id,
        scores=rows[taken].scores,
        mean=float(np.mean(values)),
        std=float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        seed=optimizer.seed,
        runs=tuple(runs),
        budget=_budget(config),
        surrogate=_surrogate(optimizer.surrogate),
        interval=_interval(optimizer.surrogate, rows[taken].arch),
        objectives=tuple(map(str, optimizer.objectives)),
        constraints=tuple(map(str, optimizer.constraints)),
        reference=reference,
        front=rows if len(optimizer.objectives) > 1 else (),
    )


def _interval(surrogate: Any, arch: dict[str, Any]) -> dict[str, Any]:
    """What a surrogate says of its own prediction, where it says anything."""
    if not hasattr(surrogate, "predict_day1"):
        return {}
    said = surrogate.predict_day1([arch])
    # Around the head's prediction, which is the one that is shown; the width is the ensemble's.
    middle = float(surrogate.evaluate([arch]).day1[0])
    low, high = (middle + end - said.mean for end in said.interval(0.9))
    outside = bool(said.outside[0])
    held = surrogate.schema.get("uncertainty", {}).get("coverage")
    if outside:
        logger.warning(
            "the architecture found is farther from those that the surrogate was fitted to than "
            "they are from each other: its prediction is a guess"
        )
    return {
        "low": float(low[0]),
        "high": float(high[0]),
        "share": 0.9,
        "outside": outside,
        "held": held,
    }


def _say_tighter_bounds(config: SearchConfig, constraints: Sequence[Constraint]) -> None:
    """Bounds hold beside constraints; one that is the tighter of the two may be forgotten."""
    bounds = {"params": ("max_params", config.max_params), "avm": ("max_avm", config.max_avm)}
    for constraint in constraints:
        setting, bound = bounds.get(constraint.name, ("", None))
        if bound is not None and constraint.op.startswith("<") and bound < constraint.value:
            logger.warning(
                "search.%s is %s and holds beside %s; --search.%s none lifts it",
                setting,
                f"{bound:,}",
                constraint,
                setting,
            )


def _budget(config: SearchConfig) -> dict[str, Any]:
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if setting_facts(field).budget
    }


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
        "metric": schema.get("metric"),
        **({"images": schema["images"]} if schema.get("images") else {}),
    }
