"""What every source of classified images gives: images that read themselves, labels, sides."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data._types import Side
from nasseg.data.files import composed
from nasseg.data.problems import Problems
from nasseg.data.read import read_image
from nasseg.errors import DataError

INDEX = "index.csv"
"""Table of a folder of images that have one class each."""
THREADS = 2
"""Files decoded at a time; decoders release the interpreter lock for part of the work."""
SIDE_NAMES: dict[str, Side] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What folders and columns call the sides."""

Use = Callable[[int, npt.NDArray[np.uint8]], None]
"""Takes the row of the first image of a block, and the block: uint8 (n, H, W, C)."""


def check_class_memory(count: int, config: DataConfig) -> None:
    """Raise :class:`~nasseg.errors.DataError` where the images would pass ``max_cache_gb``."""
    size, channels = config.image_size, config.channels
    need = count * size * size * channels / 1e9
    if need > config.max_cache_gb:
        raise DataError(
            f"{count} images of {size} x {size} x {channels} would take {need:.3g} GB of memory, "
            f"more than max_cache_gb = {config.max_cache_gb:g}; lower image_size or channels, use "
            "fewer images, or raise max_cache_gb"
        )


class Images(Protocol):
    """Images not read yet."""

    def __len__(self) -> int:
        """How many there are."""

    def each(self, use: Use, problems: Problems) -> None:
        """Read all images once and hand them on in blocks, perhaps from several threads.

        What cannot be read, and what ``use`` refuses with a DataError, is added to ``problems``.
        """


@dataclass(frozen=True, slots=True)
class LoadedImages:
    """Images that a function gives one by one: from files, or drawn."""

    names: Sequence[str]
    """How messages call them."""
    load: Callable[[int], npt.NDArray[np.uint8]]
    """Row -> uint8 (H, W, C); DataError says why there is none."""

    def __len__(self) -> int:
        return len(self.names)

    def each(self, use: Use, problems: Problems) -> None:
        """As :class:`Images` says."""

        def one(row: int) -> str | None:
            try:
                use(row, self.load(row)[None])
            except DataError as error:
                return f"{self.names[row]}: {error}"
            return None

        with ThreadPoolExecutor(THREADS) as pool:
            for refusal in pool.map(one, range(len(self))):
                if refusal is not None:
                    problems.add("image not usable", refusal)


def file_images(paths: Sequence[Path], names: Sequence[str], channels: int) -> LoadedImages:
    """Images from files, as uint8 (H, W, ``channels``)."""
    return LoadedImages(names, lambda row: read_image(paths[row], channels))


@dataclass(frozen=True, slots=True)
class ClassSource:
    """A classification set before preprocessing."""

    name: str
    """How messages call it."""
    ids: Sequence[str]
    """Of all images, each once."""
    images: Images
    labels: npt.NDArray[np.int64]
    """Class numbers (N,), or (N, K) of 0 and 1 where an image may have several classes."""
    classes: tuple[str, ...]
    """Names of the K classes."""
    sides: Sequence[Side] | None = None
    """The split that the source prescribes, if it does: a side for each image."""
    groups: Sequence[str] | None = None
    """What each image belongs to that must not be divided, such as the patient."""
    problems: Problems = field(default_factory=Problems)
    """What is wrong with the listing; reading adds to it."""
    builtin: str = ""
    """What is drawn, where nothing is read: ``synthetic cells``."""

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several classes."""
        return self.labels.ndim == 2


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts ``class2`` before ``class10``, and small letters among capital ones."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], name


def same_name(name: str) -> str:
    """Return what equal names of a class have in common: ``1.0`` is 1, accents may be decomposed.

    Tables write whole numbers as 1.0 where a value of the column is missing.
    """
    name = composed(name)
    whole = re.fullmatch(r"([+-]?\d+)\.0*", name)
    return whole[1] if whole else name


def unite_names(names: Sequence[str]) -> list[str]:
    """Names, each in the shortest spelling that occurs of it (:func:`same_name`)."""
    spellings: dict[str, str] = {}
    for name in sorted(set(names), key=lambda name: (len(name), name)):
        spellings.setdefault(same_name(name), name)
    return [spellings[same_name(name)] for name in names]


def whole_numbers(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers of classes as integers where they are floats that are whole; others as they are."""
    if labels.dtype.kind != "f" or not (np.abs(labels) < 2**53).all():
        return labels
    whole = labels.astype(np.int64)
    return whole if (whole == labels).all() else labels


def number_names(names: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Classes in natural order, and the number of each name among them, (N,).

    Of several spellings of a name the shortest is that of the class.
    """
    names = unite_names(names)
    classes = tuple(sorted(set(names), key=natural_key))
    number = {name: index for index, name in enumerate(classes)}
    return classes, np.array([number[name] for name in names], dtype=np.int64)


def shortened(names: Sequence[str], shown: int = 10) -> str:
    """Names with commas between, the later ones as a count."""
    more = f", ... and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
