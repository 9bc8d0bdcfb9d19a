"""Fourth stage: measure the network on chips that age. Writes ``drift.csv``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import numpy as np
from tqdm import tqdm

from nasseg.analog import memory_noise
from nasseg.analog.ageing import Chips
from nasseg.analog.noise import derive_seed
from nasseg.analog.sampled import PARTS_EACH, REFERENCE, estimate, part_count
from nasseg.io import atomic_write
from nasseg.records.drift import DriftTable
from nasseg.records.folder import Timer
from nasseg.runs.calibration import FILE as CALIBRATION
from nasseg.runs.calibration import keep_calibration
from nasseg.runs.job import Job
from nasseg.runs.panels import panels
from nasseg.statistics import DAY, spread, values_at
from nasseg.training.measure import age, as_of_all_images
from nasseg.training.recipe import SEED_DRIFT

Images = Iterable[Any] | None

LEAST_CHIPS = 5
"""Chips from which on their deviation says how far off their mean is."""


def run(job: Job, timer: Timer) -> None:
    """Measure the chips that are not measured yet, chips of other memories, and the panels."""
    config = job.config.drift
    images = job.recalibration(job.analog_net)
    seed = derive_seed(job.config.seed, SEED_DRIFT)
    loader = job.data.report_loader(job.config.train.batch_size)
    states = len(config.times) * (1 if images is None else 2)
    parts = part_count(config.images, len(job.data.ids[job.data.report_side]))
    if parts:
        table = job.parts.complete(PARTS_EACH * states, parts + 1)
    else:
        table = job.chips.complete(states)
    todo = [chip for chip in range(config.chips) if chip not in table.chips]
    if parts and REFERENCE not in table.chips:
        todo.insert(0, REFERENCE)
    precise = _precision(job, table.to_rows())
    measuring = age(
        job.analog_net, loader, job.task, times=config.times, chips=todo, images=images, seed=seed,
        images_each=config.images,
    )  # fmt: skip
    with (
        closing(measuring),
        tqdm(
            desc="drift",
            unit="chip",
            total=config.chips,
            initial=len(table.chips - {REFERENCE}),
            disable=not job.progress,
        ) as bar,
    ):
        while precise is None and (rows := next(measuring, None)) is not None:
            table += rows
            if parts:
                table.write(job.folder / "drift_parts.csv")
            if rows[0]["chip"] != REFERENCE:
                chips = DriftTable.of(as_of_all_images(table.to_rows())) if parts else table
                chips.write(job.folder / "drift.csv")
                bar.set_postfix({job.task.monitor: f"{rows[-1][job.task.monitor]:.4f}"})
                bar.update()
            precise = _precision(job, table.to_rows())
            timer.tick()
    _sweep(job, loader, images, seed, timer)
    _panels(job, images, seed)
    if not (job.folder / CALIBRATION).exists():
        keep_calibration(job.folder.path, images)
    job.folder.finish("drift", precision=precise)


def _precision(job: Job, rows: list[dict[str, Any]]) -> float | None:
    """The standard error of the mean over chips, where it is as small as was asked for."""
    asked = job.config.drift.precision
    chips = {row["chip"] for row in rows} - {REFERENCE}
    if not asked or len(chips) < LEAST_CHIPS:
        return None
    metric = job.task_type().ranking or job.task.monitor
    if "part" in rows[0]:
        errors = [errors[metric] for errors in estimate(rows).errors.values()]
    else:
        states = {(row["time_s"], row["recalibrated"]) for row in rows}
        values = [
            values_at(rows, metric, time_s=time_s, recalibrated=recalibrated)
            for time_s, recalibrated in states
        ]
        errors = [spread(found).std / math.sqrt(len(found)) for found in values]
    return max(errors) if max(errors) <= asked else None


def _sweep(job: Job, loader: Iterable[Any], images: Images, seed: int, timer: Timer) -> None:
    """Measure chips of memories with less and with more noise, a day old: ``sweep.csv``."""
    config, net = job.config.drift, job.analog_net
    scales = config.noise_scales if job.spec.memory != "ideal" and config.sweep_chips else ()
    path = job.folder / "sweep.csv"
    table = DriftTable.read(path, missing_ok=True)
    todo = [s for s in scales if not any(row.noise_scale == s for row in table)]
    chips = (REFERENCE, *range(config.sweep_chips))
    for scale in tqdm(todo, desc="noise scales", disable=not job.progress or not todo):
        measured = []
        with memory_noise(net, job.spec, scale):
            for rows in age(
                net, loader, job.task, times=(DAY,), chips=chips, images=images, seed=seed,
                images_each=config.images,
            ):  # fmt: skip
                measured += rows
                timer.tick()
        table += [{"noise_scale": scale, **row} for row in as_of_all_images(measured)]
        table.write(path)


def _panels(job: Job, images: Images, seed: int) -> None:
    """Keep what the digital network and the first chip, a day old, predict of a few images."""
    train = job.config.train
    kind = job.task_type(job.data.kind)
    kept, ask = panels(job.data, kind, train.batch_size, job.device, train.tta)
    with Chips(job.analog_net, seed, images) as chips:
        chips.program(0)
        chips.drift(DAY)
        chips.recalibrate()
        analog = ask(job.analog_net.eval())
    arrays = {**kept, "digital": ask(job.digital), "analog_1day": analog}
    atomic_write(job.folder / "panels.npz", lambda handle: np.savez_compressed(handle, **arrays))
