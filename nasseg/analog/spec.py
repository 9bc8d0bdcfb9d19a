"""``AnalogSpec``: a crossbar in hardware units, as AIHWKit's torch tile simulates it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nasseg._fields import bounded, check_fields, replaced
from nasseg._registry import did_you_mean, is_reference, lost_plugin, unknown_name
from nasseg.analog.memories import MEMORIES
from nasseg.analog.memory import MemoryCoefficients, read_memory
from nasseg.errors import SpecError

if TYPE_CHECKING:
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

DRIFT_TIMES: tuple[float, ...] = (1.0, 3600.0, 86_400.0, 2_592_000.0, 31_536_000.0)
"""Seconds after programming at which chips are evaluated: 1 s, 1 h, 1 day, 30 days, 1 year."""


@dataclass(frozen=True, slots=True)
class AnalogSpec:
    """One kind of analog in-memory hardware, and how it is trained for.

    Raises :class:`~nasseg.errors.SpecError`, on construction, for values out of range and for
    combinations that AIHWKit would silently ignore.
    """

    memory: str = "pcm"
    """Noise model of the memory cell. ``pcm``: Nandakumar et al., ICECS 2019; ``hermes``: PCM of
    the HERMES chip, Le Gallo et al., Nature Electronics 2023; ``reram``: conductive-metal-oxide
    ReRAM; ``ideal``: no programming noise, no drift, no read noise; ``custom``: that of
    ``coefficients``; or one that a plug-in registered."""
    coefficients: MemoryCoefficients | None = None
    """The cell where ``memory`` is ``custom``."""
    g_max_us: float = bounded(25.0, gt=0)
    """Conductance in microsiemens onto which the largest weight of a column is programmed."""
    prog_noise_scale: float = bounded(1.0, ge=0)
    """Factor on the programming noise of the memory model; 0 = none."""
    read_noise_scale: float = bounded(1.0, ge=0)
    """Factor on the read and accumulated 1/f noise; 0 = none."""
    drift_scale: float = bounded(1.0, ge=0)
    """Factor on the drift exponent (PCM) or relaxation (ReRAM); 0 = none."""
    dac_bits: int = bounded(8, ge=2, le=16, zero="0 for an ideal one")
    """Resolution of the input converter in bits; 0 = ideal."""
    adc_bits: int = bounded(8, ge=2, le=16, zero="0 for an ideal one")
    """Resolution of the output converter in bits; 0 = ideal."""
    adc_bound: float = bounded(10.0, ge=0)
    """Output at which the ADC saturates, in units of (largest weight x full input); 0 = never."""
    out_noise: float = bounded(0.04, ge=0, le=1)
    """Standard deviation of the additive output noise of a tile, in the units of ``adc_bound``."""
    tile_rows: int = bounded(512, ge=0, words="0 (unlimited) or more")
    """Inputs of one crossbar; larger layers are split, each part with its own DAC and ADC.
    0 = unlimited."""
    tile_cols: int = bounded(256, ge=0, words="0 (unlimited) or more")
    """Outputs of one crossbar; 0 = unlimited."""
    column_scaling: bool = True
    """A digital scale per output column (otherwise one per tile)."""
    drift_compensation: Literal["none", "global", "column"] = "global"
    """Digital factor measured on the drifted chip with known inputs: one per tile (Joshi et al.,
    Nature Communications 2020), one per column, or none."""
    learn_input_range: bool = False
    """The DAC ranges are parameters that training moves (Rasch et al., Nature Communications
    2023); otherwise they stay as calibrated."""
    input_range_decay: float = bounded(0.0, ge=0, le=1)
    """Pull of learned ranges towards 0 while over 95 % of the inputs are not clipped; 0 = none.
    Part of the gradient, as in AIHWKit: where mixed precision scales the loss, it is weaker."""
    weight_noise: float = bounded(0.06, ge=0, le=1)
    """Standard deviation of the Gaussian noise added to the weights of each training step, as a
    fraction of the largest weight of the tile; 0 = none."""
    clip_sigma: float = bounded(2.5, ge=0)
    """Weights beyond this many standard deviations of the tile are clipped after each training
    step (Rasch et al., Nature Communications 2023); 0 = no clipping."""
    remap: bool = True
    """After each training step, rescale so that every column uses the whole conductance range."""

    def __post_init__(self) -> None:
        known = self.memory == "custom" or self.memory in MEMORIES
        if not known and not is_reference(self.memory):
            names = [*MEMORIES, "custom"]
            hint = did_you_mean(self.memory, names)
            raise SpecError(f"memory is {self.memory!r}; allowed: {', '.join(names)}{hint}")
        check_fields(self, error=SpecError)
        if (self.memory == "custom") != (self.coefficients is not None):
            raise SpecError(
                f"memory is {self.memory!r} and coefficients are "
                f"{'given' if self.coefficients is not None else 'not given'}; they go with "
                "memory 'custom', and it with them"
            )
        if self.coefficients is not None:
            limit = self.coefficients.drift_conductance_us[-1]
        else:
            limit = MEMORIES[self.memory].g_max_us
        if self.g_max_us > limit:
            allowed = f"above 0, at most {limit:g} uS, where {self.memory} was characterised"
            raise SpecError(f"g_max_us is {self.g_max_us!r}; allowed: {allowed}")
        exact = not (self.dac_bits or self.adc_bits or self.adc_bound or self.out_noise)
        if self.learn_input_range and exact:
            raise SpecError(
                "learn_input_range is on with ideal converters and no output noise, where inputs "
                "have no range; set dac_bits, or learn_input_range to false"
            )
        if self.input_range_decay and not self.learn_input_range:
            raise SpecError(
                f"input_range_decay is {self.input_range_decay:g} with learn_input_range off: "
                "only learned ranges decay; set learn_input_range to true, or input_range_decay "
                "to 0"
            )
        if (self.tile_rows == 0) != (self.tile_cols == 0):
            raise SpecError(
                f"tile_rows is {self.tile_rows} and tile_cols is {self.tile_cols}; allowed: both "
                "limited or both 0 (AIHWKit splits a layer in both directions or in none)"
            )
        if self.adc_bits and self.adc_bound == 0:
            raise SpecError(
                f"adc_bits is {self.adc_bits} with adc_bound 0: a converter of finite resolution "
                "needs a finite range; set adc_bound above 0, or adc_bits to 0"
            )
        if self.remap and not self.column_scaling:
            raise SpecError(
                "remap is on with column_scaling off: remapping rescales columns; "
                "set column_scaling to true, or remap to false"
            )
        if self.memory == "ideal":
            unused = [
                name
                for name in ("prog_noise_scale", "read_noise_scale", "drift_scale")
                if getattr(self, name) not in (0.0, 1.0)
            ]
            if unused:
                raise SpecError(
                    f"{', '.join(unused)} set with memory 'ideal', which has no such noise; "
                    "choose another memory or leave them out"
                )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> AnalogSpec:
        """A preset by name, with fields replaced.

        Args:
            name: of :data:`PRESETS`, a registered memory, or a YAML file of a memory cell
                (:class:`~nasseg.analog.memory.MemoryCoefficients`).
            changes: fields to replace.

        Raises:
            UnknownName: no preset, or no field, of that name.
            SpecError: the file cannot be used, or a value is not allowed.
        """
        if name.endswith((".yaml", ".yml")):
            cell = read_memory(name)
            own = cls(memory="custom", coefficients=cell, g_max_us=cell.g_max_us)
            return own.replace(**changes)
        if name in PRESETS:
            return PRESETS[name].replace(**changes)
        if name not in MEMORIES and not is_reference(name):
            lost = lost_plugin("memory", MEMORIES.group, name)
            raise lost or unknown_name("analog preset", name, {*PRESETS, *MEMORIES})
        return cls(memory=name, g_max_us=MEMORIES[name].g_max_us).replace(**changes)

    def replace(self, **changes: Any) -> AnalogSpec:
        """A copy with fields replaced; an unknown field is an error with the nearest match."""
        return replaced(self, "AnalogSpec field", changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any, origin: str) -> AnalogSpec:
        """Return the specification that :meth:`to_dict` has written.

        Args:
            values: its fields.
            origin: file that they come from, for the error.

        Raises:
            SpecError: a field is missing, unknown, or has a value that is not allowed.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or values.keys() != known:
            raise SpecError(f"{origin}: the specification is {values!r}; allowed: its fields")
        cell = values["coefficients"]
        if cell is not None:
            cell = MemoryCoefficients.from_dict(cell, origin)
        return cls(**{**values, "coefficients": cell})

    def to_rpu_config(self) -> TorchInferenceRPUConfig:
        """The AIHWKit configuration of the same hardware, for ``TorchInferenceTile``."""
        from nasseg.analog.rpu_config import build

        return build(self)


PRESETS: dict[str, AnalogSpec] = {
    "pcm": AnalogSpec(),
    "hermes": AnalogSpec(memory="hermes", g_max_us=20.7, tile_rows=256, tile_cols=256),
    "reram": AnalogSpec(memory="reram", g_max_us=88.19),
    "ideal": AnalogSpec(
        memory="ideal",
        dac_bits=0,
        adc_bits=0,
        adc_bound=0.0,
        out_noise=0.0,
        tile_rows=0,
        tile_cols=0,
        drift_compensation="none",
        weight_noise=0.0,
        clip_sigma=0.0,
        remap=False,
    ),
}
"""Named hardware: AIHWKit's PCM model on 512 x 256 tiles (default), the HERMES chip's PCM on its
256 x 256 cores, conductive-metal-oxide ReRAM, and exact arithmetic."""
