"""Scores of architectures: predicted by a surrogate, measured on simulated chips, or counted.

XGBoost and torch are imported with the evaluator that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nasseg.evaluators._hardware import Hardware, list_hardware
from nasseg.evaluators.base import Evaluator
from nasseg.evaluators.cost import Cost, CostEvaluator, LayerCost
from nasseg.evaluators.estimate import Estimate
from nasseg.evaluators.scores import Scores
from nasseg.evaluators.shipping import (
    list_surrogates,
    load_surrogate,
    register_evaluator,
    shipped,
)

if TYPE_CHECKING:
    from nasseg.evaluators.bench import NASSegBench
    from nasseg.evaluators.ensemble import Ensemble
    from nasseg.evaluators.measured import MeasuredEvaluator
    from nasseg.evaluators.xgboost import XGBoostEvaluator, fit_table

_LAZY = {
    "Ensemble": "nasseg.evaluators.ensemble",
    "MeasuredEvaluator": "nasseg.evaluators.measured",
    "NASSegBench": "nasseg.evaluators.bench",
    "XGBoostEvaluator": "nasseg.evaluators.xgboost",
    "fit_table": "nasseg.evaluators.xgboost",
}

__all__ = [
    "Cost",
    "CostEvaluator",
    "Ensemble",
    "Estimate",
    "Evaluator",
    "Hardware",
    "LayerCost",
    "MeasuredEvaluator",
    "NASSegBench",
    "Scores",
    "XGBoostEvaluator",
    "fit_table",
    "list_hardware",
    "list_surrogates",
    "load_surrogate",
    "register_evaluator",
    "shipped",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
