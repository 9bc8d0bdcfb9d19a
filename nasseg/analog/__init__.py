"""Analog hardware: specification, conversion, calibration, programming and drift."""

from nasseg._macs import count_macs
from nasseg.analog.calibrate import calibrate_input_ranges, recalibrate_batch_norms
from nasseg.analog.chips import programmable
from nasseg.analog.convert import convert, noise_source
from nasseg.analog.coverage import Coverage, LayerCoverage
from nasseg.analog.drift import (
    average_batch_norms,
    chip_evaluator,
    evaluate_drift,
    memory_noise,
    summarise_drift,
)
from nasseg.analog.mixed import choose_digital_layers, keep_digital, layer_sensitivity
from nasseg.analog.noise import NoiseSource
from nasseg.analog.plan import plan_refresh
from nasseg.analog.profile import NoiseProfile
from nasseg.analog.spec import PRESETS, AnalogSpec
from nasseg.config import DRIFT_TIMES

__all__ = [
    "DRIFT_TIMES",
    "PRESETS",
    "AnalogSpec",
    "Coverage",
    "LayerCoverage",
    "NoiseProfile",
    "NoiseSource",
    "average_batch_norms",
    "calibrate_input_ranges",
    "chip_evaluator",
    "choose_digital_layers",
    "convert",
    "count_macs",
    "evaluate_drift",
    "keep_digital",
    "layer_sensitivity",
    "memory_noise",
    "noise_source",
    "plan_refresh",
    "programmable",
    "recalibrate_batch_norms",
    "summarise_drift",
]
