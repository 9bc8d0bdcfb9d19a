"""Last stage: write ``summary.json`` and ``report.html``."""

from __future__ import annotations

from typing import Any

from nasseg.io import write_json
from nasseg.records.folder import Timer
from nasseg.runs.job import Job


def run(job: Job, timer: Timer) -> None:
    """Write the report of what is done so far."""
    from nasseg.report import write_report

    timer.tick()
    summarise(job)
    write_report(job.folder.path)
    job.folder.finish("report")


def summarise(job: Job) -> dict[str, Any]:
    """Write ``summary.json`` from what is done so far, and return it."""
    stages = job.folder.stages
    summary: dict[str, Any] = {
        "seed": job.config.seed,
        "data": stages.get("data", {}).get("source"),
        "images": stages.get("data", {}).get("images", {}),
        "seconds": job.folder.seconds(),
    }
    if job.folder.done("search"):
        best = job.best
        summary |= {"arch_id": best.arch_id, "params": best.params}
        summary |= {"macs": best.macs, "tiles": best.tiles, "monitor": best.monitor or "dice"}
    if job.folder.done("train"):
        summary["digital"] = stages["train"]["metrics"]
    if job.folder.done("drift") and (table := job.chips).rows:
        summary["chips"] = len(table.chips)
        summary["analog"] = table.summary()
    write_json(job.folder / "summary.json", summary)
    return summary
