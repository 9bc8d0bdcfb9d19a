"""A run, stage after stage: search, train, analog, drift, report; each continued where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nasseg.analog.noise import derive_seed
from nasseg.analog.plan import plan_refresh
from nasseg.config import RunConfig
from nasseg.data import Arrays
from nasseg.errors import ConfigError, RunError
from nasseg.io import write_json
from nasseg.records.drift import DriftTable
from nasseg.records.folder import RunFolder, Timer, as_begun
from nasseg.records.stages import STAGES
from nasseg.runs.checks import check_settings, is_measured
from nasseg.runs.job import Job
from nasseg.runs.stages import analog, drift, report, search, train
from nasseg.studies.label import draw_architectures, label
from nasseg.training.checkpoint import remove_checkpoint
from nasseg.training.device import set_threads
from nasseg.training.recipe import SEED_PLAN, drift_metrics

__all__ = ["STAGES", "draw_architectures", "label", "plan", "read_drift", "run"]

_STAGES: dict[str, Callable[[Job, Timer], None]] = dict(
    zip(STAGES, (search.run, train.run, analog.run, drift.run, report.run), strict=True)
)
CHIPS = "drift.chips"
"""A setting that may change: chips are added, and none that was measured is thrown away."""


def run(
    config: RunConfig,
    stages: Sequence[str] | None = None,
    progress: bool = True,
    arrays: Arrays | None = None,
) -> dict[str, Any]:
    """Run the stages of a run folder that are not done yet.

    Args:
        config: everything about the run; ``config.out`` is its folder.
        stages: which stages; None: all. A stage needs those before it.
        progress: show bars.
        arrays: images and labels in memory, with ``data.source`` set to ``arrays``.

    Returns:
        The content of ``summary.json``.

    Raises:
        ConfigError: an unknown stage or a setting that is not possible here.
        RunError: the folder holds another run, is in use, or is damaged.
        DataError: the images cannot be used.
    """
    chosen = tuple(STAGES if stages is None else stages)
    unknown = [stage for stage in chosen if stage not in STAGES]
    if unknown:
        raise ConfigError(f"stages has {unknown[0]!r}; allowed: {', '.join(STAGES)}")
    set_threads(config.threads)
    config = as_begun(config)
    check_settings(config, in_memory=arrays is not None)
    folder = RunFolder(config)
    job = Job(config, folder, progress, arrays)
    measuring = is_measured(config)
    if measuring and "search" in chosen and not folder.done("search"):
        search.measure(job)
    # Workers of a measured search find the stage done by the first of them.
    with folder.locked(wait=measuring and chosen == ("search",), tell=True):
        _tidy(job)
        if "drift" in chosen:
            _ask_for_chips(job)
        for stage, run_stage in _STAGES.items():
            if stage in chosen and not (job.done(stage) and stage != "report"):
                with folder.timed(stage) as timer:
                    run_stage(job, timer)
        if "drift" in chosen and "report" in folder.stages and not folder.done("report"):
            # Where there is a report, it is of all chips.
            with folder.timed("report") as timer:
                report.run(job, timer)
        return report.summarise(job)


def _tidy(job: Job) -> None:
    """Remove checkpoints of finished stages; look at images that have moved."""
    folder, path = job.folder, job.config.data.path
    for name in ("search", "train", "analog"):
        if folder.done(name):
            remove_checkpoint(folder / f"{name}.ckpt")
    if "data" in folder.stages and path != folder.remembered("data.path"):
        # They are checked whether a stage needs them or not.
        _ = job.data
        folder.remember("data.path", path)


def _ask_for_chips(job: Job) -> None:
    """Remember how many chips are wanted; a report of fewer is no longer finished."""
    job.folder.remember(CHIPS, max(job.config.drift.chips, len(job.chips.chips)))
    if "report" in job.folder.stages and not job.done("drift"):
        job.folder.note("report", done=False)


def read_drift(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's ``drift.csv``: chip, time, recalibrated and metrics."""
    return DriftTable.read(run / "drift.csv", missing_ok=True).to_rows()


def plan(
    config: RunConfig,
    *,
    min_value: float,
    share: float = 0.95,
    chips: int = 10,
    progress: bool = True,
) -> dict[str, Any]:
    """When to refresh the chips of a finished run; ``plan.json`` of its folder, and returned.

    Args:
        config: of the run.
        min_value: of the task's metric, such as the Dice.
        share: of the chips that must stay above it.
        chips: chips simulated; other ones than those of the drift stage.
        progress: show a bar.

    Raises:
        RunError: the run has no analog network yet.
    """
    set_threads(config.threads)
    folder = RunFolder(config)
    with folder.locked():
        if not folder.done("analog"):
            raise RunError(f"{folder.path} has no analog network; run the analog stage first")
        job = Job(config, folder, progress)
        found = plan_refresh(
            job.analog_net,
            job.data.val_loader(config.train.batch_size),
            drift_metrics(job.task),
            min_value=min_value,
            share=share,
            chips=chips,
            name=job.task.monitor,
            recalibrate_with=job.recalibration(job.analog_net),
            seed=derive_seed(config.seed, SEED_PLAN),
            progress=progress,
        ).to_dict()
        found = {"metric": job.task.monitor, **found}
        write_json(folder / "plan.json", found)
    return found
