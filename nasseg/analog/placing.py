"""Layers of a digital network replaced by layers on tiles, wherever the network keeps them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nasseg.analog.eager import uncompiled
from nasseg.analog.fused import FusedAnalogConv2d, FusedAnalogLinear, layer_tiles
from nasseg.analog.noise import NoiseSource
from nasseg.analog.spec import AnalogSpec
from nasseg.analog.tile import Tile
from nasseg.errors import ConversionError

Analog = FusedAnalogConv2d | FusedAnalogLinear
_ANALOG: dict[type[nn.Module], type[Analog]] = {
    nn.Conv2d: FusedAnalogConv2d,
    nn.Linear: FusedAnalogLinear,
}
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
"""Attributes in which torch keeps the hooks that users have registered on a module."""


def substituted(net: nn.Module, new: dict[nn.Module, nn.Module]) -> nn.Module:
    """A copy of a network in which modules are others, under all names and in all containers."""
    # What a deep copy finds in its memo, it takes for the copy.
    memo: dict[int, Any] = {id(old): module for old, module in new.items()}
    copied: nn.Module = copy.deepcopy(net, memo)
    return copied


def own_copy(net: nn.Module) -> nn.Module:
    """A copy of a network that can be converted: not compiled, and without torch's short cuts.

    In evaluation, torch's transformer layers hand the weights of their linear layers to one fused
    operation, past the layers; in the copy they call the layers.

    Raises:
        ConversionError: the network cannot be copied, or its weights have no or no finite values.
    """
    memo: dict[int, Any] = {}
    for module in net.modules():
        for value in vars(module).values():
            # A weight that is computed from others (weight_norm): it will be computed again.
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    for name, parameter in net.named_parameters():
        _check(name, parameter)
    try:
        for module in net.modules():
            plain = uncompiled(module)
            if plain is not module:
                memo[id(module)] = copy.deepcopy(plain, memo)
        copied: nn.Module = copy.deepcopy(net, memo)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ConversionError(
            f"the network cannot be copied ({type(error).__name__}: {first}); keep nothing in its "
            "modules that copy.deepcopy does not take"
        ) from error
    for module in copied.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
    return copied


def _check(name: str, parameter: nn.Parameter) -> None:
    if is_lazy(parameter):
        raise ConversionError(
            f"{name} has no shape yet (a lazy layer): call the network once on an example first"
        )
    if parameter.device.type == "meta":
        raise ConversionError(f"{name} has no values (device meta): load its weights first")
    if not bool(torch.isfinite(parameter).all()):
        raise ConversionError(f"{name} holds NaN or infinite values; allowed: finite weights")


def on_tiles(net: nn.Module, names: Iterable[str], spec: AnalogSpec, seed: int) -> nn.Module:
    """A copy of a network in which layers are on tiles that hold their weights.

    Args:
        net: a digital network, from :func:`own_copy`.
        names: of its layers that can be put onto tiles.
        spec: the hardware.
        seed: of the noise that the layers draw, all from one source.
    """
    config, source = spec.to_rpu_config(), NoiseSource(seed)
    config.tile_class = Tile
    made: dict[nn.Module, nn.Module] = {}
    for name in names:
        layer = made[net.get_submodule(name)] = _analog(net.get_submodule(name), config)
        layer.noise, layer.spec = source, spec
    return substituted(net, made)


def _analog(module: nn.Module, config: Any) -> Analog:
    """One layer on tiles: with the type, device, mode, hooks and frozen parameters of another."""
    weight: Tensor = module.get_parameter("weight")
    bias: Tensor | None = getattr(module, "bias", None)
    with torch.no_grad():
        # Tiles are made in single precision.
        exact = module if weight.dtype == torch.float32 else copy.deepcopy(module).float()
        layer: Analog = _ANALOG[type(module)].from_digital(exact, copy.deepcopy(config))
        if exact is not module:
            layer.to(weight.dtype)
            layer.set_weights(weight, bias)
            layer.to(weight.dtype)
    for name in _HOOKS:
        getattr(layer, name).update(getattr(module, name))
    layer.train(module.training)
    held = layer.analog_module.bias
    if bias is not None and held is not None:
        held.requires_grad_(bias.requires_grad)
    if not weight.requires_grad:
        for tile, *_ in layer_tiles(layer):
            for parameter in tile.parameters():
                if parameter is not held:
                    parameter.requires_grad_(False)
    return layer
