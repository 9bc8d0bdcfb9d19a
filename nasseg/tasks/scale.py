"""Size of nuclei, and the factor that brings an image to nuclei of a common size.

As in Cellpose (Stringer et al., Nature Methods 2021), which resizes images to a common diameter of
cells; here the size comes from a first pass of the same network.
"""

from __future__ import annotations

import numpy as np

from nasseg.tasks.watershed import MIN_PIXELS, Ids

LEAST_SIDE = 16
"""Least height and width in pixels of an image: what every network accepts."""
LEAST_FACTOR, MOST_FACTOR = 1 / 3, 2.5
"""Bounds of the factor by which images are resized. Nuclei of microscopy images differ in diameter
by less than that from 30 pixels; a factor beyond is more likely an error of the estimate, and a
larger one costs its square in products and memory."""


def median_diameter(ids: Ids, min_pixels: float = MIN_PIXELS) -> float:
    """Diameter in pixels of a typical nucleus of a label.

    The median over nuclei, weighted by area, of the diameter of a circle of the same area. By area,
    as fragments and specks are many but cover little.

    Args:
        ids: instances (H, W), numbered from 1, background 0.
        min_pixels: smaller ones do not count.

    Returns:
        0 where there are none.
    """
    areas = np.bincount(ids.ravel())[1:]
    areas = np.sort(areas[areas >= min_pixels])
    if not len(areas):
        return 0.0
    covered = np.cumsum(areas)
    middle = areas[np.searchsorted(covered, covered[-1] / 2)]
    return float(2 * np.sqrt(middle / np.pi))


def scale_factor(diameter: float, size: float) -> float:
    """Factor by which an image is resized so that its nuclei have a diameter.

    Args:
        diameter: that they are brought to, in pixels.
        size: that they have, in pixels; 0: it holds none, and is left as it is.
    """
    if not size:
        return 1.0
    return float(np.clip(diameter / size, LEAST_FACTOR, MOST_FACTOR))


def scaled_size(size: tuple[int, ...], factor: float) -> tuple[int, int]:
    """Height and width of an image after resizing, :data:`LEAST_SIDE` or more."""
    height, width = (max(LEAST_SIDE, round(side * factor)) for side in size)
    return height, width
