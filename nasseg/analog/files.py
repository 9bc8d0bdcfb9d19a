"""Analog networks in files of one's own: safetensors, with the hardware beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from nasseg._macs import why_off_tiles
from nasseg.analog.eager import uncompiled
from nasseg.analog.fused import fused_layers
from nasseg.analog.placing import on_tiles, own_copy
from nasseg.analog.spec import AnalogSpec
from nasseg.analog.state import load_tensors, read_tensors, write_tensors
from nasseg.errors import ConversionError, RunError

_FORMAT = 1


def save(analog: nn.Module, path: str | Path) -> None:
    """Write an analog network as safetensors, atomically: weights, input ranges, hardware.

    The file holds every tensor of the network, the specification of its hardware, and which layers
    are on tiles. What a chip makes of the weights is not in it: chips are made from the weights by
    number (:func:`~nasseg.analog.evaluate_drift`).

    Args:
        analog: network from :func:`~nasseg.analog.convert`.
        path: file to write.

    Raises:
        ConversionError: the network holds no layer from ``convert``.
    """
    analog = uncompiled(analog)
    layers = dict(fused_layers(analog))
    first = next(iter(layers.values()), None)
    if first is None or first.spec is None:
        raise ConversionError("the network has no analog layer: convert it first (nasseg.analog)")
    metadata = {
        "format": _FORMAT,
        "layers": list(layers),
        "seed": first.noise.seed,
        "spec": first.spec.to_dict(),
    }
    write_tensors(path, analog, metadata)


def load(path: str | Path, net: nn.Module) -> nn.Module:
    """Read an analog network that :func:`save` has written.

    Args:
        path: the file; nothing in it is run as code.
        net: the digital network that was converted, with any weights; it is not changed.

    Returns:
        The analog network, on the device, in the types and in the mode of ``net``.

    Raises:
        RunError: the file is missing, damaged, no analog network, or of another network than
            ``net``; the names, shapes and types that differ are listed.
        SpecError: its hardware has a value that is not allowed.
        ConversionError: ``net`` cannot be converted.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != _FORMAT:
        raise RunError(
            f"{path} is no analog network of nasseg.analog.save (format "
            f"{metadata.get('format')!r}; this version reads {_FORMAT})"
        )
    spec = AnalogSpec.from_dict(metadata.get("spec"), str(path))
    digital = own_copy(uncompiled(net))
    names, seed = metadata.get("layers"), metadata.get("seed")
    if not isinstance(names, list) or not isinstance(seed, int):
        raise RunError(f"{path}: layers is {names!r} and seed {seed!r}; allowed: names, a number")
    problems = [problem for name in names if (problem := _misfit(digital, name))]
    if problems:
        raise RunError(f"{path} does not fit the network:\n  " + "\n  ".join(problems[:10]))
    analog = on_tiles(digital, names, spec, seed)
    load_tensors(analog, tensors, str(path), from_file=True)
    return analog


def _misfit(net: nn.Module, name: Any) -> str:
    """Why a layer cannot be put onto tiles as a file says; empty if it can."""
    modules = dict(net.named_modules())
    if name not in modules:
        return f"{name}: the network has no such layer"
    if not isinstance(modules[name], nn.Conv2d | nn.Linear):
        return f"{name}: {type(modules[name]).__name__} has no analog layer"
    why = why_off_tiles(modules[name])
    return f"{name}: {why}" if why else ""
