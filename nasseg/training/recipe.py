"""The stages that every network goes through, in a run as in labelling: digital, analog, drift."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasseg.analog import (
    AnalogSpec,
    Coverage,
    calibrate_input_ranges,
    convert,
    recalibrate_batch_norms,
)
from nasseg.analog._rpu_config import set_weight_noise
from nasseg.analog.chips import all_tiles
from nasseg.analog.noise import derive_seed, seeded
from nasseg.config import AnalogConfig, DriftConfig, TrainConfig
from nasseg.data import SegmentationData
from nasseg.tasks import Task
from nasseg.training.loop import FitResult, fit

# Branches of a run's seed: what is drawn under one is independent of the others.
SEED_INIT, SEED_DIGITAL, SEED_ANALOG, SEED_DRIFT, SEED_RECALIBRATE = 10, 11, 12, 13, 14


def select_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one. An explicit ``cuda`` without one is an error."""
    from nasseg.errors import ConfigError

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device is 'cuda', but this torch finds no CUDA device; allowed here: auto, cpu"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def initialise(build: Callable[[int], nn.Module], seed: int, device: torch.device) -> nn.Module:
    """Build a network whose initial weights are a function of ``seed``.

    ``build`` is given a seed of its own, for builders that draw from one; those that draw from
    torch's global generator find it seeded with the same.
    """
    own = derive_seed(seed, SEED_INIT)
    with seeded(own, torch.device("cpu")):
        return build(own).to(device)


def train_digital(
    net: nn.Module,
    data: SegmentationData,
    task: Task,
    config: TrainConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    metrics_file: Path | None = None,
    on_epoch: Callable[[int], dict[str, Any]] | None = None,
    progress: bool = False,
) -> FitResult:
    """Digital training; the network is left with the best weights on the validation images."""
    stage_seed = derive_seed(seed, SEED_DIGITAL)
    return fit(
        net,
        data.train_loader(config.batch_size, seed=stage_seed),
        data.val_loader(config.batch_size),
        task,
        config,
        seed=stage_seed,
        checkpoint=checkpoint,
        metrics_file=metrics_file,
        on_epoch=on_epoch,
        progress=progress,
    )


def analog_spec(config: AnalogConfig) -> AnalogSpec:
    """The hardware of a run: its preset with the weight noise of its retraining."""
    spec = AnalogSpec.preset(config.preset)
    return spec if config.preset == "ideal" else spec.replace(weight_noise=config.weight_noise)


def to_analog(
    digital: nn.Module, data: SegmentationData, config: AnalogConfig, *, seed: int
) -> tuple[nn.Module, Coverage]:
    """Convert a trained network and check the coverage; the input ranges are still 1."""
    size = data.images.shape[-1]
    device = next(digital.parameters()).device
    example = torch.zeros((1, data.in_channels, size, size), device=device)
    analog, coverage = convert(digital, analog_spec(config), example=example, seed=seed)
    coverage.require(config.min_mac_fraction)
    return analog, coverage


def train_analog(
    digital: nn.Module,
    data: SegmentationData,
    task: Task,
    train: TrainConfig,
    config: AnalogConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    metrics_file: Path | None = None,
    on_epoch: Callable[[int], dict[str, Any]] | None = None,
    progress: bool = False,
) -> tuple[nn.Module, Coverage, FitResult | None]:
    """Convert, calibrate the input ranges, retrain with weight noise.

    Hardware-aware training after Joshi et al., Nature Communications 2020, and Rasch et al.,
    Nature Communications 2023, with the digital network as a teacher (Hinton et al., 2015).

    Returns:
        The analog network, its coverage, and the retraining's result (none for 0 epochs).
    """
    stage_seed = derive_seed(seed, SEED_ANALOG)
    analog, coverage = to_analog(digital, data, config, seed=stage_seed)
    calibrate_input_ranges(analog, data.calibration_loader(train.batch_size))
    if config.epochs == 0:
        return analog, coverage, None
    noise = analog_spec(config).weight_noise
    tiles = all_tiles(analog)

    def ramp(epoch: int) -> dict[str, Any]:
        span = max(1.0, config.noise_ramp * config.epochs)
        std = noise * min(1.0, 0.25 + 0.75 * epoch / span)
        for tile in tiles:
            set_weight_noise(tile.rpu_config, std)
        return {"weight_noise": std} | (on_epoch(epoch) if on_epoch is not None else {})

    schedule = dataclasses.replace(train, epochs=config.epochs, lr=config.lr, patience=0)
    result = fit(
        analog,
        data.train_loader(train.batch_size, seed=stage_seed),
        data.val_loader(train.batch_size),
        task,
        schedule,
        seed=stage_seed,
        teacher=copy.deepcopy(digital) if config.distill else None,
        distill=config.distill,
        on_epoch=ramp,
        checkpoint=checkpoint,
        metrics_file=metrics_file,
        stage="analog",
        # Validation here sees no programmed chip, so it does not tell which epoch drifts least.
        keep="last",
        progress=progress,
    )
    # Under the injected noise the statistics were wider than those of the target weights. The DAC
    # ranges stay those that the weights were trained under.
    statistics = recalibration_loader(data, train, DriftConfig(), seed)
    if statistics is not None:
        recalibrate_batch_norms(analog, statistics)
    return analog, coverage, result


def recalibration_loader(
    data: SegmentationData, train: TrainConfig, drift: DriftConfig, seed: int
) -> list[tuple[Tensor, Tensor]] | None:
    """Batches that each drifted chip is recalibrated with; none where that is switched off.

    Training images as training showed them, augmented: BatchNorm statistics of plain images are
    not those that the network learned under. In memory, since every chip sees the same ones.
    """
    if not drift.recalibrate:
        return None
    loader = data.train_loader(train.batch_size, seed=derive_seed(seed, SEED_RECALIBRATE))
    wanted = drift.recalibrate_images or len(data.train_ids)
    batches: list[tuple[Tensor, Tensor]] = []
    count = 0
    for image, label in loader:
        batches.append((image[: wanted - count], label[: wanted - count]))
        count += len(batches[-1][0])
        if count >= wanted:
            break
    return batches


def drift_metrics(task: Task) -> Callable[[nn.Module, Iterable[Any]], dict[str, float]]:
    """The task's metrics in the form that :func:`~nasseg.analog.evaluate_drift` takes."""

    def metric(net: nn.Module, loader: Iterable[Any]) -> dict[str, float]:
        return dict(task.evaluate(net, loader))

    return metric


def scores_from_drift(rows: Sequence[dict[str, Any]], monitor: str) -> dict[str, float]:
    """``day1``, ``avm``, ``std``, ``p05`` as all evaluators define them, from rows of chips.

    ``day1``, ``std`` and ``p05`` are of the metric at 86,400 s over chips; ``avm`` is its mean at
    1 s minus its mean at 30 days, in points (hundredths). The plain names are with
    recalibration where it was measured; ``..._uncalibrated`` are without.
    """
    import numpy as np

    states = sorted({bool(row["recalibrated"]) for row in rows}, reverse=True)
    scores: dict[str, float] = {}
    for state in states:
        suffix = "" if state is states[0] else "_uncalibrated"

        def at(time_s: float, state: bool = state) -> Any:
            return np.array(
                [
                    row[monitor]
                    for row in rows
                    if row["time_s"] == time_s and bool(row["recalibrated"]) is state
                ]
            )

        day = at(86_400.0)
        scores[f"day1{suffix}"] = float(day.mean())
        scores[f"std{suffix}"] = float(day.std(ddof=1)) if len(day) > 1 else 0.0
        scores[f"p05{suffix}"] = float(np.quantile(day, 0.05))
        scores[f"avm{suffix}"] = float(100.0 * (at(1.0).mean() - at(2_592_000.0).mean()))
    return scores
