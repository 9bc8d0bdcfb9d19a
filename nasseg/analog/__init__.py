"""Analog hardware: specification, conversion, calibration, programming and drift.

A name is imported with its module when it is first used, so that the specification alone
(:mod:`nasseg.analog.spec`) comes without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasseg._macs import count_macs
    from nasseg.analog.calibrate import calibrate_input_ranges, recalibrate_batch_norms
    from nasseg.analog.chips import programmable
    from nasseg.analog.conversion import convert, noise_source
    from nasseg.analog.coverage import Coverage, LayerCoverage
    from nasseg.analog.drift import (
        average_batch_norms,
        chip_evaluator,
        evaluate_drift,
        memory_noise,
        summarise_drift,
    )
    from nasseg.analog.files import load, save
    from nasseg.analog.memories import Memory, register_memory
    from nasseg.analog.mixed import choose_digital_layers, keep_digital, layer_sensitivity
    from nasseg.analog.noise import NoiseSource
    from nasseg.analog.plan import plan_refresh
    from nasseg.analog.profile import NoiseProfile
    from nasseg.analog.spec import DRIFT_TIMES, PRESETS, AnalogSpec

# No module is called as one of these: importing a submodule sets its own name here.
_LAZY = {
    "DRIFT_TIMES": "nasseg.analog.spec",
    "PRESETS": "nasseg.analog.spec",
    "AnalogSpec": "nasseg.analog.spec",
    "Coverage": "nasseg.analog.coverage",
    "LayerCoverage": "nasseg.analog.coverage",
    "Memory": "nasseg.analog.memories",
    "NoiseProfile": "nasseg.analog.profile",
    "NoiseSource": "nasseg.analog.noise",
    "average_batch_norms": "nasseg.analog.drift",
    "calibrate_input_ranges": "nasseg.analog.calibrate",
    "chip_evaluator": "nasseg.analog.drift",
    "choose_digital_layers": "nasseg.analog.mixed",
    "convert": "nasseg.analog.conversion",
    "count_macs": "nasseg._macs",
    "evaluate_drift": "nasseg.analog.drift",
    "keep_digital": "nasseg.analog.mixed",
    "layer_sensitivity": "nasseg.analog.mixed",
    "load": "nasseg.analog.files",
    "memory_noise": "nasseg.analog.drift",
    "noise_source": "nasseg.analog.conversion",
    "plan_refresh": "nasseg.analog.plan",
    "programmable": "nasseg.analog.chips",
    "recalibrate_batch_norms": "nasseg.analog.calibrate",
    "register_memory": "nasseg.analog.memories",
    "save": "nasseg.analog.files",
    "summarise_drift": "nasseg.analog.drift",
}

__all__ = [
    "DRIFT_TIMES",
    "PRESETS",
    "AnalogSpec",
    "Coverage",
    "LayerCoverage",
    "Memory",
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
    "load",
    "memory_noise",
    "noise_source",
    "plan_refresh",
    "programmable",
    "recalibrate_batch_norms",
    "register_memory",
    "save",
    "summarise_drift",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
