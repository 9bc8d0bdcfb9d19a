"""The stages that every network goes through, in a run as in labelling: digital, analog, drift."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasseg.analog import (
    AnalogSpec,
    Coverage,
    NoiseProfile,
    average_batch_norms,
    calibrate_input_ranges,
    convert,
    noise_source,
)
from nasseg.analog.calibrate import batch_norms, recalibrate_batch_norms
from nasseg.analog.chips import all_tiles
from nasseg.analog.drift import silent_outputs
from nasseg.analog.noise import derive_seed, seeded
from nasseg.analog.rpu_config import set_weight_noise
from nasseg.config import AnalogConfig, DriftConfig, TrainConfig, analog_spec
from nasseg.data import Data, EpochLoader, NativeData, Side
from nasseg.errors import ConfigError
from nasseg.statistics import DAY, MONTH, ages, spread, values_at
from nasseg.tasks import DecoderFit, Task, TaskType, get_task, task_for
from nasseg.training.loop import FitResult, Keep, fit

# Branches of a run's seed: what is drawn under one is independent of the others.
SEED_INIT, SEED_DIGITAL, SEED_ANALOG, SEED_DRIFT, SEED_RECALIBRATE = 10, 11, 12, 13, 14
SEED_SENSITIVITY, SEED_PLAN = 15, 16
STATISTICS_IMAGES = 1024
"""Most training images that the BatchNorm statistics of the retrained network are averaged over.
With each of ``analog.statistics_chips`` chips, a large set takes longer than its retraining."""

DECODER_IMAGES = 96
"""Training images that parameters of the decoder are chosen on, at most."""


def initialise(build: Callable[[int], nn.Module], seed: int, device: torch.device) -> nn.Module:
    """Build a network whose initial weights are a function of ``seed``.

    ``build`` is given a seed of its own, for builders that draw from one; those that draw from
    torch's global generator find it seeded with the same.
    """
    own = derive_seed(seed, SEED_INIT)
    with seeded(own, torch.device("cpu")):
        return build(own).to(device)


def training_batches(data: Data, config: TrainConfig, seed: int) -> EpochLoader:
    """Shuffled, augmented training batches, drawn as ``config`` says."""
    balanced = config.sampling == "balanced"
    return data.train_loader(config.batch_size, seed, balanced=balanced)


def kept_weights(config: TrainConfig, scored: Side) -> Keep:
    """Return which weights a digital training keeps where results are of the images ``scored``."""
    if config.keep == "auto":
        return "last" if scored == "val" else "best"
    return config.keep


def refuse_choice(config: TrainConfig, why: str, otherwise: str) -> None:
    """Refuse settings by which the validation images choose something of the training.

    Args:
        config: of the training.
        why: reason that they must not, for the message.
        otherwise: what else can be done about ``patience``, for the message.

    Raises:
        ConfigError: there is one.
    """
    if config.keep == "best":
        raise ConfigError(
            f"train.keep is 'best'; allowed: auto or last, because {why}, which must not choose "
            "the weights"
        )
    if config.patience:
        raise ConfigError(
            f"train.patience is {config.patience}; allowed: 0, because {why}, which must not "
            f"choose the length of the training. {otherwise}"
        )


def train_digital(
    net: nn.Module,
    data: Data,
    task: Task,
    config: TrainConfig,
    *,
    seed: int,
    scored: Side | None = None,
    checkpoint: Path | None = None,
    metrics_file: Path | None = None,
    on_epoch: Callable[[int], dict[str, Any]] | None = None,
    stop_after: int | None = None,
    progress: bool = False,
) -> FitResult:
    """Train a network digitally; it is left with the weights that ``config.keep`` says.

    ``scored``: the split that results will be of; None: ``data.report_side``. ``stop_after``: as of
    :func:`~nasseg.training.loop.fit`.
    """
    stage_seed = derive_seed(seed, SEED_DIGITAL)
    return fit(
        net,
        training_batches(data, config, stage_seed),
        data.val_loader(config.batch_size),
        task,
        config,
        seed=stage_seed,
        checkpoint=checkpoint,
        metrics_file=metrics_file,
        on_epoch=on_epoch,
        keep=kept_weights(config, scored or data.report_side),
        stop_after=stop_after,
        progress=progress,
    )


def fit_decoder(task: TaskType, net: nn.Module, data: Data, config: TrainConfig) -> DecoderFit:
    """Choose the parameters by which a trained network's answers are decoded, on training images.

    The network is in evaluation mode for it, and afterwards as before: in training mode, its
    BatchNorm statistics would be those of these images.

    Returns:
        Those of the task where it has no others to choose from, or images are resized.
    """
    if not (task.decoder_choices and isinstance(data, NativeData)):
        return DecoderFit(task.decoder)
    sample = data.training_sample(DECODER_IMAGES, config.batch_size)
    training = net.training
    try:
        return task.bind(data, config).fit_decoder(net.eval(), sample)
    finally:
        net.train(training)


def to_analog(
    digital: nn.Module,
    config: AnalogConfig,
    *,
    channels: int,
    size: int,
    seed: int,
    digital_layers: Sequence[str] | None = None,
    spec: AnalogSpec | None = None,
) -> tuple[nn.Module, Coverage]:
    """Convert a trained network and check the coverage; the input ranges are still 1.

    Multiply-accumulates are counted for an input (1, ``channels``, ``size``, ``size``).
    ``digital_layers`` stay digital, and the hardware is ``spec``; None: as ``config`` says.
    """
    device = next(digital.parameters()).device
    example = torch.zeros((1, channels, size, size), device=device)
    if digital_layers is None:
        digital_layers = config.named_digital_layers
    analog, coverage = convert(
        digital,
        analog_spec(config) if spec is None else spec,
        digital_layers=digital_layers,
        example=example,
        seed=seed,
    )
    coverage.require(config.min_mac_fraction)
    return analog, coverage


def train_analog(
    digital: nn.Module,
    data: Data,
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
    first = digital
    if config.start == "random":
        first = _anew(digital, stage_seed)
        # The ranges below are of activations as BatchNorm will scale them in training; without
        # statistics, those of a new network shrink from layer to layer.
        statistics = _statistics(data, train, seed)
        if statistics is not None:
            recalibrate_batch_norms(first, statistics)
    spec = analog_spec(config)
    analog, coverage = to_analog(
        first, config, channels=data.in_channels, size=data.size, seed=stage_seed, spec=spec
    )
    calibrate_input_ranges(
        analog, data.calibration_loader(train.batch_size), quantile=config.input_quantile
    )
    if config.epochs == 0:
        return analog, coverage, None
    ramp = _noise_ramp(analog, config, spec)

    def tick(epoch: int) -> dict[str, Any]:
        return ramp(epoch) | (on_epoch(epoch) if on_epoch is not None else {})

    schedule = dataclasses.replace(
        train,
        epochs=config.epochs,
        lr=config.lr,
        optimizer="adamw",
        patience=0,
        # The tiles' weights are new to the hardware, all of them: none stay frozen.
        weights=None,
        freeze_until=None,
        unfreeze_every=0,
    )
    with nullcontext() if config.output_noise else silent_outputs(analog):
        result = fit(
            analog,
            training_batches(data, train, stage_seed),
            data.val_loader(train.batch_size),
            analog_task(data, task, train, config),
            schedule,
            seed=stage_seed,
            teacher=copy.deepcopy(digital) if config.distill else None,
            distill=config.distill,
            on_epoch=tick,
            checkpoint=checkpoint,
            metrics_file=metrics_file,
            stage="analog",
            # Validation here sees no programmed chip, so it does not tell which epoch drifts least.
            keep="last",
            progress=progress,
        )
    noise_source(analog).profile = None
    # Under the injected noise the statistics were wider than those of the target weights. The DAC
    # ranges stay those that the weights were trained under.
    statistics = _statistics(data, train, seed)
    if statistics is not None:
        chips = config.statistics_chips if spec.memory != "ideal" else 0
        average_batch_norms(analog, statistics, chips=chips, seed=derive_seed(stage_seed, 4))
    return analog, coverage, result


def _statistics(data: Data, train: TrainConfig, seed: int) -> list[tuple[Tensor, Tensor]] | None:
    images = min(STATISTICS_IMAGES, len(data.train_ids))
    return recalibration_loader(data, train, DriftConfig(recalibrate_images=images), seed)


def analog_task(data: Data, task: Task, train: TrainConfig, config: AnalogConfig) -> Task:
    """The task as the retraining learns it: with its own weights of the classes in the loss.

    Raises:
        ConfigError: these data have no classes that can be weighted.
    """
    if config.class_weights == "as_train":
        return task
    one_each = get_task(data.kind).per_image and not data.multilabel
    if config.class_weights == "balanced" and not one_each:
        raise ConfigError(
            "analog.class_weights is 'balanced', but these data do not have one class an image; "
            "allowed: as_train, none"
        )
    own = task_for(data, dataclasses.replace(train, class_weights=config.class_weights))
    return dataclasses.replace(task, loss=own.loss)


def _anew(net: nn.Module, seed: int) -> nn.Module:
    """A copy with new initial weights."""
    fresh = copy.deepcopy(net)
    with seeded(seed, torch.device("cpu")):
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh


def _noise_ramp(
    analog: nn.Module, config: AnalogConfig, spec: AnalogSpec
) -> Callable[[int], dict[str, Any]]:
    """A function of the epoch that sets the weight noise of training and says its size."""
    memory = config.noise == "memory" and spec.memory != "ideal"
    tiles = all_tiles(analog)
    source = noise_source(analog)
    profile = NoiseProfile.of(spec) if memory else None

    def set_noise(epoch: int) -> dict[str, Any]:
        # Full from the epoch at which the ramp ends; with no ramp, or a single epoch, at once.
        span = config.noise_ramp * (config.epochs - 1)
        share = min(1.0, 0.25 + 0.75 * epoch / span) if span > 0 else 1.0
        if profile is not None:
            scale = config.noise_scale * share
            source.profile = dataclasses.replace(profile, scale=scale)
            return {"noise_scale": scale}
        std = spec.weight_noise * share
        for tile in tiles:
            set_weight_noise(tile.rpu_config, std)
        return {"weight_noise": std}

    return set_noise


def recalibration_loader(
    data: Data,
    train: TrainConfig,
    drift: DriftConfig,
    seed: int,
    net: nn.Module | None = None,
) -> list[tuple[Tensor, Tensor]] | None:
    """Batches that each drifted chip is recalibrated with; none where that is switched off, or
    where ``net`` has no BatchNorm.

    Training images as training showed them, augmented: BatchNorm statistics of plain images are
    not those that the network learned under. In memory, since every chip sees the same ones.
    """
    if not drift.recalibrate or (net is not None and not batch_norms(net)):
        return None
    loader = training_batches(data, train, derive_seed(seed, SEED_RECALIBRATE))
    wanted = drift.recalibrate_images or len(data.train_ids)
    batches: list[tuple[Tensor, Tensor]] = []
    count = 0
    for image, label in loader:
        part = image[: wanted - count], label[: wanted - count]
        # BatchNorm has no variance of one image on a map of one pixel.
        if len(part[0]) == 1 and batches:
            break
        batches.append(part)
        count += len(part[0])
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
    1 s minus its mean at 30 days, in points (hundredths). ``mean_3600s``, ``std_3600s`` and
    ``p05_3600s`` are over chips at each time measured. The plain names are with recalibration
    where it was measured; ``..._uncalibrated`` are without.
    """
    states = sorted({bool(row["recalibrated"]) for row in rows}, reverse=True)
    scores: dict[str, float] = {}
    for state in states:
        suffix = "" if state is states[0] else "_uncalibrated"
        measured = {
            time_s: spread(values_at(rows, monitor, time_s=time_s, recalibrated=state))
            for time_s in ages(rows)
        }
        day = measured[DAY]
        scores[f"day1{suffix}"] = day.mean
        scores[f"std{suffix}"] = day.std
        scores[f"p05{suffix}"] = day.p05
        scores[f"avm{suffix}"] = 100.0 * (measured[1.0].mean - measured[MONTH].mean)
        for time_s, over in measured.items():
            scores[f"mean_{time_s:.15g}s{suffix}"] = over.mean
            scores[f"std_{time_s:.15g}s{suffix}"] = over.std
            scores[f"p05_{time_s:.15g}s{suffix}"] = over.p05
    return scores
