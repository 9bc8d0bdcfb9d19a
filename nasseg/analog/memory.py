"""Memory cells of one's own, as coefficients in a small YAML file."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasseg._fields import lacking
from nasseg._registry import unknown_name
from nasseg.errors import SpecError
from nasseg.files.readers import read_yaml

EXAMPLE = """\
name: my cell
g_max_us: 25.0                          # conductance of the largest weight, microsiemens
programming_us: [0.26, 1.97, -1.17]     # deviation after programming: c0 + c1 g + c2 g^2 + ...,
                                        # g = conductance / g_max_us, in microsiemens
drift_conductance_us: [0.0, 10.0, 25.0] # conductances at which the exponents are given, rising
drift_mean: [0.10, 0.06, 0.05]          # mean of the exponent nu of (t / t_0) ** -nu there
drift_std: [0.045, 0.02, 0.01]          # its deviation from device to device
read_noise_scale: 1.0                   # factor on the 1/f noise of phase-change memory
t_0_s: 20.0                             # time of the first reading after programming, seconds
"""


@dataclass(frozen=True, slots=True)
class MemoryCoefficients:
    """A cell whose noise is that of AIHWKit's ``CustomDriftPCMLikeNoiseModel``.

    Programming noise is Gaussian with a deviation that is a polynomial of the conductance; drift is
    a power law whose exponents depend on the conductance; 1/f noise is that of phase-change memory.
    """

    name: str
    """What reports call it."""
    g_max_us: float
    """Conductance of the largest weight in microsiemens."""
    programming_us: tuple[float, ...]
    """Coefficients of the deviation after programming in microsiemens, by rising powers of the
    conductance over ``g_max_us``."""
    drift_conductance_us: tuple[float, ...]
    """Conductances in microsiemens at which the drift exponents are given, rising from 0 to
    ``g_max_us`` at least; between them they are interpolated."""
    drift_mean: tuple[float, ...]
    """Mean drift exponent at each of them."""
    drift_std: tuple[float, ...]
    """Deviation of the exponent from device to device at each of them."""
    read_noise_scale: float = 1.0
    """Factor on the read noise; 0 = none."""
    t_0_s: float = 20.0
    """Time in seconds after programming from which drift counts."""

    def __post_init__(self) -> None:
        points = self.drift_conductance_us
        for ok, key, allowed in (
            (self.g_max_us > 0, "g_max_us", "above 0"),
            (self.read_noise_scale >= 0, "read_noise_scale", "0 or more"),
            (self.t_0_s > 0, "t_0_s", "above 0"),
            (len(self.programming_us) > 0, "programming_us", "one coefficient or more"),
            (
                len(points) >= 2
                and list(points) == sorted(set(points))
                and points[0] == 0
                and points[-1] >= self.g_max_us,
                "drift_conductance_us",
                "two or more, rising, from 0 to g_max_us",
            ),
            (
                len(self.drift_mean) == len(points),
                "drift_mean",
                "as many as drift_conductance_us",
            ),
            (
                len(self.drift_std) == len(points) and all(v >= 0 for v in self.drift_std),
                "drift_std",
                "as many as drift_conductance_us, 0 or more each",
            ),
        ):
            if not ok:
                raise SpecError(f"{key} is {getattr(self, key)!r}; allowed: {allowed}")

    @classmethod
    def from_dict(cls, values: Any, origin: str) -> MemoryCoefficients:
        """From the keys of a YAML file; ``origin`` names it in errors.

        Raises:
            SpecError: a key is unknown or missing, or a value is not allowed.
        """
        if not isinstance(values, dict):
            raise SpecError(f"{origin}: keys are expected, such as\n{EXAMPLE}")
        known = {field.name: field for field in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise SpecError(f"{origin}: {unknown_name('key', str(key), known)}")
        if missing := lacking(cls, values):
            raise SpecError(f"{origin}: {', '.join(missing)} missing; an example:\n{EXAMPLE}")
        read: dict[str, Any] = {}
        for key, value in values.items():
            if key == "name":
                read[key] = str(value)
            elif str(known[key].type).startswith("tuple"):
                items = value if isinstance(value, (list, tuple)) else [None]
                read[key] = tuple(_number(item, key, origin) for item in items)
            else:
                read[key] = _number(value, key, origin)
        try:
            return cls(**read)
        except SpecError as error:
            raise SpecError(f"{origin}: {error}") from None


def _number(value: Any, key: str, origin: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SpecError(f"{origin}: {key} has {value!r}; finite numbers are allowed")
    return float(value)


def read_memory(path: str | Path) -> MemoryCoefficients:
    """A memory cell from a YAML file.

    Raises:
        SpecError: the file cannot be read, or its content is not allowed.
    """
    try:
        values = read_yaml(path, error=SpecError)
    except FileNotFoundError as error:
        raise SpecError(f"{path} cannot be read as YAML: {error.strerror}") from None
    return MemoryCoefficients.from_dict(values, str(path))
