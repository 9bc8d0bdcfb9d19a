"""Decoded values of an image file, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nasseg.errors import DataError

Array: TypeAlias = npt.NDArray[Any]

MAX_BYTES = 400_000_000
"""Bytes of decoded values above which a file is not decoded."""
ORIENTATION = 0x0112
"""Tag of EXIF and TIFF: how the stored rows and columns are turned for display."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The values of a file, upright, and what they mean."""

    values: Array
    """(H, W) of grey or indices, (H, W, 3) of colours, or (H, W, 2 or 4) of channels that the file
    does not name."""
    bits: int
    """Bits of a value; values of fewer than 8 are as stored, from 0 to 2**bits - 1."""
    alpha: Array | None = None
    """(H, W): opacity, from 0 to the largest value of its type (1.0 of floats); None: opaque."""
    palette: npt.NDArray[np.uint8] | None = None
    """Colours (N, 4) with opacity, which the values are indices of; None: they are no indices."""
    inverted: bool = False
    """True if 0 is white (WhiteIsZero of TIFF)."""
    lossy: bool = False
    """True if values are blurred by JPEG."""
    orientation: int = 1
    """As the file has it; the arrays are turned already."""


def check_size(width: int, height: int, nbytes: int, max_pixels: int) -> None:
    """Refuse an image by its size in pixels, and by the bytes that it would decode to.

    A small damaged or hostile file can claim any size.
    """
    if width * height > max_pixels:
        raise DataError(
            f"{width} x {height} pixels, more than the {max_pixels // 1_000_000} million that are "
            "decoded; cut it into tiles"
        )
    if width * height == 0:
        raise DataError("has no pixels")
    if nbytes > MAX_BYTES:
        raise DataError(
            f"would decode to {nbytes / 1e6:.0f} MB, more than the {MAX_BYTES // 1_000_000} MB "
            "that are decoded; cut it into tiles"
        )


def to_rgb(cmyk: Array) -> Array:
    """Convert inks (H, W, 4) of unsigned integers, 0 = none, to RGB (H, W, 3), without a profile.

    Red is (1 - cyan) (1 - black), and so on, as Pillow does.
    """
    top = np.iinfo(cmyk.dtype).max
    light = (top - cmyk).astype(np.float64)
    rgb: Array = np.rint(light[..., :3] * light[..., 3:] / top).astype(cmyk.dtype)
    return rgb
