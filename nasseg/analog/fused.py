"""AIHWKit's analog layers with a forward that convolves instead of unfolding.

With ``noise_management=NONE`` and a static input range, the DAC acts elementwise, so the tile
computes exactly ``conv2d(quantise(x), noisy weight)`` followed by output noise and ADC on the
output map. AIHWKit unfolds first and does the same on a matrix k*k times as large. Weights,
scales, input ranges, programming, drift and the state dict stay those of AIHWKit's own
``TorchInferenceTile`` and ``TileModuleArray``.

One autograd function does a whole tile. It keeps its input, which the layer before keeps anyway,
and computes the quantised one again for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

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
from torch.autograd.function import once_differentiable

from nasseg.analog.eager import eagerly
from nasseg.analog.elementwise import (
    Number,
    converter_step,
    finish,
    normal_like,
    quantise,
    quantise_backward,
)
from nasseg.analog.noise import NoiseSource
from nasseg.analog.spec import AnalogSpec
from nasseg.analog.tile import Tile


def _noisy_weight(tile: TorchInferenceTile, weight: Tensor, noise: NoiseSource) -> Tensor:
    """The weight (out, in) of one training step, with what the modifier injects."""
    if noise.profile is not None:
        return noise.profile.disturb(weight, noise)
    modifier = tile.rpu_config.modifier
    if modifier.type in (WeightModifierType.NONE, WeightModifierType.COPY):
        return weight
    draw = normal_like(weight, noise).mul_(modifier.std_dev)
    if modifier.type == WeightModifierType.MULT_NORMAL:
        draw.mul_(weight)
    elif modifier.rel_to_actual_wmax:
        draw.mul_(weight.abs().max())
    else:
        draw.mul_(modifier.assumed_wmax)
    return draw.add_(weight)


def _whole_steps(bound: float, resolution: float) -> bool:
    """Whether a converter's bound is one of its levels: clamping and rounding then commute."""
    step = converter_step(bound, resolution)
    return step <= 0 or abs(bound / step - round(bound / step)) < 1e-3


def supports_fused(tile: TorchInferenceTile) -> str:
    """Why the fused forward cannot stand in for AIHWKit's own on this tile; empty if it can."""
    forward, modifier = tile.rpu_config.forward, tile.rpu_config.modifier
    ranges = tile.rpu_config.pre_post.input_range
    reasons = (
        (type(tile) not in (Tile, TorchInferenceTile), f"tile class {type(tile).__name__}"),
        (forward.noise_management != NoiseManagementType.NONE, "noise management per vector"),
        (forward.bound_management != BoundManagementType.NONE, "bound management"),
        (forward.inp_noise > 0, "input noise"),
        (forward.inp_asymmetry != 0 or forward.out_asymmetry != 0, "asymmetry"),
        (forward.inp_sto_round or forward.out_sto_round, "stochastic rounding"),
        (forward.out_noise_std > 0, "output noise that differs by column"),
        (forward.out_scale != 1.0, "output scale"),
        (
            ranges.enable
            and ranges.init_from_data > 0
            and tile.training
            and float(tile.input_range_update_idx) < ranges.init_from_data,
            "input range initialised from data",
        ),
        (
            ranges.enable and ranges.learn_input_range and forward.inp_bound != 1.0,
            "learned input range with an input bound",
        ),
        (ranges.enable and ranges.manage_output_clipping, "managed output clipping"),
        (
            not _whole_steps(forward.inp_bound, forward.inp_res)
            or not _whole_steps(forward.out_bound, forward.out_res),
            "converter whose bound lies between two levels",
        ),
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


def _input_settings(tile: TorchInferenceTile) -> tuple[Number, Number, float] | None:
    """Bound, divisor and step of the DAC in the units of the network; none = exact input."""
    io = tile.rpu_config.forward
    own = tile.input_range
    step = 0.0 if io.is_perfect else converter_step(io.inp_bound, io.inp_res)
    if own is None:
        bounded = not io.is_perfect and io.inp_bound > 0
        return (io.inp_bound, 1.0, step) if bounded else None
    value: Any = float(own) if own.device.type == "cpu" else own.detach()
    part = min(1.0, io.inp_bound) if not io.is_perfect and io.inp_bound > 0 else 1.0
    return abs(value) * part, value, step


def output_settings(tile: TorchInferenceTile) -> dict[str, float]:
    """Output noise, and step and bound of the ADC, as ``finish`` takes them."""
    io = tile.rpu_config.forward
    if io.is_perfect:
        return {"noise": 0.0, "step": 0.0, "bound": math.inf}
    return {
        "noise": io.out_noise,
        "step": converter_step(io.out_bound, io.out_res),
        "bound": io.out_bound if io.out_bound > 0 else math.inf,
    }


def _scale(tile: TorchInferenceTile, columns: int, with_alpha: bool) -> Tensor:
    """Digital factor of each column, (columns,)."""
    weight = tile.tile.weight
    scale = torch.ones(columns, device=weight.device, dtype=weight.dtype)
    factors = [tile.input_range, tile.mapping_scales]
    if with_alpha:
        factors.append(tile.out_scaling_alpha)
    if not tile.training and tile.rpu_config.drift_compensation is not None:
        factors.append(torch.as_tensor(tile.alpha, device=weight.device, dtype=weight.dtype))
    for factor in factors:
        if factor is not None:
            scale.mul_(factor.detach().view(-1))
    return scale


@contextmanager
def _precise(device: torch.device) -> Iterator[None]:
    """On CUDA, no TF32 in convolutions unless it was asked for.

    torch allows it there by default, though not in matrix products: the latter's setting says
    what was asked for.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and torch.backends.cuda.matmul.allow_tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class _Product(Protocol):
    """The linear map of a tile: which inputs meet which weights."""

    dim: int
    """Dimension of the columns in the output: 1 or -1."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Quantised input and weight (out, in) to the output."""
        ...

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of input and weight (out, in)."""
        ...

    def clipped_sums(
        self, grad: Tensor, weight: Tensor, x: Tensor, bound: Number
    ) -> tuple[Tensor, Tensor]:
        """See :func:`_range_gradient`."""
        ...


class _Vectors:
    """Vectors (batch, in) times weight."""

    dim = -1

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        return grad @ weight if need_x else None, grad.T @ x if need_weight else None

    def clipped_sums(
        self, grad: Tensor, weight: Tensor, x: Tensor, bound: Number
    ) -> tuple[Tensor, Tensor]:
        back = grad @ weight
        above, below = x >= bound, x <= -bound
        total = (back * above).clamp(max=0).sum() - (back * below).clamp(min=0).sum()
        return total, (above | below).float().mean()


class _Patches:
    """Patches of a map (B, C, H, W) times weight: convolution.

    The tile holds rows ``first`` to ``last - 1`` of the layer, which are ordered channel, kernel
    row, kernel column; it may begin and end inside a channel. Its input is the channels that it
    touches, and foreign rows meet zeros.
    """

    dim = 1

    def __init__(self, layer: AnalogConv2d, first: int, last: int) -> None:
        self.kernel: tuple[int, int] = tuple(layer.kernel_size)
        self.geometry = (list(layer.stride), list(layer.padding), list(layer.dilation))
        area = math.prod(self.kernel)
        self.low, self.high = first // area, -(-last // area)
        self.first, self.last = first, last
        self.before, self.after = first - self.low * area, self.high * area - last

    def _kernel(self, weight: Tensor) -> Tensor:
        if self.before or self.after:
            weight = F.pad(weight, (self.before, self.after))
        return weight.view(weight.shape[0], self.high - self.low, *self.kernel)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        stride, padding, dilation = self.geometry
        with _precise(x.device):
            return F.conv2d(x, self._kernel(weight), None, stride, padding, dilation)

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        with _precise(x.device):
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad,
                x,
                self._kernel(weight),
                None,
                *self.geometry,
                False,
                [0, 0],
                1,
                [need_x, need_weight, False],
            )
        if need_weight:
            flat = grad_weight.reshape(weight.shape[0], -1)
            grad_weight = flat[:, self.before : flat.shape[1] - self.after]
        return grad_x, grad_weight

    def clipped_sums(
        self, grad: Tensor, weight: Tensor, x: Tensor, bound: Number
    ) -> tuple[Tensor, Tensor]:
        total, count = grad.new_zeros(()), grad.new_zeros(())
        height, width = grad.shape[2:]
        entries = grad.shape[0] * height * width * (self.last - self.first)
        above, below = x >= bound, x <= -bound
        found = (above | below).nonzero()
        if len(found) == 0:
            return total, count
        vectors, kernel = grad.permute(0, 2, 3, 1).contiguous(), self._kernel(weight)
        area = math.prod(self.kernel)
        (down, right), (top, left), (every, across) = self.geometry
        # Few inputs are clipped as a rule; where many are, in parts, to bound the memory.
        for part in torch.split(found, 1 << 16):
            image, channel, row, column = part.unbind(1)
            high = above[image, channel, row, column]
            low = below[image, channel, row, column]
            for at in range(area):
                i, j = divmod(at, self.kernel[1])
                y, x_ = row + top - i * every, column + left - j * across
                inside = (y % down == 0) & (x_ % right == 0) & (y >= 0) & (x_ >= 0)
                y, x_ = y // down, x_ // right
                held = (channel + self.low) * area + at
                inside &= (y < height) & (x_ < width) & (held >= self.first) & (held < self.last)
                k = inside.nonzero().squeeze(1)
                back = (vectors[image[k], y[k], x_[k]] * kernel[:, channel[k], i, j].T).sum(1)
                total += (back * high[k]).clamp(max=0).sum() - (back * low[k]).clamp(min=0).sum()
                count += len(k)
        return total, count / entries


def _range_gradient(
    tile: TorchInferenceTile,
    product: _Product,
    grad: Tensor,
    weight: Tensor,
    x: Tensor,
    back: Tensor,
) -> Tensor:
    """Gradient of a learned input range from the input side, (1,).

    AIHWKit's: that of dividing by the range, plus a rule of its own for clipped inputs (it widens
    the range where that would lower the loss) and a decay while few inputs are clipped. The rule
    takes each copy of an input in the unfolded matrix by itself, so it is not a sum of the map's
    gradient; it is computed for the few clipped inputs only.

    Args:
        tile: its range is a parameter.
        product: gives, over the entries of the unfolded matrix that are clipped, the sum of the
            gradient where it has the sign that asks for a wider range, and their share of all.
        grad: gradient of the product's output.
        weight: weight (out, in).
        x: input, not clamped.
        back: gradient of the quantised input.
    """
    settings = tile.rpu_config.pre_post.input_range
    own = tile.input_range.detach()
    clamped = torch.clamp(x, -own.abs(), own.abs())
    gradient: Tensor = -(back * clamped).sum() / own**2
    total, share = product.clipped_sums(grad, weight, clamped, own)
    rule: Tensor = total / own
    if settings.gradient_relative:
        rule = rule * own * settings.gradient_scale
    if settings.decay > 0:
        rule = rule + settings.decay * own * (1 - share > settings.input_min_percentage)
    return gradient + rule


class _TileProduct(torch.autograd.Function):
    """DAC, product with the (noisy) weight, output noise, ADC, digital scale and bias.

    In the weights' own precision under autocast too, whose formats are coarser than a converter.
    On CUDA, TF32 only where ``torch.backends.cuda.matmul.allow_tf32`` asks for it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        input_range: Tensor | None,
        bias: Tensor | None,
        tile: TorchInferenceTile,
        product: _Product,
        noise: NoiseSource,
        memo: dict[Any, Tensor],
        with_alpha: bool,
        training: bool,
    ) -> Tensor:
        noisy = _noisy_weight(tile, weight, noise) if tile.training else weight
        settings = _input_settings(tile)
        y = product.forward(_quantised(x, settings, memo), noisy)
        scale = _scale(tile, weight.shape[0], with_alpha)
        sizes = output_settings(tile)
        out, clipped = finish(y, scale, bias, product.dim, **sizes, source=noise, mark=training)
        if training:
            learned = input_range is not None and input_range.requires_grad
            # A copy: layers behind may work in place on what is returned.
            kept = out.clone() if learned else None
            ctx.save_for_backward(x, noisy, scale, clipped, bias, kept)
            ctx.tile, ctx.product, ctx.settings = tile, product, settings
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, noisy, scale, clipped, bias, out = ctx.saved_tensors
        tile, product, settings = ctx.tile, ctx.product, ctx.settings
        need_x, need_weight, need_range, need_bias = ctx.needs_input_grad[:4]
        grad = grads[0]
        others = [d for d in range(grad.dim()) if d != product.dim % grad.dim()]
        sums = grad.sum(others) if bias is not None else None
        outside = None
        if need_range and out is not None:
            # The output is proportional to the range, its bias is not.
            outside = (grad * out).sum() - (0 if sums is None else (sums * bias).sum())
        if clipped is None:
            # A factor of each column is cheaper on the weight than on the map.
            weight, factor = noisy * scale[:, None], scale[:, None]
        else:
            view = (1, -1, 1, 1) if product.dim == 1 else (-1,)
            grad = (grad * scale.view(view)).masked_fill_(clipped, 0.0)
            weight, factor = noisy, None
        quantised = _quantised(x, settings, {})
        back, grad_weight = product.backward(
            grad, quantised, weight, need_x or need_range, need_weight
        )
        del quantised
        if grad_weight is not None and factor is not None:
            grad_weight = grad_weight * factor
        grad_range = None
        if outside is not None:
            own = tile.input_range.detach()
            inner = _range_gradient(tile, product, grad, weight, x, back)
            grad_range = outside / own + inner
        if back is not None and settings is not None:
            back = quantise_backward(back, x, settings[0], settings[1])
        rest = (None,) * 6
        return back if need_x else None, grad_weight, grad_range, sums if need_bias else None, *rest


def _quantised(
    x: Tensor, settings: tuple[Number, Number, float] | None, memo: dict[Any, Tensor]
) -> Tensor:
    """The input as the DAC gives it; tiles of the same rows and range share it in ``memo``."""
    if settings is None:
        return x
    if isinstance(settings[0], Tensor) or x.is_inference():
        return quantise(x, *settings)
    # The version tells of work in place between two uses.
    key = (x.data_ptr(), x.shape, x._version, settings)
    if key not in memo:
        memo[key] = quantise(x, *settings)
    return memo[key]


def tile_forward(
    tile: TorchInferenceTile,
    x: Tensor,
    bias: Tensor | None,
    product: _Product,
    noise: NoiseSource,
    memo: dict[Any, Tensor],
) -> Tensor:
    """Output of one tile in the units of the network.

    Args:
        tile: the tile, for which :func:`supports_fused` gave an empty string.
        x: input (B, C, H, W) or (batch, in) in the units of the network.
        bias: added to the columns, (out,).
        product: what is multiplied.
        noise: where weight and output noise come from.
        memo: quantised inputs, shared by the tiles of a layer.
    """
    alpha: Tensor | None = tile.out_scaling_alpha
    learned = alpha is not None and alpha.requires_grad
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            exact = x.to(tile.tile.weight.dtype)
            return tile_forward(tile, exact, bias, product, noise, {})
    # The stubs know no signature of apply.
    out: Tensor = _TileProduct.apply(  # type: ignore[no-untyped-call]
        x,
        tile.tile.weight,
        tile.input_range,
        None if learned else bias,
        tile,
        product,
        noise,
        memo,
        not learned,
        torch.is_grad_enabled(),
    )
    if learned and alpha is not None:
        view = (1, -1, 1, 1) if product.dim == 1 else (-1,)
        out = out * (alpha.view(view) if alpha.numel() > 1 else alpha)
        out = out if bias is None else out + bias.view(view)
    return out


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


def _layer_forward(
    layer: FusedAnalogConv2d | FusedAnalogLinear, x: Tensor, products: Callable[[int, int], Any]
) -> Tensor:
    """Tiles side by side are concatenated, tiles below one another summed digitally."""
    memo: dict[Any, Tensor] = layer.memo.get(id(x), {}) if layer.memo else {}
    bias: Tensor | None = getattr(layer.analog_module, "bias", None)
    rows: dict[int, list[Tensor]] = {}
    for tile, first, last, column in layer_tiles(layer):
        product = products(first, last)
        part = x
        if isinstance(product, _Patches):
            if product.high - product.low != x.shape[1]:
                part = x[:, product.low : product.high]
        elif last - first != x.shape[1]:
            part = x[:, first:last]
        columns = tile.tile.weight.shape[0]
        # Once: with the first rows.
        own = bias[column : column + columns] if bias is not None and first == 0 else None
        out = tile_forward(tile, part, own, product, layer.noise, memo)
        rows.setdefault(first, []).append(out)
    dim = 1 if x.dim() == 4 else -1
    parts = [torch.cat(parts, dim) if len(parts) > 1 else parts[0] for parts in rows.values()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class FusedAnalogConv2d(AnalogConv2d):  # type: ignore[misc]
    """AIHWKit's ``AnalogConv2d`` that convolves instead of unfolding, where the tiles allow it."""

    noise: NoiseSource
    spec: AnalogSpec | None = None
    """The hardware that it was converted for."""
    memo: dict[int, dict[Any, Tensor]] | None = None
    """Quantised inputs by the identity of the input, kept by who knows that it returns."""

    @eagerly
    def forward(self, x_input: Tensor) -> Tensor:
        """Analog convolution: (B, C, H, W) to (B, C', H', W')."""
        plain = isinstance(self.padding, tuple) and x_input.dim() == 4
        if not plain or any(supports_fused(tile) for tile, *_ in layer_tiles(self)):
            result: Tensor = super().forward(x_input)
            return result
        return _layer_forward(self, x_input, lambda first, last: _Patches(self, first, last))


class FusedAnalogLinear(AnalogLinear):  # type: ignore[misc]
    """AIHWKit's ``AnalogLinear`` whose noise comes from the network's own noise source."""

    noise: NoiseSource
    spec: AnalogSpec | None = None
    memo: dict[int, dict[Any, Tensor]] | None = None
    """As in :class:`FusedAnalogConv2d`."""

    @eagerly
    def forward(self, x_input: Tensor) -> Tensor:
        """Analog matrix product: (..., in) to (..., out)."""
        if any(supports_fused(tile) for tile, *_ in layer_tiles(self)):
            result: Tensor = super().forward(x_input)
            return result
        vectors = x_input if x_input.dim() == 2 else x_input.reshape(-1, x_input.shape[-1])
        out = _layer_forward(self, vectors, lambda first, last: _Vectors())
        return out if x_input.dim() == 2 else out.view(*x_input.shape[:-1], out.shape[-1])


def fused_layers(
    net: torch.nn.Module,
) -> Iterator[tuple[str, FusedAnalogConv2d | FusedAnalogLinear]]:
    """Names and layers of a converted network that run on tiles, in order."""
    for name, module in net.named_modules():
        if isinstance(module, FusedAnalogConv2d | FusedAnalogLinear):
            yield name, module
