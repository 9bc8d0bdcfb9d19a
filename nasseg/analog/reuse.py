"""What every chip computes alike, computed once: the way from the images to the first tile."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nasseg.analog.batches import checked, inputs, items, rebuilt
from nasseg.analog.calibrate import batch_norms
from nasseg.analog.fused import fused_layers


def cached_batches(
    loader: Iterable[Any], device: torch.device, use: str = "evaluation"
) -> list[Any]:
    """All batches, in memory; their tensors on ``device``, anything else as it is.

    Maps (B, C, H, W) of floats have their channels side by side, as our networks want them: what
    they then work on is this very tensor, which :func:`reused_inputs` recognises.

    Raises:
        DataError: there is no batch, or an image has NaN or infinite values; the message begins
            with ``use``.
    """

    def moved(item: Any) -> Any:
        if isinstance(item, tuple | list) and item and all(isinstance(x, Tensor) for x in item):
            return tuple(moved(x) for x in item)
        if not isinstance(item, Tensor):
            return item
        if item.dim() == 4 and item.is_floating_point():
            return item.to(device, memory_format=torch.channels_last)
        return item.to(device)

    return [
        rebuilt(batch, [moved(item) for item in items(batch)]) for batch in checked(loader, use)
    ]


@contextmanager
def reused_inputs(analog: nn.Module, batches: Iterable[Any]) -> Iterator[None]:
    """Inside, what depends on an image alone is computed once and kept.

    That is, on the CPU, the input of the tiles after their DAC, and on any device the output of
    torch's own digital layers before them. It holds for layers that are given the first tensors
    of ``batches`` themselves, or what such a digital layer gave, unless they were changed in
    place; all else runs as ever. Input ranges and digital parameters must not change inside;
    BatchNorm, whose statistics are recalibrated, is not kept.
    """
    firsts = [x for batch in batches for x in inputs(batch)]
    known = {id(x): x for x in firsts if not x.is_inference()}
    memo: dict[int, dict[Any, Tensor]] = {key: {} for key in known}
    layers = [layer for _, layer in fused_layers(analog)]
    tiles = {id(module) for layer in layers for module in layer.modules()}
    statistics = {id(module) for module in batch_norms(analog)}
    digital = [
        module
        for module in analog.modules()
        # Layers of others may draw random numbers, or count.
        if type(module).__module__.startswith("torch.nn.")
        and "FractionalMaxPool" not in type(module).__name__
        and id(module) not in tiles | statistics
        and next(module.children(), None) is None
        and "forward" not in module.__dict__
    ]
    for layer in layers:
        layer.memo = memo
    for module in digital:
        module.forward = functools.partial(_once, module, module.forward, known, memo, {})
    try:
        yield
    finally:
        for layer in layers:
            layer.memo = None
        for module in digital:
            del module.forward


def _once(
    module: nn.Module,
    forward: Callable[..., Any],
    known: dict[int, Tensor],
    memo: dict[int, dict[Any, Tensor]],
    outputs: dict[int, tuple[int, int, Tensor] | None],
    *args: Any,
    **kwargs: Any,
) -> Any:
    alone = len(args) == 1 and not kwargs and not module.training and not torch.is_grad_enabled()
    key = id(args[0]) if args else 0
    if not alone or key not in known:
        return forward(*args, **kwargs)
    x = args[0]
    if key not in outputs:
        out = forward(x)
        if isinstance(out, Tensor) and not out.is_inference():
            outputs[key] = (x._version, out._version, out)
            known[id(out)] = out
            memo[id(out)] = {}
        return out
    kept = outputs[key]
    if kept is not None and (x._version, kept[2]._version) == kept[:2]:
        return kept[2]
    # Someone works in place on the one or the other: never again.
    outputs[key] = None
    return forward(x)
