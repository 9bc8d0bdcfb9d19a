"""The noise that a memory will have, as training can inject it: measured from its noise model.

Gaussian noise of one size on all weights, the usual stand-in, is wrong on both ends: phase-change
memory disturbs a weight of 0 by 1 % of the largest one, and the largest by 6 % after a second and
13 % after a year. Here the noise model of the hardware itself, whatever it is, is sampled once:
mean and deviation of a device after global drift compensation, for conductances from 0 to the
largest and for times from a second to a year. A training step then draws one time for each tile
and one deviate for each weight.

Weight-dependent programming noise in training is from Joshi et al., Nature Communications 2020,
and Nandakumar et al., Frontiers in Neuroscience 2020; the distribution over times, and taking the
profile from the noise model instead of a polynomial, are ours.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nasseg.analog.elementwise import compiled, converter_step
from nasseg.analog.noise import NoiseSource, seeded
from nasseg.analog.spec import DRIFT_TIMES

if TYPE_CHECKING:
    from nasseg.analog.spec import AnalogSpec

LEVELS = 65
"""Weights at which the noise model is sampled, evenly from the least to the largest."""
TIMES = 9
"""Times at which it is sampled, evenly in logarithm over those of the drift evaluation."""
DEVICES = 4096
"""Devices of each weight."""


@dataclass(frozen=True)
class NoiseProfile:
    """What becomes of a weight: mean and deviation by size and time.

    Weights are in units of the largest of their tile. The draw of :meth:`disturb` is a function
    of the noise source that it is given.
    """

    mean: Tensor
    """(T, L): mean of a weight ``2 l / (L - 1) - 1`` at time t, not compensated."""
    deviation: Tensor
    """(T, L): its standard deviation, not compensated."""
    reading: Tensor
    """(T + 1, L): mean magnitude that drift compensation reads, through the tile's output noise
    and converter: first right after programming, then at each time."""
    times: tuple[float, ...]
    """Seconds after programming, (T,)."""
    scale: float = 1.0
    """Factor on the deviation."""
    compensated: bool = True
    """Whether the loss of conductance of the tile as a whole is undone, as global compensation
    does."""

    @classmethod
    def of(
        cls,
        spec: AnalogSpec,
        *,
        times: tuple[float, ...] | None = None,
        seed: int = 0,
    ) -> NoiseProfile:
        """Sample the noise model of ``spec``.

        Args:
            spec: the hardware.
            times: seconds after programming; none = evenly in logarithm from 1 s to 1 year.
            seed: of the sampling.
        """
        if times is None:
            first, last = DRIFT_TIMES[0], DRIFT_TIMES[-1]
            exponents = torch.linspace(0, 1, TIMES).tolist()
            times = tuple(first * (last / first) ** e for e in exponents)
        model = spec.to_rpu_config().noise_model
        convert, back = (
            model.g_converter.convert_to_conductances,
            model.g_converter.convert_back_to_weights,
        )
        levels = torch.linspace(-1, 1, LEVELS)[:, None].expand(LEVELS, DEVICES)
        means, deviations, readings = [], [], []
        io = spec.to_rpu_config().forward
        step = 0.0 if io.is_perfect else converter_step(io.out_bound, io.out_res)
        noise = 0.0 if io.is_perfect else io.out_noise

        def read(weight: Tensor) -> Tensor:
            seen = weight + noise * torch.randn_like(weight)
            seen = (seen / step).round() * step if step else seen
            return seen.abs().mean(dim=1)

        with seeded(seed, torch.device("cpu")):
            target, scales = convert(levels.clone())
            programmed = [model.apply_programming_noise_to_conductance(g) for g in target]
            parameters = [model.generate_drift_coefficients(g) for g in target]
            readings.append(read(back(programmed, scales)))
            for time_s in times:
                aged = [
                    model.apply_drift_noise_to_conductance(g, drift, time_s)
                    for g, drift in zip(programmed, parameters, strict=True)
                ]
                weight = back(aged, scales)
                means.append(weight.mean(dim=1))
                deviations.append(weight.std(dim=1))
                readings.append(read(weight))
        return cls(
            torch.stack(means),
            torch.stack(deviations),
            torch.stack(readings),
            tuple(float(t) for t in times),
            compensated=spec.drift_compensation != "none",
        )

    @functools.cached_property
    def _tables(self) -> np.ndarray:
        """(T, 4, L) float32, contiguous: for each time what the compiled kernel takes."""
        first = self.reading[:1].expand_as(self.mean)
        parts = (self.mean, self.deviation * self.scale, first, self.reading[1:])
        return np.ascontiguousarray(torch.stack(parts, dim=1).float().cpu().numpy())

    @torch.no_grad()
    def disturb(self, weight: Tensor, source: NoiseSource) -> Tensor:
        """A weight (out, in) as a chip may hold it some time after programming.

        Args:
            weight: target weights.
            source: decides which of ``times``, and the deviates.

        Returns:
            A new tensor; not a number throughout if a weight is not finite.
        """
        kernels = compiled(weight)
        if kernels is not None:
            low, high = (float(end) for end in torch.aminmax(weight))
            top, key = max(-low, high, 1e-7), source.key()
            table = self._tables[source.key() % len(self._tables)]
            if not math.isfinite(top):
                return torch.full_like(weight, math.nan)
            out: Tensor = kernels.disturb(weight.contiguous(), table, top, key, self.compensated)
            return out
        draw = source.normal_like(weight)
        index = source.key() % self.mean.shape[0]
        most = weight.abs().max().clamp(min=1e-7)
        last = self.mean.shape[1] - 1
        place = (weight / most).add_(1.0).mul_(last / 2)
        below = place.long().clamp_(0, last - 1)
        part = place.sub_(below)

        def at(row: Tensor) -> Tensor:
            own = row.to(weight)
            return torch.lerp(own[below], own[below + 1], part)

        factor = most
        if self.compensated:
            now = at(self.reading[index + 1]).sum().clamp(min=1e-7)
            factor = most * at(self.reading[0]).sum() / now
        size = at(self.deviation[index]).mul_(self.scale)
        return draw.mul_(size).add_(at(self.mean[index])).mul_(factor)
