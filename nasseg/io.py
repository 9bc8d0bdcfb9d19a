"""Files that are either old or new, never half: temporary file, fsync, rename."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from nasseg.files.readers import csv_text


def atomic_write(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Call ``write`` on a temporary file beside ``path``, then rename it into place.

    A reader, or a run continued after ``kill -9``, sees the old file or the new one.

    Raises:
        OSError: it cannot be written, as on a full disk; the error names ``path``.
    """
    target = Path(path)
    try:
        return _replace(target, write)
    except OSError as error:
        # That of a full disk names no file, others the temporary one.
        raise OSError(error.errno, error.strerror or str(error), str(target)) from None


def _replace(target: Path, write: Callable[[BinaryIO], object]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        # mkstemp makes files private; a result file is as readable as any other the user writes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
        # The rename itself is durable only once the folder is synced.
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write bytes atomically."""
    return atomic_write(path, lambda handle: handle.write(data))


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically; bytes of a file name that are no UTF-8 as ``\\udcXX``."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV atomically; the columns are the keys of all rows, as they first occur."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return write_text(
        path, csv_text(names, [[row.get(name, "") for name in names] for row in rows])
    )


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Strict JSON (NaN and infinity are refused), with a final newline when indented."""
    text = json.dumps(value, indent=indent, allow_nan=False)
    return text + "\n" if indent is not None else text


def write_json(path: str | Path, value: Any) -> Path:
    """Write a value as indented JSON atomically."""
    return write_text(path, to_json(value))
