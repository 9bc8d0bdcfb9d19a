"""Layers that hold weights, and their multiply-accumulates, counted on a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""Types that weights may have."""


def weight_layers(net: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """Modules that themselves own a parameter of two or more dimensions: name, module, weights.

    A module that is used under several names comes once, by the first. What the parametrisations
    of a module hold (``torch.nn.utils.parametrize``) is the module's own.
    """
    parametrised: set[nn.Module] = set()
    for name, module in net.named_modules():
        if module in parametrised:
            continue
        held = [module]
        if parametrize.is_parametrized(module):
            inside = list(module.get_submodule("parametrizations").modules())
            parametrised.update(inside)
            held += inside
        own = {id(p): p for part in held for p in part.parameters(recurse=False)}
        count = sum(p.numel() for p in own.values() if p.dim() >= 2)
        if count:
            yield name, module, count


def why_off_tiles(module: nn.Module) -> str:
    """Why a module that holds weights cannot go onto analog tiles; empty if it can."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return (
            "transposed convolution has no analog layer; "
            "use a 1x1 convolution and PixelShuffle, which is the same product"
        )
    if parametrize.is_parametrized(module):
        computed = " and the ".join(module.get_submodule("parametrizations")._modules)
        return (
            f"the {computed} is computed by a parametrisation; "
            "torch.nn.utils.parametrize.remove_parametrizations makes it plain"
        )
    if type(module) in (nn.Conv2d, nn.Linear):
        weight = module._parameters.get("weight")
        if weight is None:
            return (
                "its weight is computed from others (weight_norm, spectral_norm, prune); "
                "remove_weight_norm and the like of torch.nn.utils make it plain"
            )
        if weight.dtype not in FLOATS:
            return f"weights of {weight.dtype} have no analog layer"
        if "forward" in module.__dict__:
            return "its forward is another one than that of its class"
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
    training = net.training
    try:
        net.eval()
        with counted(net, example.shape[0]) as macs, torch.no_grad():
            net(example)
    finally:
        net.train(training)
    return macs


def has_countable_product(module: nn.Module) -> bool:
    """True for convolutions and linear layers, whose products :func:`counted` counts."""
    return isinstance(module, nn.modules.conv._ConvNd | nn.Linear)


@contextmanager
def counted(net: nn.Module, images: int) -> Iterator[dict[str, int]]:
    """Count the multiply-accumulates of convolutions and linear layers of what runs inside.

    Args:
        net: a digital network.
        images: by which the count is divided.

    Yields:
        Multiply-accumulates for one image, by layer; it fills as the network runs.
    """
    macs: dict[str, int] = {}

    def hook(name: str) -> Any:
        def count(
            module: Any, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor
        ) -> None:
            weight: Tensor = module.weight
            # A transposed convolution applies its whole kernel once per input position.
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            positions = ((*inputs, *named.values())[0] if transposed else output).numel() // images
            per_position = weight.numel() // weight.shape[0]
            macs[name] = macs.get(name, 0) + positions * per_position

        return count

    handles = [
        module.register_forward_hook(hook(name), with_kwargs=True)
        for name, module, _ in weight_layers(net)
        if has_countable_product(module)
    ]
    try:
        yield macs
    finally:
        for handle in handles:
            handle.remove()
