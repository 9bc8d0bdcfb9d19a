"""Where random numbers of analog layers come from: generators handed in, never global state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


def derive_seed(*keys: int) -> int:
    """A 63-bit seed from a path of integers, such as (run seed, chip, time index)."""
    state = np.random.SeedSequence(keys).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def _mixed(value: int) -> int:
    """The finaliser of splitmix64 (Steele et al., OOPSLA 2014): neighbours become unrelated."""
    value = (value * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


class WeightDisturbance(Protocol):
    """Noise on weights whose draws are a function of a source."""

    def disturb(self, weight: Tensor, source: NoiseSource) -> Tensor:
        """Return a new tensor: ``weight`` (out, in) with the noise."""


class NoiseSource:
    """The random numbers of all analog layers of one network.

    One torch generator per device, and keys for the counter-based generator of the compiled
    kernels: what they draw is a function of the key alone, whatever the number of threads.
    """

    profile: WeightDisturbance | None = None
    """Noise on the weights in training; None: that of AIHWKit's weight modifier."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._draws = 0
        self._generators: dict[str, torch.Generator] = {}

    def generator(self, device: torch.device) -> torch.Generator:
        """The generator of a device, made and seeded at first use."""
        key = str(device)
        if key not in self._generators:
            self._generators[key] = torch.Generator(device=device).manual_seed(self.seed)
        return self._generators[key]

    def key(self) -> int:
        """The next key: 63 bits, another one at every call."""
        self._draws += 1
        return _mixed(_mixed(self.seed) + self._draws) >> 1

    def reseed(self, seed: int) -> None:
        """Start anew from ``seed`` on every device."""
        self.seed = seed
        self._draws = 0
        self._generators.clear()

    def normal_like(self, reference: Tensor) -> Tensor:
        """Standard normal numbers of the shape, dtype and device of ``reference``."""
        return torch.randn(
            reference.shape,
            generator=self.generator(reference.device),
            device=reference.device,
            dtype=reference.dtype,
        )

    def state_dict(self) -> dict[str, Tensor | int]:
        """Seed, count of keys and generator states: a continued run draws the same numbers."""
        states: dict[str, Tensor | int] = {"seed": self.seed, "draws": self._draws}
        return states | {key: gen.get_state() for key, gen in self._generators.items()}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._generators = {}
        self.reseed(int(state["seed"]))
        self._draws = int(state.get("draws", 0))
        for key, value in state.items():
            # A run begun with CUDA and continued without goes on with other numbers there.
            usable = not key.startswith("cuda") or torch.cuda.is_available()
            if isinstance(value, Tensor) and usable:
                self.generator(torch.device(key)).set_state(value.cpu())

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state_dict(), "profile": self.profile}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state["state"])
        if state["profile"] is not None:
            self.profile = state["profile"]

    def __deepcopy__(self, memo: dict[int, object]) -> NoiseSource:
        copy = NoiseSource(self.seed)
        copy.load_state_dict(self.state_dict())
        copy.profile = self.profile
        memo[id(self)] = copy
        return copy


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for AIHWKit's own draws, and restore them afterwards.

    AIHWKit's noise models take no generator; this keeps what they draw a function of ``seed``
    and leaves the caller's global state as it was.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
