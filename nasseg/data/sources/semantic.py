"""Labels whose values are classes: 0 = background, 1, 2 ... = classes of pixels."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data.read import read_class_values
from nasseg.data.sources.base import Source, SourceType, given_path
from nasseg.data.sources.folder import is_folder_layout, open_folder
from nasseg.errors import DataError
from nasseg.files.readers import read_json, read_text

MAX_CLASSES = 64
"""Classes of pixels at most, background included: more are likely instance ids or grey levels."""
KIND = "classes"
"""What :class:`~nasseg.data.sources.base.Pair` calls such a label."""


class ClassPixelsSource(SourceType):
    """``images/`` and ``labels/`` whose values are classes."""

    labels = frozenset({"classes"})
    layouts = (
        "images/ and labels/ with a file of the same name in each, class numbers in the labels",
    )

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True if there are both folders."""
        return path is not None and is_folder_layout(path)

    def open(self, path: Path | None, config: DataConfig) -> Source:
        """As :func:`open_semantic`."""
        return open_semantic(given_path(path, self.name), config.channels)


def open_semantic(root: Path, channels: int) -> Source:
    """The source for ``images/`` and ``labels/`` of class numbers.

    Raises:
        DataError: the names of the classes cannot be read.
    """
    names = read_names(root)
    allowed = len(names) if names else MAX_CLASSES
    source = open_folder(root, channels, partial(read_classes, allowed=allowed))
    return dataclasses.replace(source, classes=names)


def read_names(root: Path) -> tuple[str, ...]:
    """Names of the classes, background first; empty where the folder does not say them.

    ``classes.json`` is a list of names, or numbers with names: ``{"0": "background", ...}``;
    ``classes.txt`` has a name a line.

    Raises:
        DataError: the file cannot be read as that.
    """
    path = root / "classes.json"
    try:
        if path.is_file():
            content = read_json(path, error=DataError)
            if isinstance(content, dict):
                numbers = [str(number) for number in range(len(content))]
                content = [content.get(number) for number in numbers]
        else:
            path = root / "classes.txt"
            if not path.is_file():
                return ()
            lines = read_text(path, error=DataError).splitlines()
            content = [line.strip() for line in lines if line.strip()]
    except FileNotFoundError as error:
        raise DataError(f"{path} is not readable: {error}") from None
    good = isinstance(content, list) and all(isinstance(n, str) and n.strip() for n in content)
    if not good or not 2 <= len(content) <= MAX_CLASSES or len(set(content)) != len(content):
        raise DataError(
            f"{path} must name each class once, 2 to {MAX_CLASSES} of them, background first: a "
            'list of names, or {"0": "background", "1": ...}'
        )
    return tuple(content)


def read_classes(path: Path, *, allowed: int) -> tuple[npt.NDArray[np.int32], str]:
    """Class numbers (H, W) of a label file, 0 to ``allowed`` - 1, and :data:`KIND`.

    Raises:
        DataError: the file cannot be read, or holds anything else.
    """
    return to_classes(read_class_values(path, allowed), allowed), KIND


def to_classes(array: npt.NDArray[Any], allowed: int = MAX_CLASSES) -> npt.NDArray[np.int32]:
    """Class numbers (H, W) of the values of a label.

    Raises:
        DataError: it holds anything else than 0 to ``allowed`` - 1.
    """
    if array.ndim == 3:
        raise DataError("has colours; one channel of class numbers is allowed")
    if array.dtype.kind == "f":
        broken = array[array != np.rint(array)]  # NaN too
        if broken.size:
            raise DataError(f"holds {broken.flat[0]:g}; whole class numbers are allowed")
    elif array.dtype.kind not in "iub":
        raise DataError(f"is {array.dtype}; whole class numbers are allowed")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= allowed:
        wrong = low if low < 0 else high
        raise DataError(f"holds {wrong}; class numbers 0 to {allowed - 1} are allowed")
    return array.astype(np.int32)


def class_names(given: tuple[str, ...], highest: int) -> tuple[str, ...]:
    """The names, or ``background``, ``class1`` ... up to the highest number."""
    return given or ("background", *(f"class{number}" for number in range(1, highest + 1)))
