"""Nuclei outlined on their image, and where chips disagree."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.image import imsave
from skimage.segmentation import find_boundaries

Array = npt.NDArray[Any]

OUTLINE = (255, 196, 0)
FULL_SPREAD = 0.5
"""Deviation of a probability that is shown in the full colour: that of chips which half say 0 and
half say 1."""


def displayed(pixels: Array) -> Array:
    """uint8 (H, W, 1 | 3 | 4) to (H, W, 3), stretched so that dim fluorescence is seen."""
    colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    low, high = np.percentile(colour, [0.5, 99.5])
    stretched = (colour.astype(np.float32) - low) * (255.0 / max(high - low, 20.0))
    picture: Array = np.rint(np.clip(stretched, 0, 255)).astype(np.uint8)
    return picture


def outlined(pixels: Array, ids: Array) -> npt.NDArray[np.uint8]:
    """Return the image (H, W, C) as uint8 (H, W, 3), every instance of ids (H, W) outlined."""
    picture: npt.NDArray[np.uint8] = displayed(pixels)
    picture[find_boundaries(ids, mode="inner", connectivity=1)] = OUTLINE
    return picture


def overlay_png(pixels: Array, ids: Array) -> bytes:
    """Return :func:`outlined` as a PNG of the same size."""
    return png(outlined(pixels, ids))


def captioned(pixels: Array, text: str, side: int = 256) -> npt.NDArray[np.uint8]:
    """Return the image (H, W, C), at least ``side`` pixels wide, over a line of text.

    Returns:
        uint8 (H', W', 3).
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(displayed(pixels))
    if picture.width < side:
        factor = -(-side // picture.width)
        picture = picture.resize(
            (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
        )
    line = max(14, picture.width // 18)
    whole = Image.new("RGB", (picture.width, picture.height + line + 6), "white")
    whole.paste(picture, (0, 0))
    ImageDraw.Draw(whole).text((4, picture.height + 2), text, fill="black", font_size=line)
    return np.asarray(whole, dtype=np.uint8)


def uncertainty_png(pixels: Array, spread: Array) -> bytes:
    """The image in grey under the deviation (H, W) of its probabilities, as PNG."""
    grey = displayed(pixels).mean(axis=2, keepdims=True) * 0.45
    strength = np.clip(spread / FULL_SPREAD, 0, 1)[..., None]
    colour = colormaps["inferno"](np.clip(spread / FULL_SPREAD, 0, 1))[..., :3] * 255
    mixed = grey * (1 - strength) + colour * np.clip(strength * 2, 0, 1)
    return png(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))


def png(picture: Array) -> bytes:
    """An RGB uint8 picture (H, W, 3) as a PNG of exactly these pixels."""
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(picture), format="png")
    return buffer.getvalue()
