"""Kinds of microscopy images, told apart by their pixels: for reports, and for how often each is
drawn in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.records.images import KINDS

FLUORESCENCE, STAINED, GREY = KINDS
DARK = 100
"""Median of the brightest channel, of 255, below which the field is dark. On DSB2018 it is at most
40 in fluorescence, and at least 193 in bright field."""
COLOURFUL = 12
"""Mean difference of the brightest and the darkest channel from which an image has colours."""


def image_kind(pixels: npt.NDArray[Any]) -> str:
    """Return the kind of an image: ``fluorescence``, ``stained`` or ``grey bright field``.

    Most pixels of a dark field are dark in every channel, be its nuclei grey, blue, or of several
    colours. In bright field they are not, however dark the stain; stains have colours.

    Args:
        pixels: uint8 (H, W, C) with 1 channel, 3, or 4 of which the last is alpha, which is left
            out. Images of 1 channel have no colours.

    Raises:
        ValueError: another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"pixels are {pixels.dtype} {pixels.shape}; uint8 (H, W, 1, 3 or 4) expected"
        )
    colours = pixels[..., :3]
    brightest = colours.max(axis=2)
    if np.median(brightest) < DARK:
        return FLUORESCENCE
    difference = brightest - colours.min(axis=2)
    return STAINED if difference.mean() >= COLOURFUL else GREY
