"""Workers of a study: in this process, or in others that are started and ended here."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import yaml
from tqdm import tqdm

from nasseg._registry import plugin_environment
from nasseg.config import LabelConfig, to_dict
from nasseg.errors import RunError
from nasseg.records.stopping import terminable
from nasseg.search.measured.study import MeasuredStudy
from nasseg.studies.study import measured_by

if TYPE_CHECKING:
    from nasseg.data import Data

log = logging.getLogger(__name__)

WORKER_POLL = 1.0
"""Seconds between looks at the workers that were started here."""


def run_workers(
    study: MeasuredStudy,
    config: LabelConfig,
    data: Data,
    export: Callable[[], object],
    progress: bool,
) -> None:
    """Work on a study until ``config.count`` architectures are done: here, or in processes.

    Args:
        study: opened.
        config: with ``count``, ``sampler`` and ``workers``.
        data: images, for a worker in this process.
        export: called whenever an architecture was finished.
        progress: show a bar.

    Raises:
        RunError: the processes ended before the study was done.
    """
    if config.workers == 1:
        one = measured_by(config, study.space, data)
        study.work(
            one,
            config.count,
            config.sampler,
            stop_gain=config.stop_gain,
            on_finished=export,
            progress=progress,
        )
        return
    with (
        terminable(),
        tqdm(total=config.count, desc="measured", unit="arch", disable=not progress) as bar,
    ):
        before = -1

        def look() -> None:
            nonlocal before
            study.show(bar, study.goal(config.count, config.stop_gain))
            if bar.n != before:
                before = bar.n
                export()

        places = worker_places(config.workers, config.device, config.threads)
        own = [
            dataclasses.replace(config, workers=1, device=place.device, threads=place.threads)
            for place in places
        ]
        ends = run_processes("label", own, places, look)
    goal = study.goal(config.count, config.stop_gain)
    done = study.finished(goal)
    if done < goal:
        raise RunError(
            f"the workers ended (exit statuses {', '.join(map(str, ends))}) with {done} of "
            f"{goal} architectures done; the same command continues"
        )


def run_processes(
    kind: str, configs: Sequence[Any], places: Sequence[Place], look: Callable[[], object]
) -> list[int]:
    """Start workers, wait until all have ended, and end those that are left where it fails.

    Args:
        kind: of the settings, ``label`` or ``run``.
        configs: settings of each worker.
        places: where each computes.
        look: called every second, and once they have ended.

    Returns:
        Their exit statuses; those that are not 0 are warned of.
    """
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for config, place in zip(configs, places, strict=True):
            workers.append(_start(kind, config, place))
        while any(worker.poll() is None for worker in workers):
            look()
            time.sleep(WORKER_POLL)
        look()
    finally:
        _stop(workers)
    ends = [worker.returncode for worker in workers]
    if any(ends):
        log.warning("workers ended with the exit statuses %s", ", ".join(map(str, ends)))
    return ends


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a local worker computes."""

    device: str
    """``cpu``, ``cuda`` or ``cuda:N``."""
    threads: int
    """CPU threads."""
    visible: str | None = None
    """``CUDA_VISIBLE_DEVICES``; None = as it is."""


def worker_places(workers: int, device: str, threads: int) -> list[Place]:
    """One GPU for each worker, in turn, or a share of the CPU's threads.

    Args:
        workers: their number.
        device: as in the settings.
        threads: CPU threads of all of them; 0 = as many as torch finds.
    """
    own = max(1, (threads or torch.get_num_threads()) // workers)
    cuda = device != "cpu" and torch.cuda.is_available()
    if not cuda or device.startswith("cuda:"):
        return [Place(device if cuda else "cpu", own)] * workers
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = said.split(",") if said else [str(i) for i in range(torch.cuda.device_count())]
    return [Place("cuda", own, devices[i % len(devices)]) for i in range(workers)]


def _start(kind: str, config: Any, place: Place) -> subprocess.Popen[bytes]:
    """Start a worker: this program, told its settings through a pipe.

    A storage's password is thus neither among the words of a command nor in a file.
    """
    threads = {"OMP_NUM_THREADS": str(place.threads)}
    environment = {**os.environ, **plugin_environment(), **threads}
    if place.visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = place.visible
    worker = subprocess.Popen(
        [sys.executable, "-m", "nasseg.studies.worker"], stdin=subprocess.PIPE, env=environment
    )
    if worker.stdin is not None:
        worker.stdin.write(yaml.safe_dump({kind: to_dict(config)}).encode())
        worker.stdin.close()
    return worker


def _stop(workers: Sequence[subprocess.Popen[bytes]], seconds: float = 30.0) -> None:
    """End workers in good order: each frees its trial; the stubborn are killed."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    for worker in workers:
        try:
            worker.wait(seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
