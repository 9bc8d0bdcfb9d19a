"""Programming chips: every chip draws its own programming noise and drift exponents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from aihwkit.simulator.tiles.inference_torch import TorchInferenceTile
from torch import nn

from nasseg.analog.fused import fused_layers, layer_tiles
from nasseg.analog.noise import derive_seed, seeded


def all_tiles(analog: nn.Module) -> list[TorchInferenceTile]:
    """The tiles of a converted network, in order."""
    return [tile for _, layer in fused_layers(analog) for tile, *_ in layer_tiles(layer)]


def program_chip(analog: nn.Module, seed: int, chip: int) -> None:
    """Program the target weights of a network onto chip number ``chip``.

    Args:
        analog: converted network.
        seed: seed of the experiment.
        chip: number of the chip; (seed, chip) decides every draw.
    """
    device = next(analog.parameters()).device
    with seeded(derive_seed(seed, chip, 0), device):
        for tile in all_tiles(analog):
            tile.program_weights()


def drift_chip(analog: nn.Module, time_s: float, seed: int, chip: int) -> None:
    """Let the chip programmed last drift until ``time_s`` seconds after programming.

    Every call starts from the programmed weights, so the times may come in any order.
    """
    device = next(analog.parameters()).device
    # The time is part of the key: the accumulated read noise differs from time to time.
    with seeded(derive_seed(seed, chip, 1, int(time_s * 1000)), device):
        for tile in all_tiles(analog):
            tile.drift_weights(time_s)


@contextmanager
def preserved_weights(analog: nn.Module) -> Iterator[None]:
    """Program what the tiles hold now, and put it back on leaving, as if no chip had been made."""
    tiles = all_tiles(analog)
    kept: list[tuple[Any, Any]] = [(t.tile.weight.detach().clone(), t.alpha) for t in tiles]
    for tile in tiles:
        # Training changes weights behind the back of this reference, which AIHWKit keeps from
        # the first programming on.
        tile.reference_combined_weights = None
    try:
        yield
    finally:
        for tile, (weight, alpha) in zip(tiles, kept, strict=True):
            tile.tile.weight.data = weight
            # AIHWKit replaces the buffer by an attribute of the same name while drifting.
            tile.__dict__.pop("alpha", None)
            tile.register_buffer("alpha", torch.as_tensor(alpha))
            tile.reference_combined_weights = None
            tile.programmed_weights = None
            tile.drift_noise_parameters = None
            tile.drift_baseline = None
            tile.drift_readout_tensor = None
