"""The state of an analog network as plain tensors, for safetensors and for checkpoints.

AIHWKit's own state dict carries configuration objects, which only an unsafe load would read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasseg.analog.fused import fused_layers, layer_tiles
from nasseg.errors import RunError


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
def load_tensors(net: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Copy tensors from :func:`named_tensors` into a network of the same structure.

    Args:
        net: network of the same architecture, converted with the same spec if analog.
        tensors: what :func:`named_tensors` gave.
        origin: file that they come from, for the error.

    Raises:
        RunError: names or shapes differ; they are listed.
    """
    own = named_tensors(net)
    problems = [f"{name}: missing" for name in sorted(own.keys() - tensors.keys())]
    problems += [f"{name}: unknown" for name in sorted(tensors.keys() - own.keys())]
    problems += [
        f"{name}: shape {tuple(tensors[name].shape)}, network has {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].shape != own[name].shape
    ]
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
