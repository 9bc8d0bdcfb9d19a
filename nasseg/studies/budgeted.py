"""The search within a budget of a run: begun, shared out, and what it found."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasseg.config import DataConfig, RunConfig
from nasseg.data import load_data
from nasseg.errors import RunError
from nasseg.io import write_csv
from nasseg.stopping import terminable
from nasseg.studies.budget import FOLDER, SCORE, BudgetSearch
from nasseg.studies.joint import divided
from nasseg.studies.rungs import ranked
from nasseg.studies.workers import run_processes, worker_places

if TYPE_CHECKING:
    from nasseg.data import Data


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
    write_csv(
        Path(config.out) / "search.csv",
        [{"rung": place + 1, **row} for place, rows in enumerate(found) for row in rows],
    )
    shutil.rmtree(Path(config.out) / FOLDER, ignore_errors=True)
    return result


def _result(search: BudgetSearch, found: list[list[dict[str, Any]]]) -> dict[str, Any]:
    best = ranked(found[-1], search.objectives)[0]
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
    network, chosen = divided(search.space.from_json(str(best["arch"])), search.joined)
    return {
        "arch": search.networks.canonical(network),
        **({"settings": chosen} if chosen else {}),
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
