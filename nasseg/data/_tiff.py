"""TIFF files to values: photometric interpretation, extra samples, pages, planes, compression."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from nasseg.data._decoded import ORIENTATION, Array, Decoded, check_size, to_rgb
from nasseg.errors import DataError

# tifffile logs what it finds in damaged files; what matters of it is raised.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_JPEG = frozenset(
    {COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY}
)
_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
"""Channels of a pixel by photometric interpretation, without extra samples."""
_NAMES = {PHOTOMETRIC.MINISWHITE: "WhiteIsZero", PHOTOMETRIC.MINISBLACK: "BlackIsZero"}
_PHOTOMETRIC_TAG, _INK_SET_TAG = 262, 332
_MAX_CHANNELS = 4


def decode_tiff(path: Path, max_pixels: int) -> Decoded:
    """Decode a TIFF of one image; :func:`nasseg.data._decode.decode` says what is raised."""
    with tifffile.TiffFile(path) as file:
        page = _only_page(file)
        samples, kind = page.samplesperpixel, _photometric(page)
        if samples > _MAX_CHANNELS + (kind == PHOTOMETRIC.SEPARATED):
            raise DataError(
                f"has {samples} channels; 1 to {_MAX_CHANNELS} are allowed: save each as a file, "
                "or choose up to three"
            )
        itemsize = 8 if page.dtype is None else page.dtype.itemsize
        check_size(page.imagewidth, page.imagelength, page.nbytes, max_pixels)
        if page.is_tiled:  # a tile may be larger than the image
            tile = page.tilewidth * page.tilelength * samples * itemsize
            check_size(page.tilewidth, page.tilelength, tile, max_pixels)
        _check_parts(page, file.filehandle.size)
        found = _meaning(page, kind, _channels_last(page))
        turned = page.tags.valueof(ORIENTATION, 1)
    return dataclasses.replace(
        found,
        inverted=kind == PHOTOMETRIC.MINISWHITE,
        lossy=page.compression in _JPEG,
        orientation=turned if isinstance(turned, int) else 1,
    )


def _only_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The first page, where the others only repeat it in lower resolution."""
    page = file.pages.first
    pages = len(file.pages)
    others = (entry for entry in file.pages[1:])
    if pages > 1 and not all(getattr(entry, "is_reduced", False) for entry in others):
        raise DataError(f"{pages} pages; one plane a file is allowed: save each page as a file")
    planes = page.imagedepth
    if file.is_imagej or file.is_shaped or file.is_stk:
        # Such stacks may have one page, behind whose pixels the other planes lie.
        planes = max(planes, file.series[0].size // max(page.size, 1))
    if planes > 1:
        raise DataError(f"{planes} planes; one plane a file is allowed: save each plane as a file")
    return page


def _check_parts(page: tifffile.TiffPage, size: int) -> None:
    """Refuse a file that lacks strips or tiles, for which tifffile would leave zeros."""
    wanted = math.prod(page.chunked)
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    present = sum(first > 0 and 0 < count <= size - first for first, count in parts)
    if present < wanted:
        raise DataError(f"not readable: {present} of its {wanted} strips or tiles are in the file")


def _photometric(page: tifffile.TiffPage) -> PHOTOMETRIC:
    if _PHOTOMETRIC_TAG not in page.tags:  # required, but missing in files of old microscopes
        return PHOTOMETRIC.RGB if page.samplesperpixel == 3 else PHOTOMETRIC.MINISBLACK
    kind = page.photometric
    if kind not in _COLOURS or (kind == PHOTOMETRIC.YCBCR and page.compression not in _JPEG):
        name = getattr(kind, "name", kind)
        raise DataError(
            f"has the photometric interpretation {name}; grey (BlackIsZero or WhiteIsZero), RGB, "
            "palette, CMYK, or YCbCr in JPEG is allowed: save it as RGB"
        )
    if kind == PHOTOMETRIC.SEPARATED and page.tags.valueof(_INK_SET_TAG, 1) != 1:
        raise DataError("has inks other than CMYK; save it as RGB")
    return PHOTOMETRIC(kind)


def _channels_last(page: tifffile.TiffPage) -> Array:
    """The pixels as (H, W) or (H, W, samples), whichever way they are stored."""
    values: Array = page.asarray()
    axes = page.axes
    if "S" in axes:
        values = np.moveaxis(values, axes.index("S"), -1)
    shape = (page.imagelength, page.imagewidth)
    return values.reshape(shape if page.samplesperpixel == 1 else (*shape, -1))


def _meaning(page: tifffile.TiffPage, kind: PHOTOMETRIC, values: Array) -> Decoded:
    """Colours, opacity and palette, which the number of samples must fit."""
    bits = 1 if values.dtype == np.bool_ else int(page.bitspersample)
    colours, samples = _COLOURS[kind], page.samplesperpixel
    if samples < colours or (kind == PHOTOMETRIC.PALETTE and samples > 1):
        name = _NAMES.get(kind, kind.name)
        raise DataError(f"has {samples} channels, which {name} does not; save it as RGB")
    if kind == PHOTOMETRIC.PALETTE:
        return Decoded(values, bits, palette=_palette(page))
    alpha = None
    named = page.extrasamples[:1] in ((EXTRASAMPLE.ASSOCALPHA,), (EXTRASAMPLE.UNASSALPHA,))
    if samples == colours + 1 and named:
        alpha = values[..., -1]
        values = values[..., :-1]
    if kind == PHOTOMETRIC.SEPARATED:
        if values.shape[2] != 4 or values.dtype.kind != "u":
            raise DataError(f"has inks as {values.shape[2]} channels of {values.dtype}; save RGB")
        values = to_rgb(values)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if bits < 8 and values.ndim == 3:
        raise DataError(f"has {bits} bits a colour; 8 or more are allowed: save it as 8-bit RGB")
    return Decoded(values, bits, alpha=alpha)


def _palette(page: tifffile.TiffPage) -> npt.NDArray[np.uint8]:
    table = np.asarray(page.colormap)
    if table.ndim != 2 or table.shape[0] != 3:
        raise DataError("has a palette without colours; save it as RGB")
    # 16 bits by the standard; some writers fill 8 of them.
    table = table if table.max(initial=0) < 256 else table >> 8
    opaque = np.full(table.shape[1], 255)
    colours: npt.NDArray[np.uint8] = np.column_stack([*table, opaque]).astype(np.uint8)
    return colours
