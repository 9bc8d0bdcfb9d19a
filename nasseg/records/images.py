"""Scores of the single images of a split: ``images.csv``, and their means by kind of image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasseg.errors import RunError
from nasseg.files.readers import read_csv
from nasseg.io import write_csv

KINDS = ("fluorescence", "stained", "grey bright field")
"""Kinds of images, in the order of tables; :mod:`nasseg.data.pixels.kinds` tells them apart."""
_FACTS = ("id", "kind")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image."""

    id: str
    kind: str
    """Kind of image, as :func:`nasseg.data.pixels.kinds.image_kind` names it."""
    scores: dict[str, float]
    """Metric to value."""
    fates: dict[str, int]
    """Number of nuclei by what became of them (:func:`nasseg.tasks.matching.fates`)."""


@dataclass(frozen=True)
class KindScores:
    """Images of one kind together."""

    kind: str
    images: int
    scores: dict[str, float]
    """Metric to mean over images."""
    fates: dict[str, int]
    """Number of nuclei by what became of them, in all images together."""


@dataclass(frozen=True)
class ImageTable:
    """Scores of images, one row each."""

    rows: tuple[ImageRow, ...]

    def __iter__(self) -> Iterator[ImageRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def together(self) -> KindScores:
        """Return the scores of all images together, as a kind ``all``."""
        return _mean("all", self.rows)

    def by_kind(self) -> list[KindScores]:
        """Return the scores of each kind that occurs: those of :data:`KINDS` in their order, then
        others."""
        kinds = dict.fromkeys((*KINDS, *(row.kind for row in self.rows)))
        found = [[row for row in self.rows if row.kind == kind] for kind in kinds]
        return [_mean(rows[0].kind, rows) for rows in found if rows]

    def write(self, path: Path) -> None:
        """Write the table atomically: id, kind, metrics, and a column for each fate."""
        write_csv(
            path,
            [
                {"id": row.id, "kind": row.kind, **row.scores}
                | {_column(name): count for name, count in row.fates.items()}
                for row in self.rows
            ],
        )

    @classmethod
    def read(cls, path: Path) -> ImageTable:
        """Read a table.

        Raises:
            RunError: a cell has no such value; the message names file and row.
            FileNotFoundError: there is no file.
        """
        table = read_csv(path, error=RunError)
        try:
            return cls(tuple(_row(cells, number) for number, cells in table))
        except ValueError as error:
            raise RunError(f"{path} cannot be read: {error}") from None


def _mean(kind: str, rows: Sequence[ImageRow]) -> KindScores:
    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    fates = list(dict.fromkeys(name for row in rows for name in row.fates))
    return KindScores(
        kind,
        len(rows),
        {
            name: float(np.mean([row.scores[name] for row in rows if name in row.scores]))
            for name in names
        },
        {name: sum(row.fates.get(name, 0) for row in rows) for name in fates},
    )


_PREFIX = "nuclei_"
"""Of the columns of fates."""


def _column(fate: str) -> str:
    return _PREFIX + fate.replace(" ", "_")


def _row(cells: dict[str | None, Any], number: int) -> ImageRow:
    scores: dict[str, float] = {}
    fates: dict[str, int] = {}
    for name, text in cells.items():
        if name is None:
            raise ValueError(f"row {number} has more cells than the header")
        if text is None:
            raise ValueError(f"row {number}: {name} is missing")
        if name in _FACTS:
            continue
        try:
            if name.startswith(_PREFIX):
                fates[name.removeprefix(_PREFIX).replace("_", " ")] = int(text)
            else:
                scores[name] = float(text)
        except ValueError:
            raise ValueError(f"row {number}: {name} is {text!r}, not a number") from None
    for name in _FACTS:
        if name not in cells:
            raise ValueError(f"row {number}: {name} is missing")
    return ImageRow(str(cells["id"]), str(cells["kind"]), scores, fates)
