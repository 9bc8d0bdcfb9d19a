"""Images and labels that are in memory already, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data._types import Side
from nasseg.data.problems import Problems
from nasseg.data.read import as_ids, as_pixels
from nasseg.data.sources.base import PIXELS, Item, Pair, Source, SourceType, Split
from nasseg.data.sources.class_base import (
    SIDE_NAMES,
    ClassSource,
    LoadedImages,
    number_names,
    whole_numbers,
)
from nasseg.data.sources.semantic import KIND, to_classes
from nasseg.errors import DataError
from nasseg.tasks import get_task
from nasseg.tasks.base import LabelKind

Array: TypeAlias = npt.NDArray[Any]
Images: TypeAlias = Array | Sequence[Array]
"""(N, H, W) or (N, H, W, C), or N images of any size, (H, W) or (H, W, C)."""
Labels: TypeAlias = Array | Sequence[Any]
"""Of pixels: (N, H, W), or N labels (H, W). Of images: (N,) numbers or names of classes, or (N, K)
of 0 and 1 where an image may have several."""
Pairs: TypeAlias = tuple[Images, Labels]
Arrays: TypeAlias = Pairs | Mapping[str, Pairs]
"""Images and labels, or these for each split: ``train``, ``val`` and, of whole images, ``test``."""
NAME = "arrays in memory"
"""How messages call the source."""


class ArraysSource(SourceType):
    """Arrays that were handed over in Python; a name for what cannot be opened again."""

    labels = PIXELS | frozenset({"classes", "class"})

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """False: arrays are handed over, not found."""
        return False

    def open(self, path: Path | None, config: DataConfig) -> Source:
        """Refuse: settings do not hold the arrays."""
        raise DataError(
            "the images are arrays in memory (data.source is 'arrays'), which settings do not "
            "hold; hand the same arrays over again"
        )


def open_arrays(arrays: Arrays, config: DataConfig) -> Source | ClassSource:
    """The source for arrays; they are read as files of the same values are.

    Args:
        arrays: images and labels, or a mapping of these for each split.
        config: the task, and the channels of the network's input.

    Raises:
        DataError: they are not as the task needs them.
    """
    parts = _parts(arrays)
    given = isinstance(arrays, Mapping)
    task = get_task(config.kind)
    if task.per_image:
        return _classified(parts, given, config)
    if given and set(parts) != {"train", "val"}:
        raise DataError(f"{NAME}: splits are {', '.join(parts)}; allowed: train and val")
    return _of_pixels(parts, given, task.labels, config.channels)


def _parts(arrays: Arrays) -> dict[Side, Pairs]:
    """Images and labels of each split; those of no split stand as ``train``."""
    if not isinstance(arrays, Mapping):
        parts: dict[Side, Pairs] = {"train": arrays}
    else:
        unknown = [name for name in arrays if name not in SIDE_NAMES]
        if unknown or not arrays:
            raise DataError(
                f"{NAME}: splits are {', '.join(map(repr, arrays)) or 'none'}; allowed: train, val "
                "and test"
            )
        parts = {SIDE_NAMES[name]: pair for name, pair in arrays.items()}
    for side, pair in parts.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise DataError(f"{NAME}: {side} is {type(pair).__name__}; (images, labels) is allowed")
        images, labels = pair
        if not (hasattr(images, "__len__") and hasattr(labels, "__len__")):
            kinds = f"({type(images).__name__}, {type(labels).__name__})"
            raise DataError(f"{NAME}: {side} is {kinds}; (images, labels) is allowed")
        if len(images) != len(labels):
            raise DataError(f"{NAME}: {side} has {len(images)} images and {len(labels)} labels")
    return parts


def _ids(side: Side, count: int, given: bool) -> list[str]:
    return [f"{side if given else 'image'}{row:05d}" for row in range(count)]


def _of_pixels(parts: Mapping[Side, Pairs], given: bool, kind: LabelKind, channels: int) -> Source:
    ids: dict[Side, list[str]] = {}
    items = []
    for side, (images, labels) in parts.items():
        ids[side] = _ids(side, len(images), given)
        for name, image, label in zip(ids[side], images, labels, strict=True):
            read = partial(_read, name, np.asarray(image), np.asarray(label), kind, channels)
            items.append(Item(name, read, name))
    split = Split(ids["train"], ids["val"]) if given else None
    return Source(NAME, sorted(items, key=lambda item: item.id), split, split_by="the given split")


def _read(
    name: str, image: Array, label: Array, kind: LabelKind, channels: int, problems: Problems
) -> Pair | None:
    pixels = None
    try:
        pixels = as_pixels(image, channels)
    except DataError as error:
        problems.add("image not usable", f"{name}: {error}")
    try:
        if label.ndim not in (2, 3) or label.dtype.kind not in "buif":
            raise DataError(f"is {label.dtype} of shape {label.shape}; numbers (H, W) are allowed")
        ids, what = (to_classes(label), KIND) if kind == "classes" else as_ids(label)
    except DataError as error:
        problems.add("label not usable", f"{name}: {error}")
        return None
    if pixels is None:
        return None
    if pixels.shape[:2] != ids.shape:
        (h, w), (lh, lw) = pixels.shape[:2], ids.shape
        problems.add(
            "size mismatch (height x width)", f"{name} is {h} x {w}, its label is {lh} x {lw}"
        )
        return None
    return Pair(pixels, ids, what)


def _classified(parts: Mapping[Side, Pairs], given: bool, config: DataConfig) -> ClassSource:
    ids: list[str] = []
    sides: list[Side] = []
    images: list[Array] = []
    for side, (own, _) in parts.items():
        ids += _ids(side, len(own), given)
        sides += [side] * len(own)
        images += [np.asarray(image) for image in own]
    labels = np.concatenate([np.asarray(own) for _, own in parts.values()])
    classes, numbers = _numbered(labels)
    loaded = LoadedImages(ids, lambda row: as_pixels(images[row], config.channels))
    return ClassSource(NAME, ids, loaded, numbers, classes, sides if given else None)


def _numbered(labels: Array) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names of the classes, and numbers (N,) or 0 and 1 (N, K)."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not np.isin(labels, (0, 1)).all():
            raise DataError(f"{NAME}: labels (N, K) hold other values than 0 and 1")
        return tuple(str(k) for k in range(labels.shape[1])), labels.astype(np.int64)
    labels = whole_numbers(labels)
    if labels.ndim > 2 or labels.dtype.kind not in "biuU":
        raise DataError(
            f"{NAME}: labels are {labels.dtype} of shape {labels.shape}; numbers or names of "
            "classes (N,), or 0 and 1 (N, K), are allowed"
        )
    return number_names([str(label) for label in labels.ravel().tolist()])
