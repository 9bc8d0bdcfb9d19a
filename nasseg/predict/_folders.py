"""Folders of images to predict."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nasseg.errors import DataError


def images_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the image files of a folder, in order of their names.

    Raises:
        DataError: there are none.
    """
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes]
    if not found:
        kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in suffixes))
        raise DataError(f"{folder} holds no images ({kinds})")
    return found
