"""Label values that blend into each other: masks with soft edges, interpolated ids."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

NEAR = 32
"""Grey levels of 8 bits from black and white that still count as these: JPEG leaves such traces."""
WHITE = 200
"""Least level of the brightest pixels of a mask that traces are looked for in."""
BETWEEN = 0.6
"""Share of the pixels of values without an inside that lie between a darker and a brighter
neighbour, from which these values are blends. Of touching fragments it is below a half."""

Blend = Literal["", "mask", "ids"]


def find_blend(ids: npt.NDArray[np.int32], levels: npt.NDArray[Any]) -> Blend:
    """Tell ids of instances from grey levels.

    A nucleus has an inside: pixels all of whose neighbours have its id. The levels along a soft
    edge have none, and lie between those on its two sides.

    Args:
        ids: (H, W), 0 = background; equal where the label is equal.
        levels: (H, W), 0 = black; brightness of the label.

    Returns:
        ``"mask"``: black and white with soft edges or traces of JPEG; ``"ids"``: several values
        with an inside, and blends of them; empty: neither.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    inside = ids > 0
    values, counts = np.unique(ids[inside], return_counts=True)
    if len(values) < 2:
        return ""
    highest, lowest = maximum_filter(ids, 3, mode="nearest"), minimum_filter(ids, 3, mode="nearest")
    solid = np.unique(ids[inside & (highest == lowest)])
    top = float(levels.max())
    if _is_traced(ids, levels, highest, lowest, values[counts.argmax()]):
        return "mask"
    loose = inside & ~np.isin(ids, solid)
    number = len(values) - len(solid)
    # One level between black and white, or two, are an edge; between small numbers they are ids.
    if (
        number == 0
        or (number <= 2 and (len(solid) > 1 or top not in (1, 255, 65535)))
        or number <= len(solid)
    ):
        return ""
    above = maximum_filter(levels, 3, mode="nearest")[loose] > levels[loose]
    below = minimum_filter(levels, 3, mode="nearest")[loose] < levels[loose]
    if (above & below).mean() < BETWEEN:
        return ""
    middle = np.unique(ids[inside & np.isin(ids, solid) & ~_near_ends(levels, top)])
    bright = bool((np.isin(ids, solid) & (levels > max(top - NEAR, 0))).any())
    return "mask" if len(middle) + bright <= 1 else "ids"


def _near_ends(levels: npt.NDArray[Any], top: float) -> npt.NDArray[np.bool_]:
    """True near black and near white, where the label is of 8 bits and has white."""
    if not WHITE <= top <= 255:
        near: npt.NDArray[np.bool_] = levels == top
        return near
    ends: npt.NDArray[np.bool_] = (levels <= NEAR) | (levels >= top - NEAR)
    return ends


def _is_traced(
    ids: npt.NDArray[np.int32],
    levels: npt.NDArray[Any],
    highest: npt.NDArray[np.int32],
    lowest: npt.NDArray[np.int32],
    most: np.int32,
) -> bool:
    """Whether all values are near black or white, and those near white lie in each other.

    Numbers of nuclei may be 3 and 250 too, but nuclei of different numbers lie apart.
    """
    top = float(levels.max())
    if not WHITE <= top <= 255 or not _near_ends(levels, top).all():
        return False
    if not (ids == 0).any():
        return bool((levels <= NEAR).any())
    white = levels >= top - NEAR
    others = white & (ids != most)
    if not others.any():
        others = (ids > 0) & ~white
    # Neighbours of another value that is no background: the window's highest differs, or its
    # lowest does and is above 0.
    contact = (highest != ids) | ((lowest != ids) & (lowest > 0))
    return bool(others.any()) and float(contact[others].mean()) > 0.5
