"""Which files of a folder are images, and how their names and texts are compared."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from nasseg.files.readers import encoding_of

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"})
"""Suffixes of image and label files; what a file is, its first bytes tell."""
FORMATS = "PNG, TIFF, JPEG or BMP"
"""The same for messages."""
_SYSTEM = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)
"""Files and folders, in small letters, that Windows, macOS and file servers put beside others."""


def is_system(name: str) -> bool:
    """Return True for hidden files and folders, and for those that systems make by themselves."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM


def is_image(path: Path) -> bool:
    """Return True if the name is that of an image or label file that somebody put there."""
    return path.suffix.lower() in SUFFIXES and not is_system(path.name)


def list_entries(folder: Path) -> list[Path]:
    """Files and folders in a folder by name, without hidden ones and those of systems."""
    return [path for path in sorted(folder.iterdir()) if not is_system(path.name)]


def list_images(folder: Path) -> list[Path]:
    """Image files in a folder by name."""
    return [path for path in list_entries(folder) if is_image(path) and not path.is_dir()]


def list_folders(folder: Path) -> list[Path]:
    """Folders in a folder by name."""
    return [path for path in list_entries(folder) if path.is_dir()]


def composed(name: str) -> str:
    """Return a name with accents composed (NFC).

    macOS decomposes the names of files (NFD), so that equal names differ in their bytes.
    """
    return unicodedata.normalize("NFC", name)


def text_encoding(path: Path) -> str:
    """Return the encoding of a text by its byte-order mark; UTF-8 where it has none.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return encoding_of(stream.read(200))
