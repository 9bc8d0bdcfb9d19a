"""A section of the report: a heading, pictures, and a template with its values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup
from matplotlib.figure import Figure

from nasseg.errors import NassegError
from nasseg.records.run_files import RunFiles
from nasseg.report.markup import render

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A picture of a run."""

    name: str
    """It is written as ``figures/NAME.png``."""
    label: str | None
    """Alternative text in the page; None: the picture is a file alone."""
    draw: Callable[[RunFiles], Figure | None]
    """The figure; None where there is nothing to draw. It raises
    :class:`~nasseg.errors.NassegError` where that cannot be known here."""


_STAGES = {
    "best.json": "search",
    "metrics.jsonl": "train",
    "images.csv": "train",
    "fates.npz": "train",
    "coverage.json": "analog",
    "drift.csv": "drift",
    "panels.npz": "drift",
    "summary.json": "drift",
    "pareto.csv": "search",
    "config.yaml": "search",
}
"""The stage that writes a file."""


def lost(run: RunFiles, *names: str) -> list[tuple[str, str, str]]:
    """Of these files those that could not be used: name, why, and the stage that writes it."""
    return [
        (name, run.missing[name], _STAGES.get(name, "run")) for name in names if name in run.missing
    ]


_UNEXPECTED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""Errors of values that are of the right kind and yet do not go together."""


def _unusable(section: Section, error: Exception) -> str:
    files = ", ".join(section.files) or "the files of the run"
    return f"{files} hold something unexpected ({error!r})"


class Section:
    """Part of a report. A subclass gives the class attributes and :meth:`values`.

    To add one: write the class and its template, and put an object of it in
    :data:`nasseg.report.sections.SECTIONS`.
    """

    title: ClassVar[str]
    """Heading."""
    template: ClassVar[str]
    """File in ``templates``, which gets :meth:`values`, ``figures`` and ``missing``."""
    files: ClassVar[tuple[str, ...]] = ()
    """Files of the run folder that it needs."""
    pictures: ClassVar[tuple[Picture, ...]] = ()

    def heading(self, run: RunFiles) -> str:
        """The heading for a run."""
        return self.title

    def values(self, run: RunFiles) -> Mapping[str, Any]:
        """What the template shows of a run."""
        return {}

    def figure(self, run: RunFiles) -> dict[str, Figure | None]:
        """Draw the pictures: name to figure, None where there is nothing to draw.

        One that a plug-in would be needed for is left out, with a warning.
        """
        drawn = {}
        for picture in self.pictures:
            try:
                drawn[picture.name] = picture.draw(run)
            except NassegError as error:
                log.warning("figures/%s.png is left as it is: %s", picture.name, error)
            except _UNEXPECTED as error:
                told = _unusable(self, error)
                log.warning("figures/%s.png is left as it is: %s", picture.name, told)
        return drawn

    def html(self, run: RunFiles, figures: Mapping[str, Markup] | None = None) -> Markup:
        """The section as HTML; empty where nothing was recorded.

        Args:
            run: the files of the run.
            figures: name of each picture to its ``<svg>``.
        """
        missing = lost(run, *self.files)
        drawn = {picture.name: "" for picture in self.pictures} | dict(figures or {})
        try:
            values = {"figures": drawn, "missing": missing, **self.values(run)}
            return render(self.template, values)
        except _UNEXPECTED as error:
            return Markup('<p class="missing">{}.</p>').format(_unusable(self, error))
