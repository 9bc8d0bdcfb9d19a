"""Analog layers beside ``torch.compile``: they run as they are, never as traced graphs.

A traced layer would keep as constants what changes between two calls: the input range, the noise
and the weights of the chip that the network carries.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

_ADVICE = (
    "analog layers of nasseg run outside of the compiled graph: call torch.compile without "
    "fullgraph=True, or compile the digital parts of the network alone"
)
Forward = TypeVar("Forward", bound=Callable[..., Any])


def eagerly(forward: Forward) -> Forward:
    """Make a forward that ``torch.compile`` calls instead of tracing it.

    ``torch.compiler.disable``, but for its import of the compiler, which takes two seconds: that
    waits until somebody has imported it.
    """

    disabled: list[Callable[..., Any]] = []

    @functools.wraps(forward)
    def call(layer: nn.Module, *args: Any, **named: Any) -> Any:
        # Torch's layers call their input otherwise than AIHWKit's.
        args = (*args, *named.values())
        if "torch._dynamo" not in sys.modules:
            return forward(layer, *args)
        if not disabled:
            disabled.append(torch.compiler.disable(forward))  # type: ignore[no-untyped-call]
        return disabled[0](layer, *args)

    # What torch.compiler.disable marks its functions with.
    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    call._torchdynamo_disable_msg = _ADVICE  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def uncompiled(net: nn.Module) -> nn.Module:
    """The network inside of what ``torch.compile`` has made of it; any other as it is."""
    dynamo = sys.modules.get("torch._dynamo")
    while dynamo is not None and isinstance(net, dynamo.OptimizedModule):
        net = net._orig_mod
    return net


def without_compiler() -> AbstractContextManager[Any]:
    """Inside, what ``torch.compile`` has made runs as if it had not been compiled.

    A compiled part of a network does not see hooks, nor what is kept between chips.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
