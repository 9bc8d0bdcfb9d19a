"""From what a network says of each pixel to single nuclei, and back: targets and watershed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.morphology import local_maxima
from skimage.segmentation import find_boundaries, watershed

Ids = npt.NDArray[np.int32]
"""(H, W): 0 = background, from 1 on one number an instance."""

FULL_DEPTH = 8.0
"""Distance in pixels from the border at which a large nucleus counts as fully deep. What lies
deeper says nothing of where it ends, and takes a wide view to tell."""
MIN_PIXELS = 25
"""Smaller parts are no nuclei: of what networks find below that on DSB2018, hardly any is one."""
CORE = 0.55
"""Relative depth from which a pixel belongs to the core of a nucleus, where cores are the seeds. Of
0.4 to 0.65 the best on training images of DSB2018."""
CONVEX_RISE = 3.0
"""Times ``rise`` up to which a maximum is no seed where the shape is that of one nucleus."""


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


def instance_centres(ids: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Centre of mass of each instance.

    Args:
        ids: instance ids (H, W).

    Returns:
        Row and column (N + 1, 2) of ids 0 to N; those of ids that have no pixel are 0.
    """
    flat, count = ids.ravel(), int(ids.max(initial=0)) + 1
    size = np.maximum(np.bincount(flat, minlength=count), 1)
    grids = np.indices(ids.shape)
    sums = [np.bincount(flat, weights=grid.ravel(), minlength=count) for grid in grids]
    return np.stack(sums, axis=1) / size[:, None]


def split_instances(
    foreground: npt.NDArray[np.floating[Any]],
    depth: npt.NDArray[np.floating[Any]],
    *,
    threshold: float,
    rise: float,
    smooth: float = 1.0,
    convexity: float = 0.0,
    confidence: float = 0.0,
    min_pixels: float = MIN_PIXELS,
    core: float = CORE,
) -> Ids:
    """Single nuclei by watershed: seeds of the depth grow over the foreground.

    Args:
        foreground: probability of nucleus (H, W), 0 to 1.
        depth: relative depth (H, W), 0 to 1, as :func:`depth_map` defines it.
        threshold: probability from which a pixel is nucleus.
        rise: seeds are the maxima of the depth that stand so much above the saddle to a higher
            one (h-maxima); 0: the parts that are deeper than ``core``.
        smooth: standard deviation in pixels of the smoothing of the depth; 0 = none.
        convexity: share of its convex hull that an instance of two maxima takes at least, where
            they stand up to :data:`CONVEX_RISE` times ``rise`` above the saddle; 0: such maxima
            are two seeds whatever the shape.
        confidence: instances with a lower mean probability of nucleus are dropped; 0 = none.
        min_pixels: smaller instances are dropped.
        core: relative depth from which pixels belong to a seed, where ``rise`` is 0.

    Returns:
        Instance ids (H, W), numbered from 1. A part of the foreground without a seed is one
        instance.
    """
    mask = foreground > threshold
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int32)
    smoothed = ndimage.gaussian_filter(depth, smooth) if smooth else np.asarray(depth)
    ids = basins(smoothed, mask, rise, convexity) if rise else _from_cores(smoothed, mask, core)
    return keep_certain(ids, foreground, confidence, min_pixels)


def keep_certain(
    ids: npt.NDArray[Any],
    foreground: npt.NDArray[np.floating[Any]],
    confidence: float,
    min_pixels: float,
) -> Ids:
    """Drop instances that are small or unsure, and number the others from 1 without gaps.

    Args:
        ids: instance ids (H, W).
        foreground: probability of nucleus (H, W), 0 to 1.
        confidence: instances with a lower mean probability of nucleus are dropped; 0 = none.
        min_pixels: smaller instances are dropped.
    """
    sizes = np.bincount(ids.ravel())
    keep = sizes >= min_pixels
    if confidence:
        total = np.bincount(ids.ravel(), weights=foreground.ravel())
        keep &= total >= confidence * sizes
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    result: Ids = number[ids]
    return result


def _from_cores(
    depth: npt.NDArray[np.floating[Any]], mask: npt.NDArray[np.bool_], core: float
) -> npt.NDArray[Any]:
    """Basins (H, W) of the parts that are deeper than ``core``."""
    markers, count = ndimage.label((depth > core) & mask)
    parts, found = ndimage.label(mask)
    # Parts that no core lies in become cores themselves.
    empty = np.ones(found + 1, dtype=bool)
    empty[parts[markers > 0]] = False
    empty[0] = False
    extra = empty[parts]
    markers[extra] = parts[extra] + count
    ids: npt.NDArray[Any] = watershed(-depth, markers, mask=mask)
    return ids


def basins(
    surface: npt.NDArray[np.floating[Any]],
    mask: npt.NDArray[np.bool_],
    rise: float,
    convexity: float = 0.0,
) -> npt.NDArray[Any]:
    """Part a surface into basins: of maxima that stand ``rise`` above the saddle to a higher one.

    The basins of all maxima, of which those of the others are joined to the neighbour across
    their highest saddle: what a watershed from the h-maxima gives, many times as fast as these
    are found by morphological reconstruction.

    Args:
        surface: (H, W), such as the depth; its maxima are inside nuclei.
        mask: (H, W); pixels that are parted. Every connected part has a basin.
        rise: height of a maximum above the highest saddle to a higher one.
        convexity: as in :func:`split_instances`.

    Returns:
        Numbers of the basins (H, W), 0 outside the mask.
    """
    # Lower than any pixel of the mask, so that each part of it has a maximum.
    height = np.where(mask, surface, surface.min() - 1)
    peaks, count = ndimage.label(local_maxima(height, connectivity=1) & mask)
    parts: npt.NDArray[Any] = watershed(-height, peaks, mask=mask)
    top = np.full(count + 1, -np.inf)
    top[peaks] = height
    shape = _Shapes(parts, count).convexity if convexity else None
    saddles = _saddles(parts, height)
    ids: npt.NDArray[Any] = _joined(top, *saddles, rise, shape, convexity)[parts]
    return ids


class _Shapes:
    """Shapes of unions of parts."""

    def __init__(self, parts: npt.NDArray[Any], count: int) -> None:
        self._width = parts.shape[1]
        self._order = np.argsort(parts.ravel(), kind="stable")
        self._ends = np.cumsum(np.bincount(parts.ravel(), minlength=count + 1))

    def convexity(self, members: list[int]) -> float:
        """Area of a union of parts over that of its convex hull; pixels are squares."""
        own = [self._order[self._ends[part - 1] : self._ends[part]] for part in members]
        rows, columns = np.divmod(np.concatenate(own), self._width)
        rows = rows - rows.min()
        # The first and the last pixel of each row have all corners of the hull.
        first = np.full(int(rows.max()) + 1, self._width)
        last = np.full(len(first), -1)
        np.minimum.at(first, rows, columns)
        np.maximum.at(last, rows, columns)
        there = np.flatnonzero(last >= 0)
        left = np.stack([there, first[there]], axis=1)
        right = np.stack([there, last[there] + 1], axis=1)
        below = np.array([1, 0])
        corners = np.concatenate([left, left + below, right, right + below])
        # In the plane, Qhull calls the area a volume.
        area: float = ConvexHull(corners).volume
        return len(rows) / area


def _saddles(
    parts: npt.NDArray[Any], height: npt.NDArray[np.floating[Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating[Any]]]:
    """Pairs (P, 2) of basins that touch, and the height (P,) of the pass between each; the highest
    first."""
    pairs, passes = [], []
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        a, b = parts[one], parts[other]
        touch = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.sort(np.stack([a[touch], b[touch]], axis=1), axis=1))
        passes.append(np.minimum(height[one][touch], height[other][touch]))
    pair, level = np.concatenate(pairs).astype(np.int64), np.concatenate(passes)
    # By height, then by numbers, so that the order is the same everywhere; of each pair the first.
    order = np.lexsort((pair[:, 1], pair[:, 0], -level))
    pair, level = pair[order], level[order]
    _, first = np.unique(pair, axis=0, return_index=True)
    first.sort()
    return pair[first], level[first]


def _joined(
    top: npt.NDArray[np.float64],
    pairs: npt.NDArray[np.int64],
    passes: npt.NDArray[np.floating[Any]],
    rise: float,
    shape: Callable[[list[int]], float] | None,
    convexity: float,
) -> npt.NDArray[np.int64]:
    """Number of the seed (N + 1,) that each basin belongs to, 0 for the background.

    Args:
        top: height (N + 1,) of the maximum of each basin.
        pairs: basins that touch (P, 2), in the order of their passes.
        passes: their heights (P,), falling.
        rise: height above a pass from which the lower of the maxima on its sides is a seed.
        shape: convexity of a union of basins; None: it does not matter.
        convexity: from which a maximum up to :data:`CONVEX_RISE` times ``rise`` above is none.
    """
    hill = list(range(len(top)))  # the highest maximum reached over passes so far
    seed = list(range(len(top)))

    def root(of: list[int], basin: int) -> int:
        while of[basin] != basin:
            of[basin] = of[of[basin]]
            basin = of[basin]
        return basin

    members = [[basin] for basin in seed]

    def join(one: int, other: int) -> None:
        seed[one] = other
        members[other] += members[one]

    for (a, b), level in zip(pairs.tolist(), passes.tolist(), strict=True):
        low, high, near = root(hill, a), root(hill, b), b
        if low == high:
            continue
        if (top[low], -low) > (top[high], -high):
            low, high, near = high, low, a
        hill[low] = high
        above = top[low] - level
        if above < rise:
            # All basins of such a hill have been joined before: their maxima are lower still.
            join(root(seed, low), root(seed, near))
        elif shape is not None and above < CONVEX_RISE * rise:
            one, other = root(seed, a), root(seed, b)
            if shape(members[one] + members[other]) >= convexity:
                join(one, other)
    roots = np.array([root(seed, basin) for basin in range(len(top))])
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)
