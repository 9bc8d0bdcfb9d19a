"""The recipe of every network: initialise, train, retrain for the hardware, let chips age."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nasseg.analog import Coverage, chip_evaluator
from nasseg.analog.noise import derive_seed
from nasseg.config import AnalogConfig, DriftConfig, TrainConfig
from nasseg.data import Data
from nasseg.tasks import Task
from nasseg.training.recipe import (
    SEED_DRIFT,
    drift_metrics,
    initialise,
    recalibration_loader,
    train_analog,
    train_digital,
)

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

Rows = list[dict[str, Any]]
"""Of a chip: ``chip``, ``time_s``, ``recalibrated`` and metrics."""


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
    return initialise(
        lambda own: space.build(
            dict(arch), in_channels=in_channels, out_channels=out_channels, seed=own
        ),
        seed,
        device,
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
) -> Iterator[Rows]:
    """Measure chips of a converted network, one after another.

    Args:
        analog: converted network; it is as before afterwards.
        loader: batches that the task's metrics are measured on; re-iterable.
        task: its metrics.
        times: seconds after programming.
        chips: numbers of the chips.
        images: batches whose images recalibrate each drifted chip; None: no recalibration.
        seed: (seed, chip, time) decides every draw.

    Yields:
        The rows of each chip.
    """
    with chip_evaluator(
        analog, loader, drift_metrics(task), times=times, recalibrate_with=images, seed=seed
    ) as evaluate:
        for chip in chips:
            yield evaluate(chip)


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

    Everything is a function of the arguments; chips are measured on the validation images.

    Raises:
        NassegError: the architecture cannot be built, converted or trained.
    """
    net = new_network(
        space,
        arch,
        in_channels=data.in_channels,
        out_channels=task.out_channels,
        seed=seed,
        device=device,
    )
    params = sum(p.numel() for p in net.parameters())
    trained = train_digital(net, data, task, train, seed=seed, progress=progress)
    converted, coverage, _ = train_analog(
        net, data, task, train, analog, seed=seed, progress=progress
    )
    rows: Rows = []
    for chip in age(
        converted,
        data.val_loader(train.batch_size),
        task,
        times=drift.times,
        chips=range(drift.chips),
        images=recalibration_loader(data, train, drift, seed, converted),
        seed=derive_seed(seed, SEED_DRIFT),
    ):
        rows += chip
    return Measured(net, converted, trained.metrics, coverage, params, rows)
