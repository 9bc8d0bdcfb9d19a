"""Calibration images of a run folder: enough to recalibrate aged chips without the data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from nasseg.errors import RunError
from nasseg.io import write_bytes

FILE = "calibration.safetensors"
MAX_IMAGES = 64
"""Most images that are kept."""
MAX_BYTES = 8_000_000
"""Most bytes that they take."""

Batches = list[tuple[Tensor, Tensor]]


def keep_calibration(folder: Path, batches: Iterable[tuple[Tensor, Tensor]] | None) -> None:
    """Write the first images that chips are recalibrated with, as half-precision floats.

    Args:
        folder: run folder.
        batches: network inputs (B, C, H, W), normalised, with labels; None: nothing to keep.
    """
    from safetensors.torch import save

    images: list[Tensor] = []
    for batch, _ in batches or ():
        most = max(2, min(MAX_IMAGES, MAX_BYTES // (2 * batch[0].numel())))
        images.append(batch[: most - sum(map(len, images))].half())
        if sum(map(len, images)) >= most:
            break
    if images:
        write_bytes(folder / FILE, save({"images": torch.cat(images).cpu().contiguous()}))


def kept_calibration(folder: Path, batch_size: int) -> Batches | None:
    """Read the kept images as batches; None where the folder has none.

    Raises:
        RunError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        images = load_file(path)["images"].float()
    except (SafetensorError, OSError, KeyError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    if images.ndim != 4 or not images.numel() or not bool(images.isfinite().all()):
        raise RunError(f"{path} holds no images (N, C, H, W) of finite values")
    parts = [part for part in images.split(max(2, batch_size)) if len(part) > 1 or len(images) == 1]
    return [(part, torch.zeros(len(part))) for part in parts]
