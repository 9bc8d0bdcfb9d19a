"""Training: one loop for digital and analog networks, checkpoints and metrics."""

from nasseg.config import TrainConfig
from nasseg.tasks.metrics import SegmentationMetrics
from nasseg.training.checkpoint import load_weights, save_weights
from nasseg.training.loop import FitResult, evaluate, fit

__all__ = [
    "FitResult",
    "SegmentationMetrics",
    "TrainConfig",
    "evaluate",
    "fit",
    "load_weights",
    "save_weights",
]
