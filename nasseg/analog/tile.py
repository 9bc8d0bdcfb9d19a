"""AIHWKit's torch tile with a state of plain tensors, which can be copied, pickled and frozen."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from aihwkit.simulator.tiles.base import AnalogTileStateNames
from aihwkit.simulator.tiles.inference_torch import TorchInferenceTile
from torch import Tensor, nn

from nasseg._macs import FLOATS


class _PerColumn:
    """Gradient hook of AIHWKit's tile: the gradient over the square of the columns' scales."""

    def __init__(self, scales: Tensor) -> None:
        self.scales = scales

    def __call__(self, grad: Tensor) -> Tensor:
        return grad / self.scales.to(grad.device).view(-1, 1) ** 2


class _State(dict[str, Any]):
    """AIHWKit's own state of a tile, which says nothing that the tensors and the specification do
    not: in a file it is empty."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> _State:
        return _State({key: copy.deepcopy(value, memo) for key, value in self.items()})


def _unusable(state: dict[str, Any], prefix: str) -> list[str]:
    """Tensors of a tile that hold no finite floating-point numbers, as lines of torch's error."""
    found = []
    for name, value in state.items():
        if name.startswith(prefix) and isinstance(value, Tensor):
            if value.dtype not in FLOATS:
                found.append(f"{name} is of {value.dtype}; allowed: floating-point numbers")
            elif not bool(torch.isfinite(value).all()):
                found.append(f"{name} holds NaN or infinite values; allowed: finite ones")
    return found


class Tile(TorchInferenceTile):  # type: ignore[misc]
    """``TorchInferenceTile`` whose numbers are AIHWKit's, and whose bookkeeping is torch's own.

    Its state dict loads into AIHWKit's own tiles and back. Written to a file, it holds tensors
    alone, without AIHWKit's configuration objects, and is read with ``weights_only=True``; files
    with such objects are read as AIHWKit reads them. Copies and pickles keep the hook that scales
    the gradient of the weight, which AIHWKit's lose. A weight with ``requires_grad`` off is neither
    clipped nor remapped after a step of AIHWKit's optimisers.
    """

    _backward_hook_handle: Any

    def set_scales(self, scales: Tensor) -> None:
        """Set the scale of each column; see AIHWKit."""
        # The class above the parent: the parent's own hook cannot be pickled.
        super(TorchInferenceTile, self).set_scales(scales)
        self._scale_gradient(scales)

    def _scale_gradient(self, scales: Tensor) -> None:
        if self._backward_hook_handle is not None:
            self._backward_hook_handle.remove()
        weight = self.tile.weight
        trained = weight.requires_grad
        # A frozen weight takes no hook, but it may be released later.
        weight.requires_grad_(True)
        self._backward_hook_handle = self.tile.register_weight_hook(_PerColumn(scales))
        weight.requires_grad_(trained)

    def post_update_step(self) -> None:
        """Clip and remap the weight, unless it is frozen."""
        if self.tile.weight.requires_grad:
            super().post_update_step()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state["_backward_hook_handle"] = None
        # AIHWKit's tiles take the state of this one for their own.
        state[AnalogTileStateNames.CLASS] = TorchInferenceTile.__name__
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.mapping_scales is not None:
            self._scale_gradient(self.mapping_scales.detach().clone())

    def state_dict(self, destination: Any, prefix: str = "", keep_vars: bool = False) -> None:
        """Add the tile's parameters, buffers and AIHWKit's state to ``destination``."""
        super().state_dict(destination, prefix, keep_vars)
        name = self.get_analog_state_name(prefix)
        destination[name] = _State(destination[name])

    @torch.no_grad()
    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        error_msgs += _unusable(state_dict, prefix)
        own = (state_dict, prefix, local_metadata, strict)
        found = (missing_keys, unexpected_keys, error_msgs)
        name = self.get_analog_state_name(prefix)
        if state_dict.get(name):
            super()._load_from_state_dict(*own, *found)
            return
        state_dict.pop(name, None)
        nn.Module._load_from_state_dict(self, *own, *found)
        context = prefix + AnalogTileStateNames.CONTEXT
        if context in missing_keys:
            missing_keys.remove(context)
        if self.mapping_scales is not None:
            self._scale_gradient(self.mapping_scales.detach().clone())
