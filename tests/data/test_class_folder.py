"""Classified images in folders of classes."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from helpers.class_images import labels_of, load, refusal, write

from nasseg.data.sources.class_base import natural_key


def test_folder_by_class_in_natural_order(folder: Path) -> None:
    data = load(folder)
    assert data.classes == ("A", "b2", "b10")
    assert data.ids["train"] + data.ids["val"] == tuple(
        sorted(data.train_ids, key=natural_key) + sorted(data.val_ids, key=natural_key)
    )
    assert Counter(labels_of(data, "val")) == {0: 1, 1: 2, 2: 1}
    assert data.source == f"20 images of 3 classes from {folder} (16 train, 4 val)"


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_folder_with_sides(tmp_path: Path, val: str) -> None:
    for number, side in enumerate(("train", val, "test")):
        for index in range(4):
            write(tmp_path / side / "ab"[index % 2] / f"{index}.bmp", 10 * number + index)
    data = load(tmp_path)
    assert data.val_ids == tuple(f"{val}/{'ab'[i % 2]}/{i}.bmp" for i in (0, 2, 1, 3))
    assert len(data.ids["test"]) == 4


def test_paths_that_hold_nothing_known(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "x")
    assert "holds nothing; expected a folder for each class" in refusal(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    assert "file of another kind" in refusal(tmp_path / "x.txt")
    assert "holds x.txt; expected" in refusal(tmp_path)
    for name in ("images", "labels"):
        write(tmp_path / name / "0.png", 0)
    assert "--task semantic" in refusal(tmp_path)
    assert "holds no breastmnist.npz" in refusal(tmp_path, "breastmnist")
    assert "no such file" in refusal(tmp_path / "no.npz", "breastmnist")


def test_bad_folders_name_their_files(folder: Path) -> None:
    (folder / "b2" / "3.png").write_bytes(b"x")
    (folder / "empty").mkdir()
    message = refusal(folder)
    assert "b2/3.png: not readable" in message
    assert "empty/" in message
    assert "b10/0.png: is 20 x 20 pixels; data.centre_crop needs 24 x 24" in refusal(
        folder, centre_crop=24
    )


def test_images_beside_the_classes_of_a_side(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path / "train" / "ab"[index % 2] / f"{index}.png", index)
    write(tmp_path / "train" / "loose.png", 9)
    assert "image in no class folder (1):\n    train/loose.png" in refusal(tmp_path)


def test_memory_is_estimated_before_anything_is_read(folder: Path) -> None:
    (folder / "A" / "0.png").write_bytes(b"never opened")
    assert "max_cache_gb = 0.01" in refusal(folder, size=1024, max_cache_gb=0.01)


def test_what_lies_beside_the_sides_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = 0
    for side in ("train", "val", "test"):
        for name in "ab":
            for _ in range(2):
                write(tmp_path / side / name / f"{index}.png", index)
                index += 1
    write(tmp_path / "overview.png", 99)
    write(tmp_path / "figures" / "plot.png", 98)
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path)
    assert data.classes == ("a", "b")
    assert data.counts == {"train": 4, "val": 4, "test": 4}
    assert "figures" in caplog.text
