"""Folders of images to predict."""

from __future__ import annotations

from pathlib import Path

from nasseg.data.files import SUFFIXES, list_images
from nasseg.errors import DataError


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, in order of their names; hidden ones are passed over.

    Raises:
        DataError: there are none.
    """
    found = list_images(folder)
    if not found:
        kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
        raise DataError(f"{folder} holds no images ({kinds})")
    return found
