"""Classified images in folders: ``CLASS/*.png``, or ``train/CLASS/*.png`` and ``val/CLASS/...``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from nasseg.config import DataConfig
from nasseg.data._types import Side
from nasseg.data.files import FORMATS, is_image, is_system, list_folders, list_images
from nasseg.data.problems import Problems
from nasseg.data.sources.base import SourceType, given_path
from nasseg.data.sources.class_base import (
    INDEX,
    SIDE_NAMES,
    ClassSource,
    file_images,
    natural_key,
    number_names,
)
from nasseg.data.sources.folder import is_folder_layout

logger = logging.getLogger(__name__)


class ClassFolderSource(SourceType):
    """A folder of images for each class."""

    labels = frozenset({"class"})
    layouts = ("a folder for each class", "train/ and val/ with such folders")

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True if there are folders with images, and neither a table nor labels of pixels."""
        if path is None or not path.is_dir() or (path / INDEX).is_file():
            return False
        return not is_folder_layout(path) and is_class_folder(path)

    def open(self, path: Path | None, config: DataConfig) -> ClassSource:
        """As :func:`open_class_folder`."""
        return open_class_folder(given_path(path, self.name), config.channels)


def is_class_folder(root: Path) -> bool:
    """Whether there are folders with images (somewhere) in them."""
    return any(_list_images(folder, [])[:1] for folder in _folders(root))


def open_class_folder(root: Path, channels: int) -> ClassSource:
    """The source for a folder of classes; the images of a class may lie in folders of its own.

    Where folders are called train, val (valid, validation) or test and have folders of images in
    them, the classes are below them and that is the split; what lies beside them is passed over
    with a warning.
    """
    problems = Problems()
    top = _folders(root)
    sides = {folder: SIDE_NAMES.get(folder.name.lower()) for folder in top}
    split = any(side and is_class_folder(folder) for folder, side in sides.items())
    if split and (beside := [folder.name for folder in top if not sides[folder]]):
        logger.warning("%s: not train, val or test, passed over: %s", root, ", ".join(beside[:5]))
        top = [folder for folder in top if sides[folder]]
    paths: list[Path] = []
    names: list[str] = []
    given: list[Side] = []
    strange: list[str] = []
    for folder in top:
        side = sides[folder] or "train"
        if split and (loose := list_images(folder)):
            problems.add(
                "image in no class folder",
                f"{folder.name}/{loose[0].name}"
                + (f" and {len(loose) - 1} more" * bool(loose[1:])),
            )
        for entry in _folders(folder) if split else [folder]:
            found = _list_images(entry, strange)
            if not found:
                problems.add("class without images", f"{entry.relative_to(root)}/")
            paths += found
            names += [entry.name] * len(found)
            given += [side] * len(found)
    loose = list_images(root)
    if loose:
        logger.warning(
            "%s: passed over, in no class folder: %d (%s)",
            root,
            len(loose),
            ", ".join(path.name for path in loose[:5]),
        )
    if strange:
        logger.warning(
            "%s: passed over, not %s: %d (%s)",
            root,
            FORMATS,
            len(strange),
            ", ".join(strange[:5]),
        )
    ids = [path.relative_to(root).as_posix() for path in paths]
    classes, labels = number_names(names)
    images = file_images(paths, ids, channels)
    return ClassSource(
        str(root), ids, images, labels, classes, given if split else None, None, problems
    )


def _folders(root: Path) -> list[Path]:
    return sorted(list_folders(root), key=lambda entry: natural_key(entry.name))


def _list_images(folder: Path, strange: list[str]) -> list[Path]:
    """Image files in and below a folder in natural order; the names of others go to ``strange``."""
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_system(name)]
        for name in files:
            path = Path(base, name)
            if is_image(path):
                found.append(path)
            elif not is_system(name):
                strange.append(name)
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))
