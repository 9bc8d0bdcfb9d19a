"""Folders of images and of the labels of their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image


def write_pair(
    root: Path, name: str, image: np.ndarray, label: np.ndarray, suffix: str = "png"
) -> None:
    """Write an image and its label as files of that name, below ``images/`` and ``labels/``."""
    for folder, array in (("images", image), ("labels", label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        path = root / folder / f"{name}.{suffix}"
        if suffix.startswith("tif"):
            tifffile.imwrite(path, array)
        else:
            Image.fromarray(array).save(path)
