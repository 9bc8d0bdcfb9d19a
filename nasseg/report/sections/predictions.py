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
from nasseg.report._fates import draw_fates, fate_heading, fate_key, fate_picture, fate_text
from nasseg.report._overlay import png
from nasseg.report._panels import COLUMNS, colour_key, draw_panels, panel_rows
from nasseg.report.markup import Table, count_text, in_words, with_small
from nasseg.report.sections.base import Picture, Section
from nasseg.tasks.matching import FALSE_POSITIVE, FATES
from nasseg.text import number


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


def _kinds(run: RunFiles) -> Table | None:
    """Scores of the digital network by kind of image; None where all images are of one."""
    kinds = [] if run.images is None else run.images.by_kind()
    if len(kinds) < 2:
        return None
    table = Table(["", "images", *(title for _, title in run.shown_metrics)])
    for entry in kinds:
        cells = [number(entry.scores.get(metric), 4) for metric, _ in run.shown_metrics]
        table.add(entry.kind, count_text(entry.images), *cells)
    return table


def _fates(run: RunFiles) -> Table | None:
    """What became of the nuclei, in all images and by kind."""
    if run.images is None or not len(run.images):
        return None
    kinds = run.images.by_kind()
    table = Table(["", "nuclei", *FATES, f"{FALSE_POSITIVE}s"])
    for entry in (*(kinds if len(kinds) > 1 else ()), run.images.together()):
        nuclei = sum(entry.fates.get(name, 0) for name in FATES)
        cells = [
            with_small(count_text(count), f"{count / max(nuclei, 1):.1%}")
            for name in (*FATES, FALSE_POSITIVE)
            for count in [entry.fates.get(name, 0)]
        ]
        table.add(entry.kind, count_text(nuclei), *cells)
    return table


def _decoder(run: RunFiles) -> str:
    """The parameters by which instances are decoded; empty where there are none."""
    best = run.best
    if best is None or not best.decoder:
        return ""
    images = (best.decoder_fit or {}).get("images")
    how = f"chosen on {count_text(images)} training images" if images else "the defaults"
    return f"Instances are decoded with {in_words(best.decoder)} ({how})."


def _all_fates(run: RunFiles) -> dict[str, int]:
    return {} if run.images is None else run.images.together().fates


def _draw_panels(run: RunFiles) -> Figure | None:
    return draw_classified(run.panels) if run.classified else draw_panels(run.panels)


class PredictionsSection(Section):
    """Images with their predictions; of classified ones also who was taken for whom."""

    title = "Segmentations"
    template = "predictions.html.j2"
    files = ("panels.npz", "images.csv", "fates.npz")
    pictures = (
        Picture("panels", None, _draw_panels),
        Picture("fates", None, lambda run: draw_fates(run.fates, _all_fates(run))),
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
        return {
            "decoder": _decoder(run),
            "kinds": _kinds(run),
            "fates": _fates(run),
            **_outlined(run),
            **_panels(run),
        }


def _outlined(run: RunFiles) -> dict[str, Any]:
    """Images with their nuclei in the colours of their fates."""
    return {
        "outlined": [
            {
                "id": picture.id,
                "source": _source(fate_picture(picture)),
                "heading": fate_heading(picture),
                "counts": fate_text(picture),
            }
            for picture in run.fates
        ],
        "fate_key": fate_key(_all_fates(run)),
    }


def _panels(run: RunFiles) -> dict[str, Any]:
    """Images beside their labels and predictions."""
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
