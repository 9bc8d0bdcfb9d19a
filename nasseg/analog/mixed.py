"""Which layers pay for being analog, and which few to keep digital."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from aihwkit.nn import AnalogConv2d
from torch import nn

from nasseg._registry import unknown_name
from nasseg.analog.drift import Metric, evaluate_drift, metric_value
from nasseg.analog.eager import uncompiled
from nasseg.analog.fused import FusedAnalogConv2d, FusedAnalogLinear, fused_layers, layer_tiles
from nasseg.analog.placing import substituted
from nasseg.analog.reuse import cached_batches
from nasseg.statistics import DAY


@dataclass(frozen=True)
class LayerSensitivity:
    """What one layer costs."""

    name: str
    macs: int
    """Multiply-accumulates for one input."""
    value: float
    """Mean of the metric over chips where this layer alone is analog."""
    loss: float
    """Metric of the all-digital network minus ``value``."""


def to_digital(layer: FusedAnalogConv2d | FusedAnalogLinear) -> nn.Module:
    """A torch layer with the weights that the tiles of an analog layer are to hold."""
    weight, bias = layer.get_weights()
    made: nn.Conv2d | nn.Linear
    if isinstance(layer, AnalogConv2d):
        made = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=bias is not None,
        )
    else:
        made = nn.Linear(layer.in_features, layer.out_features, bias=bias is not None)
    tile = next(tile for tile, *_ in layer_tiles(layer))
    held = tile.tile.weight
    made = made.to(device=held.device, dtype=held.dtype).train(layer.training)
    made.requires_grad_(held.requires_grad)
    with torch.no_grad():
        made.weight.copy_(weight.view_as(made.weight))
        if bias is not None and made.bias is not None:
            made.bias.copy_(bias)
    return made


def keep_digital(analog: nn.Module, names: Iterable[str]) -> nn.Module:
    """A copy of a converted network in which these analog layers are digital, weights kept.

    Raises:
        UnknownName: the network has no analog layer of that name.
    """
    analog, names = uncompiled(analog), list(names)
    known = [name for name, _ in fused_layers(analog)]
    for name in names:
        if name not in known:
            raise unknown_name("analog layer", name, known)
    layers = dict(fused_layers(analog))
    return substituted(analog, {layers[name]: to_digital(layers[name]) for name in names})


def _day1(
    net: nn.Module,
    loader: Iterable[Any],
    metric: Metric,
    recalibrate_with: Iterable[Any] | None,
    chips: int,
    time_s: float,
    name: str,
    seed: int,
) -> float:
    table = evaluate_drift(
        net,
        loader,
        metric,
        times=(time_s,),
        chips=chips,
        recalibrate_with=recalibrate_with,
        seed=seed,
    )
    state = table[table.recalibrated] if recalibrate_with is not None else table
    return float(state[name if name in state else "value"].mean())


def layer_sensitivity(
    analog: nn.Module,
    loader: Iterable[Any],
    metric: Metric,
    macs: dict[str, int],
    *,
    recalibrate_with: Iterable[Any] | None = None,
    chips: int = 3,
    time_s: float = DAY,
    name: str = "value",
    seed: int = 0,
    on_layer: Callable[[LayerSensitivity], object] | None = None,
) -> list[LayerSensitivity]:
    """The metric lost when one layer alone is analog, for every analog layer.

    Args:
        analog: converted, and usually retrained, network; it is not changed.
        loader: what ``metric`` evaluates on; re-iterable.
        metric: (network, loader) -> value, or values by name.
        macs: multiply-accumulates of each layer, by name.
        recalibrate_with: batches for recalibrating each chip; none = no recalibration.
        chips: chips for each layer.
        time_s: age of the chips in seconds.
        name: of the metric, where there are several.
        seed: of the chips, the same for all layers.
        on_layer: called with each result as it becomes known.

    Raises:
        DataError: a loader gives no batch, or an image has NaN or infinite values.
    """
    analog = uncompiled(analog)
    names = [layer for layer, _ in fused_layers(analog)]
    # Once: a loader may shuffle, or give its batches a single time.
    device = next(analog.parameters()).device
    loader = cached_batches(loader, device)
    if recalibrate_with is not None:
        recalibrate_with = cached_batches(recalibrate_with, device, "recalibration")
    digital = keep_digital(analog, names)
    best = metric_value(digital, loader, metric, name)
    found = []
    for layer in names:
        alone = keep_digital(analog, [other for other in names if other != layer])
        mean = _day1(alone, loader, metric, recalibrate_with, chips, time_s, name, seed)
        found.append(LayerSensitivity(layer, macs.get(layer, 0), mean, best - mean))
        if on_layer is not None:
            on_layer(found[-1])
    return found


def choose_digital_layers(
    analog: nn.Module,
    loader: Iterable[Any],
    metric: Metric,
    sensitivity: Sequence[LayerSensitivity],
    target: float,
    *,
    recalibrate_with: Iterable[Any] | None = None,
    chips: int = 5,
    time_s: float = DAY,
    name: str = "value",
    seed: int = 0,
) -> tuple[list[str], float]:
    """The layers to keep digital so that the metric reaches ``target``, few in MACs.

    Layers are taken in the order of their loss per multiply-accumulate until the target is
    reached; then those that turn out not to be needed are given back, the most expensive first.

    Args:
        analog: converted network; it is not changed.
        sensitivity: of its layers, from :func:`layer_sensitivity`.
        target: mean of the metric over chips at ``time_s``.
        loader, metric, recalibrate_with, chips, time_s, name, seed: as there.

    Returns:
        Names of the layers, in the order of the network, and the metric reached. Where not even a
        single analog layer reaches the target, those with which the metric was highest; it says
        then that it fell short.
    """

    def reached(names: Sequence[str]) -> float:
        net = keep_digital(analog, names)
        return _day1(net, loader, metric, recalibrate_with, chips, time_s, name, seed)

    value = reached([])
    if value >= target:
        return [], value
    order = sorted(sensitivity, key=lambda s: s.loss / max(1, s.macs), reverse=True)
    place = {entry.name: k for k, entry in enumerate(sensitivity)}
    chosen: list[str] = []
    best: tuple[float, list[str]] = (value, [])
    for entry in order[:-1]:
        chosen.append(entry.name)
        value = reached(chosen)
        best = max(best, (value, list(chosen)), key=lambda found: found[0])
        if value >= target:
            break
    else:
        return sorted(best[1], key=lambda n: place[n]), best[0]
    macs = {entry.name: entry.macs for entry in sensitivity}
    for candidate in sorted(chosen[:-1], key=lambda n: macs[n], reverse=True):
        fewer = [other for other in chosen if other != candidate]
        without = reached(fewer)
        if without >= target:
            chosen, value = fewer, without
    return sorted(chosen, key=lambda n: place[n]), value
