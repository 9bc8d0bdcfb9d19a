"""Image and label files to arrays: PNG, JPEG (Pillow) and TIFF (tifffile, else Pillow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from nasseg.errors import DataError

UInt8Image = npt.NDArray[np.uint8]
"""(H, W, C), 0 to 255."""

MAX_PIXELS = 100_000_000
"""Pixels above which a file is not decoded: a small damaged or hostile file can claim any size."""

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg"})
LOSSY = frozenset({".jpg", ".jpeg"})
_TIFF = frozenset({".tif", ".tiff"})
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's mode "L"


def _limit(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} million that are "
            "decoded; cut it into tiles"
        )
    if width * height == 0:
        raise DataError("has no pixels")


def _read_pillow(path: Path, palette_index: bool) -> npt.NDArray[Any]:
    with Image.open(path) as image:
        _limit(*image.size)
        if image.mode == "P" and not palette_index:
            return np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            return np.asarray(image.convert("RGB"))
        if image.mode in ("PA", "La", "RGBa"):
            return np.asarray(image.convert("RGBA"))
        return np.asarray(image)


def _read_tiff(path: Path, palette_index: bool) -> npt.NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        _limit(page.shape[-1], int(np.prod(page.shape[:-1], dtype=np.int64)) // _planes(page.shape))
        pages = len(file.pages)
        if pages > 1:
            raise DataError(f"{pages} pages; one plane a file is expected")
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not palette_index:
            return _read_pillow(path, palette_index)
        try:
            array: npt.NDArray[Any] = page.asarray()
        except ValueError:  # a compression that tifffile leaves to an optional package
            return _read_pillow(path, palette_index)
    array = np.squeeze(array) if array.ndim > 3 else array
    if array.ndim == 3 and array.shape[0] in (1, 2, 3, 4) and array.shape[2] > 4:
        array = np.moveaxis(array, 0, -1)  # channels stored as separate planes
    return array


def _planes(shape: tuple[int, ...]) -> int:
    """Channels of a page, whichever axis they are on."""
    if len(shape) == 2:
        return 1
    return min(shape[0], shape[-1]) if min(shape[0], shape[-1]) > 0 else 1


def _read(path: Path, palette_index: bool) -> npt.NDArray[Any]:
    """The pixels as stored: (H, W) or (H, W, 1 to 4); DataError says why there are none."""
    try:
        reader = _read_tiff if path.suffix.lower() in _TIFF else _read_pillow
        array = reader(path, palette_index)
    except DataError:
        raise
    except Exception as error:
        # Decoders answer a damaged file with nearly any exception: zlib.error, struct.error,
        # SyntaxError, OverflowError ...; to the user they are all one.
        raise DataError(f"not readable: {str(error) or type(error).__name__}") from None
    if array.ndim == 3 and 1 <= array.shape[2] <= 4:
        return array[..., 0] if array.shape[2] == 1 else array
    if array.ndim != 2:
        raise DataError(f"has shape {array.shape}; height x width (x 1 to 4 channels) expected")
    return array


def _to_uint8(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """8 bits as they are; deeper ones from their 0.1 and 99.9 percentiles onto 0 to 255.

    Cameras rarely fill 16 bits, so a fixed division by 257 would leave a handful of grey levels.
    The extremes are left out because one hot pixel would do the same.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError("holds values that are not finite")
    low, high = np.percentile(values, [0.1, 99.9])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    result: npt.NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return result


def read_image(path: Path, channels: int) -> UInt8Image:
    """One image as uint8 (H, W, ``channels``), as :func:`as_pixels` makes it.

    Raises:
        DataError: the file is damaged, too large, or not a single plane of 1 to 4 channels.
    """
    return as_pixels(_read(path, palette_index=False), channels)


def as_pixels(array: npt.NDArray[Any], channels: int) -> UInt8Image:
    """Convert an image array to uint8 (H, W, ``channels``).

    Grey is repeated to three channels, colour becomes luminance for one; an alpha channel is
    dropped unless ``channels`` is 4, where a missing one is 255. Values of other types than uint8
    are stretched from their 0.1 to their 99.9 percentile.

    Args:
        array: (H, W) or (H, W, 1 to 4) of booleans, integers or floats.
        channels: 1, 3 or 4.

    Raises:
        DataError: another shape or type, no pixels, or values that are not finite.
    """
    if array.ndim != 2 and not (array.ndim == 3 and 1 <= array.shape[2] <= 4):
        raise DataError(f"has shape {array.shape}; height x width (x 1 to 4 channels) expected")
    if array.dtype.kind not in "buif":
        raise DataError(f"holds {array.dtype} values; booleans, integers or floats expected")
    if array.size == 0:
        raise DataError("has no pixels")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 and array.ndim == 3 and array.shape[2] in (2, 4):
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]  # the alpha of 16 bits
    pixels = _to_uint8(array)
    return to_channels(pixels[..., None] if pixels.ndim == 2 else pixels, channels)


def to_channels(pixels: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Images uint8 (..., H, W, 1 to 4) to uint8 (..., H, W, ``channels``).

    Grey is repeated to three channels, colour becomes luminance for one; an alpha channel (the
    second, or the fourth) is dropped unless ``channels`` is 4, where a missing one is 255.
    """
    alpha: npt.NDArray[np.uint8] | None = None
    if pixels.shape[-1] in (2, 4):
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
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
    """The values of a label file as stored: (H, W), or (H, W, 2 to 4); palettes as their indices.

    Raises:
        DataError: the file cannot be read.
    """
    return _read(path, palette_index=True)


def read_label(path: Path) -> tuple[npt.NDArray[np.bool_], str]:
    """Foreground (H, W) of a label file, and what the label is, as :func:`read_ids` says it."""
    ids, kind = read_ids(path)
    return ids > 0, kind


def read_ids(path: Path) -> tuple[npt.NDArray[np.int32], str]:
    """Instance ids (H, W) of a label file, and its kind, as :func:`as_ids` returns them.

    Raises:
        DataError: the file cannot be read.
    """
    return as_ids(read_values(path), lossy=path.suffix.lower() in LOSSY)


def as_ids(array: npt.NDArray[Any], *, lossy: bool = False) -> tuple[npt.NDArray[np.int32], str]:
    """Convert a label array to instance ids (H, W), 0 = background, and name the kind of label.

    Anything above 0 is foreground: instance ids, 0/1 and 0/255 alike; in colour labels, any colour
    but black, each colour an instance.

    Args:
        array: (H, W), or (H, W, 2 to 4).
        lossy: the values are blurred, as JPEG does: foreground is above half of the largest.

    Returns:
        The ids, and ``"empty"``, ``"binary255"`` (0 and 255 only), ``"instances"`` (two or more
        ids) or ``"one"`` (a single other value, which does not tell the kind). Where it is
        not ``"instances"``, the ids tell no instances apart.

    Raises:
        DataError: values that are not finite.
    """
    ids: npt.NDArray[np.int32] | None = None
    if array.ndim == 3:
        if array.shape[2] > 2 and array.dtype == np.uint8:
            ids = array[..., :3].astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3].max(axis=2)
    if array.dtype == np.bool_:
        return array.astype(np.int32), "one" if array.any() else "empty"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("holds values that are not finite")
    top = array.max()
    if not top > 0:
        return np.zeros(array.shape, dtype=np.int32), "empty"
    if lossy:
        return (array > top / 2).astype(np.int32), "binary255" if top > 127 else "one"
    if ids is None:
        # Fractions, and ids too large for 32 bits, are told apart by their rank.
        exact = array.dtype.kind in "iu" and top < 2**31
        ids = array.astype(np.int32) if exact else _rank(array)
    foreground = array > 0
    ids[~foreground] = 0
    found = ids[foreground]
    if found.min() != found.max():
        return ids, "instances"
    return ids, "binary255" if top == 255 else "one"


def _rank(array: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Each value's place among the different values, from 1."""
    _, inverse = np.unique(array, return_inverse=True)
    ranks: npt.NDArray[np.int32] = (inverse.reshape(array.shape) + 1).astype(np.int32)
    return ranks
