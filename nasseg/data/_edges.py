"""Label values that blend into each other: masks with soft edges, interpolated ids."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

NEAR = 32
"""Grey levels of 8 bits from black and white that still count as these: JPEG leaves such traces."""
WHITE = 200
"""Least level of the brightest pixels of a mask that traces are looked for in."""
PARTS = 3
"""Parts of one level for each white part, from which white is mixed."""
BETWEEN = 0.6
"""Share of the pixels of values without an inside that lie between a darker and a brighter
neighbour, from which these values are blends. Of touching fragments it is below a half."""

IDS_BETWEEN, IDS_RATIO = 0.8, 2
"""The same share, and parts without an inside for each that has one, from which ids are blended."""
IDS_LEVELS = 4
"""Different ids at least that parts without an inside then have."""

Blend = Literal["", "mask", "ids"]


def find_blend(ids: npt.NDArray[np.int32], levels: npt.NDArray[Any]) -> Blend:
    """Tell ids of instances from grey levels.

    A nucleus has an inside: pixels all of whose neighbours have its id. Parts of one level along a
    soft edge have none, and lie between the levels on its two sides.

    Args:
        ids: (H, W), 0 = background; equal where the label is equal.
        levels: (H, W), 0 = black; brightness of the label.

    Returns:
        ``"mask"``: black and white with soft edges or traces of JPEG; ``"ids"``: several values
        with an inside, and blends of them; empty: neither.
    """
    from scipy.ndimage import maximum_filter, minimum_filter
    from skimage.measure import label

    drawn = ids > 0
    if not drawn.any() or ids[drawn].min() == ids.max():
        return ""
    highest, lowest = maximum_filter(ids, 3, mode="nearest"), minimum_filter(ids, 3, mode="nearest")
    inside = drawn & (highest == lowest)
    if _is_traced(ids, levels, inside, (highest != ids) | ((lowest != ids) & (lowest > 0))):
        return "mask"
    parts, count = label(ids, connectivity=1, background=0, return_num=True)
    solid = np.zeros(count + 1, dtype=np.bool_)
    solid[parts[inside]] = True
    number = int(solid.sum())
    loose = drawn & ~solid[parts]
    top = float(levels.max())
    mask = _is_white(levels, top) and not (inside & ~_near_ends(levels, top)).any()
    if count - number <= number * (0.5 if mask else IDS_RATIO):
        return ""
    above = maximum_filter(levels, 3, mode="nearest")[loose] > levels[loose]
    below = minimum_filter(levels, 3, mode="nearest")[loose] < levels[loose]
    between = float((above & below).mean())
    if mask:
        return "mask" if between >= BETWEEN else ""
    # Fragments of nuclei of a pixel or two lie between each other by chance.
    # A border of one number around all of them is no blend.
    several = len(np.unique(ids[loose])) >= IDS_LEVELS
    return "ids" if number > 1 and several and between >= IDS_BETWEEN else ""


def _is_white(levels: npt.NDArray[Any], top: float) -> bool:
    """Whether the brightest pixels are white: of ids, few are as high."""
    if levels.dtype.kind == "f" and top <= 1:
        return True
    return WHITE <= top <= 255 or top > 0.9 * 65535


def _near_ends(levels: npt.NDArray[Any], top: float) -> npt.NDArray[np.bool_]:
    """True near black and near white, as far as JPEG leaves traces of 8 bits."""
    if not WHITE <= top <= 255:
        near: npt.NDArray[np.bool_] = levels >= top * (1 - NEAR / 255)
        return near
    ends: npt.NDArray[np.bool_] = (levels <= NEAR) | (levels >= top - NEAR)
    return ends


def _is_traced(
    ids: npt.NDArray[np.int32],
    levels: npt.NDArray[Any],
    inside: npt.NDArray[np.bool_],
    contact: npt.NDArray[np.bool_],
) -> bool:
    """Whether all that has an inside is near black or white, and what is near white is mixed.

    Numbers of nuclei may be 3 and 250 too, but nuclei of different numbers lie apart.

    Args:
        ids: as in :func:`find_blend`.
        levels: likewise.
        inside: pixels all of whose neighbours have their id.
        contact: pixels with a neighbour of another id that is no background.
    """
    from scipy.ndimage import label
    from skimage.measure import label as label_equal

    top = float(levels.max())
    ends = _near_ends(levels, top)
    if not WHITE <= top <= 255 or (inside & ~ends).any():
        return False
    if not (ids == 0).any():
        return bool((levels <= NEAR).any())
    white = levels >= top - NEAR
    values, counts = np.unique(ids[white], return_counts=True)
    others = white & (ids != values[counts.argmax()])
    if len(values) > 2:
        parts = int(label_equal(np.where(white, ids, 0), connectivity=1, return_num=True)[1])
        if parts > PARTS * int(label(white)[1]):
            return True
    if not others.any():
        others = (ids > 0) & ~white
    return bool(others.any()) and float(contact[others].mean()) > 0.5
