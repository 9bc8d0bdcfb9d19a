"""AIHWKit's analog layers with a forward that convolves instead of unfolding.

With ``noise_management=NONE`` and a static input range, the DAC acts elementwise, so the tile
computes exactly ``conv2d(quantise(x), noisy weight)`` followed by output noise and ADC on the
output map. AIHWKit unfolds first and does the same on a matrix k*k times as large. Weights,
scales, input ranges, programming, drift and the state dict stay those of AIHWKit's own
``TorchInferenceTile`` and ``TileModuleArray``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from aihwkit.nn import AnalogConv2d, AnalogLinear
from aihwkit.simulator.parameters.enums import (
    BoundManagementType,
    NoiseManagementType,
    WeightModifierType,
)
from aihwkit.simulator.tiles.array import TileModuleArray
from aihwkit.simulator.tiles.inference_torch import TorchInferenceTile
from torch import Tensor
from torch.autograd.function import FunctionCtx

from nasseg.analog.noise import NoiseSource


class _Quantise(torch.autograd.Function):
    """Clamp to +-bound, divide by ``scale``, round to ``step``: straight-through gradient."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, bound: Tensor | float, scale: Tensor | float, step: float
    ) -> Tensor:
        inside = x.abs() <= bound
        # Tensors or numbers both; the stubs of clamp know only either.
        low, high = cast(Any, -bound), cast(Any, bound)
        ctx.save_for_backward(inside)
        ctx.scale = scale  # type: ignore[attr-defined]
        out = torch.clamp(x, low, high).div_(scale)
        if step > 0:
            out.mul_(1.0 / step).round_().mul_(step)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside / ctx.scale, None, None, None


def _quantise(x: Tensor, bound: Tensor | float, scale: Tensor | float, step: float) -> Tensor:
    out: Tensor = _Quantise.apply(x, bound, scale, step)  # type: ignore[no-untyped-call]
    return out


def _noisy_weight(tile: TorchInferenceTile, noise: NoiseSource) -> Tensor:
    """The weight (out, in) of one training step, with what the modifier injects."""
    weight: Tensor = tile.tile.weight
    modifier = tile.rpu_config.modifier
    if modifier.type in (WeightModifierType.NONE, WeightModifierType.COPY):
        return weight
    with torch.no_grad():
        draw = noise.normal_like(weight).mul_(modifier.std_dev)
        if modifier.type == WeightModifierType.MULT_NORMAL:
            draw.mul_(weight)
        elif modifier.rel_to_actual_wmax:
            draw.mul_(weight.abs().max())
        else:
            draw.mul_(modifier.assumed_wmax)
    return weight + draw


def supports_fused(tile: TorchInferenceTile) -> str:
    """Why the fused forward cannot stand in for AIHWKit's own on this tile; empty if it can."""
    forward, modifier = tile.rpu_config.forward, tile.rpu_config.modifier
    ranges = tile.rpu_config.pre_post.input_range
    reasons = (
        (type(tile) is not TorchInferenceTile, f"tile class {type(tile).__name__}"),
        (forward.noise_management != NoiseManagementType.NONE, "noise management per vector"),
        (forward.bound_management != BoundManagementType.NONE, "bound management"),
        (forward.inp_noise > 0, "input noise"),
        (forward.inp_asymmetry != 0 or forward.out_asymmetry != 0, "asymmetry"),
        (forward.inp_sto_round or forward.out_sto_round, "stochastic rounding"),
        (forward.out_noise_std > 0, "output noise that differs by column"),
        (forward.out_scale != 1.0, "output scale"),
        (ranges.enable and ranges.learn_input_range, "learned input range"),
        (modifier.per_batch_sample, "weight noise per sample"),
        (
            modifier.type
            not in (
                WeightModifierType.NONE,
                WeightModifierType.COPY,
                WeightModifierType.ADD_NORMAL,
                WeightModifierType.MULT_NORMAL,
            ),
            f"weight modifier {modifier.type}",
        ),
    )
    return ", ".join(text for found, text in reasons if found)


def tile_forward(
    tile: TorchInferenceTile,
    x: Tensor,
    product: Callable[[Tensor, Tensor], Tensor],
    noise: NoiseSource,
    column: tuple[int, ...],
) -> Tensor:
    """One tile: DAC, product with the (noisy) weight, output noise, ADC, digital scales.

    Args:
        tile: the tile, for which :func:`supports_fused` gave an empty string.
        x: input (B, C, H, W) or (..., in) in the units of the network.
        product: (quantised input, weight (out, in)) -> output with the columns in dimension 1
            for images, in the last one for vectors.
        noise: where weight and output noise come from.
        column: view of a vector over columns that broadcasts over the output.

    Returns:
        The output of the tile in the units of the network, without bias.
    """
    io = tile.rpu_config.forward
    weight = _noisy_weight(tile, noise) if tile.training else tile.tile.weight
    input_range = tile.input_range
    if not io.is_perfect:
        step = 2.0 * io.inp_bound * (1 / io.inp_res if io.inp_res > 1 else io.inp_res)
        if input_range is not None:
            bound = input_range.abs() if io.inp_bound <= 0 else input_range.abs() * io.inp_bound
            x = _quantise(x, bound, input_range, step)
        elif io.inp_bound > 0:
            x = _quantise(x, io.inp_bound, 1.0, step)
    elif input_range is not None:
        x = _quantise(x, input_range.abs(), input_range, -1.0)
    out = product(x, weight)
    if not io.is_perfect:
        if io.out_noise > 0:
            # The sum needs no gradient of the noise, so it may be done in place on the noise.
            out = out + noise.normal_like(out).mul_(io.out_noise)
        if io.out_bound > 0:
            step = 2.0 * io.out_bound * (1 / io.out_res if io.out_res > 1 else io.out_res)
            out = _quantise(out, io.out_bound, 1.0, step)
    factors = [input_range, tile.mapping_scales, tile.out_scaling_alpha]
    if not tile.training and tile.rpu_config.drift_compensation is not None:
        factors.append(torch.as_tensor(tile.alpha, device=out.device, dtype=out.dtype))
    views = [f.view(column) if f.numel() > 1 else f for f in factors if f is not None]
    # Multiplied together while they are small, then once over the output map.
    return out * functools.reduce(torch.mul, views) if views else out


def layer_tiles(layer: torch.nn.Module) -> Iterator[tuple[TorchInferenceTile, int, int, int]]:
    """The tiles of an analog layer, each with its first row, row after the last, first column."""
    module: Any = layer.analog_module
    if not isinstance(module, TileModuleArray):
        yield module, 0, module.in_size, 0
        return
    row = 0
    for size, tiles in zip(module.in_sizes, module.array, strict=True):
        column = 0
        for out_size, tile in zip(module.out_sizes, tiles, strict=True):
            yield tile, row, row + size, column
            column += out_size
        row += size


def _sum_tiles(layer: torch.nn.Module, outputs: Callable[..., Tensor], dim: int) -> Tensor:
    """Concatenate over columns and sum over rows, digitally, as AIHWKit's tile array does."""
    rows: dict[int, list[Tensor]] = {}
    for tile, first, last, _ in layer_tiles(layer):
        rows.setdefault(first, []).append(outputs(tile, first, last))
    parts = [torch.cat(parts, dim) if len(parts) > 1 else parts[0] for parts in rows.values()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    module: Any = layer.analog_module
    bias: Tensor | None = module.bias
    if bias is not None:
        total = total + (bias.view(1, -1, 1, 1) if dim == 1 else bias)
    return total


class FusedAnalogConv2d(AnalogConv2d):  # type: ignore[misc]
    """AIHWKit's ``AnalogConv2d`` that convolves instead of unfolding, where the tiles allow it."""

    noise: NoiseSource

    def forward(self, x_input: Tensor) -> Tensor:
        """Analog convolution: (B, C, H, W) to (B, C', H', W')."""
        tiles = list(layer_tiles(self))
        if any(supports_fused(tile) for tile, *_ in tiles):
            result: Tensor = super().forward(x_input)
            return result
        kh, kw = self.kernel_size
        area = kh * kw

        def outputs(tile: TorchInferenceTile, first: int, last: int) -> Tensor:
            # Rows are ordered channel, kernel row, kernel column, and a tile may begin and end
            # inside a channel: convolve the channels it touches, with zeros for foreign rows.
            low, high = first // area, -(-last // area)
            before, after = first - low * area, high * area - last

            def product(x: Tensor, weight: Tensor) -> Tensor:
                if before or after:
                    weight = F.pad(weight, (before, after))
                kernel = weight.view(weight.shape[0], high - low, kh, kw)
                return F.conv2d(
                    x, kernel, stride=self.stride, padding=self.padding, dilation=self.dilation
                )

            channels = x_input if high - low == x_input.shape[1] else x_input[:, low:high]
            return tile_forward(tile, channels, product, self.noise, (1, -1, 1, 1))

        return _sum_tiles(self, outputs, 1)


class FusedAnalogLinear(AnalogLinear):  # type: ignore[misc]
    """AIHWKit's ``AnalogLinear`` whose noise comes from the network's own noise source."""

    noise: NoiseSource

    def forward(self, x_input: Tensor) -> Tensor:
        """Analog matrix product: (..., in) to (..., out)."""
        if any(supports_fused(tile) for tile, *_ in layer_tiles(self)):
            result: Tensor = super().forward(x_input)
            return result

        def outputs(tile: TorchInferenceTile, first: int, last: int) -> Tensor:
            part = x_input if last - first == x_input.shape[-1] else x_input[..., first:last]
            return tile_forward(tile, part, F.linear, self.noise, (-1,))

        return _sum_tiles(self, outputs, -1)


def fused_layers(
    net: torch.nn.Module,
) -> Iterator[tuple[str, FusedAnalogConv2d | FusedAnalogLinear]]:
    """Names and layers of a converted network that run on tiles, in order."""
    for name, module in net.named_modules():
        if isinstance(module, FusedAnalogConv2d | FusedAnalogLinear):
            yield name, module
