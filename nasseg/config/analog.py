"""Settings of the hardware, and of the retraining for it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nasseg._fields import check_fields, facts_of, field_docstrings, field_types
from nasseg.analog.spec import PRESETS, AnalogSpec
from nasseg.config._setting import setting, setting_facts
from nasseg.errors import ConfigError, SpecError


def of_spec(name: str, **facts: Any) -> Any:
    """A setting that is a field of ``AnalogSpec``: its bounds, its help and its default."""
    found = next(field for field in dataclasses.fields(AnalogSpec) if field.name == name)
    known = {**vars(facts_of(found)), "help": field_docstrings(AnalogSpec)[name]}
    return setting(facts.pop("default", found.default), **known, spec=name, **facts)


@dataclass(frozen=True)
class AnalogConfig:
    """Conversion to tiles and hardware-aware retraining."""

    preset: str = setting("pcm", file="file", shared=True, plugin="nasseg.memories")
    """Hardware preset: ``pcm``, ``hermes``, ``reram``, ``ideal``, a memory of another package (its
    name, or ``module:Name``), or a YAML file of a memory cell."""
    epochs: int = setting(50, ge=0)
    """Passes of hardware-aware retraining; 0 = convert only."""
    lr: float = setting(2e-3, gt=0, lt=math.inf)
    """Peak learning rate of the retraining."""
    noise: Literal["memory", "gaussian"] = "memory"
    """Weight noise of training: ``memory`` is what the hardware's own noise model does between a
    second and a year after programming, ``gaussian`` has one size for all weights."""
    noise_scale: float = setting(1.0, ge=0)
    """Factor on the noise of ``memory`` at the end of the ramp. The drift of the mean that
    compensation leaves stays as it is."""
    weight_noise: float = of_spec("weight_noise")
    """Standard deviation of ``gaussian`` at the end of the ramp, as a fraction of the largest
    weight of the tile."""
    noise_ramp: float = setting(0.5, ge=0, le=1)
    """Share of the retraining over which the weight noise rises from a quarter to its full size."""
    compensation: Literal["none", "global", "column"] = of_spec("drift_compensation")
    statistics_chips: int = setting(8, ge=0)
    """Simulated chips, at times from a second to a year, over which the BatchNorm statistics that
    a chip is programmed with are averaged; 0 = those of the target weights."""
    output_noise: bool = True
    """Whether training sees the output noise of the tiles too; chips always have it."""
    clip_sigma: float = of_spec("clip_sigma")
    remap: bool = of_spec("remap")
    input_quantile: float = setting(0.99, ge=0.5, lt=1)
    """Share of the inputs of a tile that its DAC range covers where it is calibrated."""
    learn_input_range: bool = of_spec("learn_input_range")
    input_range_decay: float = of_spec("input_range_decay")
    start: Literal["digital", "random"] = "digital"
    """Weights that the retraining starts from: the digital network's, or new ones."""
    distill: float = setting(0.5, ge=0, le=1)
    """Weight of the digital network's own output as a target beside the label, 0 to 1."""
    class_weights: Literal["as_train", "none", "balanced"] = setting(
        "as_train", only_for="classification", young=True
    )
    """Classification: weights of the classes in the loss of the retraining, as far as that is of
    labels (``distill``). ``balanced`` is for rare classes, which noise costs first; ``as_train`` =
    those of ``train.class_weights``."""
    min_mac_fraction: float = setting(0.99, ge=0, le=1)
    """Least share of the multiply-accumulates that must run on tiles, of those not kept digital
    by ``digital_layers``; less is an error."""
    digital_layers: str = setting(
        "none",
        pattern=".+",
        words="none, auto, or names",
        alias="digital_layers",
        metavar="auto|NAMES",
    )
    """Layers kept digital: names with commas between (``first`` and ``last`` are the first and the
    last layer), ``none``, or ``auto``: the fewest multiply-accumulates that bring the network to
    ``target`` after a day."""
    target: float = setting(0.995, gt=0, le=1)
    """For ``auto``: metric after a day, recalibrated, as a multiple of the digital network's."""
    sensitivity_chips: int = setting(3, ge=1)
    """For ``auto``: chips on which each layer is measured."""
    spec: SpecConfig = field(default_factory=lambda: SpecConfig())

    @property
    def named_digital_layers(self) -> tuple[str, ...]:
        """The layers that ``digital_layers`` names."""
        if self.digital_layers in ("none", "auto"):
            return ()
        return tuple(name.strip() for name in self.digital_layers.split(",") if name.strip())

    def __post_init__(self) -> None:
        check_fields(self, "analog.")
        if self.preset in PRESETS:  # Files are read where they are needed.
            analog_spec(self)


def _own_fields() -> dict[str, str]:
    """Fields of ``AnalogSpec`` that are settings of ``analog`` itself, to their names there."""
    own = {setting_facts(field).spec: field.name for field in dataclasses.fields(AnalogConfig)}
    return {spec: name for spec, name in own.items() if spec}


_MORE: dict[str, dict[str, str]] = {"memory": {"plugin": "nasseg.memories"}}
"""Further facts of single fields."""


def _spec_section() -> type[Any]:
    """The other fields of ``AnalogSpec`` as a section of settings; None: as the preset has it.

    The coefficients of a memory are in the file that ``preset`` names.
    """
    names = [field.name for field in dataclasses.fields(AnalogSpec)]
    types = field_types(AnalogSpec)
    fields = [
        (
            name,
            types[name] | None,
            of_spec(name, default=None, unset="as the preset", **_MORE.get(name, {})),
        )
        for name in names
        if name not in {*_own_fields(), "coefficients"}
    ]
    namespace = {
        "__module__": __name__,
        "__doc__": "Fields of the hardware in which it differs from its preset.",
        "__post_init__": lambda self: check_fields(self, "analog.spec."),
        "YOUNG": True,
    }
    return dataclasses.make_dataclass("SpecConfig", fields, frozen=True, namespace=namespace)


if TYPE_CHECKING:

    @dataclass(frozen=True)
    class SpecConfig:
        """Fields of the hardware in which it differs from its preset."""

        def __init__(self, **fields: Any) -> None: ...

else:
    SpecConfig = _spec_section()


def analog_spec(config: AnalogConfig) -> AnalogSpec:
    """The hardware of a run: its preset with the fields that are set, and those of its retraining.

    Exact arithmetic has no noise to compensate for or to train with: the preset ``ideal`` stays as
    it is, unless ``analog.spec`` gives it a memory.

    Raises:
        UnknownName: no such preset.
        SpecError: the file of a memory cell cannot be used.
        ConfigError: a combination that the hardware model cannot honour.
    """
    preset = AnalogSpec.preset(config.preset)
    changes = {name: value for name, value in vars(config.spec).items() if value is not None}
    if preset.memory != "ideal" or changes.get("memory", "ideal") != "ideal":
        changes |= {spec: getattr(config, name) for spec, name in _own_fields().items()}
        if config.noise != "gaussian":
            changes["weight_noise"] = 0.0
    try:
        return preset.replace(**changes)
    except SpecError as error:
        name = str(error).split(" ", 1)[0].rstrip(",")
        key = f"analog.{_own_fields().get(name, f'spec.{name}')}"
        raise ConfigError(f"{key}{str(error)[len(name) :]}") from None
