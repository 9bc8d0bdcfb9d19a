"""Fourth stage: measure the network on chips that age. Writes ``drift.csv``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from tqdm import tqdm

from nasseg.analog import memory_noise
from nasseg.analog.ageing import Chips
from nasseg.analog.noise import derive_seed
from nasseg.io import atomic_write
from nasseg.records.drift import DriftTable
from nasseg.records.folder import Timer
from nasseg.runs.calibration import FILE as CALIBRATION
from nasseg.runs.calibration import keep_calibration
from nasseg.runs.job import Job
from nasseg.runs.panels import panels
from nasseg.statistics import DAY
from nasseg.training.measure import age
from nasseg.training.recipe import SEED_DRIFT

Images = Iterable[Any] | None


def run(job: Job, timer: Timer) -> None:
    """Measure the chips that are not measured yet, chips of other memories, and the panels."""
    config = job.config.drift
    images = job.recalibration(job.analog_net)
    seed = derive_seed(job.config.seed, SEED_DRIFT)
    loader = job.data.report_loader(job.config.train.batch_size)
    table = job.chips.complete(len(config.times) * (1 if images is None else 2))
    todo = [chip for chip in range(config.chips) if chip not in table.chips]
    bar = tqdm(
        age(
            job.analog_net, loader, job.task, times=config.times, chips=todo, images=images,
            seed=seed,
        ),
        desc="drift",
        unit="chip",
        total=config.chips,
        initial=config.chips - len(todo),
        disable=not job.progress,
    )  # fmt: skip
    for rows in bar:
        table += rows
        table.write(job.folder / "drift.csv")
        timer.tick()
        bar.set_postfix({job.task.monitor: f"{rows[-1][job.task.monitor]:.4f}"})
    _sweep(job, loader, images, seed, timer)
    _panels(job, images, seed)
    if not (job.folder / CALIBRATION).exists():
        keep_calibration(job.folder.path, images)
    job.folder.finish("drift")


def _sweep(job: Job, loader: Iterable[Any], images: Images, seed: int, timer: Timer) -> None:
    """Measure chips of memories with less and with more noise, a day old: ``sweep.csv``."""
    config, net = job.config.drift, job.analog_net
    scales = config.noise_scales if job.spec.memory != "ideal" and config.sweep_chips else ()
    path = job.folder / "sweep.csv"
    table = DriftTable.read(path, missing_ok=True)
    todo = [s for s in scales if not any(row.noise_scale == s for row in table)]
    for scale in tqdm(todo, desc="noise scales", disable=not job.progress or not todo):
        with memory_noise(net, job.spec, scale):
            chips = range(config.sweep_chips)
            for rows in age(
                net, loader, job.task, times=(DAY,), chips=chips, images=images, seed=seed
            ):
                table += [{"noise_scale": scale, **row} for row in rows]
                timer.tick()
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
