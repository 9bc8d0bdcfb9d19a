"""The section of predictions: images beside what the network makes of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from nasseg.records.run_files import Array, RunFiles
from nasseg.report._classes import (
    STATES,
    draw_classified,
    draw_confusion,
    draw_reliability,
    shown_cells,
)
from nasseg.report._overlay import png
from nasseg.report._panels import COLUMNS, colour_key, draw_panels, panel_rows
from nasseg.report.sections.base import Picture, Section


def _source(picture: Array) -> str:
    """The picture within the page, at its own resolution: the browser scales it."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode('ascii')}"


def _classified(panels: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Classified images with their true class and the predicted ones."""
    return [
        {
            "id": cell["id"],
            "source": _source(cell["picture"]),
            "true": cell["true"],
            "states": [{"title": title, **cell["said"][key]} for key, title in STATES],
        }
        for cell in shown_cells(dict(panels))
    ]


def _segmented(panels: Mapping[str, Array]) -> list[dict[str, str]]:
    """Four pictures an image: itself, its label, and the predictions."""
    return [
        {
            "column": column,
            "id": name,
            "source": _source(picture),
            "caption": name
            if column == "image"
            else ("" if score is None else f"Dice {score:.3f}"),
        }
        for name, pictures in panel_rows(dict(panels))
        for column, (picture, score) in zip(COLUMNS, pictures, strict=True)
    ]


def _draw_panels(run: RunFiles) -> Figure | None:
    return draw_classified(run.panels) if run.classified else draw_panels(run.panels)


class PredictionsSection(Section):
    """Images with their predictions; of classified ones also who was taken for whom."""

    title = "Segmentations"
    template = "predictions.html.j2"
    files = ("panels.npz",)
    pictures = (
        Picture("panels", None, _draw_panels),
        Picture(
            "confusion",
            "true classes against those said",
            lambda run: draw_confusion(run.panels),
        ),
        Picture(
            "reliability", "accuracy over confidence", lambda run: draw_reliability(run.panels)
        ),
    )

    def heading(self, run: RunFiles) -> str:
        """The heading by what the images are for."""
        return "Classified images" if run.classified else self.title

    def values(self, run: RunFiles) -> Mapping[str, Any]:
        """The pictures, with the meaning of their colours."""
        panels = run.panels
        if panels is None or len(panels["images"]) == 0:
            return {"classified": [], "segmented": []}
        if run.classified:
            return {"classified": _classified(panels), "segmented": []}
        note = (
            "Classes of the pixels; Dice is the mean over those in the mask or the label:"
            if "pixel_classes" in panels
            else "Digital and analog masks (probability above 0.5), in colour where they differ "
            "from the label:"
        )
        return {
            "classified": [],
            "segmented": _segmented(panels),
            "columns": COLUMNS,
            "key": colour_key(panels),
            "note": note,
        }
