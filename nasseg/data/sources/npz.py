"""Arrays of an .npz file, read in blocks, after their headers have been looked at.

A file of a few kilobytes can claim to hold terabytes, and a pickled array runs code. So headers
are checked before any array is read, nothing is unpickled, and images pass through in blocks: they
never take more memory than a block, whatever the file claims.
"""

from __future__ import annotations

import io
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nasseg.errors import DataError

_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,  # encrypted members
    NotImplementedError,  # compression methods that zipfile does not know
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,  # of a header that is no Python literal
    SyntaxError,
)
MAX_HEADER = 1 << 16
"""Bytes of an array's header above which it is not read; numpy writes about a hundred."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a member of the file says that it is."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    """Bytes before its values."""
    fortran: bool
    """Whether the first index runs fastest."""

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


class Npz:
    """An .npz file that was opened and whose headers are plausible.

    Raises:
        DataError: it is no .npz file, is damaged, or an array in it holds Python objects. The
            message names the array, not the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.headers: dict[str, Header] = {}
        """Of all arrays, by name."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
                for member in members:
                    name = member.filename.removesuffix(".npy")
                    with archive.open(member) as stream:
                        self.headers[name] = _header(name, stream, member.file_size)
        except DataError:
            raise
        except _DAMAGE as error:
            raise DataError(f"not readable as .npz: {error}") from None

    def array(self, name: str, limit: float) -> npt.NDArray[Any]:
        """A whole array of at most ``limit`` bytes."""
        if self.headers[name].nbytes > limit:
            raise DataError(
                f"array {name!r} has shape {self.headers[name].shape} and would take "
                f"{self.headers[name].nbytes / 1e9:.3g} GB of memory, more than "
                f"{limit / 1e9:.3g} GB are allowed"
            )
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as stream:
                array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
                return array
        except _DAMAGE as error:
            raise DataError(f"array {name!r} is damaged: {error}") from None

    def blocks(self, name: str, values: int) -> Iterator[npt.NDArray[Any]]:
        """An array in parts along its first axis, of about ``values`` values each."""
        header = self.headers[name]
        each = max(1, math.prod(header.shape[1:]))
        step = max(1, values // each)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as stream:
                stream.read(header.offset)
                for first in range(0, header.shape[0], step):
                    count = min(step, header.shape[0] - first)
                    raw = stream.read(count * each * header.dtype.itemsize)
                    part = np.frombuffer(raw, dtype=header.dtype)
                    yield part.reshape((count, *header.shape[1:]))
                stream.read(1)  # past the end, where the checksum is compared
        except _DAMAGE as error:
            raise DataError(f"array {name!r} is damaged: {error}") from None


def _header(name: str, stream: IO[bytes], size: int) -> Header:
    version = np.lib.format.read_magic(stream)
    wide = {(1, 0): 2, (2, 0): 4}.get(version)
    if wide is None:
        raise DataError(f"array {name!r} has format version {version}; 1.0 or 2.0 is read")
    # Looked at before numpy does, which reads a header of any length before it judges it.
    length = stream.read(wide)
    claimed = int.from_bytes(length, "little")
    if claimed > MAX_HEADER:
        raise DataError(f"array {name!r} has a header of {claimed} bytes; {MAX_HEADER} is the most")
    head = io.BytesIO(length + stream.read(claimed))
    read = np.lib.format.read_array_header_1_0 if wide == 2 else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(head)
    if dtype.hasobject:
        raise DataError(
            f"array {name!r} holds Python objects, which are not read; numbers or text "
            "(such as dtype <U16) are allowed"
        )
    header = Header(shape, dtype, stream.tell(), fortran)
    if min(shape, default=0) < 0 or header.offset + header.nbytes != size:
        raise DataError(
            f"array {name!r} claims shape {shape} of {dtype}, but holds {size - header.offset} "
            "bytes"
        )
    return header
