"""The report of a run: one HTML file with its pictures, and pictures of predictions."""

from nasseg.report._classes import calibration_error, classification_pictures
from nasseg.report._compare import comparison_png
from nasseg.report._cost import cost_png
from nasseg.report._fates import fates_png
from nasseg.report._overlay import captioned, outlined, overlay_png, png, uncertainty_png
from nasseg.report._write import write_report
from nasseg.report.sections.budget import command_words

__all__ = [
    "calibration_error",
    "captioned",
    "classification_pictures",
    "command_words",
    "comparison_png",
    "cost_png",
    "fates_png",
    "outlined",
    "overlay_png",
    "png",
    "uncertainty_png",
    "write_report",
]
