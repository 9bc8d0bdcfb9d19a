"""What a network is worth on chips that age: many chips, each programmed anew, at many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import nn

from nasseg.analog.ageing import Chips
from nasseg.analog.calibrate import (
    batch_norms,
    preserved_batch_norms,
    recalibrate_batch_norms,
)
from nasseg.analog.chips import all_tiles
from nasseg.analog.conversion import noise_source
from nasseg.analog.eager import uncompiled, without_compiler
from nasseg.analog.noise import derive_seed
from nasseg.analog.reuse import cached_batches, reused_inputs
from nasseg.analog.rpu_config import set_memory
from nasseg.analog.sampled import REFERENCE, Sample, estimate
from nasseg.analog.spec import DRIFT_TIMES
from nasseg.errors import ConfigError
from nasseg.statistics import summarise

if TYPE_CHECKING:
    from nasseg.analog.spec import AnalogSpec

Metric = Callable[[nn.Module, Iterable[Any]], float | Mapping[str, float]]
"""(network in evaluation mode, loader) -> a value, or several by name."""


def _measure(net: nn.Module, loader: Iterable[Any], metric: Metric) -> dict[str, float]:
    net.eval()
    with torch.no_grad():
        value = metric(net, loader)
    return dict(value) if isinstance(value, Mapping) else {"value": float(value)}


def metric_value(net: nn.Module, loader: Iterable[Any], metric: Metric, name: str) -> float:
    """One value of ``metric`` on a network in evaluation mode: the one called ``name``, where it
    gives several."""
    values = _measure(net, loader, metric)
    return values[name] if name in values else values["value"]


ChipRows = list[dict[str, Any]]


@contextmanager
def chip_evaluator(
    analog: nn.Module,
    loader: Iterable[Any],
    metric: Metric,
    *,
    times: Sequence[float] = DRIFT_TIMES,
    recalibrate_with: Iterable[Any] | None = None,
    seed: int = 0,
    images: int = 0,
) -> Iterator[Callable[[int], ChipRows]]:
    """What :func:`evaluate_drift` does, one chip at a call: for who saves what is done.

    Arguments are those of :func:`evaluate_drift`. Batches are read once and kept in memory, and so
    is what all chips compute alike.

    Yields:
        A function of the chip's number that gives its rows of the table. They depend on nothing
        else, so chips may be measured in any order, on several machines with the same kind of
        device, and collected later. The
        network is as before afterwards. With ``images``, unless there are no more, rows have the
        columns ``part`` and ``images`` beside: :func:`~nasseg.analog.sampled.estimate` takes them,
        with those of the number :data:`~nasseg.analog.sampled.REFERENCE`.

    Raises:
        ConfigError: no time, or one that is not above 0; a single image for each chip.
        ConversionError: the network holds no analog layer.
        DataError: a loader gives no batch, or an image has NaN or infinite values.
    """
    if not times or any(t <= 0 for t in times):
        raise ConfigError(f"times is {tuple(times)!r}; allowed: seconds above 0, at least one")
    analog = uncompiled(analog)
    noise_source(analog)  # refuses a network without analog layers
    device = next(analog.parameters()).device
    shown = cached_batches(loader, device)
    given = None
    if recalibrate_with is not None:
        given = cached_batches(recalibrate_with, device, "recalibration")
    sample = Sample.of(shown, images)

    def measured(chip: int, time_s: float, recalibrated: bool) -> Iterator[dict[str, Any]]:
        head = {"chip": chip, "time_s": float(time_s), "recalibrated": recalibrated}
        if sample is None:
            yield {**head, **_measure(analog, shown, metric)}
            return
        every = range(len(sample.parts))
        for part in every if chip == REFERENCE else sample.of_chip(chip):
            facts = {"part": part, "images": sample.sizes[part]}
            yield {**head, **facts, **_measure(analog, sample.parts[part], metric)}
        if chip == REFERENCE:
            facts = {"part": REFERENCE, "images": sum(sample.sizes)}
            yield {**head, **facts, **_measure(analog, shown, metric)}

    def evaluate(chip: int) -> ChipRows:
        rows: ChipRows = []
        if chip == REFERENCE and sample is None:
            return rows
        with Chips(analog, seed, given) as chips:
            if chip == REFERENCE:
                # With noise its parts would not be those of the whole.
                with silent_outputs(analog):
                    return list(measured(chip, 0.0, recalibrated=False))
            chips.program(chip)
            for time_s in times:
                chips.drift(time_s)
                with preserved_batch_norms(analog):
                    rows += measured(chip, time_s, recalibrated=False)
                    if given is not None:
                        chips.recalibrate()
                        rows += measured(chip, time_s, recalibrated=True)
        return rows

    parts = [] if sample is None else [batch for part in sample.parts for batch in part]
    with without_compiler(), reused_inputs(analog, [*shown, *parts, *(given or [])]):
        yield evaluate


def evaluate_drift(
    analog: nn.Module,
    loader: Iterable[Any],
    metric: Metric,
    times: Sequence[float] = DRIFT_TIMES,
    chips: int = 25,
    *,
    recalibrate_with: Iterable[Any] | None = None,
    seed: int = 0,
    images: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Measure a network on many programmed chips, at many times after programming.

    Args:
        analog: network from :func:`~nasseg.analog.convert`; it is as before afterwards.
        loader: what ``metric`` evaluates on: batches of any form.
        metric: (network, loader) -> value, or mapping of names to values. It is given the batches
            as the loader gave them, their tensors on the network's device, and the network itself
            where ``analog`` is what ``torch.compile`` made of it.
        times: seconds after programming.
        chips: chips, each programmed anew with noise of its own.
        recalibrate_with: batches whose images re-estimate the BatchNorm statistics on each
            drifted chip, of the forms that :func:`~nasseg.analog.recalibrate_batch_norms` takes;
            none = no recalibration.
        seed: (seed, chip, time) decides every draw.
        images: that each chip is measured on, others for each: values are then estimates
            (:func:`~nasseg.analog.sampled.estimate`), and ``attrs["errors"]`` of the table has the
            standard errors of their means by (time, recalibrated). 0: all.
        progress: show a bar.

    Returns:
        Long table with columns ``chip``, ``time_s``, ``recalibrated`` and ``value`` (or one
        column for each name of the metric). With ``recalibrate_with`` every chip and time has
        two rows, without and with recalibration.

    Raises:
        ConfigError: no time, no chip, or a single image for each.
        ConversionError: the network holds no analog layer.
        DataError: a loader gives no batch, or an image has NaN or infinite values.
    """
    if chips < 1:
        raise ConfigError(f"chips is {chips!r}; allowed: 1 or more")
    rows: ChipRows = []
    with chip_evaluator(
        analog,
        loader,
        metric,
        times=times,
        recalibrate_with=recalibrate_with,
        seed=seed,
        images=images,
    ) as evaluate:
        for chip in _bar(range(chips), "drift", progress):
            rows += evaluate(chip)
        if "part" not in rows[0]:
            return pd.DataFrame(rows)
        found = estimate([*evaluate(REFERENCE), *rows])
    table = pd.DataFrame(found.rows)
    table.attrs["errors"] = found.errors
    return table


def _bar(items: Iterable[int], text: str, progress: bool) -> Iterator[int]:
    from tqdm import tqdm

    yield from tqdm(items, desc=text, unit="chip", disable=not progress)


@contextmanager
def silent_outputs(analog: nn.Module) -> Iterator[None]:
    """Inside, converters of the tiles have no noise."""
    forwards = [tile.rpu_config.forward for tile in all_tiles(analog)]
    before = [forward.out_noise for forward in forwards]
    for forward in forwards:
        forward.out_noise = 0.0
    try:
        yield
    finally:
        for forward, noise in zip(forwards, before, strict=True):
            forward.out_noise = noise


@contextmanager
def memory_noise(analog: nn.Module, spec: AnalogSpec, scale: float) -> Iterator[None]:
    """Inside, chips have ``scale`` times the programming noise, read noise and drift of ``spec``.

    Args:
        analog: network converted with ``spec``.
        spec: its hardware.
        scale: factor on all three; 0 = none of them.
    """
    tiles = all_tiles(uncompiled(analog))
    scaled = spec.replace(
        prog_noise_scale=scale * spec.prog_noise_scale,
        read_noise_scale=scale * spec.read_noise_scale,
        drift_scale=scale * spec.drift_scale,
    )
    set_memory(tiles, scaled)
    try:
        yield
    finally:
        set_memory(tiles, spec)


def average_batch_norms(
    analog: nn.Module,
    batches: Iterable[Any],
    *,
    chips: int = 8,
    times: tuple[float, float] = (DRIFT_TIMES[0], DRIFT_TIMES[-1]),
    seed: int = 0,
) -> None:
    """Set the BatchNorm statistics to their mean over simulated chips of many ages.

    Noisy weights widen what a layer gives; statistics of the noiseless target weights are those
    of no chip. These are what a chip is shipped with: they know nothing of it but its kind.

    Args:
        analog: converted network; its weights are as before afterwards.
        batches: images (B, C, H, W) first in each; re-iterable.
        chips: simulated chips, at times evenly in logarithm from the first to the last of
            ``times``; 0 = the statistics of the target weights.
        times: seconds after programming.
        seed: of the chips. Not that of an evaluation, whose chips must be new.
    """
    analog = uncompiled(analog)
    if chips == 0:
        recalibrate_batch_norms(analog, batches)
        return
    buffers = [
        buffer
        for norm in batch_norms(analog)
        for buffer in (norm.running_mean, norm.running_var)
        if buffer is not None
    ]
    if not buffers:
        return
    sums = [torch.zeros_like(buffer) for buffer in buffers]
    with Chips(analog, seed, batches, keep_statistics=False) as simulated:
        for chip in range(chips):
            share = (chip + 0.5) / chips
            simulated.program(chip)
            simulated.drift(times[0] * (times[1] / times[0]) ** share)
            # Each chip has one age here, which is no part of its seed.
            simulated.source.reseed(derive_seed(seed, chip, 2))
            simulated.recalibrate()
            torch._foreach_add_(sums, buffers, alpha=1.0 / chips)
    torch._foreach_copy_(buffers, sums)


def summarise_drift(table: pd.DataFrame) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Mean, deviation, 5th and 95th percentile and minimum of the chips, by time and metric.

    Returns:
        ``{time_s: {"recalibrated" | "uncalibrated": {metric: statistics}}}``, statistics being
        ``mean``, ``std``, ``p05``, ``p95`` and ``min``, with times as integers in
        decimal where they are whole. The standard deviation is that of a sample (n - 1), and 0 for
        a single chip.
    """
    return summarise(table.to_dict("records"))
