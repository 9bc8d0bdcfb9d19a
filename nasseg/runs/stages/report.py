"""Last stage: write ``summary.json`` and ``report.html``."""

from __future__ import annotations

from typing import Any

from nasseg.analog.sampled import PARTS_EACH, REFERENCE, estimate
from nasseg.io import write_json
from nasseg.records.drift import DriftTable
from nasseg.records.folder import Timer
from nasseg.runs.job import Job
from nasseg.statistics import STATES
from nasseg.tasks import get_task


def run(job: Job, timer: Timer) -> None:
    """Write the report of what is done so far."""
    from nasseg.report import write_report

    timer.tick()
    summarise(job)
    write_report(job.folder.path)
    job.folder.finish("report")


def task_name(job: Job) -> str:
    """Name of the task of a run, as the registry takes it."""
    kind, own = job.config.data.kind, job.task_type()
    return kind if type(own) is type(get_task(kind)) else own.name


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
        summary |= {"task": task_name(job)}
        summary |= {"macs": best.macs, "tiles": best.tiles, "monitor": best.monitor or "dice"}
    if job.folder.done("train"):
        summary["digital"] = stages["train"]["metrics"]
        if "passes" in stages["train"]:
            summary["passes"] = stages["train"]["passes"]
    if job.folder.done("drift") and (table := job.chips).rows:
        summary["chips"] = len(table.chips)
        summary["analog"] = table.summary()
        if (parts := job.parts).rows:
            summary |= _sampled(parts)
    write_json(job.folder / "summary.json", summary)
    return summary


def _sampled(parts: DriftTable) -> dict[str, Any]:
    """How far off means over chips may be that were measured on a share of the images each."""
    errors: dict[str, dict[str, dict[str, float]]] = {}
    for (time_s, recalibrated), of_metrics in estimate(parts.to_rows()).errors.items():
        errors.setdefault(f"{time_s:.15g}", {})[dict(STATES)[recalibrated]] = of_metrics
    images = {row.part: row.images or 0 for row in parts if row.chip == REFERENCE}
    everything = images.pop(REFERENCE)
    each = round(PARTS_EACH * everything / len(images))
    return {"images_each": each, "standard_errors": errors}
