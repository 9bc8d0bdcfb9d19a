"""Programming chips: every chip draws its own programming noise and drift exponents.

Noise models that act on each conductance by itself, as AIHWKit's do, see the devices of all tiles
as one vector: a few large operations instead of some sixty small ones a tile. Large networks take
several such vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from aihwkit.inference import GlobalDriftCompensation
from aihwkit.inference.compensation.drift import PerColumnDriftCompensation
from aihwkit.inference.converter.conductance import SinglePairConductanceConverter
from aihwkit.inference.noise.base import BaseNoiseModel
from aihwkit.inference.noise.pcm import CustomDriftPCMLikeNoiseModel
from aihwkit.simulator.tiles.inference_torch import TorchInferenceTile
from torch import Tensor, nn

from nasseg.analog.elementwise import finish
from nasseg.analog.fused import fused_layers, layer_tiles, output_settings, supports_fused
from nasseg.analog.memories import is_elementwise
from nasseg.analog.noise import NoiseSource, derive_seed, seeded
from nasseg.errors import ConfigError

BLOCK = 1 << 20
"""Weights programmed at a time, or those of one larger tile. On a CPU, 11 million took three times
as long in one piece: the C library gets memory for large arrays from the system anew at every
step, and page faults cost more than the arithmetic."""
_COARSE = (torch.float16, torch.bfloat16)
_SMALLEST_WEIGHT = 1e-7
"""AIHWKit's floor of the weight that is mapped onto the largest conductance."""
_STATE = (
    "reference_combined_weights",
    "programmed_weights",
    "drift_noise_parameters",
    "drift_baseline",
    "drift_readout_tensor",
)
"""What AIHWKit's tile keeps of its programming."""
_SMALLEST_READOUT = 1e-4
"""AIHWKit's floor of the readings that drift compensation compares."""


def all_tiles(analog: nn.Module) -> list[TorchInferenceTile]:
    """The tiles of a converted network, in order."""
    return [tile for _, layer in fused_layers(analog) for tile, *_ in layer_tiles(layer)]


class Crossbars:
    """The tiles of a network as one array of devices; see :func:`programmable`.

    Weights are programmed, drift and are compensated as AIHWKit's tiles do it one by one:
    ``program_weights`` and ``drift_weights`` are what runs here too, tile by tile, for noise
    models that are not registered as acting on each device by itself, and for converters or
    compensations of other classes than AIHWKit's own.
    """

    def __init__(self, analog: nn.Module) -> None:
        self.tiles = all_tiles(analog)
        self._device = next(analog.parameters()).device
        self._kept = [(t.tile.weight.detach().clone(), t.alpha) for t in self.tiles]
        self._states = [{name: getattr(t, name) for name in _STATE} for t in self.tiles]
        self._key: tuple[int, int] | None = None
        self._together = bool(self.tiles) and _can_join(self.tiles)
        if not self._together and any(w.dtype in _COARSE for w, _ in self._kept):
            raise ConfigError(
                f"chips of a network of {self._kept[0][0].dtype} need a noise model that acts on "
                "each device by itself, and converters that the fused forward takes; use a copy in "
                "float32: copy.deepcopy(analog).float()"
            )
        for tile in self.tiles:
            # Training changes weights behind the back of the reference that AIHWKit keeps from
            # the first programming on.
            for name in _STATE:
                setattr(tile, name, None)
        if self._together:
            config = self.tiles[0].rpu_config
            self._model: Any = config.noise_model
            self._compensation = config.drift_compensation
            self._shapes = [weight.shape for weight, _ in self._kept]
            self._sizes = [weight.numel() for weight, _ in self._kept]
            self._blocks = _blocks(self._sizes, self._device)
            target = torch.cat([weight.flatten() for weight, _ in self._kept])
            # Times and conductances overflow half precision, and devices differ by less than its
            # steps: chips are made in single precision, whatever the network computes in.
            self._target = target.float() if target.dtype in _COARSE else target
            self._programmed = self._target
            self._exponents: list[Tensor | None] = []
            self._baseline: list[Tensor] = []

    @torch.no_grad()
    def program(self, seed: int, chip: int) -> None:
        """Program the target weights onto chip number ``chip``; (seed, chip) decides every draw."""
        self._key = (seed, chip)
        with seeded(derive_seed(seed, chip, 0), self._device):
            if not self._together:
                for tile in self.tiles:
                    tile.program_weights()
                return
            # AIHWKit's model of custom drift interpolates in NumPy.
            custom = isinstance(self._model, CustomDriftPCMLikeNoiseModel)
            programmed, self._exponents = torch.empty_like(self._target), []
            for first, last, sizes, repeats in self._blocks:
                conductances, ratio = self._conductances(self._target[first:last], sizes, repeats)
                noisy = self._model.apply_programming_noise_to_conductance(conductances)
                source = conductances.cpu() if custom else conductances
                exponents = self._model.generate_drift_coefficients(source)
                # None of a memory that does not drift.
                self._exponents.append(None if exponents is None else exponents.to(self._device))
                torch.div(noisy[0] - noisy[1], ratio, out=programmed[first:last])
        self._programmed = programmed
        self._set(self._programmed)
        self._baseline = self._readout(self._programmed, derive_seed(seed, chip, 3))

    @torch.no_grad()
    def drift(self, time_s: float) -> None:
        """Let the chip programmed last drift until ``time_s`` seconds after programming.

        Every call starts from the programmed weights, so the times may come in any order.

        Raises:
            ConfigError: no chip is programmed yet.
        """
        if self._key is None:
            raise ConfigError("no chip is programmed yet: call program(seed, chip) before drift")
        # The time is part of the key: the accumulated read noise differs from time to time.
        key = (*self._key, 1, int(time_s * 1000))
        with seeded(derive_seed(*key), self._device):
            if not self._together:
                for tile in self.tiles:
                    tile.drift_weights(time_s)
                return
            weights = torch.empty_like(self._programmed)
            for block, exponents in zip(self._blocks, self._exponents, strict=True):
                first, last, sizes, repeats = block
                part = self._programmed[first:last]
                conductances, ratio = self._conductances(part, sizes, repeats)
                aged = self._model.apply_drift_noise_to_conductance(conductances, exponents, time_s)
                torch.div(aged[0] - aged[1], ratio, out=weights[first:last])
        self._set(weights)
        now = self._readout(weights, derive_seed(*key, 3))
        if self._compensation is not None:
            for tile, before, after in zip(self.tiles, self._baseline, now, strict=True):
                _set_alpha(tile, before / after)

    def restore(self) -> None:
        """Put back the weights that the tiles held at first, as if no chip had been made."""
        states = zip(self.tiles, self._kept, self._states, strict=True)
        for tile, (weight, alpha), state in states:
            tile.tile.weight.data = weight
            _set_alpha(tile, torch.as_tensor(alpha))
            for name, value in state.items():
                setattr(tile, name, value)

    def _parts(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, self._sizes)
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _set(self, flat: Tensor) -> None:
        for tile, part in zip(self.tiles, self._parts(flat), strict=True):
            tile.tile.weight.data = part.to(tile.tile.weight.dtype)

    def _conductances(
        self, flat: Tensor, sizes: list[int], repeats: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pairs of conductances (2, devices) in microsiemens, and microsiemens per weight.

        ``flat`` is of tiles with ``sizes`` weights, which ``repeats`` has as a tensor.

        The largest weight of each tile takes the largest conductance; one device of a pair holds
        the positive weights and the other the negative ones.
        """
        top = torch.stack([part.abs().max() for part in torch.split(flat, sizes)])
        low, high = self._model.g_converter.g_min, self._model.g_converter.g_max
        ratio = (high - low) / top.clamp(min=_SMALLEST_WEIGHT)
        ratio = ratio.repeat_interleave(repeats, output_size=flat.numel())
        scaled = flat * ratio
        return torch.stack([scaled, -scaled]).clamp_(0.0, high).add_(low), ratio

    def _readout(self, flat: Tensor, seed: int) -> list[Tensor]:
        """What drift compensation reads of each tile, (1,) or (columns,): none without it.

        One row after another is driven with the full input, so that the tile gives its weights,
        with its output noise and through its converter.
        """
        if self._compensation is None:
            return []
        read, _ = finish(
            flat.clone().view(1, 1, -1),
            flat.new_ones(1),
            None,
            1,
            **output_settings(self.tiles[0]),
            source=NoiseSource(seed),
            mark=False,
        )
        columns = isinstance(self._compensation, PerColumnDriftCompensation)
        parts = self._parts(read.abs().view(-1))
        values = [part.mean(dim=1) if columns else part.mean().view(1) for part in parts]
        return [value.clamp(min=_SMALLEST_READOUT) for value in values]


def _blocks(sizes: list[int], device: torch.device) -> list[tuple[int, int, list[int], Tensor]]:
    """Tiles of these sizes in order, put together up to :data:`BLOCK` weights: where each such
    block begins and ends, and the sizes in it, twice."""
    blocks: list[list[int]] = []
    for size in sizes:
        if not blocks or sum(blocks[-1]) + size > BLOCK:
            blocks.append([])
        blocks[-1].append(size)
    ends = list(itertools.accumulate(map(sum, blocks)))
    starts = [0, *ends[:-1]]
    tensors = [torch.tensor(block, device=device) for block in blocks]
    return list(zip(starts, ends, blocks, tensors, strict=True))


def _can_join(tiles: list[TorchInferenceTile]) -> bool:
    """Whether AIHWKit's calls for each tile come to the same as one for all of their devices."""
    first = tiles[0].rpu_config
    model = first.noise_model
    base = BaseNoiseModel
    return (
        type(model).apply_programming_noise is base.apply_programming_noise
        and type(model).apply_drift_noise is base.apply_drift_noise
        and is_elementwise(model)
        and type(model.g_converter) is SinglePairConductanceConverter
        and type(first.drift_compensation)
        in (type(None), GlobalDriftCompensation, PerColumnDriftCompensation)
        and (first.forward.is_perfect or first.forward.inp_bound == 1.0)
        and all(
            not supports_fused(tile)
            and tile.rpu_config.noise_model == model
            and type(tile.rpu_config.drift_compensation) is type(first.drift_compensation)
            and tile.rpu_config.forward == first.forward
            for tile in tiles
        )
    )


def _set_alpha(tile: TorchInferenceTile, alpha: Tensor) -> None:
    # AIHWKit replaces the buffer by an attribute of the same name while drifting.
    tile.__dict__.pop("alpha", None)
    tile.register_buffer("alpha", alpha)


@contextmanager
def programmable(analog: nn.Module) -> Iterator[Crossbars]:
    """Chips of a network: programmed and drifted inside, its own weights again afterwards.

    Args:
        analog: converted network; its tiles' present weights are what every chip is programmed
            with.

    Yields:
        Its tiles, to :meth:`~Crossbars.program` and to :meth:`~Crossbars.drift`.
    """
    crossbars = Crossbars(analog)
    try:
        yield crossbars
    finally:
        crossbars.restore()
