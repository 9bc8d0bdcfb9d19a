"""Logits of whole images of any size, at their own scale or at that of a common nucleus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasseg.tasks.scale import median_diameter, scale_factor, scaled_size
from nasseg.tasks.watershed import MIN_PIXELS

if TYPE_CHECKING:
    from nasseg.tasks.base import Batches, TaskType

WINDOW = 1024
"""Side in pixels above which an image is evaluated in overlapping windows."""
OVERLAP = 0.125
"""Share of a window that it has in common with the next one."""
FIRST_PASS = 0.5
"""Scale of the pass that the size of nuclei is estimated from. It costs a quarter of one at full
scale, and on DSB2018 the second pass then scores nearly as well: AP at IoU 0.5 is 0.754, after one
at 0.7 it is 0.757 (one network, 49 images)."""


def predict_whole(net: nn.Module, image: Tensor) -> Tensor:
    """Logits of whole images of any size, in windows where they are large.

    Args:
        net: fully convolutional network, in evaluation mode.
        image: normalised (B, C, H, W).

    Returns:
        (B, K, H, W); Gaussian-weighted means where windows overlap.
    """
    if max(image.shape[2:]) <= WINDOW:
        logits: Tensor = net(image)
        return logits
    from monai.inferers import sliding_window_inference

    size = [min(side, WINDOW) for side in image.shape[2:]]
    whole: Tensor = sliding_window_inference(image, size, 1, net, overlap=OVERLAP, mode="gaussian")
    return whole


def predict_at_scale(net: nn.Module, image: Tensor, task: TaskType, diameter: float) -> Tensor:
    """Logits of whole images, from images resized so that their nuclei have a common diameter.

    A first pass over the images at :data:`FIRST_PASS` of their scale gives the size of their
    nuclei, a second one over each image at the scale that follows from it gives the logits. Both
    are passes of ``net``: on a chip, of that chip.

    Args:
        net: fully convolutional network, in evaluation mode.
        image: normalised (B, C, H, W).
        task: of instances; it decodes the first pass.
        diameter: of a typical nucleus, in pixels, that images are brought to
            (``data.diameter``); 0: they keep their own scale, in one pass.

    Returns:
        (B, K, H, W), at the size of the images as given.
    """
    if not diameter:
        return predict_whole(net, image)
    size = (int(image.shape[2]), int(image.shape[3]))
    found = []
    for row, factor in enumerate(scale_factors(net, image, task, diameter)):
        logits = predict_whole(net, resized(image[row : row + 1], scaled_size(size, factor)))
        if tuple(logits.shape[2:]) != size:
            logits = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        found.append(task.unscaled(logits, factor))
    return torch.cat(found)


def scale_factors(net: nn.Module, image: Tensor, task: TaskType, diameter: float) -> list[float]:
    """Factors by which images are resized, from a first pass over them.

    Arguments are those of :func:`predict_at_scale`, ``diameter`` above 0.
    """
    small = resized(image, scaled_size(tuple(image.shape[2:]), FIRST_PASS))
    coarse = _coarse(task)
    probability = task.probability(predict_whole(net, small)).detach().cpu().numpy()
    sizes = [median_diameter(coarse.decode(row), MIN_PIXELS * FIRST_PASS**2) for row in probability]
    return [scale_factor(diameter, size / FIRST_PASS) for size in sizes]


def mean_passes(net: nn.Module, loader: Batches, task: TaskType, diameter: float) -> float:
    """Products of both passes over those of one over an image as it is, mean over images.

    Energy and time of an image are so many times those of one of its size.

    Args:
        net: in evaluation mode.
        loader: batches of images (B, C, H, W) and anything.
        task: of instances.
        diameter: that images are brought to, above 0.
    """
    device = next(net.parameters()).device
    with torch.no_grad():
        factors = [
            factor
            for image, _ in loader
            for factor in scale_factors(net, image.to(device), task, diameter)
        ]
    return FIRST_PASS**2 + sum(factor**2 for factor in factors) / max(1, len(factors))


def _coarse(task: TaskType) -> TaskType:
    """The task with its decoder for the first pass, in which nuclei have fewer pixels."""
    if "min_pixels" not in task.decoder:
        return task
    least = task.decoder["min_pixels"] * FIRST_PASS**2
    return task.with_decoder({**task.decoder, "min_pixels": least})


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) of floats at another height and width, without aliasing."""
    if tuple(image.shape[2:]) == size:
        return image
    return functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
