"""The networks of a finished run: the digital one, and the analog one as aged chips have it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from nasseg.analog.ageing import Chips
from nasseg.analog.calibrate import Statistics, batch_norms
from nasseg.analog.noise import derive_seed
from nasseg.config import RunConfig
from nasseg.errors import ConfigError, NassegError, RunError
from nasseg.records.folder import RunFolder
from nasseg.runs.calibration import Batches, kept_calibration
from nasseg.runs.job import Job
from nasseg.training.recipe import SEED_DRIFT

log = logging.getLogger(__name__)


def check_chips(chips: int, chip_seed: int = 0) -> None:
    """Refuse numbers of chips that there cannot be.

    Raises:
        ConfigError: of the two that is wrong.
    """
    if chips < 1:
        raise ConfigError(f"chips is {chips}; allowed: 1 or more")
    if chip_seed < 0:
        raise ConfigError(f"chip_seed is {chip_seed}; allowed: 0 or more")


def check_trained(run: str | Path, at: float | None) -> None:
    """Refuse a run folder without its digital network or, with ``at``, without its analog one.

    Raises:
        RunError: that network is not trained yet.
    """
    needed = "digital.safetensors" if at is None else "analog.safetensors"
    if not (Path(run) / needed).exists():
        stage = "train" if at is None else "analog"
        raise RunError(f"{Path(run) / needed} is missing; `nasseg {stage} --out {run}` makes it")


def open_job(run: str | Path, config: RunConfig, at: float | None, progress: bool) -> Job:
    """A run folder to ask its network, digital without ``at`` and else analog; nothing is written.

    Raises:
        RunError: that network is not trained yet.
    """
    check_trained(run, at)
    return Job(config, RunFolder(config, readonly=True), progress)


def _images(job: Job, net: nn.Module) -> Batches | None:
    """Return what chips are recalibrated with: the run's images, or those that its folder keeps.

    Raises:
        RunError: neither can be used.
    """
    try:
        return job.recalibration(net)
    except NassegError as error:
        kept = kept_calibration(job.folder.path, job.config.train.batch_size)
        if kept is None:
            raise RunError(
                f"the images of the run, which chips are recalibrated with, cannot be used "
                f"({error}); --uncalibrated, or recalibrate=False in Python, does without"
            ) from None
        log.warning(
            "the images of the run cannot be used (%s); chips are recalibrated with the %d that "
            "its folder keeps",
            error,
            sum(len(images) for images, _ in kept),
        )
        return kept


class AgedChips:
    """Programmed chips of a run at one age, the same ones as in ``drift.csv``.

    Iterating gives the number of each chip and the network as it is then: one object, which the
    next chip overwrites, and which is as it was at the end. BatchNorm statistics are estimated once
    for each chip, however often they are iterated.

    Args:
        job: of a run with an analog network.
        at: seconds after programming.
        first: number of the first chip.
        count: how many chips.
        recalibrate: re-estimate BatchNorm statistics on each, with the run's training images or,
            where these are not at hand, with those that its folder keeps.

    Raises:
        RunError: these images cannot be used.
    """

    def __init__(
        self, job: Job, at: float, *, first: int = 0, count: int = 1, recalibrate: bool = True
    ) -> None:
        self.net = job.analog_net
        self.at, self.first, self.count = at, first, count
        self._seed = derive_seed(job.config.seed, SEED_DRIFT)
        self._states: dict[int, tuple[Statistics, dict[str, Any]]] = {}
        self._images = None
        if recalibrate and batch_norms(self.net):
            self._images = _images(job, self.net)

    def __iter__(self) -> Iterator[tuple[int, nn.Module]]:
        with Chips(self.net, self._seed, self._images) as chips:
            for chip in range(self.first, self.first + self.count):
                chips.program(chip)
                chips.drift(self.at)
                if chip in self._states:
                    chips.statistics, noise = self._states[chip]
                    chips.source.load_state_dict(noise)
                elif chips.recalibrate():
                    # With the noise that follows, so that a second pass draws what the first did.
                    self._states[chip] = chips.statistics, chips.source.state_dict()
                yield chip, self.net.eval()
