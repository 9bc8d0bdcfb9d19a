"""What decoded label files mean: instances, masks, or numbers of classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasseg.data._decoded import Array, Decoded
from nasseg.data._edges import find_blend
from nasseg.errors import DataError

_TO_GREY = "save the label as grey values, 0 for the background"
LEAST_JPEG = 64
"""Brightness of the foreground below which JPEG blurs it into the background."""


def instance_values(found: Decoded) -> Array:
    """Values that :func:`as_ids` takes, (H, W) or (H, W, 3): 0 where a viewer shows no foreground.

    Raises:
        DataError: it is not clear which pixels are background.
    """
    values = _as_shown(found)
    if found.palette is not None:
        return _palette_instances(values, found.palette)
    return _without_clear(values, found.alpha)


def class_values(found: Decoded, allowed: int) -> Array:
    """Numbers of classes below ``allowed``, (H, W), or colours (H, W, 3) as they are.

    Numbers are stored as grey values or as indices of a palette.

    Raises:
        DataError: the file is JPEG, or it is not clear which number a pixel has.
    """
    if found.lossy:
        raise DataError("is JPEG, which blurs class numbers; PNG or TIFF is allowed")
    values = _as_shown(found)
    if found.palette is not None:
        return _palette_classes(values, found.palette, allowed)
    values = _without_clear(values, found.alpha)
    if values.ndim == 3 and values.shape[2] == 3 and (values == values[..., :1]).all():
        return values[..., 0]
    return values


def as_ids(array: Array, *, lossy: bool = False) -> tuple[npt.NDArray[np.int32], str]:
    """Convert a label array to instance ids (H, W), 0 = background, and name the kind of label.

    Anything above 0 is foreground: instance ids, 0/1 and 0/255 alike; in colour labels, any colour
    but black, each colour an instance. Of a mask whose edges are soft, or whose black and white are
    not pure, what is brighter than half of the brightest pixel is foreground.

    Args:
        array: (H, W), or (H, W, 1 or 3), or these with a last channel that is opaque throughout.
        lossy: the values are blurred, as JPEG does.

    Returns:
        The ids, and ``"empty"``, ``"binary255"`` (0 and 255 only, in several parts), ``"soft"``
        (a mask of grey levels), ``"instances"`` (two or more ids) or ``"one"`` (a single other
        value, or a single part, which does not tell the kind). Where it is not ``"instances"``,
        the ids tell no instances apart.

    Raises:
        DataError: values that are not finite or below 0, no background, ids that were blurred, or
            a last channel that may be anything.
    """
    array = without_opacity(array)
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        raise DataError(f"has {array.shape[2]} channels; 1 of ids or 3 of a colour are allowed")
    if array.dtype == np.bool_:
        return array.reshape(array.shape[:2]).astype(np.int32), "one" if array.any() else "empty"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("holds values that are not finite")
    if array.size and array.min() < 0:
        raise DataError(f"holds {array.min()}; 0 for the background and ids above 0 are allowed")
    levels = array.max(axis=2) if array.ndim == 3 else array
    top = levels.max()
    if not top > 0:
        return np.zeros(levels.shape, dtype=np.int32), "empty"
    if lossy:
        _check_jpeg(array, levels)
        return (levels > top / 2).astype(np.int32), "binary255" if top > 127 else "one"
    ids = _numbered(array)
    ids[levels == 0] = 0
    blend = find_blend(ids, levels)
    if blend == "ids":
        raise DataError(
            "holds several values with blends of them along their edges, as interpolation or "
            "soft brushes leave them; save it with hard edges, and resize labels by nearest "
            "neighbour"
        )
    if blend == "mask":
        return (levels > top / 2).astype(np.int32), "soft"
    found = np.unique(ids)
    if len(found) == 2 and found[0] > 0:
        low, high = levels.min(), top
        raise DataError(
            f"holds no 0, which is the background, but {low} and {high}; write 0 where no nucleus "
            "is"
        )
    if len(found) - (found[0] == 0) > 1:
        return ids, "instances"
    return ids, "binary255" if top == 255 and _parts(ids > 0) > 1 else "one"


def without_opacity(array: Array) -> Array:
    """Drop a last channel, the second or fourth, that is opaque throughout.

    Raises:
        DataError: there is one that is not: it may be an opacity, or a channel of its own.
    """
    if array.ndim != 3 or array.shape[2] not in (2, 4):
        return array
    if not is_opaque(array[..., -1]):
        raise DataError(
            f"has {array.shape[2]} channels, and nothing says that the last is an opacity; 1, or "
            "3 of a colour, are allowed: save the channel that is meant"
        )
    return array[..., 0] if array.shape[2] == 2 else array[..., :3]


def is_opaque(alpha: Array) -> bool:
    """Return True if all of a channel is the largest value that an opacity has."""
    return bool((alpha == alpha.flat[0]).all()) and float(alpha.flat[0]) == opacity_top(alpha)


def opacity_top(alpha: Array) -> float:
    """Return the value of an opaque pixel: of floats 1, or 255 where they are above 1."""
    if alpha.dtype.kind in "iu":
        return float(np.iinfo(alpha.dtype).max)
    if alpha.dtype.kind == "f":
        return 1.0 if float(alpha.max()) <= 1 else 255.0
    return 1.0


def _as_shown(found: Decoded) -> Array:
    """The values, white as the highest."""
    if not found.inverted:
        return found.values
    if found.bits > 1:
        raise DataError(
            "is WhiteIsZero, in which viewers show 0 as white, so that it is not clear what is "
            "background; save it as BlackIsZero"
        )
    shown: Array = ~found.values
    return shown


def _without_clear(values: Array, alpha: Array | None) -> Array:
    """Values with 0 where the opacity is below a half."""
    if alpha is None:
        return values
    seen = alpha >= opacity_top(alpha) / 2
    if seen.all():
        return values
    drawn = values.any(axis=2) if values.ndim == 3 else values != 0
    if seen.any() and not (seen & drawn).any():
        raise DataError(
            "has black and transparent pixels and nothing else, so that it is not clear what is "
            "background; save the label without transparency, the background black"
        )
    kept: Array = values * (seen[..., None] if values.ndim == 3 else seen).astype(values.dtype)
    return kept


def _look_up(indices: Array, palette: npt.NDArray[np.uint8]) -> tuple[Array, Array, Array]:
    """Indices that occur, their colours (n, 3), and whether these are background: black or
    transparent."""
    used = np.unique(indices).astype(np.int64)
    if used[-1] >= len(palette):
        raise DataError(f"holds index {used[-1]}; its palette has {len(palette)} colours")
    colours = palette[used]
    clear = colours[:, 3] < 128
    colours = np.where(clear[:, None], 0, colours[:, :3])
    dark: npt.NDArray[np.bool_] = (colours == 0).all(axis=1)
    return used, colours, dark


def _palette_instances(indices: Array, palette: npt.NDArray[np.uint8]) -> Array:
    """Indices where these and the colours agree on the background; else the colours, or the grey
    levels, that a viewer shows."""
    used, colours, dark = _look_up(indices, palette)
    table = np.zeros((len(palette), 3), dtype=np.uint8)
    table[used] = colours
    shown: Array = table[indices]
    distinct = len(np.unique(colours, axis=0)) == len(used)
    if distinct and (colours == colours[:, :1]).all():
        return shown[..., 0]
    if ((used == 0) == dark).all():
        levels = shown.max(axis=2)
        blend = distinct and find_blend(_numbered(shown), levels)
        return shown if blend else indices
    if used[0] == 0 and dark[0]:
        also = int(used[dark][1])
        raise DataError(
            f"has a palette that shows both index 0, the background, and index {also} as black or "
            f"transparent; {_TO_GREY}"
        )
    bright = colours[~dark]
    if not dark.any() or len(np.unique(bright, axis=0)) < len(bright):
        raise DataError(
            f"has a palette that shows index {used[0]} as {_name(colours[0])}, and not clearly "
            f"the background as black; {_TO_GREY}"
        )
    return shown


def _palette_classes(indices: Array, palette: npt.NDArray[np.uint8], allowed: int) -> Array:
    """Indices where 0 is the only one shown as background; of greys their levels, if these are
    class numbers."""
    used, colours, dark = _look_up(indices, palette)
    levels = colours[:, 0].astype(np.int64)
    grey = bool((colours == colours[:, :1]).all())
    if not grey or (levels == used).all():
        if ((used == 0) == dark).all():
            return indices
        wrong = int(np.flatnonzero((used == 0) != dark)[0])
        raise DataError(
            f"has a palette that shows index {used[wrong]} as {_name(colours[wrong])}; index 0, "
            "and it alone, must be black or transparent: save the label as grey values, the class "
            "numbers"
        )
    if levels.max() < allowed and len(np.unique(levels)) == len(levels):
        # A grey image that a program saved with a palette of the greys that occur.
        table = np.zeros(len(palette), dtype=np.uint8)
        table[used] = levels
        numbers: Array = table[indices]
        return numbers
    raise DataError(
        f"has a palette that shows index {used[-1]} as grey level {levels[-1]}, so that it is not "
        "clear which is the class number; save the label as grey values, the class numbers"
    )


def _name(colour: Array) -> str:
    return "(" + ", ".join(map(str, colour.tolist())) + ")"


def _check_jpeg(array: Array, levels: Array) -> None:
    """Refuse ids in JPEG: what is left of them is a mask."""
    top = float(levels.max())
    if top < LEAST_JPEG:
        raise DataError(
            f"is JPEG, and its brightest pixel is {top:g}: numbers are blurred in JPEG; save it "
            "as PNG or TIFF"
        )
    upper = levels > top / 4
    middle = upper & (levels < top * 3 / 4)
    hues = 1
    if array.ndim == 3:
        bright = levels > top / 2
        codes = (array > top / 2) @ np.array([1, 2, 4])
        shares = np.bincount(codes[bright], minlength=8)[1:] / np.count_nonzero(bright)
        hues = int((shares > 0.05).sum())
    if hues > 1 or middle.sum() > upper.sum() / 2:
        raise DataError(
            "is JPEG with several grey levels or colours, whose edges blend; a mask of black and "
            "white is allowed as JPEG: save ids as PNG or TIFF"
        )


def _numbered(array: Array) -> npt.NDArray[np.int32]:
    """Whole numbers (H, W), equal where values or colours are; ids keep theirs."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3:
        if array.dtype == np.uint8:
            packed: npt.NDArray[np.int32] = array.astype(np.int32) @ np.array(
                [1 << 16, 1 << 8, 1], dtype=np.int32
            )
            return packed
        code = np.zeros(array.shape[:2], dtype=np.int64)
        for channel in np.moveaxis(array, -1, 0):
            ranks = _rank(channel).astype(np.int64)
            code = _rank(code).astype(np.int64) * (int(ranks.max()) + 1) + ranks
        return _rank(code)
    # Fractions, and ids too large for 32 bits, are told apart by their rank.
    if array.dtype.kind in "iu" and array.max() < 2**31:
        return array.astype(np.int32)
    return _rank(array)


def _rank(array: Array) -> npt.NDArray[np.int32]:
    """Each value's place among the different values, from 1."""
    _, inverse = np.unique(array, return_inverse=True)
    ranks: npt.NDArray[np.int32] = (inverse.reshape(array.shape) + 1).astype(np.int32)
    return ranks


def _parts(mask: npt.NDArray[np.bool_]) -> int:
    from scipy.ndimage import label

    return int(label(mask)[1])
