"""The search within a budget of a run: begun, shared out, and what it found."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasseg.config import DataConfig, RunConfig
from nasseg.data import load_data
from nasseg.errors import RunError
from nasseg.io import write_csv, write_text
from nasseg.records.pareto import FrontRow, front_csv
from nasseg.records.stopping import terminable
from nasseg.search.objectives import Objective
from nasseg.search.pareto import crowding_distances, nondominated_ranks, pick_row
from nasseg.search_spaces import SearchSpace
from nasseg.studies.budget import FOLDER, SCORE, BudgetSearch
from nasseg.studies.joint import COUNTED, divided
from nasseg.studies.rungs import goals_of, ranked
from nasseg.studies.workers import run_processes, worker_places
from nasseg.text import number

if TYPE_CHECKING:
    from nasseg.data import Data

log = logging.getLogger(__name__)


def budget_search(
    config: RunConfig,
    progress: bool = True,
    load: Callable[[DataConfig], Data] = load_data,
) -> dict[str, Any]:
    """Search within ``config.search.budget``, with whoever else works on the study.

    Args:
        config: of the run.
        progress: show a bar.
        load: loads the images.

    Returns:
        What was found, as ``best.json`` holds it.

    Raises:
        RunError: the study has other settings, or nothing could be measured.
        ConfigError: a setting that is not possible.
    """
    search = BudgetSearch(config, load)
    search.open()
    search.announce()
    workers = config.search.workers
    if workers == 1:
        found = search.work(progress)
    else:
        places = worker_places(workers, config.device, config.threads)
        own = [
            dataclasses.replace(
                config,
                device=place.device,
                threads=place.threads,
                search=dataclasses.replace(config.search, workers=1),
            )
            for place in places
        ]
        with terminable(), search.bar(progress) as bar:
            ends = run_processes("run", own, places, lambda: search.watch(bar))
            found = search.watch(bar)
        complete = len(found) == len(search.plan.rungs) and len(found[-1])
        if any(ends) and not complete:
            raise RunError(
                f"the workers ended (exit statuses {', '.join(map(str, ends))}) before the search "
                "was done; the same command continues"
            )
    result = _result(search, found)
    log.info("search: %s", result["why"])
    if len(search.objectives) > 1:
        front = front_rows(found[-1], search.objectives, search.space)
        write_text(Path(config.out) / "pareto.csv", front_csv(front))
    write_csv(
        Path(config.out) / "search.csv",
        [{"rung": place + 1, **row} for place, rows in enumerate(found) for row in rows],
    )
    shutil.rmtree(Path(config.out) / FOLDER, ignore_errors=True)
    return result


def why_taken(
    metric: str, default: str, rungs: list[list[dict[str, Any]]], best: Mapping[str, Any]
) -> str:
    """Say in a sentence why an architecture was taken.

    Args:
        metric: that the score is.
        default: ``arch_id`` of the network that the space has by default.
        rungs: rows of the candidates of each rung.
        best: row of the one that is taken.
    """
    others = [row for row in rungs[-1] if row["arch_id"] != best["arch_id"]]
    state = "after a day on chips"
    words = [
        f"{best['arch_id']} is taken: {metric} {number(best[SCORE], 4)} {state} "
        f"({best['params']:,.0f} parameters, {best['energy_uj']:,.0f} uJ)"
    ]
    if others:
        top = max(float(row[SCORE]) for row in others)
        words.append(f"{number(top, 4)} the best other one of {len(rungs[-1])} put onto chips")
    for rows in reversed(rungs):
        scores = {row["arch_id"]: row[SCORE] for row in rows}
        if default in scores and default != best["arch_id"]:
            after = state if rows is rungs[-1] else f"after {rows[0]['epochs']} epochs"
            words.append(
                f"{number(scores[default], 4)} {after} the network that the space has by default, "
                f"{number(scores[best['arch_id']], 4)} this one"
            )
            break
    return f"{'; '.join(words)}; of {len(rungs[0])} candidates"


def front_rows(
    rows: Sequence[Mapping[str, Any]], objectives: Sequence[Objective], space: SearchSpace
) -> list[FrontRow]:
    """Candidates of the last rung as ``pareto.csv`` has them: by rank, then the best in the first
    objective first."""
    F = goals_of(rows, objectives)
    ranks = nondominated_ranks(F)
    crowding = crowding_distances(F, ranks)
    order = np.lexsort((*F.T[::-1], ranks))
    first = [int(i) for i in order if ranks[i] == 0]
    knee = first[pick_row(F[first], "knee")]
    return [
        FrontRow(
            arch_id=str(rows[i]["arch_id"]),
            rank=int(ranks[i]),
            crowding=float(crowding[i]),
            knee=i == knee,
            scores={name: float(rows[i][name]) for name in (SCORE, *COUNTED)},
            arch=space.from_json(str(rows[i]["arch"])),
        )
        for i in map(int, order)
    ]


def _taken(search: BudgetSearch, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The candidate of the last rung that is trained: the best, or with several objectives what
    ``search.pick`` says of the front."""
    if len(search.objectives) == 1:
        return ranked(rows, search.objectives)[0]
    front = front_rows(rows, search.objectives, search.space)
    best = search.config.search.pick == "best"
    name = next(row.arch_id for row in front if best or row.knee)
    return next(row for row in rows if row["arch_id"] == name)


def _goals(search: BudgetSearch, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several objectives, what ``pareto.csv`` is read with."""
    if len(search.objectives) == 1:
        return {}
    worst = goals_of(rows, search.objectives).max(axis=0)
    return {
        "objectives": [str(objective) for objective in search.objectives],
        "constraints": [str(constraint) for constraint in search.bounds.constraints],
        "reference": {
            o.name: o.sign * float(value) for o, value in zip(search.objectives, worst, strict=True)
        },
        "pick": search.config.search.pick,
    }


def _result(search: BudgetSearch, found: list[list[dict[str, Any]]]) -> dict[str, Any]:
    best = _taken(search, found[-1])
    config = search.config
    history = [
        {
            "run": 0,
            "generation": place,
            "best": max(float(row[SCORE]) for row in rows),
            "mean": sum(float(row[SCORE]) for row in rows) / len(rows),
            "queries": sum(map(len, found[: place + 1])),
            "feasible": 1.0,
        }
        for place, rows in enumerate(found)
    ]
    default = search.space.arch_id(search.space.default())
    network, chosen = divided(search.space.from_json(str(best["arch"])), search.joined)
    return {
        "arch": search.networks.canonical(network),
        **({"settings": chosen} if chosen else {}),
        "why": why_taken(search.metric, default, found, best),
        **_goals(search, found[-1]),
        "measured": {
            "day1": best[SCORE],
            **{k: v for k, v in best.items() if k not in ("arch_id", "arch", SCORE)},
        },
        "budget": {
            "budget": config.search.budget,
            "plan": str(search.plan),
            "sampler": config.search.sampler,
            "holdout": config.search.holdout,
            "constraints": [str(constraint) for constraint in search.bounds.constraints],
            "seconds": round(sum(float(row["seconds"]) for rows in found for row in rows), 1),
        },
        "rungs": search.plan.to_dict()["rungs"],
        "candidates": [
            {
                "arch_id": first["arch_id"],
                "scores": [
                    row[SCORE]
                    for rows in found
                    for row in rows
                    if row["arch_id"] == first["arch_id"]
                ],
            }
            for first in found[0]
        ],
        "runs": {
            "count": 1,
            "mean": best[SCORE],
            "std": None,
            "best": [[best["arch_id"], best[SCORE]]],
        },
        "history": history,
    }
