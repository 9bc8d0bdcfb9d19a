"""Prediction from image files into files: labels of pixels, or a table of classes."""

from nasseg.predict.classes import Classified, predict_classes
from nasseg.predict.pixels import Predicted, predict

__all__ = ["Classified", "Predicted", "predict", "predict_classes"]
