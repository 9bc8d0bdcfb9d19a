"""The recipe of every network: initialise, train, retrain for the hardware, let chips age."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nasseg.analog import Coverage, chip_evaluator
from nasseg.analog.noise import derive_seed
from nasseg.analog.sampled import REFERENCE, estimate
from nasseg.config import AnalogConfig, DriftConfig, TrainConfig
from nasseg.data import Data, EpochLoader, Side
from nasseg.tasks import Task
from nasseg.training.loop import fit
from nasseg.training.recipe import (
    SEED_DRIFT,
    drift_metrics,
    initialise,
    recalibration_loader,
    train_analog,
    train_digital,
    training_batches,
)

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

TIMED_STEPS = 5
"""Steps by which the time of an epoch is estimated."""
Rows = list[dict[str, Any]]
"""Of a chip: ``chip``, ``time_s``, ``recalibrated`` and metrics."""


@dataclass(frozen=True)
class Trained:
    """A network after its digital training."""

    net: nn.Module
    metrics: Mapping[str, float]
    """Of the validation images."""
    params: int
    epochs: int
    """Epochs that were trained."""
    seconds: float
    """Of the training."""


@dataclass(frozen=True)
class OnChips:
    """A network on tiles, and its chips."""

    net: nn.Module
    """The network on tiles, retrained."""
    coverage: Coverage
    rows: Rows
    """Measurements of all chips."""
    seconds: float
    """Of the conversion and the retraining."""


@dataclass(frozen=True)
class Measured:
    """A network that went through the whole recipe."""

    net: nn.Module
    """The trained digital network."""
    analog: nn.Module
    """The network on tiles, retrained."""
    digital: Mapping[str, float]
    """Metrics of the digital network on the validation images."""
    coverage: Coverage
    params: int
    rows: Rows
    """Measurements of all chips."""


def new_network(
    space: SearchSpace,
    arch: Mapping[str, Any],
    *,
    in_channels: int,
    out_channels: int,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Build a network whose initial weights are a function of ``seed``.

    Raises:
        ArchError: the architecture cannot be built.
    """
    return initialise(builder(space, arch, in_channels, out_channels), seed, device)


def builder(
    space: SearchSpace, arch: Mapping[str, Any], in_channels: int, out_channels: int
) -> Callable[[int], nn.Module]:
    """Return a function of a seed that builds an architecture."""
    return lambda seed: space.build(
        dict(arch), in_channels=in_channels, out_channels=out_channels, seed=seed
    )


def age(
    analog: nn.Module,
    loader: Iterable[Any],
    task: Task,
    *,
    times: Sequence[float],
    chips: Iterable[int],
    images: Iterable[Any] | None,
    seed: int,
    images_each: int = 0,
) -> Generator[Rows, None, None]:
    """Measure chips of a converted network, one after another.

    Args:
        analog: converted network; it is as before afterwards.
        loader: batches that the task's metrics are measured on; re-iterable.
        task: its metrics.
        times: seconds after programming.
        chips: numbers of the chips; of :data:`~nasseg.analog.sampled.REFERENCE`, no row where all
            images are measured.
        images: batches whose images recalibrate each drifted chip; None: no recalibration.
        seed: (seed, chip, time) decides every draw.
        images_each: images of ``loader`` that each chip is measured on; 0: all.

    Yields:
        The rows of each chip.
    """
    with chip_evaluator(
        analog,
        loader,
        drift_metrics(task),
        times=times,
        recalibrate_with=images,
        seed=seed,
        images=images_each,
    ) as evaluate:
        for chip in chips:
            yield evaluate(chip)


def as_of_all_images(rows: Sequence[dict[str, Any]]) -> Rows:
    """Rows of :func:`age` as if chips had been measured on all images, where they were not."""
    if not rows or "part" not in rows[0]:
        return list(rows)
    return estimate(rows).rows


def train_network(
    build: Callable[[int], nn.Module],
    data: Data,
    task: Task,
    train: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    scored: Side | None = None,
    checkpoint: Path | None = None,
    stop_after: int | None = None,
    progress: bool = False,
) -> Trained:
    """Build a network and train it digitally.

    Args:
        build: a seed to a network; see :func:`~nasseg.training.recipe.initialise`.
        data: images to train and to validate with.
        task: what is learned.
        train: budget.
        seed: decides the initial weights and every draw of the training.
        device: where it is trained.
        scored: split that results will be of; None: that of the data.
        checkpoint: file that an interrupted training resumes from.
        stop_after: epochs of the schedule after which to stop, with a checkpoint to go on from.
        progress: show a bar.

    Raises:
        NassegError: the architecture cannot be built or trained.
    """
    net = initialise(build, seed, device)
    begun = time.perf_counter()
    result = train_digital(
        net,
        data,
        task,
        train,
        seed=seed,
        scored=scored,
        checkpoint=checkpoint,
        stop_after=stop_after,
        progress=progress,
    )
    params = sum(p.numel() for p in net.parameters())
    return Trained(net, result.metrics, params, result.epochs, time.perf_counter() - begun)


class _First:
    """The first batches of a loader."""

    def __init__(self, loader: EpochLoader, count: int) -> None:
        self._loader = loader
        self._count = count

    def set_epoch(self, epoch: int) -> None:
        self._loader.set_epoch(epoch)

    def __len__(self) -> int:
        return min(self._count, len(self._loader))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return itertools.islice(iter(self._loader), len(self))


def seconds_per_epoch(
    build: Callable[[int], nn.Module],
    data: Data,
    task: Task,
    train: TrainConfig,
    *,
    seed: int,
    device: torch.device,
) -> float:
    """Time some steps of a training; seconds of an epoch of it on this machine, now.

    Args:
        build: a seed to a network.
        data: images to train with.
        task: what is learned.
        train: budget.
        seed: decides the initial weights and every draw.
        device: where it is trained.
    """
    loader = training_batches(data, train, seed)
    whole = dataclasses.replace(train, epochs=2, eval_every=2)
    net = initialise(build, seed, device)

    def timed(steps: int) -> float:
        begun = time.perf_counter()
        # Stopped before its end and with no weights chosen yet, it scores nothing.
        fit(net, _First(loader, steps), (), task, whole, seed=seed, keep="best", stop_after=1)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    timed(1)  # the first one compiles and allocates
    return timed(TIMED_STEPS) / min(TIMED_STEPS, len(loader)) * len(loader)


def put_on_chips(
    digital: nn.Module,
    data: Data,
    task: Task,
    train: TrainConfig,
    analog: AnalogConfig,
    drift: DriftConfig,
    *,
    seed: int,
    images: Iterable[Any] | None = None,
    progress: bool = False,
) -> OnChips:
    """Retrain a trained network for the hardware, put it onto chips and let them drift.

    Args:
        digital: trained network; it is as before afterwards.
        data: training images, and the validation images that chips are measured on.
        task: what is learned, and its metrics.
        train: budget of the digital training, of which the retraining takes what is not its own.
        analog: hardware and retraining.
        drift: number of chips, times, recalibration.
        seed: decides every draw.
        images: batches that recalibrate each drifted chip; None: those that ``drift`` sets.
        progress: show a bar.

    Raises:
        NassegError: the network cannot be converted or trained.
    """
    begun = time.perf_counter()
    converted, coverage, _ = train_analog(
        digital, data, task, train, analog, seed=seed, progress=progress
    )
    seconds = time.perf_counter() - begun
    if images is None:
        images = recalibration_loader(data, train, drift, seed, converted)
    chips = age(
        converted,
        data.val_loader(train.batch_size),
        task,
        times=drift.times,
        chips=(REFERENCE, *range(drift.chips)),
        images=images,
        seed=derive_seed(seed, SEED_DRIFT),
        images_each=drift.images,
    )
    rows = as_of_all_images([row for chip in chips for row in chip])
    return OnChips(converted, coverage, rows, seconds)


def measure_network(
    space: SearchSpace,
    arch: Mapping[str, Any],
    data: Data,
    task: Task,
    train: TrainConfig,
    analog: AnalogConfig,
    drift: DriftConfig,
    *,
    seed: int,
    device: torch.device,
    progress: bool = False,
) -> Measured:
    """Train one architecture, put it onto chips and let them drift.

    Everything is a function of the arguments; chips are measured on the validation images, which
    therefore choose no weights unless ``train.keep`` is ``best``.

    Raises:
        NassegError: the architecture cannot be built, converted or trained.
    """
    trained = train_network(
        builder(space, arch, data.in_channels, task.out_channels),
        data,
        task,
        train,
        seed=seed,
        device=device,
        scored="val",
        progress=progress,
    )
    chips = put_on_chips(
        trained.net, data, task, train, analog, drift, seed=seed, progress=progress
    )
    return Measured(
        trained.net, chips.net, trained.metrics, chips.coverage, trained.params, chips.rows
    )
