"""The state of an analog network as plain tensors, for safetensors and for checkpoints.

AIHWKit's own state dict carries configuration objects, which only an unsafe load would read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from nasseg.analog.fused import fused_layers, layer_tiles
from nasseg.errors import RunError
from nasseg.io import write_bytes


def named_tensors(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; for a digital network what its state dict holds.

    AIHWKit's update contexts, which hold no value of their own, are left out.
    """
    tensors = {
        name: parameter.detach()
        for name, parameter in net.named_parameters()
        if not name.endswith("analog_ctx")
    }
    for name, buffer in net.named_buffers():
        tensors[name] = buffer.detach()
    return tensors


@torch.no_grad()
def load_tensors(
    net: nn.Module, tensors: Mapping[str, Tensor], origin: str, *, from_file: bool = False
) -> None:
    """Copy tensors from :func:`named_tensors` into a network of the same structure.

    Args:
        net: network of the same architecture, converted with the same spec if analog.
        tensors: what :func:`named_tensors` gave.
        origin: file that they come from, for the error.
        from_file: refuse NaN and infinite values too, but where the network's own are not finite
            either. A training that diverges in memory has errors of its own.

    Raises:
        RunError: names, shapes or types differ, or values are not finite; they are listed.
    """
    own = named_tensors(net)
    problems = [f"{name}: missing" for name in sorted(own.keys() - tensors.keys())]
    problems += [f"{name}: unknown" for name in sorted(tensors.keys() - own.keys())]
    problems += [
        f"{name}: shape {tuple(tensors[name].shape)}, network has {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].shape != own[name].shape
    ]
    problems += [
        f"{name}: {tensors[name].dtype}, network has {own[name].dtype}"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].dtype != own[name].dtype
    ]
    if from_file:
        problems += not_finite(tensors, own)
    if problems:
        shown = "\n  ".join(problems[:10])
        more = f"\n  ... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise RunError(f"{origin} does not fit the network:\n  {shown}{more}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])
    for _, layer in fused_layers(net):
        for tile, *_ in layer_tiles(layer):
            # AIHWKit divides weight gradients by the scales that were set last; loaded scales
            # must reach that hook, or training would go on with the gradients of others.
            if tile.mapping_scales is not None:
                tile.set_scales(tile.mapping_scales.clone())


def not_finite(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with NaN or infinite values, as lines of an error.

    A network may hold such values by design, such as a mask of minus infinity: tensors that are so
    in ``own`` as well are left out.
    """
    return [
        f"{name}: NaN or infinite values"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].dtype == own[name].dtype
        and not bool(torch.isfinite(tensors[name]).all())
        and bool(torch.isfinite(own[name]).all())
    ]


_KEY = "nasseg"
"""Key of the metadata in a file: safetensors writes several keys in no fixed order, and equal
networks shall be equal files."""


def write_tensors(path: str | Path, net: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write the tensors of a network, digital or analog, as safetensors, atomically.

    ``metadata`` is JSON-able and kept with them.
    """
    tensors = {name: t.cpu().contiguous().clone() for name, t in named_tensors(net).items()}
    packed = json.dumps(metadata, sort_keys=True)
    write_bytes(path, save(tensors, metadata={_KEY: packed}))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote, without running code from the file.

    Returns:
        Tensors by name, on the CPU, and the metadata; empty where there is none.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            packed = (handle.metadata() or {}).get(_KEY, "{}")
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    try:
        metadata = json.loads(packed)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise RunError(f"{path} cannot be read: its metadata are no JSON object")
    return tensors, metadata
