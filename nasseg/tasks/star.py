"""Single nuclei as star-convex polygons: distances to the border along fixed rays.

After StarDist (Schmidt et al., MICCAI 2018). The depth stands for the object probability, and
polygons are taken from its peaks, the deepest first, with distances averaged over each peak's
neighbours, since analog noise is independent from pixel to pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasseg.tasks.base import TaskContext, register_task
from nasseg.tasks.instances import CONFIDENCES, SMALLEST, InstanceTask

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

RAYS = 16
"""Directions in which distances are learned, evenly around each pixel."""
REACH = 63.75
"""Longest distance in pixels; longer ones are cut."""
UNIT = 8.0
"""Distance in pixels that an output of 1, after its softplus, stands for."""


@register_task("instances_star")
class StarInstances(InstanceTask):
    """Foreground, relative depth, and the distance to the border of the nucleus along each ray."""

    title = "single nuclei as star-convex polygons"
    channels = 2 + RAYS
    target_scale = 255.0
    directional = True
    decoder: Mapping[str, float] = {
        "threshold": 0.4,
        "peak": 0.35,
        "smooth": 1.0,
        "overlap": 0.5,
        "confidence": 0.7,
        "min_pixels": 25,
    }
    decoder_choices: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "threshold": (0.2, 0.3, 0.4, 0.5),
        "peak": (0.2, 0.3, 0.35, 0.4, 0.5),
        "smooth": (1.0, 1.5, 2.0),
        "overlap": (0.3, 0.4, 0.5, 0.6),
        "confidence": CONFIDENCES,
        "min_pixels": SMALLEST,
    }

    def targets(self, label: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """uint8 (2 + RAYS, H, W): foreground, depth, and distances from 0 to :data:`REACH`."""
        import numpy as np

        from nasseg.tasks.watershed import depth_map

        pixels = np.stack([label > 0, depth_map(label)]) * np.float32(255)
        rays = border_distances(label) * np.float32(255 / REACH)
        made = np.concatenate([pixels, np.minimum(rays, 255)])
        target: npt.NDArray[np.uint8] = np.rint(made).astype(np.uint8)
        return target

    def loss(self, context: TaskContext) -> nn.Module:
        """That of foreground and depth, and the relative error of the distances, by depth."""
        from nasseg.tasks.losses import StarLoss

        return StarLoss(REACH, UNIT)

    def soft(self, logits: Tensor) -> Tensor:
        """Probabilities, and distances as :meth:`targets` has them, but not cut."""
        import torch
        from torch.nn import functional

        distances = functional.softplus(logits[:, 2:]) * (UNIT / REACH)
        return torch.cat([logits[:, :2].sigmoid(), distances], dim=1)

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss without its Dice, which takes certain targets."""
        from torch.nn import functional

        from nasseg.tasks.losses import ray_error

        # The mean over both channels; the loss has their sum.
        pixels = functional.binary_cross_entropy_with_logits(logits[:, :2], target[:, :2])
        return 2.0 * pixels + ray_error(logits, target, REACH, UNIT)

    def unscaled(self, logits: Tensor, factor: float) -> Tensor:
        """With distances in pixels of the image."""
        import torch
        from torch.nn import functional

        distances = functional.softplus(logits[:, 2:]) / factor
        # The inverse of softplus, with no exponential of a large number.
        rays = distances + torch.log(-torch.expm1(-distances.clamp(min=1e-6)))
        return torch.cat([logits[:, :2], rays], dim=1)

    def probability(self, logits: Tensor) -> Tensor:
        """Probabilities of foreground and depth, and distances as :meth:`targets` has them."""
        return self.soft(logits).clamp(max=1.0)

    def decode(self, probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Instance ids (H, W): polygons of the peaks of the depth, the deepest first."""
        return draw_stars(probability[0], probability[1], probability[2:] * REACH, **self.decoder)


def ray_steps() -> npt.NDArray[np.float64]:
    """Unit vectors (RAYS, 2), down and right."""
    import numpy as np

    angles = 2.0 * np.pi * np.arange(RAYS) / RAYS
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def border_distances(label: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Distance in pixels from each pixel to the first one outside its instance, along each ray.

    Args:
        label: instance ids (H, W).

    Returns:
        (RAYS, H, W); 0 outside. The edge of the image is a border.
    """
    import numpy as np

    from nasseg.tasks._rays import walk

    distances: npt.NDArray[np.float32] = walk(np.ascontiguousarray(label), ray_steps(), REACH)
    return distances


def draw_stars(
    foreground: npt.NDArray[np.floating[Any]],
    depth: npt.NDArray[np.floating[Any]],
    distances: npt.NDArray[np.floating[Any]],
    *,
    threshold: float,
    peak: float,
    smooth: float,
    overlap: float,
    confidence: float,
    min_pixels: float,
) -> npt.NDArray[np.int32]:
    """Polygons of the peaks of the depth, the deepest first, each on pixels that are still free.

    Args:
        foreground: probability of nucleus (H, W), 0 to 1.
        depth: relative depth (H, W), 0 to 1.
        distances: to the border along each ray in pixels (RAYS, H, W).
        threshold: probability from which a pixel of a polygon is nucleus.
        peak: depth that a peak is above.
        smooth: standard deviation in pixels of the Gaussian over the depth.
        overlap: share of a polygon that may be taken by deeper ones; its centre must not be.
        confidence: mean probability below which an instance is dropped.
        min_pixels: smaller instances are dropped.

    Returns:
        Instance ids (H, W), numbered from 1.
    """
    import numpy as np
    from scipy import ndimage
    from skimage.draw import polygon

    from nasseg.tasks.watershed import keep_certain

    smoothed = ndimage.gaussian_filter(np.asarray(depth, dtype=np.float32), smooth)
    rows, columns = _peaks(smoothed, peak)
    reach = _neighbour_mean(distances, rows, columns)
    # Sixteen triangles each; so small a polygon would be dropped in the end.
    area = 0.5 * np.sin(2.0 * np.pi / RAYS) * (reach * np.roll(reach, 1, axis=0)).sum(axis=0)
    ids = np.zeros(smoothed.shape, dtype=np.int32)
    steps = ray_steps()
    for number in np.flatnonzero(area >= min_pixels):
        row, column = rows[number], columns[number]
        if ids[row, column]:
            continue
        edge = (row, column) + reach[:, number, None] * steps
        inside = polygon(edge[:, 0], edge[:, 1], ids.shape)
        free = ids[inside] == 0
        if len(free) and free.mean() >= 1.0 - overlap:
            ids[inside] = np.where(free, number + 1, ids[inside])
    ids[foreground <= threshold] = 0
    return keep_certain(ids, foreground, confidence, min_pixels)


def _peaks(
    depth: npt.NDArray[np.float32], lowest: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns (N,) of the largest values within two pixels that are above ``lowest``, the
    largest first; of a plateau the pixel that is nearest to its centre."""
    import numpy as np
    from scipy import ndimage

    top = (depth == ndimage.maximum_filter(depth, 5)) & (depth > lowest)
    plateaus, count = ndimage.label(top, np.ones((3, 3)))
    rows, columns = np.nonzero(plateaus)
    own = plateaus[rows, columns]
    size = np.maximum(np.bincount(own, minlength=count + 1), 1)
    centre = [np.bincount(own, weights=at, minlength=count + 1) / size for at in (rows, columns)]
    away = (rows - centre[0][own]) ** 2 + (columns - centre[1][own]) ** 2
    order = np.lexsort((away, own))
    first = order[np.unique(own[order], return_index=True)[1]]
    first = first[np.argsort(-depth[rows[first], columns[first]], kind="stable")]
    return rows[first], columns[first]


def _neighbour_mean(
    values: npt.NDArray[np.floating[Any]], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Means (K, N) of values (K, H, W) over 3 x 3 pixels around each of N."""
    import numpy as np

    height, width = values.shape[1:]
    total = np.zeros((len(values), len(rows)), np.float32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row, column = (
                np.clip(rows + down, 0, height - 1),
                np.clip(columns + right, 0, width - 1),
            )
            total += values[:, row, column]
    return total / np.float32(9)
