"""From what a network says of each pixel to single nuclei, and back: targets and watershed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import find_boundaries, watershed

Ids = npt.NDArray[np.int32]
"""(H, W): 0 = background, from 1 on one number an instance."""

FULL_DEPTH = 8.0
"""Distance in pixels from the border at which a large nucleus counts as fully deep. What lies
deeper says nothing of where it ends, and takes a wide view to tell."""
FOREGROUND = 0.5
"""Probability from which a pixel is nucleus."""
CORE = 0.55
"""Relative depth from which a pixel belongs to the core of a nucleus, one core a nucleus. Of 0.4 to
0.65 the best on training images of DSB2018."""
SMOOTH = 1.0
"""Standard deviation in pixels of the Gaussian over the depth before cores are cut out."""
MIN_PIXELS = 25
"""Smaller parts are no nuclei: of what networks find below that on DSB2018, hardly any is one."""


def depth_map(ids: Ids, full_depth: float = FULL_DEPTH) -> npt.NDArray[np.float32]:
    """How deep inside its instance each pixel lies: 0 outside, 1 in its core.

    The Euclidean distance to the nearest pixel that is not of the same instance, over the largest
    such distance of the instance or ``full_depth`` pixels, whichever is less. Where nuclei touch,
    it falls to its smallest between them, which the foreground does not tell. The edge of the
    image is no border.
    """
    inside = ids > 0
    # Pixels at a border to another instance count as outside when distances are measured; one
    # that has only such pixels around it still gets half a pixel.
    border = find_boundaries(ids, mode="inner", connectivity=1, background=0)
    distance = ndimage.distance_transform_edt(inside & ~border) if inside.any() else 0.0 * ids
    distance = np.where(inside, distance + 0.5, 0.0)
    if not inside.any():
        return distance.astype(np.float32)
    top = ndimage.maximum(distance, ids, index=np.arange(ids.max() + 1))
    full = np.clip(np.asarray(top), 0.5, full_depth)[ids]
    depth: npt.NDArray[np.float32] = np.minimum(distance / full, 1.0).astype(np.float32)
    return depth


def split_instances(
    foreground: npt.NDArray[np.floating[Any]],
    depth: npt.NDArray[np.floating[Any]],
    *,
    threshold: float = FOREGROUND,
    core: float = CORE,
    smooth: float = SMOOTH,
    min_pixels: int = MIN_PIXELS,
) -> Ids:
    """Single nuclei by watershed: cores of the depth grow over the foreground.

    Args:
        foreground: probability of nucleus (H, W), 0 to 1.
        depth: relative depth (H, W), 0 to 1, as :func:`depth_map` defines it.
        threshold: probability from which a pixel is nucleus.
        core: relative depth from which pixels belong to a core.
        smooth: standard deviation in pixels of the smoothing of the depth; 0 = none.
        min_pixels: smaller instances are dropped.

    Returns:
        Instance ids (H, W), numbered from 1. A part of the foreground without a core is one
        instance.
    """
    mask = foreground > threshold
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int32)
    smoothed = ndimage.gaussian_filter(depth, smooth) if smooth else np.asarray(depth)
    markers, count = ndimage.label((smoothed > core) & mask)
    parts, found = ndimage.label(mask)
    # Parts that no core lies in become cores themselves.
    empty = np.ones(found + 1, dtype=bool)
    empty[parts[markers > 0]] = False
    empty[0] = False
    extra = empty[parts]
    markers[extra] = parts[extra] + count
    ids = watershed(-smoothed, markers, mask=mask)
    sizes = np.bincount(ids.ravel())
    keep = sizes >= min_pixels
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    result: Ids = number[ids]
    return result
