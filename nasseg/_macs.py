"""Layers that hold weights, and their multiply-accumulates, counted on a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def weight_layers(net: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """Modules that themselves own a parameter of two or more dimensions: name, module, weights."""
    for name, module in net.named_modules():
        count = sum(p.numel() for p in module.parameters(recurse=False) if p.dim() >= 2)
        if count:
            yield name, module, count


def why_off_tiles(module: nn.Module) -> str:
    """Why a module that holds weights cannot go onto analog tiles; empty if it can."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return (
            "transposed convolution has no analog layer; "
            "use a 1x1 convolution and PixelShuffle, which is the same product"
        )
    if type(module) is nn.Conv2d:
        if module.groups != 1:
            return f"grouped convolution (groups={module.groups}) has no analog layer"
        if module.padding_mode != "zeros":
            return f"padding mode {module.padding_mode!r} has no analog layer"
        if isinstance(module.padding, str):
            return f"padding {module.padding!r} given as a word; give numbers"
        return ""
    if type(module) is nn.Linear:
        return ""
    return f"{type(module).__name__} has no analog layer"


def count_macs(net: nn.Module, example: Tensor) -> dict[str, int]:
    """Multiply-accumulates of every convolution and linear layer, for one image of ``example``.

    Args:
        net: a digital network.
        example: (B, C, H, W), on the device of the network (``meta`` works).
    """
    macs: dict[str, int] = {}

    def hook(name: str) -> Any:
        def count(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            weight: Tensor = module.weight
            # A transposed convolution applies its whole kernel once per input position.
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            positions = (inputs[0] if transposed else output).numel() // example.shape[0]
            per_position = weight.numel() // weight.shape[0]
            macs[name] = macs.get(name, 0) + positions * per_position

        return count

    handles = [
        module.register_forward_hook(hook(name))
        for name, module, _ in weight_layers(net)
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
    ]
    training = net.training
    try:
        net.eval()
        with torch.no_grad():
            net(example)
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    return macs
