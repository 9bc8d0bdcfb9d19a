"""What every source of data gives: items that read themselves, and perhaps a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nasseg.data._problems import Problems
from nasseg.tasks.base import LabelKind


@dataclass(frozen=True, slots=True)
class Pair:
    """One image at its own size with its label."""

    image: npt.NDArray[np.uint8]
    """(H, W, C)."""
    ids: npt.NDArray[np.int32]
    """(H, W): 0 = background, above = foreground, one id an instance where ``kind`` says so, or
    class numbers."""
    kind: str = "instances"
    """What the label was: see :func:`nasseg.data.read.read_ids`; ``classes`` = class numbers."""

    @property
    def foreground(self) -> npt.NDArray[np.bool_]:
        """(H, W)."""
        return self.ids > 0

    def label(self, kind: LabelKind) -> npt.NDArray[np.int32]:
        """What a task reads of the label, (H, W): the foreground as 0 and 1, instances, or class
        numbers."""
        if kind == "instances":
            return self.instances()
        return self.ids if kind == "classes" else (self.ids > 0).astype(np.int32)

    def instances(self) -> npt.NDArray[np.int32]:
        """Instances (H, W), numbered from 1; those of a binary label are its connected parts."""
        from skimage.measure import label
        from skimage.segmentation import relabel_sequential

        if self.kind == "instances":
            return np.asarray(relabel_sequential(self.ids)[0], dtype=np.int32)
        return np.asarray(label(self.ids > 0, connectivity=1), dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source, not read yet."""

    id: str
    read: Callable[[Problems], Pair | None]
    """Reads image and label; adds what is wrong to the problems and then gives None."""
    label_name: str
    """How messages call the label."""


@dataclass(frozen=True, slots=True)
class Split:
    """Ids of both sides."""

    train: Sequence[str]
    val: Sequence[str]


@dataclass(frozen=True, slots=True)
class Source:
    """A data set before preprocessing."""

    name: str
    """How messages call it: the folder, or the synthetic nuclei."""
    items: Sequence[Item]
    """Sorted by id."""
    split: Split | None = None
    """The split that the source prescribes, if it does."""
    problems: Problems = field(default_factory=Problems)
    """What is wrong with the listing; reading adds to it."""
