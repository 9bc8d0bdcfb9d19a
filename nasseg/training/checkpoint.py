"""Checkpoints: everything a training needs to go on as if it had never stopped."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasseg.analog.state import load_tensors, read_tensors, write_tensors
from nasseg.errors import RunError
from nasseg.io import atomic_write


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
    """Write the tensors of a network, digital or analog, as safetensors, atomically."""
    write_tensors(path, net, metadata)


def load_weights(path: Path, net: nn.Module) -> None:
    """Read safetensors into a network of the same structure.

    Raises:
        RunError: the file is missing, damaged, holds values that are not finite, or does not fit
            the network.
    """
    tensors, _ = read_tensors(path)
    load_tensors(net, tensors, str(path), from_file=True)
