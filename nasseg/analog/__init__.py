"""Analog hardware: specification, conversion, calibration, programming and drift."""

from nasseg._macs import count_macs
from nasseg.analog.calibrate import calibrate_input_ranges, recalibrate_batch_norms
from nasseg.analog.chips import programmable
from nasseg.analog.convert import convert, noise_source
from nasseg.analog.coverage import Coverage, LayerCoverage
from nasseg.analog.drift import chip_evaluator, evaluate_drift, summarise_drift
from nasseg.analog.noise import NoiseSource
from nasseg.analog.spec import PRESETS, AnalogSpec
from nasseg.config import DRIFT_TIMES

__all__ = [
    "DRIFT_TIMES",
    "PRESETS",
    "AnalogSpec",
    "Coverage",
    "LayerCoverage",
    "NoiseSource",
    "calibrate_input_ranges",
    "chip_evaluator",
    "convert",
    "count_macs",
    "evaluate_drift",
    "noise_source",
    "programmable",
    "recalibrate_batch_norms",
    "summarise_drift",
]
