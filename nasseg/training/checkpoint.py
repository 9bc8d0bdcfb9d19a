"""Checkpoints: everything a training needs to go on as if it had never stopped."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from nasseg.analog.state import load_tensors, named_tensors
from nasseg.errors import RunError
from nasseg.io import atomic_write, write_bytes


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically, readable with ``weights_only=True``."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic_write(path, lambda handle: handle.write(buffer.getbuffer()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, without running code from the file.

    Raises:
        RunError: the file is damaged or holds more than tensors and plain values.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0]
        raise RunError(
            f"{path} cannot be read ({first}); delete it to train this stage anew"
        ) from None
    return state


def save_weights(path: Path, net: nn.Module, metadata: dict[str, str]) -> None:
    """Write the tensors of a network, digital or analog, as safetensors, atomically.

    ``metadata`` goes under the one key ``nasseg``, as JSON: safetensors writes several keys in no
    fixed order, and equal weights shall be equal files.
    """
    tensors = {name: t.cpu().contiguous().clone() for name, t in named_tensors(net).items()}
    packed = json.dumps(metadata, sort_keys=True)
    write_bytes(path, save(tensors, metadata={"nasseg": packed}))


def load_weights(path: Path, net: nn.Module) -> None:
    """Read safetensors into a network of the same structure.

    Raises:
        RunError: the file is missing, damaged, or does not fit the network.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    load_tensors(net, tensors, str(path))
