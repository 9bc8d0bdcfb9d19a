"""Workers of a study: in this process, or in others that are started and ended here."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import yaml
from tqdm import tqdm

from nasseg._registry import plugin_environment
from nasseg.config import LabelConfig, to_dict
from nasseg.errors import RunError
from nasseg.search.measured.study import MeasuredStudy, terminable
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
        workers: list[subprocess.Popen[bytes]] = []
        try:
            for place in _places(config):
                workers.append(_start(config, place))
            before = -1
            while any(worker.poll() is None for worker in workers):
                study.show(bar, study.goal(config.count, config.stop_gain))
                if bar.n != before:
                    before = bar.n
                    export()
                time.sleep(WORKER_POLL)
            study.show(bar, study.goal(config.count, config.stop_gain))
        finally:
            _stop(workers)
    goal = study.goal(config.count, config.stop_gain)
    done = study.finished(goal)
    ends = [worker.returncode for worker in workers]
    if done < goal:
        raise RunError(
            f"the workers ended (exit statuses {', '.join(map(str, ends))}) with {done} of "
            f"{goal} architectures done; the same command continues"
        )
    if any(ends):
        log.warning("workers ended with the exit statuses %s", ", ".join(map(str, ends)))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a local worker computes."""

    device: str
    """``cpu``, ``cuda`` or ``cuda:N``."""
    threads: int
    """CPU threads."""
    visible: str | None = None
    """``CUDA_VISIBLE_DEVICES``; None = as it is."""


def _places(config: LabelConfig) -> list[Place]:
    """One GPU for each worker, in turn, or a share of the CPU's threads."""
    total = config.threads or torch.get_num_threads()
    threads = max(1, total // config.workers)
    cuda = config.device != "cpu" and torch.cuda.is_available()
    if not cuda or config.device.startswith("cuda:"):
        device = config.device if cuda else "cpu"
        return [Place(device, threads)] * config.workers
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = said.split(",") if said else [str(i) for i in range(torch.cuda.device_count())]
    return [Place("cuda", threads, devices[i % len(devices)]) for i in range(config.workers)]


def _start(config: LabelConfig, place: Place) -> subprocess.Popen[bytes]:
    """Start a worker: this program, told its settings through a pipe.

    A storage's password is thus neither among the words of a command nor in a file.
    """
    own = dataclasses.replace(config, workers=1, device=place.device, threads=place.threads)
    threads = {"OMP_NUM_THREADS": str(place.threads)}
    environment = {**os.environ, **plugin_environment(), **threads}
    if place.visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = place.visible
    worker = subprocess.Popen(
        [sys.executable, "-m", "nasseg.studies.worker"], stdin=subprocess.PIPE, env=environment
    )
    if worker.stdin is not None:
        worker.stdin.write(yaml.safe_dump(to_dict(own)).encode())
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
