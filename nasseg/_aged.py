"""The analog network of a run as chips of one age have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from nasseg.analog import programmable, recalibrate_batch_norms
from nasseg.analog.calibrate import batch_norms, preserved_batch_norms
from nasseg.analog.convert import noise_source
from nasseg.analog.noise import derive_seed
from nasseg.errors import NassegError, RunError
from nasseg.training.recipe import SEED_DRIFT

if TYPE_CHECKING:
    from nasseg.pipeline import Job


def aged_networks(
    job: Job, at: float, *, first: int = 0, count: int = 1, recalibrate: bool = True
) -> Iterator[tuple[int, nn.Module]]:
    """Chip by chip, the same ones as in ``drift.csv``: its number, and the network as it is then.

    The network is one object, which the next chip overwrites; at the end it is as it was.

    Args:
        job: of a run with an analog network.
        at: seconds after programming.
        first: number of the first chip.
        count: how many chips.
        recalibrate: re-estimate BatchNorm statistics on each, with the run's training images.

    Raises:
        RunError: these images cannot be used.
    """
    net = job.analog_net
    seed = derive_seed(job.config.seed, SEED_DRIFT)
    images = None
    if recalibrate and batch_norms(net):
        try:
            images = job.recalibration(net)
        except NassegError as error:
            raise RunError(
                f"the images of the run, which chips are recalibrated with, cannot be used "
                f"({error}); --uncalibrated does without"
            ) from None
    source = noise_source(net)
    before = source.state_dict()
    try:
        with programmable(net) as crossbars, preserved_batch_norms(net):
            for chip in range(first, first + count):
                crossbars.program(seed, chip)
                crossbars.drift(at)
                source.reseed(derive_seed(seed, chip, 2, int(at * 1000)))
                if images is not None:
                    recalibrate_batch_norms(net, images)
                yield chip, net.eval()
    finally:
        source.load_state_dict(before)
