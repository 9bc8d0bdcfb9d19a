"""Folder with ``images/`` and ``labels/``: one file each per id, and perhaps ``splits.json``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data.files import FORMATS, SUFFIXES, composed, is_image, list_entries
from nasseg.data.problems import Problems
from nasseg.data.read import is_turned, read_ids, read_image
from nasseg.data.sources.base import (
    PIXELS,
    Item,
    Pair,
    Source,
    SourceType,
    Split,
    given_path,
)
from nasseg.errors import DataError, FileError
from nasseg.files.readers import read_json

logger = logging.getLogger(__name__)

LabelReader = Callable[[Path], tuple[npt.NDArray[np.int32], str]]
"""File to values (H, W) and what they are, as :func:`nasseg.data.read.read_ids` does it."""


class FolderSource(SourceType):
    """``images/`` and ``labels/``."""

    labels = PIXELS
    layouts = ("images/ and labels/ with a file of the same name in each",)

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True if there are both folders."""
        return path is not None and is_folder_layout(path)

    def open(self, path: Path | None, config: DataConfig) -> Source:
        """As :func:`open_folder`."""
        return open_folder(given_path(path, self.name), config.channels)


def is_folder_layout(root: Path) -> bool:
    """Whether ``root`` has ``images/`` and ``labels/``."""
    return (root / "images").is_dir() and (root / "labels").is_dir()


def list_files(folder: Path, problems: Problems) -> dict[str, Path]:
    """Id (file name without suffix, accents composed) to file; two files of one id are a problem.

    Hidden files and those of systems are passed over silently, other kinds of file with a warning.
    """
    files: dict[str, Path] = {}
    strange = []
    for path in list_entries(folder):
        name = composed(path.stem)
        if path.is_dir():
            continue
        if not is_image(path):
            strange.append(path.name)
        elif name in files:
            where = folder.name
            problems.add(
                "two files for one id", f"{where}/{files[name].name} and {where}/{path.name}"
            )
        else:
            files[name] = path
    if strange:
        logger.warning(
            "%s: passed over, not %s: %d (%s)",
            folder,
            FORMATS,
            len(strange),
            ", ".join(strange[:5]),
        )
    return files


def _read(
    image: Path, label: Path, channels: int, read: LabelReader, problems: Problems
) -> Pair | None:
    pixels = ids = None
    kind = ""
    try:
        pixels = read_image(image, channels)
    except DataError as error:
        problems.add("image not usable", f"images/{image.name}: {error}")
    try:
        ids, kind = read(label)
    except DataError as error:
        problems.add("label not usable", f"labels/{label.name}: {error}")
    if pixels is None or ids is None:
        return None
    if pixels.shape[:2] != ids.shape:
        (h, w), (lh, lw) = pixels.shape[:2], ids.shape
        turned = [
            str(path.relative_to(path.parents[1])) for path in (image, label) if is_turned(path)
        ]
        problems.add(
            "size mismatch (height x width)",
            f"images/{image.name} is {h} x {w}, labels/{label.name} is {lh} x {lw}"
            + f" (as {' and '.join(turned)} is turned by its orientation tag)" * bool(turned),
        )
        return None
    return Pair(pixels, ids, kind)


def open_folder(root: Path, channels: int, read: LabelReader = read_ids) -> Source:
    """The source for a folder; nothing but the listing and ``splits.json`` is read yet."""
    problems = Problems()
    images = list_files(root / "images", problems)
    labels = list_files(root / "labels", problems)
    split = read_splits(root / "splits.json", set(images) | set(labels), problems)
    used = set(images) | set(labels)
    if split is not None:
        used &= {*split.train, *split.val}
    for name in sorted(used):
        if name not in labels:
            problems.add("label missing", f"images/{images[name].name} has no labels/{name}.*")
        elif name not in images:
            problems.add("image missing", f"labels/{labels[name].name} has no images/{name}.*")
    items = [
        Item(
            name,
            partial(_read, images[name], labels[name], channels, read),
            f"labels/{labels[name].name}",
        )
        for name in sorted(used)
        if name in images and name in labels
    ]
    return Source(str(root), items, split, problems)


def read_splits(path: Path, known: set[str], problems: Problems) -> Split | None:
    """``{"train": [ids], "val": [ids]}``, checked against the ids there are; None without a file.

    Other keys (notes, test ids) are passed over. Ids may carry their file's suffix.
    """
    if not path.exists():
        return None
    try:
        content = read_json(path)
    except (OSError, FileError) as error:
        problems.add("splits.json not usable", f"splits.json: not readable as JSON: {error}")
        return None
    if not isinstance(content, dict):
        problems.add("splits.json not usable", 'splits.json: {"train": [...], "val": [...]} needed')
        return None
    sides: dict[str, list[str]] = {}
    for side in ("train", "val"):
        ids = content.get(side)
        if not isinstance(ids, list) or not ids or not all(isinstance(i, str) for i in ids):
            problems.add(
                "splits.json not usable", f"splits.json: {side!r} must be a list of one or more ids"
            )
            continue
        ids = [i if i in known else _without_suffix(i) for i in map(composed, ids)]
        sides[side] = ids
        for name in sorted(name for name, count in Counter(ids).items() if count > 1):
            problems.add("splits.json not usable", f"splits.json: {side!r} names {name!r} twice")
        for name in sorted(set(ids) - known):
            problems.add(
                "splits.json not usable",
                f"splits.json: {side!r} names {name!r}, which is not in the folder",
            )
    for name in sorted(set(sides.get("train", ())) & set(sides.get("val", ()))):
        problems.add("splits.json not usable", f"splits.json: {name!r} is in both train and val")
    if len(sides) < 2:
        return None
    left_out = known.difference(sides["train"], sides["val"])
    if left_out:
        logger.warning(
            "%s: %d images are in neither train nor val and are left out", path, len(left_out)
        )
    return Split(sides["train"], sides["val"])


def _without_suffix(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in SUFFIXES else name
