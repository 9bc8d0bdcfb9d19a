"""From images of any size to one compact tensor: centre crop, antialiased resize."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from nasseg.config import DataConfig
from nasseg.data.sources.class_base import ClassSource, check_class_memory
from nasseg.errors import DataError


@dataclass(frozen=True, slots=True)
class ClassCache:
    """All images of a source after preprocessing."""

    images: torch.Tensor
    """uint8 (N, C, S, S)."""
    digests: tuple[bytes, ...]
    """Hash of size and pixels of each image as it was read; empty where it could not be."""


def prepare(images: npt.NDArray[np.uint8], config: DataConfig) -> torch.Tensor:
    """Cut out the middle and resize.

    Bilinear with antialiasing: a pixel is the mean of what it covers, for what matters is what is
    in the image, not exactly where.

    Args:
        images: uint8 (n, H, W, C).
        config: ``centre_crop`` and ``image_size``.

    Returns:
        uint8 (n, C, S, S).

    Raises:
        DataError: the images are smaller than the crop.
    """
    crop, size = config.centre_crop, config.image_size
    if crop:
        height, width = images.shape[1:3]
        if min(height, width) < crop:
            raise DataError(f"is {height} x {width} pixels; data.centre_crop needs {crop} x {crop}")
        top, left = (height - crop) // 2, (width - crop) // 2
        images = images[:, top : top + crop, left : left + crop]
    if images.flags.writeable:
        pixels = torch.from_numpy(np.ascontiguousarray(images))
    else:
        pixels = torch.from_numpy(images.copy())
    pixels = pixels.permute(0, 3, 1, 2)
    if tuple(pixels.shape[2:]) == (size, size):
        return pixels
    small = interpolate(
        pixels.float(), (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return small.round_().clamp_(0, 255).byte()


def preprocess_classes(source: ClassSource, config: DataConfig) -> ClassCache:
    """Read, crop and resize all images of ``source``; problems are added to its own.

    Raises:
        DataError: the estimate of the memory passes the limit.
    """
    check_class_memory(len(source.ids), config)
    size = config.image_size
    images = torch.zeros((len(source.ids), config.channels, size, size), dtype=torch.uint8)
    digests = [b""] * len(source.ids)

    def use(first: int, block: npt.NDArray[np.uint8]) -> None:
        images[first : first + len(block)] = prepare(block, config)
        head = repr(block.shape[1:]).encode()
        for row, image in enumerate(np.ascontiguousarray(block), first):
            digests[row] = hashlib.sha256(head + image.tobytes()).digest()

    source.images.each(use, source.problems)
    return ClassCache(images, tuple(digests))
