"""What a tile does to a feature map besides the product, on any device.

Float32 on the CPU takes the compiled kernels; everything else, and a Python without Numba, the
same steps in torch.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from types import ModuleType

import torch
from torch import Tensor

from nasseg.analog.noise import NoiseSource

Number = Tensor | float
"""A float on the CPU; on other devices a tensor of one element, which costs no synchronisation."""


@functools.cache
def _kernels() -> ModuleType | None:
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from nasseg.analog import _kernels
    except (ImportError, RuntimeError, OSError) as error:
        # A Numba that does not import, or has no folder to keep what it compiled.
        reason = str(error).splitlines()[0]
        warnings.warn(f"analog layers run in torch, slower: {reason}", stacklevel=2)
        return None
    return _kernels


def compiled(x: Tensor) -> ModuleType | None:
    """The compiled kernels, where they can take ``x``."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() == 0:
        return None
    return _kernels()


def backend(device: torch.device) -> str:
    """What does these steps on a device, in words."""
    if device.type != "cpu":
        return f"torch operations on {device}"
    kernels = _kernels()
    if kernels is None:
        return "torch operations; compiled ones are faster: pip install numba"
    threads = torch.get_num_threads() if kernels.shares_threads() else 1
    return f"compiled kernels on {threads} CPU thread{'s' if threads > 1 else ''}"


def converter_step(bound: float, resolution: float) -> float:
    """Distance of a converter's levels; 0 = ideal. AIHWKit takes levels or their inverse."""
    if resolution <= 0:
        return 0.0
    return 2.0 * bound * (1 / resolution if resolution > 1 else resolution)


def channels_last(x: Tensor) -> bool:
    """Whether ``x`` is a map (B, C, H, W) whose channels lie side by side in memory."""
    return x.dim() == 4 and x.stride(1) == 1 and x.shape[1] > 1 and not x.is_contiguous()


def samples_contiguous(x: Tensor) -> Tensor:
    """``x``, copied unless each of its samples lies in one piece."""
    return x if x[:1].is_contiguous() else x.contiguous()


def quantise(x: Tensor, bound: Number, divisor: Number, step: float) -> Tensor:
    """Clamp to +-bound, divide, round to multiples of ``step`` (not at 0)."""
    kernels = compiled(x)
    if kernels is not None:
        if channels_last(x):
            moved = samples_contiguous(x.permute(0, 2, 3, 1))
            out: Tensor = kernels.quantise(moved, bound, divisor, step)
            return out.permute(0, 3, 1, 2)
        out = kernels.quantise(samples_contiguous(x), bound, divisor, step)
        return out
    out = torch.clamp(x, -bound, bound).div_(divisor)  # type: ignore[arg-type]
    return out.div_(step).round_().mul_(step) if step > 0 else out


def quantise_backward(grad: Tensor, x: Tensor, bound: Number, divisor: Number) -> Tensor:
    """Straight-through gradient of :func:`quantise`; it may overwrite ``grad``."""
    kernels = compiled(x)
    if kernels is not None:
        moved = channels_last(x)
        if moved:
            grad, x = grad.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
        own = grad.contiguous()
        out: Tensor = kernels.quantise_backward_(own, samples_contiguous(x), bound, divisor)
        return out.permute(0, 3, 1, 2) if moved else out
    return grad.div_(divisor).masked_fill_(x.abs() > bound, 0.0)


def finish(
    y: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    dim: int,
    *,
    noise: float,
    step: float,
    bound: float,
    source: NoiseSource,
    mark: bool,
) -> tuple[Tensor, Tensor | None]:
    """Output noise, converter, digital scale and bias; it may overwrite ``y``.

    Args:
        y: product of the tile, its columns in dimension ``dim``.
        scale: factor of each column, (columns,).
        bias: offset of each column, (columns,).
        dim: 1 or -1.
        noise: standard deviation of the output noise.
        step: of the converter; 0 = no rounding.
        bound: of the converter; infinity = none.
        source: where the noise comes from.
        mark: tell which elements the converter clipped.

    Returns:
        The output, and a mask of what was clipped; none where not asked for or nothing was.
    """
    kernels = compiled(y)
    if kernels is not None:
        moved = dim == 1 and channels_last(y)
        if moved:
            y, dim = y.permute(0, 2, 3, 1), -1
        y = y.contiguous()
        pixels = y[0, 0].numel() if dim == 1 else 1
        # The kernel takes addresses: dtype and layout must be what it expects.
        scale = scale.to(y).contiguous()
        zero = torch.zeros_like(scale) if bias is None else bias.detach().to(y).contiguous()
        clipped = kernels.finish_(
            y,
            scale,
            zero,
            pixels=pixels,
            noise=noise,
            step=step,
            bound=bound,
            key=source.key() if noise > 0 else 0,
            mark=mark,
        )
        clipped = None if clipped is None else clipped.bool()
        if moved:
            y = y.permute(0, 3, 1, 2)
            clipped = None if clipped is None else clipped.permute(0, 3, 1, 2)
        return y, clipped
    if noise > 0:
        y = source.normal_like(y).mul_(noise).add_(y)
    if step > 0:
        y = y.div_(step).round_().mul_(step)
    outside = None
    if bound < float("inf"):
        # Half a step more, since the bound as a float may lie below the last multiple.
        outside = y.abs() > bound + step / 2 if mark else None
        y = y.clamp_(-bound, bound)
    view = (1, -1) + (1,) * (y.dim() - 2) if dim == 1 else (-1,)
    y = y.mul_(scale.view(view))
    return (y if bias is None else y.add_(bias.view(view))), outside


def normal_like(reference: Tensor, source: NoiseSource) -> Tensor:
    """Standard normal deviates of the shape, dtype and device of ``reference``."""
    kernels = compiled(reference)
    if kernels is not None:
        out: Tensor = kernels.normal(reference.shape, source.key())
        return out
    return source.normal_like(reference)
