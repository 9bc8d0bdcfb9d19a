"""Classified images in an .npz file: the arrays of a MedMNIST set, or ``images`` and ``labels``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data._types import Side
from nasseg.data.problems import Problems
from nasseg.data.read import MAX_PIXELS, to_channels
from nasseg.data.sources.class_base import (
    ClassSource,
    Images,
    Use,
    check_class_memory,
    number_names,
    same_name,
    whole_numbers,
)
from nasseg.data.sources.npz import Header, Npz
from nasseg.errors import DataError

SIDES: tuple[Side, ...] = ("train", "val", "test")
RAW_FACTOR = 16
"""Images may unpack to this many times ``max_cache_gb``: they pass through in blocks, so this
bounds the time, not the memory. The largest MedMNIST+ set unpacks to 16 GB."""
BLOCK = 4_000_000
"""Values that are unpacked at a time."""


@dataclass(frozen=True, slots=True)
class NpzImages:
    """Images of one or several arrays (N, H, W[, C]), one after the other."""

    file: Npz
    names: Sequence[str]
    """Of the arrays."""
    channels: int

    def __len__(self) -> int:
        return sum(self.file.headers[name].shape[0] for name in self.names)

    def each(self, use: Use, problems: Problems) -> None:
        """As :class:`~nasseg.data.sources.class_base.Images` says."""
        first = 0
        for name in self.names:
            try:
                for block in self.file.blocks(name, BLOCK):
                    pixels = block[..., None] if block.ndim == 3 else block
                    use(first, to_channels(pixels, self.channels))
                    first += len(block)
            except DataError as error:
                problems.add("images not usable", f"{name}: {error}")


def is_medmnist(file: Npz) -> bool:
    """Whether the file has the arrays of a MedMNIST set."""
    return "train_images" in file.headers and "train_labels" in file.headers


def open_medmnist_npz(
    file: Npz, config: DataConfig, classes: Sequence[str] | None, multilabel: bool | None = None
) -> ClassSource:
    """The source for ``{train,val,test}_{images,labels}``.

    Args:
        file: with those arrays; ``val`` and ``test`` may be missing.
        config: channels and the limit of memory.
        classes: names; none = the class numbers.
        multilabel: whether an image may have several classes; none = as the labels look.

    Raises:
        DataError: the images would take too much memory.
    """
    problems = Problems()
    present = [s for s in SIDES if f"{s}_images" in file.headers or f"{s}_labels" in file.headers]
    labels: list[npt.NDArray[Any]] = []
    ids: list[str] = []
    sides: list[Side] = []
    for side in present:
        images, own = f"{side}_images", f"{side}_labels"
        missing = [name for name in (images, own) if name not in file.headers]
        if missing:
            problems.add("array missing", f"{missing[0]} (there is {side}_*)")
            continue
        count = _check_images(file, images, config, problems)
        array = _labels(file, own, count, config, problems)
        if array is not None and count is not None:
            labels.append(array)
            width = len(str(count))
            ids += [f"{side}{row:0{width}d}" for row in range(count)]
            sides += [side] * count
    problems.raise_if_any(str(file.path))
    check_class_memory(len(ids), config)
    if len({array.shape[1:] for array in labels}) > 1:
        shapes = ", ".join(f"{s} {a.shape}" for s, a in zip(present, labels, strict=True))
        raise DataError(f"{file.path}: labels of different shapes: {shapes}")
    names, numbers = _numbered(np.concatenate(labels), ids, classes, multilabel, problems)
    images_ = NpzImages(file, [f"{side}_images" for side in present], config.channels)
    return ClassSource(str(file.path), ids, images_, numbers, names, sides, None, problems)


def open_plain_npz(file: Npz, config: DataConfig) -> ClassSource:
    """The source for ``images`` and ``labels``, perhaps with ``classes`` and ``groups``.

    ``classes`` (K,) are names of the class numbers 0 to K - 1, or of all allowed labels where these
    are text; ``groups`` (N,) are what must not be divided.

    Raises:
        DataError: an array is not usable, or the images would take too much memory.
    """
    problems = Problems()
    for name in ("images", "labels"):
        if name not in file.headers:
            problems.add("array missing", name)
    if problems:
        raise DataError(
            f"{file.path} has arrays {', '.join(sorted(file.headers)) or 'none'}; expected images "
            "and labels, or train_images, train_labels ... as MedMNIST has them"
        )
    count = _check_images(file, "images", config, problems)
    labels = _labels(file, "labels", count, config, problems)
    classes = _column(file, "classes", None, config, problems)
    groups = _column(file, "groups", count, config, problems)
    problems.raise_if_any(str(file.path))
    if count is None or labels is None:  # for the type checker: a problem was raised
        raise DataError(f"{file.path} has no images")
    check_class_memory(count, config)
    width = len(str(count - 1))
    ids = [f"{row:0{width}d}" for row in range(count)]
    names, numbers = _numbered(labels, ids, classes, None, problems)
    images: Images = NpzImages(file, ["images"], config.channels)
    return ClassSource(str(file.path), ids, images, numbers, names, None, groups, problems)


def _check_images(file: Npz, name: str, config: DataConfig, problems: Problems) -> int | None:
    """How many images an array holds, from its header; None where it cannot be used."""
    header = file.headers[name]
    wrong = _wrong_images(header, config)
    if wrong:
        problems.add("images not usable", f"{name} {wrong}")
        return None
    return header.shape[0]


def _wrong_images(header: Header, config: DataConfig) -> str | None:
    shape = header.shape
    if header.dtype != np.uint8:
        return f"is {header.dtype}; uint8, 0 to 255, is allowed"
    if len(shape) not in (3, 4) or (len(shape) == 4 and not 1 <= shape[3] <= 4):
        return f"has shape {shape}; (N, H, W) or (N, H, W, 1 to 4) is allowed"
    if header.fortran:
        return "is in Fortran order; save numpy.ascontiguousarray of it"
    if 0 in shape:
        return f"has shape {shape}; one image of one pixel is the least"
    if shape[1] * shape[2] > MAX_PIXELS:
        return f"has images of {shape[1]} x {shape[2]} pixels; {MAX_PIXELS} pixels are the most"
    if header.nbytes > RAW_FACTOR * config.max_cache_gb * 1e9:
        return (
            f"has shape {shape} and would unpack to {header.nbytes / 1e9:.3g} GB, more than "
            f"{RAW_FACTOR} times max_cache_gb = {config.max_cache_gb:g}; raise max_cache_gb if "
            "that is true"
        )
    return None


def _labels(
    file: Npz, name: str, count: int | None, config: DataConfig, problems: Problems
) -> npt.NDArray[Any] | None:
    """Labels (N,) or (N, K > 1), integers or text; None where they cannot be used."""
    try:
        array = file.array(name, config.max_cache_gb * 1e9)
    except DataError as error:
        problems.add("labels not usable", str(error))
        return None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    array = whole_numbers(array)
    kind = array.dtype.kind
    if kind == "f" and array.ndim and np.isnan(array).any():
        rows = np.flatnonzero(np.isnan(array.reshape(len(array), -1)).any(1))
        problems.add("labels not usable", f"{name} is NaN at row {rows[0]} ({len(rows)} rows)")
    elif kind not in "iubU":
        problems.add(
            "labels not usable", f"{name} is {array.dtype}; whole numbers or text are allowed"
        )
    elif array.ndim not in (1, 2) or (count is not None and len(array) != count):
        wanted = "(N,), (N, 1) or (N, K)" if count is None else f"({count},) or ({count}, K)"
        problems.add("labels not usable", f"{name} has shape {array.shape}; {wanted} is allowed")
    elif array.ndim == 2 and (kind == "U" or not np.isin(array, (0, 1)).all()):
        problems.add(
            "labels not usable", f"{name} has shape {array.shape}; then only 0 and 1 are allowed"
        )
    else:
        return array
    return None


def _column(
    file: Npz, name: str, count: int | None, config: DataConfig, problems: Problems
) -> list[str] | None:
    """An optional array of text or integers, as text; ``count`` long where that is given."""
    if name not in file.headers:
        return None
    try:
        array = file.array(name, config.max_cache_gb * 1e9)
    except DataError as error:
        problems.add("array not usable", str(error))
        return None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iuU" or count not in (None, len(array)):
        wanted = "one text or whole number each" if count is None else f"{count} of them"
        problems.add(
            "array not usable", f"{name} is {array.dtype} of shape {array.shape}; {wanted} expected"
        )
        return None
    values = [str(value) for value in array.tolist()]
    if count is None and len(set(values)) != len(values):
        problems.add("array not usable", f"{name} names a class twice")
    return values


def _numbered(
    labels: npt.NDArray[Any],
    ids: Sequence[str],
    classes: Sequence[str] | None,
    multilabel: bool | None,
    problems: Problems,
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names of the classes, and labels as :class:`ClassSource` holds them."""
    if labels.ndim == 2:
        count = labels.shape[1]
        if classes is not None and len(classes) != count:
            problems.add(
                "labels not usable",
                f"labels have {count} columns; {len(classes)} classes are named",
            )
            classes = None
        names = tuple(classes or map(str, range(count)))
        if multilabel is None:
            multilabel = bool((labels.sum(axis=1) != 1).any())
        found = labels.astype(np.int64)
        return names, found if multilabel else found.argmax(axis=1)
    if labels.dtype.kind == "U":
        text = [str(value) for value in labels.tolist()]
        known = {same_name(name): index for index, name in enumerate(classes or text)}
        for row, value in enumerate(text):
            if not value.strip():
                problems.add("label missing", f"{ids[row]}: the label is empty")
            elif same_name(value) not in known:
                problems.add("label unknown", f"{ids[row]}: {value!r} is not in classes")
        if problems or classes is None:
            return number_names(text)
        return tuple(classes), np.array([known[same_name(value)] for value in text], dtype=np.int64)
    numbers = labels.astype(np.int64)
    if classes is None:
        names = tuple(sorted({str(value) for value in numbers.tolist()}, key=int))
        values = np.array([int(name) for name in names])
        return names, np.searchsorted(values, numbers).astype(np.int64)
    for wrong in np.flatnonzero((numbers < 0) | (numbers >= len(classes))).tolist():
        problems.add(
            "label unknown",
            f"{ids[wrong]}: {numbers[wrong]}; 0 to {len(classes) - 1} are allowed",
        )
    return tuple(classes), numbers
