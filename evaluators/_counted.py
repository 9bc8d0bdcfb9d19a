"""The layer table of a network that is built, counted on one forward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasseg._macs import weight_layers, why_off_tiles
from nasseg.errors import ArchError
from nasseg.search_spaces.layers import (
    GROUP_NORM_OPERATIONS,
    INTERPOLATION_OPERATIONS,
    Layers,
    LayerTable,
)

# Operations of ATen by name, each with what an element of its result costs.
_AN_ELEMENT = {
    "native_group_norm": GROUP_NORM_OPERATIONS,
    "native_layer_norm": GROUP_NORM_OPERATIONS,
    "upsample_bilinear2d": INTERPOLATION_OPERATIONS,
}
# Those that read every element of their input once.
_READS_ALL = ("mean", "sum", "amax", "_adaptive_avg_pool2d", "_softmax", "_log_softmax")
_WINDOWS = ("max_pool2d_with_indices", "avg_pool2d")
# Elementwise by ATen's own tag, and yet no operation: done with the scaling of a crossbar's output
# (ReLU), or nothing but a copy.
_FREE = ("relu", "clone", "copy", "_to_copy", "detach", "fill", "zero", "zeros_like", "ones_like")


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the digital operations of everything that runs under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.since = 0
        """Operations since it was last set to 0."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.since += _operations(func, args, result)
        return result


def _operations(func: Any, args: Sequence[Any], result: Any) -> int:
    name = func.overloadpacket.__name__.rstrip("_")
    out = result[0] if isinstance(result, (tuple, list)) and result else result
    if not isinstance(out, Tensor) or not out.is_floating_point():
        return 0
    if name in _AN_ELEMENT:
        return _AN_ELEMENT[name] * out.numel()
    if name in _READS_ALL:
        return int(args[0].numel())
    if name in _WINDOWS:
        size = args[1]
        # One number stands for both sides of a square window.
        area: int = math.prod(size) if len(size) > 1 else size[0] ** 2
        return out.numel() * area
    if torch.Tag.pointwise in func.tags and name not in _FREE:
        return out.numel()
    return 0


def digital_part(net: nn.Module, layers: Sequence[str]) -> list[str]:
    """Return the weight layers, in the order of the modules, that ``digital_layers`` keep digital.

    Raises:
        UnknownName: the network has no such module.
    """
    if not layers:
        return []
    # AIHWKit, which takes seconds to import, is needed only here.
    from nasseg.analog.conversion import digital_names

    kept = digital_names(net, layers)
    return [
        name
        for name, *_ in weight_layers(net)
        if any(name == item or name.startswith(f"{item}.") for item in kept)
    ]


def layer_table(
    net: nn.Module, input_shape: tuple[int, int, int, int], digital_layers: Sequence[str] = ()
) -> LayerTable:
    """The weight layers of a network, in the order in which they run first.

    Digital operations are counted with the layer that ran last before them. A layer that runs
    several times has its positions added up. Dropout and the like count as in evaluation.

    Args:
        net: A network on the meta device (any other works, and computes).
        input_shape: ``(1, C, H, W)``.
        digital_layers: Names of the modules that are kept digital, with all below them; see
            :func:`nasseg.analog.conversion.digital_names`.

    Raises:
        ArchError: the network has no weight layer, or none that runs.
        UnknownName: ``digital_layers`` names no module of the network.
    """
    digital = digital_part(net, digital_layers)
    kept: dict[str, dict[str, int]] = {}
    counter = _Counter()
    last: list[str] = []

    def settle() -> None:
        if last:
            kept[last[0]]["operations"] += counter.since
            counter.since = 0

    def hook(name: str, on_tiles: bool) -> Any:
        def note(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            settle()
            last[:] = [name]
            weight: Tensor = module.weight
            columns = weight.shape[0]
            if isinstance(module, nn.modules.conv._ConvTransposeNd):
                macs = inputs[0].numel() * weight[0].numel()
            else:
                macs = output.numel() * weight[0].numel()
            own = kept.setdefault(
                name,
                {
                    "rows": weight[0].numel() if on_tiles else 0,
                    "columns": columns if on_tiles else 0,
                    "positions": 0,
                    "count": 1,
                    "other": sum(p.numel() for p in module.parameters() if p.dim() == 1)
                    + (0 if on_tiles else weight.numel()),
                    "inputs": 0,
                    "operations": 0,
                    "digital_macs": 0,
                    "digital": int(on_tiles and name in digital),
                },
            )
            own["inputs"] += inputs[0].numel()
            if on_tiles:
                own["positions"] += output.numel() // columns
            else:
                own["digital_macs"] += macs

        return note

    layers = {
        name: module
        for name, module, _ in weight_layers(net)
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
    }
    if not layers:
        raise ArchError(f"{type(net).__name__} has no convolution or linear layer")
    handles = [
        module.register_forward_hook(hook(name, not why_off_tiles(module)))
        for name, module in layers.items()
    ]
    training = net.training
    try:
        net.eval()
        example = torch.zeros(input_shape, device=next(net.parameters()).device)
        with torch.no_grad(), counter:
            net(example)
        settle()
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    if not kept:
        raise ArchError(f"no convolution or linear layer of {type(net).__name__} runs")
    # What belongs to no layer (BatchNorm, embeddings) is counted with the first.
    everything = sum(p.numel() for p in net.parameters() if p.requires_grad)
    first = next(iter(kept.values()))
    counted = sum(own["rows"] * own["columns"] + own["other"] for own in kept.values())
    first["other"] += everything - counted
    table = Layers(1)
    for name, own in kept.items():
        table.add(name or "(root)", **{key: np.array([value]) for key, value in own.items()})
    return table.table()
