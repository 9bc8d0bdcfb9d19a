"""Classified images that tests draw and write."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasseg.data import ClassificationData, DataConfig, load_data
from nasseg.errors import DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def load(path: Path | None, task: str = "classification", size: int = 16, **settings):
    given = None if path is None else str(path)
    return load_data(DataConfig(task=task, path=given, image_size=size, **settings))


def cells(**settings) -> DataConfig:
    return DataConfig(task="classification", **settings)


def refusal(path: Path | None, task: str = "classification", **settings) -> str:
    with pytest.raises(DataError) as error:
        load(path, task, **settings)
    return str(error.value)


def pixels(index: int, side: int = 20, channels: int = 3) -> np.ndarray:
    """An image that no other index has."""
    shape = (side, side, channels) if channels > 1 else (side, side)
    return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)


def write(path: Path, index: int, side: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(index, side)).save(path)


def stack(count: int, side: int = 20, channels: int = 1, first: int = 0) -> np.ndarray:
    return np.stack([pixels(first + index, side, channels) for index in range(count)])


def save_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def write_csv(path: Path, rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def labels_of(data: ClassificationData, side: str) -> list[int]:
    return data.labels[torch.from_numpy(data.rows[side])].tolist()
