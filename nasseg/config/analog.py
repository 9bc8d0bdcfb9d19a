"""Settings of the hardware, and of the retraining for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nasseg._fields import check_fields
from nasseg.config._setting import setting


@dataclass(frozen=True)
class AnalogConfig:
    """Conversion to tiles and hardware-aware retraining."""

    preset: str = setting("pcm", file="file", shared=True)
    """Hardware preset: ``pcm``, ``hermes``, ``reram``, ``ideal``, or a YAML file of a memory
    cell."""
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
    weight_noise: float = setting(0.06, ge=0, lt=1)
    """Standard deviation of ``gaussian`` at the end of the ramp, as a fraction of the largest
    weight of the tile."""
    noise_ramp: float = setting(0.5, ge=0, le=1)
    """Share of the retraining over which the weight noise rises from a quarter to its full size."""
    compensation: Literal["none", "global", "column"] = "global"
    """Digital drift compensation of the chip: a factor for each tile, for each column, or none."""
    statistics_chips: int = setting(8, ge=0)
    """Simulated chips, at times from a second to a year, over which the BatchNorm statistics that
    a chip is programmed with are averaged; 0 = those of the target weights."""
    output_noise: bool = True
    """Whether training sees the output noise of the tiles too; chips always have it."""
    clip_sigma: float = setting(2.5, ge=0)
    """Weights beyond this many standard deviations of their tile are clipped after each step;
    0 = never."""
    remap: bool = True
    """After each step, rescale so that every column uses the whole conductance range."""
    input_quantile: float = setting(0.99, ge=0.5, lt=1)
    """Share of the inputs of a tile that its DAC range covers where it is calibrated."""
    learn_input_range: bool = False
    """Training moves the DAC ranges; otherwise they stay as calibrated."""
    input_range_decay: float = setting(0.0, ge=0)
    """Pull of learned ranges towards 0 while few inputs are clipped."""
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
    """Layers kept digital: names with commas between, ``none``, or ``auto``: the fewest
    multiply-accumulates that bring the network to ``target`` after a day."""
    target: float = setting(0.995, gt=0, le=1)
    """For ``auto``: metric after a day, recalibrated, as a multiple of the digital network's."""
    sensitivity_chips: int = setting(3, ge=1)
    """For ``auto``: chips on which each layer is measured."""

    @property
    def named_digital_layers(self) -> tuple[str, ...]:
        """The layers that ``digital_layers`` names."""
        if self.digital_layers in ("none", "auto"):
            return ()
        return tuple(name.strip() for name in self.digital_layers.split(",") if name.strip())

    def __post_init__(self) -> None:
        check_fields(self, "analog.")
