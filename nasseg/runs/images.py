"""Scores of single images: which kinds a network is good at, and where it loses nuclei."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasseg.data import NativeData, Side
from nasseg.data.pixels.kinds import image_kind
from nasseg.data.pixels.native import WholeLoader
from nasseg.records.fates import FatePicture
from nasseg.records.images import KINDS, ImageRow, ImageTable
from nasseg.tasks import ImageScores
from nasseg.tasks.matching import fates, overlap_table

PICTURE_SIDE = 320
"""Side in pixels of the middle of an image that is kept, at most."""


class ScoredImages:
    """Images of a split with their scores by one network.

    Args:
        data: the images.
        split: which of them.
        loader: what the network was evaluated on.
        found: scores in the order of the loader.
    """

    def __init__(
        self, data: NativeData, split: Side, loader: WholeLoader, found: Sequence[ImageScores]
    ) -> None:
        self._data, self._split = data, split
        by_row = dict(zip(loader.order, found, strict=True))
        self._predictions = [by_row[row].prediction for row in range(len(by_row))]
        self._fates = [
            fates(overlap_table(prediction, item.ids))
            for prediction, item in zip(self._predictions, data.images[split], strict=True)
        ]
        self.table = ImageTable(
            tuple(
                ImageRow(
                    name,
                    image_kind(data.image(split, row)),
                    dict(by_row[row].scores),
                    self._fates[row].counts(),
                )
                for row, name in enumerate(data.ids[split])
            )
        )
        """Their scores, in the order of their ids."""

    def pictures(self) -> list[FatePicture]:
        """Return the images that :func:`pick` chooses, the best first."""
        return [self._picture(row, role) for row, role in pick(self.table)]

    def _picture(self, row: int, role: str) -> FatePicture:
        entry, image = self.table.rows[row], self._data.image(self._split, row)
        side = min(PICTURE_SIDE, *image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        part = (slice(top, top + side), slice(left, left + side))

        def ids(whole: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
            return np.ascontiguousarray(whole[part], dtype=np.int32)

        return FatePicture(
            id=entry.id,
            kind=entry.kind,
            role=role,
            ap50=entry.scores["ap50"],
            image=np.ascontiguousarray(image[part]),
            label=ids(self._data.images[self._split][row].ids),
            prediction=ids(self._predictions[row]),
            fates=self._fates[row],
        )


def pick(table: ImageTable) -> list[tuple[int, str]]:
    """Choose images to be shown: best, median and worst by AP50, and one of every kind.

    Of images that score the same, those with more nuclei are better and worse examples.

    Returns:
        Row of each with its role: ``best``, ``median``, ``worst``, or, of a kind that is not among
        them, ``typical`` (the median of its kind); the best first.
    """
    if not table.rows:
        return []
    score = [row.scores["ap50"] for row in table]
    size = [sum(row.fates.values()) for row in table]

    def ranked(rows: Sequence[int]) -> list[int]:
        return sorted(rows, key=lambda row: (-score[row], -size[row]))

    every = ranked(range(len(table)))
    worst = min(every, key=lambda row: (score[row], -size[row]))
    roles = {every[0]: "best"}
    roles.setdefault(worst, "worst")
    roles.setdefault(every[len(every) // 2], "median")
    for kind in KINDS:
        own = ranked([row for row, entry in enumerate(table) if entry.kind == kind])
        if own and not any(table.rows[row].kind == kind for row in roles):
            roles[own[len(own) // 2]] = "typical"
    return [(row, roles[row]) for row in every if row in roles]
