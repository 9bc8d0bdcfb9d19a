"""Image files to values, with all that says how a viewer shows these.

Pillow reads PNG, JPEG and BMP, imagecodecs (libpng) PNG of 16 bits a channel, of which Pillow keeps
the upper 8, and tifffile TIFF.
"""

from __future__ import annotations

import dataclasses
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasseg.data._decoded import ORIENTATION, Array, Decoded, check_size, to_rgb
from nasseg.data._tiff import decode_tiff
from nasseg.data.files import FORMATS
from nasseg.errors import DataError

MAX_PNG_FILE = 1_000_000_000
"""Bytes of a PNG file of 16 bits a channel, which is read whole."""
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
}
"""First bytes of the formats that are decoded; the suffix of a file does not matter."""
_FOREIGN = {
    b"GIF8": "GIF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"RIFF": "WebP",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\5\x16\7": "a resource file of macOS",
    b"\x89HDF": "HDF5",
    b"PK": "a ZIP archive",
}
"""First bytes of files that are often given an image's name, for messages."""
_TURN: dict[int, Callable[[Array], Array]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""Orientation to what makes an array (H, W, ...) upright; 1, and what is none, leave it."""


def decode(path: Path, max_pixels: int) -> Decoded:
    """Decode a PNG, JPEG, BMP or TIFF file, told apart by their first bytes.

    Raises:
        DataError: it is of another format, damaged, too large, or of a kind that viewers show
            differently from each other.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("not readable: no regular file")
        with path.open("rb") as stream:
            head = stream.read(32)
        name = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
        if name is None:
            raise DataError(f"not readable: {_foreign(head)}; {FORMATS} is allowed")
        if name == "TIFF":
            found = decode_tiff(path, max_pixels)
        else:
            found = _decode_pillow(path, name, head, max_pixels)
    except DataError:
        raise
    except Exception as error:
        # Decoders answer a damaged file with nearly any exception: zlib.error, struct.error,
        # SyntaxError, OverflowError ...; to the user they are all one.
        raise DataError(f"not readable: {str(error) or type(error).__name__}") from None
    return _upright(found)


def _foreign(head: bytes) -> str:
    if not head:
        return "the file is empty"
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            return f"the file is {name}"
    return f"the file begins with {head[:4]!r}"


def _upright(found: Decoded) -> Decoded:
    turn = _TURN.get(found.orientation)
    if turn is None:
        return found
    return dataclasses.replace(
        found,
        values=np.ascontiguousarray(turn(found.values)),
        alpha=None if found.alpha is None else np.ascontiguousarray(turn(found.alpha)),
    )


def _decode_pillow(path: Path, name: str, head: bytes, max_pixels: int) -> Decoded:
    bits = 8
    if name == "PNG" and head[12:16] == b"IHDR":
        bits = head[24]
    # Only the format of the first bytes: others start interpreters, as EPS does Ghostscript.
    with Image.open(path, formats=(name,)) as image:
        width, height = image.size
        check_size(width, height, width * height * 4 * max(1, bits // 8), max_pixels)
        frames = getattr(image, "n_frames", 1)
        if name == "PNG" and frames > 1:
            raise DataError(f"is animated ({frames} frames); one image a file is allowed")
        if bits == 16:
            found = _deep_png(path)
        else:
            image.load()
            found = _of_mode(image, bits)
        # After the pixels, as PNG may have it behind them.
        turned = image.getexif().get(ORIENTATION, 1)
    return dataclasses.replace(found, orientation=turned, lossy=name == "JPEG")


def _deep_png(path: Path) -> Decoded:
    import imagecodecs

    if path.stat().st_size > MAX_PNG_FILE:
        raise DataError(f"has more than {MAX_PNG_FILE // 1_000_000} MB; cut it into tiles")
    data = path.read_bytes()
    _check_chunks(data)
    values: Array = imagecodecs.png_decode(data)
    if values.dtype != np.uint16 or values.ndim not in (2, 3):
        raise DataError(f"not readable: decoded to {values.dtype} of shape {values.shape}")
    if values.ndim == 3 and values.shape[2] in (2, 4):
        colours = values[..., 0] if values.shape[2] == 2 else values[..., :3]
        return Decoded(colours, 16, alpha=values[..., -1])
    return Decoded(values, 16)


def _check_chunks(data: bytes) -> None:
    """Refuse a PNG of which a part is damaged or missing; the decoder passes over it."""
    first = 8
    while first + 12 <= len(data):
        size = int.from_bytes(data[first : first + 4], "big")
        name, behind = data[first + 4 : first + 8], first + 8 + size
        if zlib.crc32(data[first + 4 : behind]) != int.from_bytes(data[behind : behind + 4], "big"):
            raise DataError(f"not readable: its part {name!r} is damaged")
        if name == b"IEND":
            return
        first = behind + 4
    raise DataError("not readable: the file is cut off")


def _of_mode(image: Image.Image, bits: int) -> Decoded:
    """Return the pixels of a loaded image with their meaning, which its mode gives."""
    mode = image.mode
    if mode == "P":
        return Decoded(np.array(image), bits, palette=_palette(image))
    if mode == "CMYK":
        return Decoded(to_rgb(np.array(image)), 8)
    if mode in ("LA", "RGBA"):
        values = np.array(image)
        colours = values[..., 0] if mode == "LA" else values[..., :3]
        return Decoded(colours, 8, alpha=values[..., -1])
    if mode not in ("1", "L", "RGB"):
        raise DataError(f"has pixels of the kind {mode!r}; grey, RGB, palette or CMYK is allowed")
    values = np.array(image)
    key = image.info.get("transparency")
    if mode == "1":
        bits = 1
        key = None if key is None else int(key) > 0
    elif mode == "L" and bits < 8:
        # Pillow spreads 2 and 4 bits over 0 to 255.
        values = values // np.uint8(255 // (2**bits - 1))
    if key is None or isinstance(key, bytes):
        return Decoded(values, bits)
    clear = values == np.asarray(key)
    clear = clear.all(axis=2) if clear.ndim == 3 else clear
    return Decoded(values, bits, alpha=np.where(clear, 0, 255).astype(np.uint8))


def _palette(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Colours with opacity of a palette, (256, 4); what the file leaves out is opaque black."""
    table = np.zeros((256, 4), dtype=np.uint8)
    table[:, 3] = 255
    flat = image.getpalette("RGB") or []
    colours = np.array(flat[: 3 * 256], dtype=np.uint8).reshape(-1, 3)
    table[: len(colours), :3] = colours
    clear = image.info.get("transparency")
    if isinstance(clear, bytes):
        table[: len(clear), 3] = np.frombuffer(clear[:256], dtype=np.uint8)
    elif isinstance(clear, int) and clear < 256:
        table[clear, 3] = 0
    return table
