"""From a digital network to one on AIHWKit tiles, with a report of what got there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasseg._macs import weight_layers, why_off_tiles
from nasseg._registry import unknown_name
from nasseg.analog.coverage import AS_ASKED, Coverage, LayerCoverage
from nasseg.analog.eager import uncompiled
from nasseg.analog.fused import fused_layers, layer_tiles, supports_fused
from nasseg.analog.noise import NoiseSource
from nasseg.analog.placing import on_tiles, own_copy
from nasseg.analog.spec import AnalogSpec
from nasseg.analog.trace import trace
from nasseg.errors import ConversionError, NassegError

Example = Tensor | Sequence[Any] | Mapping[str, Any]
"""Input of a network: the only one, several in order, or several by name."""


def _names(net: nn.Module) -> dict[str, list[str]]:
    """All names of every module, by the first of them."""
    found: dict[nn.Module, list[str]] = {}
    for name, module in net.named_modules(remove_duplicate=False):
        found.setdefault(module, []).append(name)
    return {names[0]: names for names in found.values()}


def _below(name: str, excluded: Iterable[str]) -> bool:
    return any(name == item or name.startswith(f"{item}.") for item in excluded)


def _tied(net: nn.Module) -> dict[str, str]:
    """Modules whose parameters are another's too, and that other module."""
    holders: dict[int, str] = {}
    tied: dict[str, str] = {}
    for name, module in net.named_modules():
        # Compiled parts have a name of their own, which the copy to be converted has not.
        name = name.replace("_orig_mod.", "")
        for parameter in module.parameters(recurse=False):
            # Two parameters may be one memory.
            key = parameter.data_ptr() or id(parameter)
            other = holders.setdefault(key, name)
            if other != name:
                tied.setdefault(name, other)
                tied.setdefault(other, name)
    return tied


def _whys(
    net: nn.Module, excluded: Sequence[str], tied: Mapping[str, str], read: Mapping[str, str]
) -> dict[str, str]:
    """Why each module that holds weights cannot go onto tiles; empty if it can."""
    names = _names(net)
    found = {}
    for name, module, _ in weight_layers(net):
        why = why_off_tiles(module)
        if any(_below(other, excluded) for other in names[name]):
            why = AS_ASKED
        elif not why and name in tied:
            why = (
                f"its weight is that of {_shown(tied[name])} too; to share tiles, use one module "
                "under both names"
            )
        elif not why and name in read:
            why = (
                f"its weight is read by {_shown(read[name])} without calling the layer, which "
                "tiles do not allow"
            )
        found[name] = why
    return found


def _shown(name: str) -> str:
    return name or "(root)"


def digital_names(net: nn.Module, layers: Sequence[str]) -> list[str]:
    """Return the names of the modules that stay digital.

    Args:
        net: a digital network.
        layers: names of modules; ``first`` and ``last`` stand for the first and the last layer that
            holds weights, unless a module is called so.

    Raises:
        UnknownName: the network has no such module.
    """
    known = {name for name, _ in net.named_modules(remove_duplicate=False) if name}
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
    example: Example | None = None,
    input_size: tuple[int, int] = (64, 64),
    seed: int = 0,
) -> tuple[nn.Module, Coverage]:
    """Put the convolutions and linear layers of a network onto analog tiles.

    Layers keep their type, device, mode and hooks, and stay frozen where ``requires_grad`` is off.
    A module that is used in several places has one set of tiles. What cannot go onto tiles stays
    digital, and the coverage says why; the products of such layers, and those outside of any layer
    (attention, functions of torch), are counted as digital.

    Args:
        net: a digital network, or what ``torch.compile`` made of one; it is not changed.
        spec: the hardware; none = the ``pcm`` preset.
        digital_layers: names of modules that stay digital, with all below them; see
            :func:`digital_names`.
        example: what the network is called with, for counting: a tensor (B, C, H, W), the tensors
            of a network of several inputs in order, or by name; none = zeros at ``input_size``,
            with as many channels as the network's attribute ``in_channels``, or else its first
            convolution (or with the features of its first linear layer).
        input_size: height and width of that default, in pixels.
        seed: seed of the noise that the layers draw.

    Returns:
        The analog network, its tiles holding the weights of ``net``, and its coverage. Input
        ranges are 1 until :func:`~nasseg.analog.calibrate_input_ranges` sets them.

    Raises:
        UnknownName: ``digital_layers`` names no module of the network.
        ConversionError: the network holds nothing that can be converted, holds weights that are
            not finite, or does not run on the example.
    """
    spec = spec or AnalogSpec.preset("pcm")
    net = uncompiled(net)
    digital = own_copy(net)
    tied = _tied(net)
    kept = digital_names(digital, digital_layers)
    _require_some(_whys(digital, kept, tied, {}))
    inputs, keywords = _inputs(digital, example, input_size)
    try:
        found = trace(digital, inputs, keywords)
    except (NassegError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        given = "the guessed input" if example is None else "example"
        raise ConversionError(
            f"the network does not run on {given}, {_shapes(inputs, keywords)} "
            f"({type(error).__name__}: {first}); give input_size=(height, width) of its images, or "
            "example=, a tensor that it accepts, or a tuple of them where it takes several"
        ) from error
    whys = _whys(digital, kept, tied, found.read)
    _require_some(whys)
    analog = on_tiles(digital, [name for name, why in whys.items() if not why], spec, seed)
    shapes = [tuple(x.shape) for x in [*inputs, *keywords.values()] if isinstance(x, Tensor)]
    rows = _rows(digital, analog, whys, found.macs, kept)
    return analog, Coverage(tuple(rows), shapes[0] if shapes else ())


def _require_some(whys: Mapping[str, str]) -> None:
    if all(whys.values()):
        found = "; ".join(f"{name or 'the network'}: {why}" for name, why in whys.items())
        raise ConversionError(f"no layer can be put onto tiles ({found or 'it has no weights'})")


def _rows(
    digital: nn.Module,
    analog: nn.Module,
    whys: Mapping[str, str],
    macs: Mapping[str, int],
    kept: Sequence[str],
) -> list[LayerCoverage]:
    names = _names(digital)
    converted = dict(fused_layers(analog))
    weights = {name: count for name, _, count in weight_layers(digital)}
    rows = []
    for name, why in whys.items():
        placed = converted.get(name)
        tiles = [] if placed is None else [tile for tile, *_ in layer_tiles(placed)]
        notes = [why] if why else []
        if tiles and (slow := supports_fused(tiles[0])):
            notes.append(f"AIHWKit's own forward: {slow}")
        if tiles and not macs.get(name):
            notes.append("not called on the example")
        if len(names[name]) > 1:
            notes.append(f"also used as {', '.join(names[name][1:])}")
        rows.append(
            LayerCoverage(
                name=_shown(name),
                type=type(digital.get_submodule(name)).__name__,
                macs=macs.get(name, 0),
                weights=weights[name],
                tiles=len(tiles),
                analog=placed is not None,
                why=why if why == AS_ASKED else "; ".join(notes),
            )
        )
    for name, count in macs.items():
        if name in whys or not count:
            continue
        asked = any(_below(other, kept) for other in names[name])
        rows.append(
            LayerCoverage(
                name=_shown(name),
                type=type(digital.get_submodule(name)).__name__,
                macs=count,
                weights=0,
                tiles=0,
                analog=False,
                why=AS_ASKED if asked else "products outside of layers that can have tiles",
            )
        )
    return rows


def _inputs(
    net: nn.Module, example: Example | None, size: tuple[int, int]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Inputs in order and by name."""
    if example is None:
        return (_example(net, size),), {}
    if isinstance(example, Mapping):
        return (), example
    return (example,) if isinstance(example, Tensor) else tuple(example), {}


def _shapes(inputs: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    values = [("", x) for x in inputs] + [(f"{name}=", x) for name, x in keywords.items()]
    return ", ".join(
        f"{name}{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else f"{name}{x!r}"
        for name, x in values
    )


def _example(net: nn.Module, size: tuple[int, int]) -> Tensor:
    for name, module in net.named_modules():
        parameter = next(module.parameters(recurse=False), None)
        if parameter is None:
            continue
        kind = {"dtype": parameter.dtype, "device": parameter.device}
        if isinstance(module, nn.Conv2d):
            # A network may fold pixels into channels before its first convolution.
            declared = getattr(net, "in_channels", None)
            channels = declared if isinstance(declared, int) else module.in_channels
            return torch.zeros((1, channels, *size), **kind)
        if isinstance(module, nn.Linear):
            return torch.zeros((1, module.in_features), **kind)
        if isinstance(module, _OTHER_STEMS):
            raise ConversionError(
                f"cannot guess the input of a network that begins with {_shown(name)} "
                f"({type(module).__name__}): give example=, a tensor that it accepts"
            )
    raise ConversionError(
        "cannot guess the input of the network: give example=, a tensor that it accepts"
    )


_OTHER_STEMS = (nn.Conv1d, nn.Conv3d, nn.RNNBase, nn.RNNCellBase, nn.Embedding, nn.EmbeddingBag)
"""Layers that take no image, before which no image can be guessed."""


def noise_source(analog: nn.Module) -> NoiseSource:
    """The noise source that all analog layers of a network share.

    Raises:
        ConversionError: the network holds no layer converted by :func:`convert`.
    """
    for _, layer in fused_layers(analog):
        return layer.noise
    raise ConversionError("the network has no analog layer: convert it first (nasseg.analog)")
