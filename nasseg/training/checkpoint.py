"""Checkpoints: everything a training needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from nasseg.analog.state import load_tensors, read_tensors, write_tensors
from nasseg.errors import NassegError, RunError
from nasseg.io import atomic_write

log = logging.getLogger(__name__)

_MAGIC = b"nasseg checkpoint 2\n"
"""First line of a checkpoint; the hash of what follows is on the second."""
_HASH = 64
"""Characters of the hash."""


def before(path: Path) -> Path:
    """Return where the checkpoint is kept that was the newest before ``path``."""
    return path.with_name(f"{path.name}.before")


def has_checkpoint(path: Path) -> bool:
    """Return True if there is a checkpoint, or only the one before it."""
    return path.exists() or before(path).exists()


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and the one before it, where they exist."""
    before(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically, readable with ``weights_only=True``.

    The file has a hash of its content. The checkpoint before it is kept, for where this one is
    damaged later.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()

    def write(handle: BinaryIO) -> None:
        handle.write(_MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n")
        handle.write(data)

    if path.exists():
        path.replace(before(path))
    atomic_write(path, write)


def resume(path: Path, restore: Callable[[dict[str, Any], Path], object]) -> bool:
    """Give a training its checkpoint back.

    Where that is damaged, or was not finished, it is the one before it, with a warning.

    Args:
        path: the newest checkpoint.
        restore: takes the state and the file that it is from.

    Returns:
        False where there is no checkpoint.

    Raises:
        RunError: both are damaged, or of another training.
    """
    damage: RunError | None = None
    for file in (path, before(path)):
        if not file.exists():
            continue
        try:
            state = load_checkpoint(file)
        except RunError as error:
            damage = damage or error
            continue
        try:
            with _restoring(file):
                restore(state, file)
        except RunError as error:
            # What is wrong with the newest says more than that the one before it is no help.
            raise damage or error from None
        if damage is not None:
            log.warning(
                "%s is damaged: training goes on from the checkpoint before it, and the epoch "
                "after that is trained again",
                path,
            )
        return True
    if damage is not None:
        raise damage
    return False


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, without running code from the file.

    Raises:
        RunError: it is damaged or holds more than tensors and plain values.
    """
    try:
        data = memoryview(path.read_bytes())
        if bytes(data[: len(_MAGIC)]) == _MAGIC:
            start = len(_MAGIC) + _HASH + 1
            known = bytes(data[len(_MAGIC) : start - 1])
            data = data[start:]
            if hashlib.sha256(data).hexdigest().encode() != known:
                raise ValueError("its content does not match its hash")
        # Those of older versions have no hash.
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("it holds no state of a training")
    except Exception as error:
        # Of a damaged file, torch raises what zipfile, pickle and itself do.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{path} cannot be read ({first}); {_FIX}") from None
    return state


_FIX = "delete it to train this stage again; stages that are finished are kept"


@contextmanager
def _restoring(path: Path) -> Iterator[None]:
    """Report a checkpoint whose values are not those of a training.

    Raises:
        RunError: one is missing or of another kind.
    """
    try:
        yield
    except NassegError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RunError(f"{path} cannot be used ({type(error).__name__}: {first}); {_FIX}") from None


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
