"""A crossbar chip as the few numbers from which energy and time are estimated."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nasseg._fields import lacking, replaced
from nasseg._registry import unknown_name
from nasseg.errors import ConfigError
from nasseg.files.readers import read_yaml

FOLDER = Path(__file__).parent / "hardware"


@dataclass(frozen=True, slots=True)
class Hardware:
    """A chip of crossbars with converters, and the digital part beside them.

    A crossbar holds ``tile_rows`` x ``tile_columns`` weights. To multiply, every row that is used
    is driven by a DAC and every column that is used is read by an ADC; where inputs are fed a few
    bits at a time and weights lie in several cells, that happens in several cycles and for several
    cells a weight. All energies are dynamic, those of what is active.

    Raises :class:`~nasseg.errors.ConfigError`, on construction, for values out of range.
    """

    name: str
    """What reports call it."""
    tile_rows: int
    """Inputs of a crossbar."""
    tile_columns: int
    """Outputs of a crossbar, in weights."""
    input_bits: int
    """Resolution of the inputs in bits."""
    bits_per_cycle: int
    """Bits of the input that a DAC drives in one cycle; equal to ``input_bits`` where inputs are
    coded in time or amplitude, 1 where they are fed bit by bit."""
    cells_per_weight: int
    """Columns of cells side by side that a weight takes, each converted on its own; the two
    polarities of a differential cell count as one."""
    cycle_ns: float
    """Duration of one cycle in nanoseconds, conversion included."""
    tile_pj: float
    """Energy of a crossbar in a cycle, however much of it is used, in picojoules: clock, control,
    registers."""
    cell_fj: float
    """Energy of a cell in a cycle in femtojoules, averaged over inputs and weights."""
    dac_pj: float
    """Energy of driving one row for a cycle in picojoules."""
    adc_pj: float
    """Energy of converting one column of cells once in picojoules."""
    scale_pj: float
    """Energy in picojoules of the digital work on one output of a crossbar: scale and offset (drift
    compensation, BatchNorm, bias), ReLU, merging of the cells of a weight."""
    operation_pj: float
    """Energy of any other digital operation (addition, comparison, multiply-add) in picojoules."""
    byte_pj: float
    """Energy in picojoules of bringing one byte of activations from one layer to the next: write,
    transport, read."""
    operations_per_ns: float
    """Digital operations per nanosecond, those on the outputs of crossbars left out, which are
    done in step with the conversions."""
    activation_bytes: float = 1.0
    """Bytes of one number of a map."""
    replication: int = 1
    """Copies of every layer's crossbars, among which the positions of the image are shared."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "name":
                if not isinstance(value, str) or not value:
                    raise ConfigError(f"name is {value!r}; allowed: text")
                continue
            whole = field.type == "int"
            fits = isinstance(value, int) if whole else isinstance(value, int | float)
            if isinstance(value, bool) or not fits or not math.isfinite(value):
                wanted = "a whole number" if whole else "a finite number"
                raise ConfigError(f"{field.name} is {value!r}; allowed: {wanted}")
            positive = whole or field.name in _ABOVE_ZERO
            if value < 0 or (positive and value == 0):
                allowed = "1 or more" if whole else "above 0" if positive else "0 or more"
                raise ConfigError(f"{field.name} is {value!r}; allowed: {allowed}")
        if self.bits_per_cycle > self.input_bits:
            raise ConfigError(
                f"bits_per_cycle is {self.bits_per_cycle!r}; "
                f"allowed: 1 to {self.input_bits}, which is input_bits"
            )

    @property
    def cycles(self) -> int:
        """Cycles of one multiplication."""
        return math.ceil(self.input_bits / self.bits_per_cycle)

    @property
    def mvm_ns(self) -> float:
        """Time of one multiplication by a crossbar in nanoseconds."""
        return self.cycles * self.cycle_ns

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Rows and columns of a crossbar, in weights."""
        return self.tile_rows, self.tile_columns

    def mvm_pj(self) -> float:
        """Energy of one multiplication by a crossbar that is used completely, in picojoules.

        That is the converters and the array, which chips are published with; the digital work on
        the outputs is not in it.
        """
        cells = self.tile_columns * self.cells_per_weight
        array = self.tile_rows * cells * self.cell_fj / 1000
        converters = self.tile_rows * self.dac_pj + cells * self.adc_pj
        return self.cycles * (self.tile_pj + array + converters)

    def replace(self, **changes: Any) -> Hardware:
        """A copy with fields replaced; an unknown field is an error with the nearest match."""
        return replaced(self, "Hardware field", changes)

    @classmethod
    def preset(cls, name: str = "hermes") -> Hardware:
        """A published chip by name; :func:`list_hardware` has the names.

        Raises:
            UnknownName: no such preset.
        """
        return _preset(name)

    @classmethod
    def load(cls, name: str | Path) -> Hardware:
        """A preset, or a YAML file where the name ends in ``.yaml`` or ``.yml``."""
        if str(name).endswith((".yaml", ".yml")):
            return cls.from_yaml(name)
        return cls.preset(str(name))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Hardware:
        """From a YAML file whose keys are the fields; those with a default may be left out.

        Raises:
            ConfigError: the file cannot be read, a key is unknown or missing, or a value is not
                allowed; the message names file, key, value and what is allowed.
        """
        try:
            values = read_yaml(path, error=ConfigError)
        except FileNotFoundError as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error.strerror}") from None
        known = {field.name: field for field in dataclasses.fields(cls)}
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: keys are expected ({', '.join(known)})")
        for key, value in values.items():
            if key not in known:
                hint = unknown_name("key", str(key), known)
                raise ConfigError(f"{path}: {key} is {value!r}: {hint}")
        if missing := lacking(cls, values):
            raise ConfigError(f"{path}: {', '.join(missing)} missing")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


_ABOVE_ZERO = ("cycle_ns", "operations_per_ns", "activation_bytes")


def list_hardware() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


@cache
def _preset(name: str) -> Hardware:
    names = list_hardware()
    if name not in names:
        raise unknown_name("hardware (preset, or a YAML file)", name, names)
    return Hardware.from_yaml(FOLDER / f"{name}.yaml")
