"""What every source of data gives: items that read themselves, and perhaps a split.

A kind of source is a class that recognises its own layout and opens it. Register it with
:func:`register_source`; other packages do so by an entry point of the group ``nasseg.sources``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from nasseg._registry import Registry
from nasseg.config import DataConfig
from nasseg.data.problems import Problems
from nasseg.errors import DataError
from nasseg.tasks.base import LabelKind

if TYPE_CHECKING:
    from nasseg.data.sources.class_base import ClassSource

PIXELS: frozenset[LabelKind] = frozenset({"foreground", "instances"})
"""Labels that the same files give: ids, or masks whose parts are told apart."""


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
    classes: tuple[str, ...] = ()
    """Names of the classes of pixels, background first; empty: as the labels number them."""
    builtin: str = ""
    """What is drawn, where nothing is read: ``synthetic nuclei``."""
    split_by: str = "splits.json"
    """How messages call what prescribes the split."""


class SourceType(ABC):
    """A kind of source: a layout of files, a service, or something drawn."""

    name: str = ""
    """Given by :func:`register_source`; ``data.source`` takes it."""
    labels: ClassVar[frozenset[LabelKind]]
    """Which labels it gives. With ``class``, :meth:`open` gives a
    :class:`~nasseg.data.sources.class_base.ClassSource`, with the others a :class:`Source`."""
    layouts: ClassVar[tuple[str, ...]] = ()
    """What it reads, in words, for the message where nothing is recognised."""
    columns: ClassVar[bool] = False
    """True if ``data.group_column`` and its like name columns of it."""

    @abstractmethod
    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """Return True if it reads what is at the path; only its labels are asked for.

        Args:
            path: ``data.path``, which need not exist; None where there is none.
            config: what else is set.
        """

    @abstractmethod
    def open(self, path: Path | None, config: DataConfig) -> Source | ClassSource:
        """List what is there; images are read later.

        Raises:
            DataError: it cannot be used.
        """


def _made(name: str, found: Any) -> SourceType:
    source: SourceType = found() if isinstance(found, type) else found
    if not source.name:
        source.name = name
    return source


SOURCES: Registry[SourceType] = Registry(
    "data source", group="nasseg.sources", base=SourceType, adopt=_made
)
"""Kinds of source by name, in the order in which they are asked."""

Kind = TypeVar("Kind", bound=SourceType)


def register_source(name: str) -> Callable[[type[Kind]], type[Kind]]:
    """Add a class to the kinds of source, under a name.

    Raises:
        ValueError: the name is taken.
    """
    return SOURCES.register(name)


def given_path(path: Path | None, name: str) -> Path:
    """The path of a source that needs one.

    Raises:
        DataError: there is none.
    """
    if path is None:
        raise DataError(f"data.source is {name!r}, but there is no data.path")
    return path
