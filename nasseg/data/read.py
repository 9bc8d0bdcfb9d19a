"""Image and label files to arrays; docs/data.md has the table of all kinds.

Every image that is trained on, classified or predicted, and every label, is read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.data._decode import decode
from nasseg.data._decoded import Decoded
from nasseg.data._labels import (
    as_ids,
    class_values,
    instance_values,
    is_opaque,
    opacity_top,
)
from nasseg.errors import DataError

__all__ = [
    "MAX_PIXELS",
    "UInt8Image",
    "as_ids",
    "as_pixels",
    "is_turned",
    "read_class_values",
    "read_ids",
    "read_image",
    "read_label",
    "read_values",
    "to_channels",
]

UInt8Image = npt.NDArray[np.uint8]
"""(H, W, C), 0 to 255."""

MAX_PIXELS = 100_000_000
"""Pixels above which a file is not decoded: a small damaged or hostile file can claim any size."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's mode "L"


def read_image(path: Path, channels: int) -> UInt8Image:
    """Read one image as uint8 (H, W, ``channels``), as :func:`as_pixels` makes it.

    It is upright and has the colours that a viewer shows: a tag of the orientation, palettes, inks
    and WhiteIsZero are applied, profiles and gamma are not.

    Raises:
        DataError: the file is damaged, too large, or not a single plane of grey or colours.
    """
    found = decode(path, MAX_PIXELS)
    values, alpha = _shown(found)
    return _pixels(values, alpha, channels)


def as_pixels(array: npt.NDArray[Any], channels: int) -> UInt8Image:
    """Convert an image array to uint8 (H, W, ``channels``).

    Grey is repeated to three channels, colour becomes luminance for one. A second or fourth channel
    that is opaque throughout is dropped unless ``channels`` is 4, where a missing one is 255.
    Values of other types than uint8 are stretched from their 0.1 to their 99.9 percentile.

    Args:
        array: (H, W) or (H, W, 1 to 4) of booleans, integers or floats.
        channels: 1, 3 or 4.

    Raises:
        DataError: another shape or type, no pixels, values that are not finite, or a last channel
            that would be lost.
    """
    if array.ndim != 2 and not (array.ndim == 3 and 1 <= array.shape[2] <= 4):
        raise DataError(f"has shape {array.shape}; height x width (x 1 to 4 channels) expected")
    return _pixels(array, None, channels)


def to_channels(
    pixels: npt.NDArray[np.uint8], channels: int, *, named: bool = False
) -> npt.NDArray[np.uint8]:
    """Convert images uint8 (..., H, W, 1 to 4) to uint8 (..., H, W, ``channels``).

    Grey is repeated to three channels, colour becomes luminance for one. A second or fourth channel
    that is 255 throughout is dropped unless ``channels`` is 4, where a missing one is 255.

    Args:
        pixels: images.
        channels: 1, 3 or 4.
        named: the last of 2 or 4 channels is known to be the opacity.

    Raises:
        DataError: the last of 2 or 4 channels would be lost.
    """
    count = pixels.shape[-1]
    if count == channels == 4:
        return pixels
    alpha: npt.NDArray[np.uint8] | None = None
    if count in (2, 4):
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
        if not (named and channels == 4) and (alpha != 255).any():
            raise _lost(count, named)
    if channels == 1:
        if pixels.shape[-1] == 3:
            pixels = np.rint(pixels.astype(np.float32) @ _LUMA).astype(np.uint8)[..., None]
        return pixels
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    if channels == 4:
        if alpha is None:
            alpha = np.full_like(pixels[..., :1], 255)
        pixels = np.concatenate([pixels, alpha], axis=-1)
    return pixels


def read_values(path: Path) -> npt.NDArray[Any]:
    """Read the values of a file as stored, upright: (H, W), or (H, W, 2 to 4); palettes as indices.

    Raises:
        DataError: the file cannot be read.
    """
    found = decode(path, MAX_PIXELS)
    if found.alpha is None:
        return found.values
    colours = found.values if found.values.ndim == 3 else found.values[..., None]
    return np.concatenate([colours, found.alpha[..., None]], axis=-1)


def read_label(path: Path) -> tuple[npt.NDArray[np.bool_], str]:
    """Read the foreground (H, W) of a label file, and its kind, as :func:`as_ids` returns it."""
    ids, kind = read_ids(path)
    return ids > 0, kind


def read_ids(path: Path) -> tuple[npt.NDArray[np.int32], str]:
    """Read the instance ids (H, W) of a label file, and its kind, as :func:`as_ids` returns them.

    Raises:
        DataError: the file cannot be read, or it is not clear what is background.
    """
    found = decode(path, MAX_PIXELS)
    return as_ids(instance_values(found), lossy=found.lossy)


def read_class_values(path: Path, allowed: int) -> npt.NDArray[Any]:
    """Read the class numbers of a label file, below ``allowed``, as they are stored.

    Returns:
        (H, W), or (H, W, C) where it has colours.

    Raises:
        DataError: the file cannot be read, is JPEG, or it is not clear which number a pixel has.
    """
    return class_values(decode(path, MAX_PIXELS), allowed)


def is_turned(path: Path) -> bool:
    """Return True if a file has a tag of an orientation other than upright.

    Raises:
        DataError: the file cannot be read.
    """
    return 1 < decode(path, MAX_PIXELS).orientation <= 8


def _shown(found: Decoded) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Colours and opacity that a viewer shows."""
    values = found.values
    if found.palette is not None:
        if int(values.max()) >= len(found.palette):
            raise DataError(
                f"holds index {int(values.max())}; its palette has {len(found.palette)} colours"
            )
        colours = found.palette[values.astype(np.intp)]
        return colours[..., :3], colours[..., 3]
    if found.inverted:
        if values.dtype.kind == "u":
            values = (2**found.bits - 1) - values
        else:
            values = -values if values.dtype.kind == "f" else ~values
    if found.bits < 8 and values.dtype == np.uint8:
        values = np.rint(values * (255 / (2**found.bits - 1))).astype(np.uint8)
    return values, found.alpha


def _pixels(values: npt.NDArray[Any], alpha: npt.NDArray[Any] | None, channels: int) -> UInt8Image:
    """Values (H, W) or (H, W, 1 to 4), and opacity (H, W) if it is known, as :func:`as_pixels`."""
    if values.dtype.kind not in "buif":
        raise DataError(f"holds {values.dtype} values; booleans, integers or floats expected")
    if values.size == 0:
        raise DataError("has no pixels")
    if values.ndim == 2:
        values = values[..., None]
    named = alpha is not None
    if alpha is None and values.shape[2] in (2, 4):
        if is_opaque(values[..., -1]):
            values, alpha = values[..., :-1], values[..., -1]
        elif values.shape[2] != channels:
            raise _lost(values.shape[2], False)
    pixels = _to_uint8(values)
    if alpha is not None:
        if channels != 4 and not is_opaque(alpha):
            raise _lost(values.shape[2] + 1, named)
        opacity = alpha.astype(np.float64) * (255 / opacity_top(alpha))
        opacity = np.rint(np.clip(opacity, 0, 255)).astype(np.uint8)
        pixels = np.concatenate([pixels, opacity[..., None]], axis=2)
    return to_channels(pixels, channels, named=True)


def _lost(count: int, named: bool) -> DataError:
    """The error where a last channel would be dropped."""
    if named:
        return DataError(
            "is partly transparent, which viewers show on backgrounds of their own; flatten it "
            "onto a background, or set data.channels to 4"
        )
    return DataError(
        f"has {count} channels, and nothing says that the last is an opacity (it is not opaque "
        "throughout); 1, or 3 as red, green and blue, are allowed: save the ones that are meant"
        + (", or set data.channels to 4" if count == 4 else "")
    )


def _to_uint8(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """8 bits as they are; deeper ones from their 0.1 and 99.9 percentiles onto 0 to 255.

    Cameras rarely fill 16 bits, so a fixed division by 257 would leave a handful of grey levels.
    The extremes are left out because one hot pixel would do the same.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("holds values that are not finite")
    values: npt.NDArray[Any] = array.astype(_exact_type(array))
    low, high = np.percentile(values, [0.1, 99.9])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(array.shape, dtype=np.uint8)
    scaled = (values - low) * (255.0 / (high - low))
    result: npt.NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return result


def _exact_type(array: npt.NDArray[Any]) -> type[np.float32] | type[np.float64]:
    """Float32, unless differences of the values would be lost in it."""
    low, high = float(array.min()), float(array.max())
    top = max(abs(low), abs(high))
    plain = top == 0 or (1e-30 < top <= 2**24 and high - low >= top * 2**-12)
    return np.float32 if plain or high == low or array.dtype.itemsize <= 2 else np.float64
