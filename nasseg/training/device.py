"""The device and the CPU threads that torch computes with."""

from __future__ import annotations

import torch

from nasseg.errors import ConfigError


def set_threads(threads: int) -> None:
    """Set the CPU threads of torch; 0 leaves them as they are."""
    if threads:
        torch.set_num_threads(threads)


def select_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is CUDA where there is one.

    Raises:
        ConfigError: an explicit ``cuda`` where there is none, or an index that there is not.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"device is {name!r}, but this torch finds no CUDA device; allowed here: auto, cpu"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.index is not None:
        if device.index >= torch.cuda.device_count():
            raise ConfigError(
                f"device is {name!r}; allowed here: cuda:0 to cuda:{torch.cuda.device_count() - 1}"
            )
        # What takes "the" device (graphs, generators) shall take this one.
        torch.cuda.set_device(device)
    return device
