"""From a digital network to one on AIHWKit tiles, with a report of what got there."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from aihwkit.nn.conversion import convert_to_analog
from torch import Tensor, nn

from nasseg._macs import count_macs, weight_layers, why_off_tiles
from nasseg._registry import unknown_name
from nasseg.analog.coverage import AS_ASKED, Coverage, LayerCoverage
from nasseg.analog.fused import (
    FusedAnalogConv2d,
    FusedAnalogLinear,
    fused_layers,
    layer_tiles,
    supports_fused,
)
from nasseg.analog.noise import NoiseSource
from nasseg.analog.spec import AnalogSpec
from nasseg.errors import ConversionError

_CONVERSION = {nn.Conv2d: FusedAnalogConv2d, nn.Linear: FusedAnalogLinear}


def _why_digital(name: str, module: nn.Module, excluded: Iterable[str]) -> str:
    """Why a module that holds weights cannot go onto tiles; empty if it can."""
    if any(name == item or name.startswith(f"{item}.") for item in excluded):
        return AS_ASKED
    return why_off_tiles(module)


def digital_names(net: nn.Module, layers: Sequence[str]) -> list[str]:
    """Return the names of the modules that stay digital.

    Args:
        net: a digital network.
        layers: names of modules; ``first`` and ``last`` stand for the first and the last layer that
            holds weights, unless a module is called so.

    Raises:
        UnknownName: the network has no such module.
    """
    known = {name for name, _ in net.named_modules() if name}
    weighted = [name for name, *_ in weight_layers(net) if name]
    ends = {"first": weighted[0], "last": weighted[-1]} if weighted else {}
    names = [layer if layer in known else ends.get(layer, layer) for layer in layers]
    for name in names:
        if name not in known:
            raise unknown_name("layer", name, known)
    return list(dict.fromkeys(names))


def convert(
    net: nn.Module,
    spec: AnalogSpec | None = None,
    *,
    digital_layers: Sequence[str] = (),
    example: Tensor | None = None,
    input_size: tuple[int, int] = (64, 64),
    seed: int = 0,
) -> tuple[nn.Module, Coverage]:
    """Put the convolutions and linear layers of a network onto analog tiles.

    Args:
        net: a digital network; it is not changed.
        spec: the hardware; none = the ``pcm`` preset.
        digital_layers: names of modules that stay digital, with all below them; see
            :func:`digital_names`.
        example: an input (B, C, H, W) for counting; none = zeros at ``input_size``, with as many
            channels as the network's attribute ``in_channels``, or else its first convolution (or
            with the features of its first linear layer).
        input_size: height and width of that default, in pixels.
        seed: seed of the noise that the layers draw.

    Returns:
        The analog network, its tiles holding the weights of ``net``, and its coverage. Input
        ranges are 1 until :func:`~nasseg.analog.calibrate_input_ranges` sets them.

    Raises:
        UnknownName: ``digital_layers`` names no module of the network.
        ConversionError: the network holds nothing that can be converted.
    """
    spec = spec or AnalogSpec.preset("pcm")
    kept = digital_names(net, digital_layers)
    reasons = {name: _why_digital(name, module, kept) for name, module, _ in weight_layers(net)}
    if all(reasons.values()):
        found = "; ".join(f"{name or 'the network'}: {why}" for name, why in reasons.items())
        raise ConversionError(f"no layer can be put onto tiles ({found or 'it has no weights'})")
    device = next(net.parameters()).device
    if example is None:
        example = _example(net, input_size, device)
    digital = copy.deepcopy(net)
    macs = count_macs(digital, example)
    weights = {name: count for name, _, count in weight_layers(net)}
    types = {name: type(module).__name__ for name, module, _ in weight_layers(net)}

    analog: nn.Module = convert_to_analog(
        digital,
        spec.to_rpu_config(),
        conversion_map=_CONVERSION,
        exclude_modules=[name for name, why in reasons.items() if why],
        ensure_analog_root=False,
        inplace=True,
    )
    source = NoiseSource(seed)
    converted = {}
    for name, layer in fused_layers(analog):
        layer.noise = source
        converted[name] = layer
    rows = []
    for name, why in reasons.items():
        placed = converted.get(name)
        tiles = [] if placed is None else [tile for tile, *_ in layer_tiles(placed)]
        if tiles:
            slow = supports_fused(tiles[0])
            why = f"AIHWKit's own forward: {slow}" if slow else ""
        rows.append(
            LayerCoverage(
                name=name or "(root)",
                type=types[name],
                macs=macs.get(name, 0),
                weights=weights[name],
                tiles=len(tiles),
                analog=placed is not None,
                why=why,
            )
        )
    return analog, Coverage(tuple(rows), tuple(example.shape))


def _example(net: nn.Module, size: tuple[int, int], device: torch.device) -> Tensor:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            # A network may fold pixels into channels before its first convolution.
            declared = getattr(net, "in_channels", None)
            channels = declared if isinstance(declared, int) else module.in_channels
            return torch.zeros((1, channels, *size), device=device)
        if isinstance(module, nn.Linear):
            return torch.zeros((1, module.in_features), device=device)
    raise ConversionError(
        "cannot guess the input of the network: give example=, a tensor that it accepts"
    )


def noise_source(analog: nn.Module) -> NoiseSource:
    """The noise source that all analog layers of a network share.

    Raises:
        ConversionError: the network holds no layer converted by :func:`convert`.
    """
    for _, layer in fused_layers(analog):
        return layer.noise
    raise ConversionError("the network has no analog layer: convert it first (nasseg.analog)")
