"""The raw layout of the 2018 Data Science Bowl: ``<id>/images/*.png``, ``<id>/masks/*.png``."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data.files import composed, list_folders, list_images
from nasseg.data.problems import Problems
from nasseg.data.read import read_image, read_label
from nasseg.data.sources.base import (
    PIXELS,
    Item,
    Pair,
    Source,
    SourceType,
    given_path,
)
from nasseg.data.sources.folder import read_splits
from nasseg.errors import DataError

logger = logging.getLogger(__name__)


class KaggleSource(SourceType):
    """A folder for each image, with a mask for each nucleus."""

    labels = PIXELS
    layouts = ("the raw Kaggle layout <id>/images/*.png and <id>/masks/*.png",)

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True if there are folders with ``images/`` in them."""
        return path is not None and kaggle_root(path) is not None

    def open(self, path: Path | None, config: DataConfig) -> Source:
        """As :func:`open_kaggle`."""
        path = given_path(path, self.name)
        return open_kaggle(kaggle_root(path) or path, config.channels)


def kaggle_root(root: Path) -> Path | None:
    """``root``, or its ``stage1_train``, where that holds ``<id>/images`` folders; else None."""
    for folder in (root, root / "stage1_train"):
        if folder.is_dir() and any((entry / "images").is_dir() for entry in list_folders(folder)):
            return folder
    return None


def open_kaggle(root: Path, channels: int) -> Source:
    """The source for a folder in the raw layout; an id without ``masks/`` is a problem.

    The masks of an id, one file a nucleus, are merged. A ``splits.json`` beside the ids is used.
    """
    problems = Problems()
    folders = {}
    strange = []
    for entry in list_folders(root):
        if (entry / "images").is_dir() or (entry / "masks").is_dir():
            folders[composed(entry.name)] = entry
        else:
            strange.append(entry.name)
    if strange:
        logger.warning(
            "%s: passed over, without images/ and masks/: %d (%s)",
            root,
            len(strange),
            ", ".join(strange[:5]),
        )
    split = read_splits(root / "splits.json", set(folders), problems)
    if split is not None:
        named = {*split.train, *split.val}
        folders = {name: entry for name, entry in folders.items() if name in named}
    items = []
    for name, entry in sorted(folders.items()):
        images = _files(entry / "images")
        if len(images) != 1:
            problems.add(
                "not one image for an id", f"{name}/images/ holds {len(images)} image files"
            )
        if not (entry / "masks").is_dir():
            problems.add("label missing", f"{name}/ has no masks/")
        elif len(images) == 1:
            read = partial(_read, entry, images[0], _files(entry / "masks"), channels)
            items.append(Item(name, read, f"{name}/masks/"))
    return Source(str(root), items, split, problems)


def _files(folder: Path) -> list[Path]:
    return list_images(folder) if folder.is_dir() else []


def _read(
    entry: Path, image: Path, masks: list[Path], channels: int, problems: Problems
) -> Pair | None:
    pixels = None
    bad = False
    try:
        pixels = read_image(image, channels)
    except DataError as error:
        problems.add("image not usable", f"{entry.name}/images/{image.name}: {error}")
    size = None if pixels is None else pixels.shape[:2]
    ids: npt.NDArray[np.int32] | None = None
    for number, path in enumerate(masks, 1):
        where = f"{entry.name}/masks/{path.name}"
        try:
            mask, _ = read_label(path)
        except DataError as error:
            problems.add("label not usable", f"{where}: {error}")
            bad = True
            continue
        if size is not None and mask.shape != size:
            problems.add(
                "size mismatch (height x width)",
                f"{where} is {mask.shape[0]} x {mask.shape[1]}, "
                f"images/{image.name} is {size[0]} x {size[1]}",
            )
            bad = True
            continue
        if ids is None:
            ids = np.zeros(mask.shape, dtype=np.int32)
        if ids.shape == mask.shape:
            ids[mask] = number
    if pixels is None or bad:
        return None
    if ids is None or not ids.any():
        return Pair(pixels, np.zeros(pixels.shape[:2], dtype=np.int32), "empty")
    return Pair(pixels, ids, "instances")
