"""Training images brought to nuclei of a common diameter."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn import functional

from nasseg.data.pixels.native import NativeData, NativeImage, native_image
from nasseg.data.pixels.preprocess import THREADS
from nasseg.data.pixels.targets import renumbered
from nasseg.errors import DataError
from nasseg.tasks import TaskType, get_task
from nasseg.tasks.inference import resized
from nasseg.tasks.scale import median_diameter, scale_factor, scaled_size


def with_rescaled(data: NativeData, max_cache_gb: float) -> NativeData:
    """Return data whose training crops are of images at the scale of ``data.diameter``.

    The images themselves stay as they are; of those that have that scale there is no copy.

    Args:
        data: of a task of instances; returned as it is where its diameter is 0.
        max_cache_gb: memory in GB that images and copies may take together.

    Raises:
        DataError: they would take more.
    """
    if not data.diameter:
        return data
    images = data.images["train"]
    sizes = [
        scaled_size(item.size, scale_factor(data.diameter, median_diameter(item.ids)))
        for item in images
    ]
    need = sum(item.nbytes for side in data.images.values() for item in side)
    for item, (height, width) in zip(images, sizes, strict=True):
        if (height, width) != item.size:
            # All but the reference grows with the area.
            need += item.nbytes * height * width // (item.size[0] * item.size[1])
    if need > max_cache_gb * 1e9:
        raise DataError(
            f"{data.source}, and training images rescaled to nuclei of data.diameter = "
            f"{data.diameter:g} pixels, would take {need / 1e9:.3g} GB of memory, more than "
            f"max_cache_gb = {max_cache_gb:g}; use a smaller diameter or fewer images, or raise "
            "max_cache_gb"
        )
    task = get_task(data.kind)
    with ThreadPoolExecutor(THREADS) as pool:
        copies = pool.map(lambda item, size: rescaled(item, size, task), images, sizes)
        return dataclasses.replace(data, rescaled=tuple(copies))


def rescaled(item: NativeImage, size: tuple[int, int], task: TaskType) -> NativeImage:
    """Return an image at another height and width, with targets made again at that scale.

    It is normalised as the original is.
    """
    if size == item.size:
        return item
    image = resized(item.image[None].float(), size)[0].round_().clamp_(0, 255).byte()
    # Exact for numbers below 2**24.
    ids = functional.interpolate(
        torch.from_numpy(item.ids)[None, None].float(), size, mode="nearest-exact"
    )
    label = renumbered(ids[0, 0].int().numpy())
    return native_image(image, label, task, item.reference)
