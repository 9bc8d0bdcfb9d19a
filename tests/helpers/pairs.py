"""Folders of images and of the labels of their pixels."""

from __future__ import annotations

import json
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


def one_square(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label: one square."""
    label = np.zeros((24, 24), np.uint8)
    row, column = rng.integers(2, 12, 2)
    label[row : row + 8, column : column + 8] = 255
    image = rng.integers(0, 80, (24, 24, 3)).astype(np.uint8) + (label[..., None] // 2)
    return image, label


def write_squares(
    folder: Path, rng: np.random.Generator, train: int = 12, val: int = 4
) -> list[str]:
    """Write images of one square each, and a split; return the names of the validation images."""
    names = [f"picture{i}" for i in range(train + val)]
    for name in names:
        write_pair(folder, name, *one_square(rng))
    split = {"train": names[:train], "val": names[train:]}
    (folder / "splits.json").write_text(json.dumps(split))
    return split["val"]
