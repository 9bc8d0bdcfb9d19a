"""nasseg's own kinds of source keep the contract of sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasseg.config import DataConfig
from nasseg.data.sources.base import SOURCES, SourceType
from nasseg.testing.sources import SourceContract

SMALL = {"image_size": 16, "synthetic_train": 8, "synthetic_val": 4}


def picture(row: int) -> Image.Image:
    values = np.random.default_rng(row).integers(0, 255, (20, 24, 3))
    return Image.fromarray(values.astype(np.uint8))


def mask(value: int) -> Image.Image:
    values = np.zeros((20, 24), dtype=np.uint8)
    values[4:12, 5:15] = value
    return Image.fromarray(values)


def save(image: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


class Named(SourceContract):
    """A source by its name."""

    name = ""

    @pytest.fixture
    def source(self) -> SourceType:
        return SOURCES[self.name]


class TestFolder(Named):
    name = "folder"

    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        for row in range(6):
            save(picture(row), tmp_path / "set" / "images" / f"{row}.png")
            save(mask(1), tmp_path / "set" / "labels" / f"{row}.png")
        return DataConfig(path=str(tmp_path / "set"), image_size=16)


class TestClassPixels(TestFolder):
    name = "class_pixels"

    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        for row in range(6):
            save(picture(row), tmp_path / "set" / "images" / f"{row}.png")
            save(mask(1 + row % 2), tmp_path / "set" / "labels" / f"{row}.png")
        return DataConfig(task="semantic", path=str(tmp_path / "set"), image_size=16)


class TestKaggle(Named):
    name = "kaggle"

    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        for row in range(6):
            save(picture(row), tmp_path / "set" / f"i{row}" / "images" / f"{row}.png")
            save(mask(255), tmp_path / "set" / f"i{row}" / "masks" / "0.png")
        return DataConfig(path=str(tmp_path / "set"), image_size=16)


class TestSyntheticNuclei(Named):
    name = "synthetic_nuclei"
    drawn = True

    @pytest.fixture
    def config(self) -> DataConfig:
        return DataConfig(**SMALL)


class TestSyntheticCells(Named):
    name = "synthetic_cells"
    drawn = True

    @pytest.fixture(params=["semantic", "classification"])
    def config(self, request: pytest.FixtureRequest) -> DataConfig:
        return DataConfig(task=request.param, **SMALL)


class TestClassFolder(Named):
    name = "class_folder"

    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        for row in range(8):
            save(picture(row), tmp_path / "set" / "ab"[row % 2] / f"{row}.png")
        return DataConfig(task="classification", path=str(tmp_path / "set"), image_size=16)


def write_table(folder: Path, name: str) -> Path:
    lines = ["file,label"]
    for row in range(8):
        save(picture(row), folder / "images" / f"{row}.png")
        lines.append(f"images/{row}.png,{'ab'[row % 2]}")
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


class TestClassIndex(Named):
    name = "class_index"

    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        folder = write_table(tmp_path / "set", "index.csv").parent
        return DataConfig(task="classification", path=str(folder), image_size=16)


class TestClassTable(Named):
    name = "class_table"

    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        table = write_table(tmp_path / "set", "cells.csv")
        return DataConfig(task="classification", path=str(table), image_size=16)

    def test_it_recognises_nothing_else(self, source, config, tmp_path) -> None:
        assert not source.recognises(None, config)
        assert not source.recognises(tmp_path, config)


class TestNpz(Named):
    name = "npz"

    @pytest.fixture
    def config(self, tmp_path: Path) -> DataConfig:
        images = np.random.default_rng(0).integers(0, 255, (8, 20, 20, 3)).astype(np.uint8)
        np.savez(tmp_path / "set.npz", images=images, labels=np.arange(8) % 2)
        return DataConfig(task="classification", path=str(tmp_path / "set.npz"), image_size=16)
