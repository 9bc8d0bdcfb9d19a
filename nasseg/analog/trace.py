"""Watch one forward pass of a digital network: products, and the readers of its weights.

A network may multiply outside of the layers that hold weights (recurrent layers, attention,
functions of torch), or read the weight of a layer without calling it. Neither would be seen in a
list of its modules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasseg._macs import counted, has_countable_product, weight_layers


@dataclass(frozen=True)
class Trace:
    """Names are those of modules; a module used under several is called by the first."""

    macs: Mapping[str, int]
    """Multiply-accumulates for one image: of convolutions and linear layers, and of products
    outside of those, which count for the innermost module that runs."""
    read: Mapping[str, str]
    """Layers whose parameters are used while they do not run, and the module that uses them."""


def trace(net: nn.Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Trace:
    """Run a network once, in evaluation mode and without gradients, and watch it.

    Products of two matrices are counted with torch's own formulas (``torch.utils.flop_counter``).

    Args:
        net: a digital network.
        inputs, keywords: that it is called with. The first tensor among them has one image a row.
    """
    first = next((x for x in tree_leaves([inputs, keywords]) if isinstance(x, Tensor)), None)
    images = len(first) if first is not None and first.dim() else 1
    watch = _Watch(net)
    fast = torch.backends.mha.get_fastpath_enabled()
    training = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        # Attention in one fused operation is nothing that can be counted.
        torch.backends.mha.set_fastpath_enabled(False)
        with (
            torch.random.fork_rng(devices=[]),
            torch.no_grad(),
            counted(net, images) as macs,
            watch,
            _Operations(watch),
        ):
            net(*inputs, **keywords)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in training:
            module.training = mode
    products = {name: round(count / images) for name, count in watch.products.items()}
    every = {name: macs.get(name, 0) + products.get(name, 0) for name in {**macs, **products}}
    return Trace(every, watch.read)


class _Watch:
    """The modules of a network that run at the moment; what was found."""

    def __init__(self, net: nn.Module) -> None:
        self._names = {module: name for name, module in net.named_modules()}
        self._layers = {
            module: name for name, module, _ in weight_layers(net) if has_countable_product(module)
        }
        # Views of a weight are in its memory.
        self._memory = {
            parameter.untyped_storage().data_ptr(): module
            for module in self._layers
            for parameter in module.parameters(recurse=False)
        }
        self._memory.pop(0, None)
        self.running: list[nn.Module] = []
        self.products: dict[str, float] = {}
        self.read: dict[str, str] = {}
        self._inside = ExitStack()

    @property
    def innermost(self) -> str:
        return self._names[self.running[-1]] if self.running else ""

    def see(self, layer: nn.Module) -> None:
        """Note that parameters of a layer are used now."""
        if layer not in self.running:
            self.read.setdefault(self._layers[layer], self.innermost)

    def see_tensor(self, x: Tensor) -> None:
        """The same, if ``x`` is in the memory of such parameters."""
        if self._memory and x.device.type != "meta" and x.layout == torch.strided:
            layer = self._memory.get(x.untyped_storage().data_ptr())
            if layer is not None:
                self.see(layer)

    def __enter__(self) -> _Watch:
        def begin(module: nn.Module, inputs: Any) -> None:
            self.running.append(module)

        def end(module: nn.Module, inputs: Any, output: Any) -> None:
            self.running.pop()

        for module in self._names:
            # Hooks of others run with their module: after it began, or before it ends.
            for handle in (
                module.register_forward_pre_hook(begin, prepend=True),
                module.register_forward_hook(end),
            ):
                self._inside.callback(handle.remove)
        for layer in self._layers:
            self._inside.callback(setattr, layer, "__class__", type(layer))
            layer.__class__ = _watched(type(layer), self)
        return self

    def __exit__(self, *error: object) -> None:
        self._inside.close()


def _watched(kind: type[nn.Module], watch: _Watch) -> type[nn.Module]:
    """A class of layers that tell when somebody takes their weight or bias."""

    def get(self: nn.Module, name: str) -> Any:
        if name in ("weight", "bias"):
            watch.see(self)
        return kind.__getattr__(self, name)

    return type(kind.__name__, (kind,), {"__getattr__": get})


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-accumulates that belong to no convolution and no linear layer, and notes
    parameters that anything but their own layer works with."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        watch = self._watch
        for value in tree_leaves([args, kwargs]):
            if isinstance(value, Tensor):
                watch.see_tensor(value)
        out = func(*args, **(kwargs or {}))
        if not any(has_countable_product(module) for module in watch.running):
            count = _products(func, args, kwargs or {}, out)
            if count:
                name = watch.innermost
                watch.products[name] = watch.products.get(name, 0) + count
        return out


def _products(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> float:
    """Multiply-accumulates of one operation of torch."""
    from torch.utils.flop_counter import flop_registry

    packet = getattr(func, "overloadpacket", None)
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=out)) / 2
    name = getattr(func, "__name__", "").partition(".")[0]
    tensors = [x for x in tree_leaves([args, kwargs]) if isinstance(x, Tensor)]
    if name in ("mv", "addmv", "dot"):
        return max(x.numel() for x in tensors)
    if name == "_trilinear":
        return float(len(tensors[0]) * tensors[1].numel())
    if name in ("mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn"):
        # Every step of a sequence meets every weight once.
        steps = tensors[0].numel() / tensors[0].shape[-1]
        held = args[1:3] if name == "mkldnn_rnn_layer" else args[1]
        own = [x.shape for x in held if x.dim() == 2]
        return float(steps * sum(math.prod(shape) for shape in own))
    if name == "_scaled_dot_product_flash_attention_for_cpu":
        query, key, value = (x.shape for x in tensors[:3])
        each = math.prod(query[:-1]) * key[-2]
        return float(each * (query[-1] + value[-1]))
    if name in ("_native_multi_head_attention", "_transformer_encoder_layer_fwd"):
        tokens = tensors[0].numel() / tensors[0].shape[-1]
        return float(tokens * sum(x.numel() for x in tensors[1:] if x.dim() == 2))
    return 0.0
