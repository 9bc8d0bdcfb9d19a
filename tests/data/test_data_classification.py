"""Classified images: layouts, bad inputs, splits, batches, random views; classes of pixels."""

from __future__ import annotations

import csv
import io
import json
import logging
import struct
import sys
import types
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasseg.config import MEDMNIST_SETS
from nasseg.data import ClassificationData, DataConfig, SegmentationData, load_data
from nasseg.data.classes.augment import STRENGTHS, ClassAugment, Strength
from nasseg.data.classes.dataset import ClassBatchLoader
from nasseg.data.classes.preprocess import prepare
from nasseg.data.classes.split import draw_sides, join_units, strata_of
from nasseg.data.pixels.augment import Augment
from nasseg.data.sources.class_base import natural_key
from nasseg.data.sources.class_table import list_csv_images
from nasseg.data.sources.medmnist import CLASSES, MULTILABEL
from nasseg.data.sources.synthetic_cells import CELL_CLASSES, draw_cell
from nasseg.errors import ConfigError, DataError, MissingDependencyError
from nasseg.runs.panels import panels
from nasseg.tasks import task_for

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


def medmnist(path: Path, counts=(12, 4, 6), classes: int = 2, **changed: np.ndarray) -> Path:
    arrays, first = {}, 0
    for side, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{side}_images"] = stack(count, 28, 1, first)
        arrays[f"{side}_labels"] = (np.arange(count, dtype=np.uint8) % classes)[:, None]
        first += count
    return save_npz(path, **{**arrays, **changed})


def write_csv(path: Path, rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def labels_of(data: ClassificationData, side: str) -> list[int]:
    return data.labels[torch.from_numpy(data.rows[side])].tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 10, 6 and 4 images."""
    root = tmp_path / "cells"
    for number, (name, count) in enumerate((("b2", 10), ("b10", 6), ("A", 4))):
        for index in range(count):
            write(root / name / f"{index}.png", 100 * number + index)
    return root


# --- layouts --------------------------------------------------------------------------------


def test_medmnist_file_with_its_names_and_split(tmp_path: Path) -> None:
    data = load(medmnist(tmp_path / "some.npz"), "breastmnist", 28, channels=1)
    assert data.classes == ("malignant", "normal, benign")
    assert {side: len(ids) for side, ids in data.ids.items()} == {"train": 12, "val": 4, "test": 6}
    assert data.report_side == "test"
    assert data.val_ids == ("val0", "val1", "val2", "val3")
    np.testing.assert_array_equal(data.image("val", 1)[..., 0], pixels(13, 28, 1))
    assert labels_of(data, "test") == [0, 1, 0, 1, 0, 1]


def test_medmnist_file_is_found_in_a_folder_and_named_by_its_file(tmp_path: Path) -> None:
    medmnist(tmp_path / "breastmnist_64.npz")
    by_name = load(tmp_path, "breastmnist")
    by_file = load(tmp_path / "breastmnist_64.npz")
    assert by_name.fingerprint == by_file.fingerprint
    assert load(medmnist(tmp_path / "mine.npz")).classes == ("0", "1")


def test_sets_of_several_classes_an_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    own = {
        f"{s}_labels": rng.integers(0, 2, (n, 14))
        for s, n in (("train", 12), ("val", 4), ("test", 6))
    }
    data = load(medmnist(tmp_path / "x.npz", **own), "chestmnist", channels=1)
    assert data.multilabel
    assert len(data.classes) == 14
    assert data.class_counts == tuple(own["train_labels"].sum(0))
    image, label = next(iter(data.train_loader(4, 0)))
    assert (image.shape, label.shape, label.dtype) == ((4, 1, 16, 16), (4, 14), torch.float32)
    assert task_for(data).monitor == "auc"
    balanced = data.train_loader(12, 0, balanced=True)
    assert next(iter(balanced))[1].shape == (12, 14)


def test_names_are_known_for_every_set() -> None:
    assert set(CLASSES) == set(MEDMNIST_SETS)
    assert {name: len(classes) for name, classes in CLASSES.items()} == {
        "bloodmnist": 8,
        "breastmnist": 2,
        "chestmnist": 14,
        "dermamnist": 7,
        "octmnist": 4,
        "organamnist": 11,
        "organcmnist": 11,
        "organsmnist": 11,
        "pathmnist": 9,
        "pneumoniamnist": 2,
        "retinamnist": 5,
        "tissuemnist": 8,
    }
    assert all(len(set(classes)) == len(classes) for classes in CLASSES.values())
    assert set(MULTILABEL) == {"chestmnist"}


def test_without_the_package_a_set_asks_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(MissingDependencyError, match=r"--data FILE\.npz.*nasseg\[medmnist\]"):
        load(None, "breastmnist")


def test_the_package_downloads_the_size_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medmnist(tmp_path / "breastmnist_64.npz")
    asked = []

    class Breast:
        def __init__(self, split: str, download: bool, size: int) -> None:
            asked.append((split, download, size))
            self.root, self.size_flag = str(tmp_path), f"_{size}"

    package = types.SimpleNamespace(
        INFO={"breastmnist": {"python_class": "Breast"}, "bloodmnist": {"python_class": "Missing"}},
        Breast=Breast,
    )
    monkeypatch.setitem(sys.modules, "medmnist", package)
    assert len(load(None, "breastmnist", size=40).train_ids) == 12
    assert asked == [("val", True, 64)]
    assert "cannot be downloaded" in refusal(None, "bloodmnist")


@pytest.mark.parametrize("named", [False, True])
def test_plain_npz_with_text_labels_and_groups(tmp_path: Path, named: bool) -> None:
    names = np.array(["mono", "baso", "eos"])
    extra = {"classes": names} if named else {}
    path = save_npz(
        tmp_path / "x.npz",
        images=stack(30, 20, 3),
        labels=names[np.arange(30) % 3],
        groups=np.arange(30) // 3,
        **extra,
    )
    data = load(path)
    assert data.classes == (("mono", "baso", "eos") if named else ("baso", "eos", "mono"))
    groups = {side: {int(name) // 3 for name in ids} for side, ids in data.ids.items()}
    assert not groups["train"] & groups["val"]
    assert data.report_side == "val"


def test_integer_labels_keep_their_order(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "x.npz", images=stack(8), labels=np.array([2, 10] * 4))
    assert load(path).classes == ("2", "10")
    one_hot = np.eye(2, dtype=np.uint8)[np.arange(8) % 2]
    data = load(save_npz(tmp_path / "y.npz", images=stack(8), labels=one_hot))
    assert not data.multilabel
    assert data.labels.tolist() == [0, 1] * 4


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


def test_csv_as_of_kaggle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(12):
        write(tmp_path / f"fold_{index % 2}" / "all" / f"{index}.bmp", index)
    rows = [[f"p{i // 4}", f"{i}.bmp", str(i % 2)] for i in range(12)]
    path = write_csv(tmp_path / "labels.csv", [["Patient_ID", "new_names", "labels"], *rows])
    data = load(path, group_column="Patient_ID")
    assert data.classes == ("0", "1")
    patients = {side: {int(name[:-4]) // 4 for name in ids} for side, ids in data.ids.items()}
    assert not patients["train"] & patients["val"]
    files, ids = list_csv_images(path)
    assert ids == [f"{i}.bmp" for i in range(12)]
    assert files[3] == tmp_path / "fold_1/all/3.bmp"


def test_csv_columns_by_name_and_its_split(tmp_path: Path) -> None:
    for index in range(8):
        write(tmp_path / "pictures" / f"{index:03d}.png", index)
    sides = ["train", "train", "Training", "train", "valid", "val", "test", "test"]
    rows = [[f"{i:03d}", "xy"[i % 2], "uv"[i % 2], sides[i]] for i in range(8)]
    path = write_csv(tmp_path / "t.csv", [["code", "kind", "Label", "Split"], *rows])
    data = load(path, path_column="code", label_column="kind")
    assert data.classes == ("x", "y")
    assert data.ids == {
        "train": ("000", "001", "002", "003"),
        "val": ("004", "005"),
        "test": ("006", "007"),
    }
    assert load(path, path_column="code").classes == ("u", "v")
    message = refusal(path)
    assert "columns code, kind, Label, Split" in message
    assert "--data.path_column" in message
    assert "data.label_column is 'sort'" in refusal(path, path_column="code", label_column="sort")


def test_semicolons_byte_order_marks_and_files_of_one_name(tmp_path: Path) -> None:
    for folder_ in ("a", "b"):
        for index in range(4):
            write(tmp_path / folder_ / f"{index}.png", index + 10 * (folder_ == "b"))
    text = "\ufeffimage;class\r\n" + "".join(f"{f}/{i};{f}\r\n" for f in "ab" for i in range(4))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert load(tmp_path / "t.csv").classes == ("a", "b")
    write_csv(tmp_path / "t.csv", [["image"], ["0"]])
    with pytest.raises(DataError, match=r"several files of one name.*\n.*a/0\.png, b/0\.png"):
        list_csv_images(tmp_path / "t.csv")


def test_index_with_images_leaves_out_what_cannot_be_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(9):
        write(tmp_path / "images" / f"{index:03d}.png", index)
        write(tmp_path / "labels" / f"{index:03d}.png", index)  # of pixels: not looked at
    rows = [[f"{i:03d}", 20, "rare" if i == 8 else "xy"[i % 2]] for i in range(9)]
    write_csv(tmp_path / "index.csv", [["id", "width", "class_name"], *rows])
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        data = load(tmp_path)
    assert data.classes == ("x", "y")
    assert "008" not in data.train_ids + data.val_ids
    assert "class 'rare' has only 1 image" in caplog.text


def test_synthetic_cells_are_the_default() -> None:
    data = load(None, synthetic_train=9, synthetic_val=4)
    assert data.source == (
        "built-in synthetic cells (no --data given): 9 train, 4 val, 4 test, seed 0"
    )
    assert data.classes == CELL_CLASSES
    assert data.class_counts == (3, 2, 2, 2)
    more = load(None, synthetic_train=10, synthetic_val=4)
    np.testing.assert_array_equal(more.image("train", 8), data.image("train", 8))
    assert more.fingerprint != data.fingerprint


def test_cells_have_their_classes_of_pixels() -> None:
    for kind in range(4):
        image, label = draw_cell(np.random.default_rng(kind), 96, kind)
        assert image.shape == (96, 96, 3)
        shares = np.bincount(label.ravel(), minlength=3) / label.size
        assert (shares > 0.02).all()
        assert image[label == 2].mean() < image[label == 1].mean() < image[label == 0].mean() + 30


# --- what is wrong ---------------------------------------------------------------------------


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


def test_npz_that_is_none_of_the_known(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK no zip")
    assert "x.npz: not readable as .npz" in refusal(path)
    save_npz(path, a=np.zeros(3))
    assert "has arrays a; expected images and labels" in refusal(path)
    assert "is not breastmnist: it has arrays a" in refusal(path, "breastmnist")


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (stack(4).astype(np.float32), np.arange(4) % 2, "images is float32; uint8"),
        (stack(4)[0], np.arange(4) % 2, "has shape (20, 20); (N, H, W)"),
        (np.zeros((4, 9, 9, 5), np.uint8), np.arange(4) % 2, "(N, H, W, 1 to 4) is allowed"),
        (np.zeros((0, 9, 9), np.uint8), np.arange(0), "has shape (0, 9, 9)"),
        (np.asfortranarray(stack(4)), np.arange(4) % 2, "Fortran order"),
        (stack(4), np.arange(3), "labels has shape (3,); (4,) or (4, K) is allowed"),
        (stack(4), np.array([0, 1, np.nan, 1]), "labels is NaN at row 2 (1 rows)"),
        (stack(4), np.array([0.5, 1, 0, 1]), "labels is float64; whole numbers or text"),
        (stack(4), np.array([[0, 2]] * 4), "then only 0 and 1 are allowed"),
        (stack(4), np.array(["a", "", "a", "b"]), "1: the label is empty"),
        (stack(4), np.array([0, 1, 0, 1], dtype=object), "array 'labels' holds Python objects"),
        (stack(4), np.zeros(4, np.int64), "only '0'"),
        (stack(3), np.array([0, 0, 1]), "has 1 classes of two or more different images"),
    ],
)
def test_bad_arrays(tmp_path: Path, images, labels, expected: str) -> None:
    path = save_npz(tmp_path / "x.npz", images=images, labels=labels)
    message = refusal(path)
    assert expected in message
    assert str(path) in message


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    labels = np.array([0, 1, 5, 1])
    names = np.array(["a", "b"])
    path = save_npz(tmp_path / "x.npz", images=stack(4), labels=labels, classes=names)
    assert "2: 5; 0 to 1 are allowed" in refusal(path)
    path = save_npz(
        tmp_path / "x.npz", images=stack(4), labels=names[[0, 1, 0, 1]], classes=names[:1]
    )
    assert "1: 'b' is not in classes" in refusal(path)
    path = save_npz(
        tmp_path / "x.npz", images=stack(4), labels=labels % 2, classes=np.array(["a", "b", "c"])
    )
    assert "class without training images (1):\n    'c'" in refusal(path)
    path = save_npz(tmp_path / "x.npz", images=stack(4), labels=labels % 2, groups=np.arange(3))
    assert "groups is int64 of shape (3,); 4 of them expected" in refusal(path)
    wrong = {"train_labels": np.full((12, 1), 7, np.uint8)}
    message = refusal(medmnist(tmp_path / "x.npz", **wrong), "breastmnist")
    assert "train00: 7; 0 to 1 are allowed" in message


def test_medmnist_with_missing_arrays(tmp_path: Path) -> None:
    path = save_npz(
        tmp_path / "x.npz",
        train_images=stack(4),
        train_labels=np.arange(4) % 2,
        val_images=stack(2),
    )
    assert "val_labels (there is val_*)" in refusal(path)
    path = save_npz(
        tmp_path / "y.npz",
        **{
            f"{s}_{k}": v
            for s in ("train", "val")
            for k, v in (("images", stack(4)), ("labels", np.zeros(4, np.uint8)))
        },
    )
    assert "class without training images (1):\n    'normal, benign'" in refusal(
        path, "breastmnist"
    )


def bomb(path: Path, shape: tuple[int, ...], held: int, dtype: str = "|u1") -> Path:
    """An .npz whose ``images`` claims a shape and holds ``held`` zeros."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as stream:
            stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
            for _ in range(held // 1_000_000):
                stream.write(bytes(1_000_000))
        labels = io.BytesIO()
        np.save(labels, np.arange(max(1, min(shape[0], 1000))) % 2)
        archive.writestr("labels.npy", labels.getvalue())
    return path


def test_bombs_are_refused_by_their_headers(tmp_path: Path) -> None:
    """Nothing is unpacked, however little the file is and however much it claims."""
    path = bomb(tmp_path / "a.npz", (2, 5_000_000, 1), 10_000_000)
    assert path.stat().st_size < 100_000
    assert "more than 16 times max_cache_gb = 0.0001" in refusal(path, max_cache_gb=1e-4)
    path = bomb(tmp_path / "b.npz", (10**9, 100, 100), 1_000_000)
    assert "claims shape (1000000000, 100, 100) of uint8, but holds 1000000 bytes" in refusal(path)
    path = bomb(tmp_path / "c.npz", (-4, 100, 100), 1_000_000)
    assert "claims shape (-4" in refusal(path)
    path = bomb(tmp_path / "d.npz", (1000, 1, 1000), 1_000_000)
    message = refusal(path, size=512, max_cache_gb=0.01)
    assert "1000 images of 512 x 512 x 3 would take 0.786 GB" in message
    assert "max_cache_gb = 0.01" in message
    path = save_npz(tmp_path / "e.npz", images=stack(4), labels=np.array(["a" * 90_000, "b"] * 2))
    assert "array 'labels' has shape (4,) and would take" in refusal(path, max_cache_gb=1e-3)


def test_damaged_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=stack(40), labels=np.arange(40) % 2)
    raw = bytearray(path.read_bytes())
    raw[5000] ^= 255  # stored without compression: only the checksum tells
    path.write_bytes(raw)
    assert "images: array 'images' is damaged" in refusal(path)


def test_bad_tables_name_lines_and_values(tmp_path: Path) -> None:
    for index in range(6):
        write(tmp_path / f"{index}.png", index)
    (tmp_path / "5.png").write_bytes(b"no picture")
    rows = [
        ["0", "a", "train"],
        ["1", "", "train"],
        ["2", "nan", "train"],
        ["9", "a", "train"],
        ["", "a", "train"],
        ["3", "b", "holdout"],
        ["0.png", "a", "train"],
        ["5", "b", "val"],
    ]
    path = write_csv(tmp_path / "t.csv", [["file", "label", "split"], *rows])
    message = refusal(path)
    for part in (
        "line 3 ('1'): column 'label' is ''",
        "line 4 ('2'): column 'label' is 'nan'",
        "line 5 ('9'): no such file",
        "line 6: column 'file' is ''",
        "line 7 ('3'): column 'split' is 'holdout'; train, val or test is allowed",
        "line 8 ('0.png') is that of line 2",
        "5: not readable",
    ):
        assert part in message
    strange = ["/", "..", "x" * 3000, "a\0b", "other/0.png", "http://x.org/1"]
    write_csv(path, [["file", "label"], *([name, "a"] for name in strange)])
    assert "image missing (6)" in refusal(path)
    path.write_text("file,label\n0,a,b\n1,a\n")
    assert "line 2 has 3 values for 2 columns" in refusal(path)
    path.write_text("file,label\n")
    assert "has no rows" in refusal(path)
    path.write_text("file,label,file\n0,a,b\n")
    assert "column twice" in refusal(path)
    path.write_bytes(b"\xff\xfe\x00\x81")
    assert "not readable as a CSV table" in refusal(path)
    write_csv(path, [["file", "label"], ["0", "a"]])
    assert "data.group_column is 'patient'" in refusal(path, group_column="patient")


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


def test_negative_seeds_are_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"data\.seed is -1"):
        DataConfig(seed=-1)


# --- splits ---------------------------------------------------------------------------------


def test_split_is_stratified_and_a_function_of_the_seed(folder: Path) -> None:
    data, same, other = load(folder), load(folder), load(folder, seed=5)
    assert data.ids == same.ids
    assert data.fingerprint == same.fingerprint
    assert data.ids != other.ids
    three = load(folder, test_fraction=0.3)
    assert Counter(labels_of(three, "test")) == {0: 1, 1: 3, 2: 2}
    assert sum(map(len, three.ids.values())) == 20
    assert three.report_side == "test"
    assert three.fingerprint != data.fingerprint


def test_folds_cover_every_image_once(folder: Path) -> None:
    tested: list[str] = []
    for fold in range(4):
        data = load(folder, folds=4, fold=fold)
        tested += data.ids["test"]
        assert set(labels_of(data, "train")) == {0, 1, 2}
        assert Counter(labels_of(data, "test"))[0] == 1
        assert not set(data.train_ids) & {*data.val_ids, *data.ids["test"]}
        assert data.source.endswith(f", fold {fold} of 4")
    assert sorted(tested) == sorted(data.train_ids + data.val_ids + data.ids["test"])
    assert "data.folds is 30, but there are only 20 different images" in refusal(folder, folds=30)


def test_equal_images_stay_on_one_side(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(8):
        write(folder / "b2" / f"copy{index}.png", index)
    for seed in range(4):
        data = load(folder, seed=seed, test_fraction=0.3)
        side = {name: side for side, ids in data.ids.items() for name in ids}
        assert all(side[f"b2/{i}.png"] == side[f"b2/copy{i}.png"] for i in range(8))
    write(folder / "A" / "other.png", 0)
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        load(folder)
    assert "3 equal images have different classes: A/other.png = b2/0.png = b2/copy0" in caplog.text


def test_leaks_of_a_given_split_are_reported_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(8):
        write(tmp_path / f"{index}.png", index % 6)
    rows = [[i, "ab"[i % 2], f"g{i // 3}", "train" if i < 6 else "val"] for i in range(8)]
    path = write_csv(tmp_path / "t.csv", [["file", "label", "patient", "split"], *rows])
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        data = load(path, group_column="patient")
    assert "4 equal images are on two sides of the given split: 0 = 6, 1 = 7" in caplog.text
    assert data.val_ids == ("6", "7")
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        folds = load(path, folds=3)
    assert "its own split is not used, as data.folds is 3" in caplog.text
    side = {name: side for side, ids in folds.ids.items() for name in ids}
    assert side["0"] == side["6"]


def test_validation_images_are_drawn_where_a_source_has_only_a_test_side(tmp_path: Path) -> None:
    for index in range(20):
        side = "test" if index >= 12 else "train"
        write(tmp_path / side / "ab"[index % 2] / f"{index}.png", index)
    data = load(tmp_path, test_fraction=0.5)
    assert {side: len(ids) for side, ids in data.ids.items()} == {"train": 10, "val": 2, "test": 8}


def test_a_source_without_training_images(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path / "test" / "ab"[index % 2] / f"{index}.png", index)
    assert "has no training images, only test" in refusal(tmp_path)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [{}, {"folds": 3, "fold": 1}, {"test_fraction": 0.25}])
def test_groups_are_whole_and_classes_are_everywhere(seed: int, settings: dict) -> None:
    rng = np.random.default_rng(seed)
    units = rng.integers(0, 25, 200)
    strata = rng.choice(3, 200, p=(0.6, 0.3, 0.1))
    sides = np.array(draw_sides(strata, units, True, None, cells(seed=seed, **settings)))
    for unit in range(25):
        assert len(set(sides[units == unit])) <= 1
    for side in set(sides):
        assert set(strata[sides == side]) == {0, 1, 2}
    assert 0.1 < (sides == "val").mean() < 0.3


def test_rare_classes_have_a_training_image_and_if_they_can_one_held_out() -> None:
    strata = np.array([0] * 20 + [1] * 2 + [2] * 3)
    for seed in range(10):
        for fraction in (0.05, 0.2, 0.6, 0.9):
            config = DataConfig(seed=seed, val_fraction=fraction)
            sides = np.array(draw_sides(strata, np.arange(25), False, None, config))
            for kind in range(3):
                assert set(sides[strata == kind]) == {"train", "val"}


def test_units_hang_together_by_pixels_and_groups() -> None:
    assert join_units([b"a", b"b", b"a", b"c"], None).tolist() == [0, 1, 0, 2]
    assert join_units([b"a", b"b", b"a", b"c"], ["x", "y", "z", "z"]).tolist() == [0, 1, 0, 0]
    with pytest.raises(DataError, match="all the same or of one group"):
        draw_sides(np.array([0, 1]), np.zeros(2, np.int64), True, None, DataConfig())
    with pytest.raises(DataError, match="each has the only training images"):
        draw_sides(np.array([0, 0, 1]), np.array([0, 0, 1]), True, None, DataConfig())


def test_several_classes_count_as_the_rarest() -> None:
    labels = np.array([[1, 0], [1, 1], [1, 0], [0, 0]])
    assert strata_of(labels).tolist() == [0, 1, 0, 2]


# --- pixels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_and_files_give_the_same_images(tmp_path: Path, channels: int) -> None:
    for index in range(8):
        write(tmp_path / "f" / "ab"[index % 2] / f"{index}.png", index)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    images = stack(8, channels=3)[order]
    path = save_npz(tmp_path / "x.npz", images=images, labels=np.array(list("aaaabbbb")))
    by_file = load(tmp_path / "f", channels=channels, centre_crop=18)
    by_array = load(path, channels=channels, centre_crop=18)
    assert by_file.images.shape == (8, channels, 16, 16)
    assert torch.equal(by_file.images, by_array.images)
    assert torch.equal(by_file.labels, by_array.labels)


def test_the_middle_is_cut_out_and_averaged() -> None:
    image = np.zeros((1, 40, 60, 1), np.uint8)
    image[:, 4:36, 14:46:2] = 200  # stripes in the middle 32 x 32, nothing around
    small = prepare(image, cells(image_size=16, centre_crop=32))
    assert small.shape == (1, 1, 16, 16)
    assert (small[..., 1:-1].float() - 100).abs().max() < 30
    same = prepare(image[:, :16, :16], DataConfig(image_size=16))
    np.testing.assert_array_equal(same[0, 0].numpy(), image[0, :16, :16, 0])


# --- batches --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> tuple[torch.Tensor, torch.Tensor]:
    """Images of 40, 7 and 1 of three classes, the number of the image in its pixels."""
    labels = torch.tensor([0] * 40 + [1] * 7 + [2])
    images = torch.arange(48, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 16, 16)
    return images.contiguous(), labels


def drawn(loader: ClassBatchLoader, epoch: int) -> tuple[list[int], list[int]]:
    loader.set_epoch(epoch)
    batches = list(loader)
    shown = torch.cat([image[:, 0, 8, 8] for image, _ in batches])
    numbers = ((shown + 1) * 127.5).round().long().tolist()
    return numbers, torch.cat([label for _, label in batches]).tolist()


def test_balanced_batches_show_classes_equally_and_images_in_turn(many) -> None:
    images, labels = many
    loader = ClassBatchLoader(images, labels, np.arange(48), 8, classes=4, balanced=True, seed=3)
    seen: Counter[int] = Counter()
    for epoch in range(5):
        numbers, classes = drawn(loader, epoch)
        assert Counter(classes) == {0: 16, 1: 16, 2: 16}
        assert labels[numbers].tolist() == classes
        seen.update(numbers)
        if epoch < 2:
            assert max(seen[i] for i in range(40)) == 1  # others every epoch
    assert {seen[i] for i in range(40)} == {2}
    assert {seen[i] for i in range(40, 47)} == {11, 12}  # 80 of 7
    assert seen[47] == 80
    assert drawn(loader, 2) == drawn(loader, 2) != drawn(loader, 3)
    odd = ClassBatchLoader(images, labels, np.arange(47), 47, classes=3, balanced=True)
    assert len(drawn(odd, 0)[0]) == 47


def test_batches_are_a_function_of_seed_and_epoch(many) -> None:
    images, labels = many
    for augment in ("none", "light", "heavy"):
        loaders = [
            ClassBatchLoader(
                images, labels, np.arange(48), 10, classes=3, seed=1, shuffle=True, augment=augment
            )
            for _ in range(2)
        ]
        loaders[1].set_epoch(3)
        list(loaders[1])  # nothing is left over from another epoch
        for loader in loaders:
            loader.set_epoch(7)
        state = torch.get_rng_state()
        for (a, x), (b, y) in zip(*loaders, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(x, y)
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", ["light", "heavy"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_views_keep_shape_range_and_vary(name, channels: int) -> None:
    augment = ClassAugment(STRENGTHS[name], 3)
    images = torch.from_numpy(np.stack([pixels(i, 16, 4)[..., :channels] for i in range(9)]))
    images = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    augment.set_random_state(seed=0)
    first, label = augment(images, torch.arange(9) % 3)
    second, _ = augment(images, torch.arange(9) % 3)
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert -1 <= first.min() < first.max() <= 1
    assert not torch.equal(first, second)
    assert label.ndim == (2 if name == "heavy" else 1)


def test_flips_alone_are_exact() -> None:
    images = torch.rand(40, 1, 15, 15) * 2 - 1
    augment = ClassAugment(Strength(moved=0.0, rotation=90.0, shift=0.5), 2)
    augment.set_random_state(seed=0)
    moved, _ = augment(images, torch.zeros(40, dtype=torch.long))
    kinds = Counter()
    for before, after in zip(images, moved, strict=True):
        views = [before, before.flip(1), before.flip(2), before.flip(1, 2)]
        near = [number for number, view in enumerate(views) if (view - after).abs().max() < 1e-4]
        kinds[near[0]] += 1
    assert len(kinds) == 4


def test_rotation_turns_about_the_middle_and_shift_moves() -> None:
    images = torch.full((60, 1, 33, 33), -1.0)
    images[:, :, 16, 16] = 1.0
    turned = ClassAugment(Strength(moved=1.0, rotation=180.0, shift=0.0), 2)
    turned.set_random_state(seed=0)
    assert (turned(images, torch.zeros(60))[0][:, 0, 16, 16] > 0.9).all()
    shifted = ClassAugment(Strength(moved=1.0, rotation=0.0, shift=0.25), 2)
    shifted.set_random_state(seed=0)
    mass = shifted(images, torch.zeros(60))[0][:, 0] + 1
    rows = (mass.sum(2) * torch.arange(33)).sum(1) / mass.sum((1, 2))
    assert 6 < (rows - 16).abs().max() <= 8.3


def test_mixed_labels_are_shares_of_what_is_seen() -> None:
    images = torch.tensor([-1.0, 1.0]).repeat(8)[:, None, None, None].expand(-1, 1, 8, 8)
    labels = torch.tensor([0, 1]).repeat(8)
    augment = ClassAugment(Strength(moved=0, rotation=0, shift=0, mixup=0.5), 2)
    augment.set_random_state(seed=1)
    mixed, shares = augment(images, labels)
    torch.testing.assert_close(shares.sum(1), torch.ones(16))
    torch.testing.assert_close(mixed[:, 0, 0, 0], shares[:, 1] - shares[:, 0])
    assert ((shares > 0.02) & (shares < 0.98)).any()
    assert torch.equal(shares.argmax(1), labels)  # the larger share is the image's own
    loss = task_for(load(None, synthetic_train=8, synthetic_val=4)).loss()
    assert torch.isfinite(loss(torch.zeros(16, 4), torch.cat([shares, shares * 0], 1)))


def test_evaluation_is_unaugmented_and_in_order(folder: Path) -> None:
    data = load(folder, augment="heavy")
    image, label = next(iter(data.report_loader(64)))
    assert label.dtype == torch.int64
    rows = torch.from_numpy(data.rows["val"])
    torch.testing.assert_close(image, data.images[rows].float() / 127.5 - 1)
    assert next(iter(data.train_loader(4, 0)))[1].shape == (4, 3)
    assert next(iter(data.train_loader(4, 0, augment=False)))[1].shape == (4,)


# --- classes of pixels ----------------------------------------------------------------------


@pytest.fixture
def semantic(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path / "pixels"
    for index in range(6):
        write(root / "images" / f"{index}.png", index, 24)
        label = np.kron(rng.choice([0, 1, 7], (4, 4)), np.ones((6, 6))).astype(np.uint8)
        (root / "labels").mkdir(exist_ok=True)
        Image.fromarray(label).save(root / "labels" / f"{index}.png")
    return root


def test_class_numbers_reach_the_batches(semantic: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        data = load(semantic, "semantic", 24)
    assert isinstance(data, SegmentationData)
    assert data.classes == ("background", *(f"class{i}" for i in range(1, 8)))
    assert data.kind == "semantic"
    assert "no training image shows a pixel of 'class2'" in caplog.text
    assert "6 images with classes of pixels" in data.source
    for epoch in range(4):
        loader = data.train_loader(4, 0)
        loader.set_epoch(epoch)
        for image, label in loader:
            assert label.shape == (len(image), 1, 24, 24)
            assert label.dtype == torch.float32
            assert set(label.unique().tolist()) <= {0, 1, 7}
    assert set(np.unique(data.label("val", 0))) <= {0, 1, 7}
    assert task_for(data).out_channels == 8


def test_the_report_is_given_the_class_of_each_pixel(semantic: Path) -> None:
    data = load(semantic, "semantic", 24)
    kept, say = panels(data, 4, torch.device("cpu"))
    assert kept["pixel_classes"].tolist() == list(data.classes)
    net = torch.nn.Conv2d(3, 8, 1)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    net.bias.data[7] = 1.0
    said = say(net)
    assert said.dtype == np.uint8
    assert said.shape == kept["labels"].shape
    assert (said == 7).all()


def test_no_random_view_blends_classes() -> None:
    augment = Augment(32)
    rng = np.random.default_rng(0)
    label = torch.from_numpy(rng.choice([0, 20, 63], (8, 1, 32, 32)).astype(np.float32))
    for seed in range(30):
        augment.seed(seed)
        _, moved = augment.spatial(torch.rand(8, 3, 32, 32), label)
        assert set(moved.unique().tolist()) <= {0, 20, 63}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", '["bg", "one", "two", "3", "4", "5", "6", "7"]'),
        (
            "classes.json",
            json.dumps({str(i): n for i, n in enumerate(["bg", "one", "two", *"34567"])}),
        ),
        ("classes.txt", "bg\none\ntwo\n3\n4\n5\n6\n7\n"),
    ],
)
def test_names_of_pixel_classes(semantic: Path, name: str, text: str) -> None:
    plain = load(semantic, "semantic")
    (semantic / name).write_text(text)
    data = load(semantic, "semantic")
    assert data.classes == ("bg", "one", "two", "3", "4", "5", "6", "7")
    assert data.fingerprint != plain.fingerprint


def test_bad_class_numbers_name_their_files(semantic: Path) -> None:
    labels = semantic / "labels"
    Image.fromarray(np.full((24, 24), 255, np.uint8)).save(labels / "0.png")
    Image.fromarray(pixels(1, 24)).save(labels / "1.png")
    (labels / "2.png").write_bytes(b"x")
    (labels / "3.png").unlink()
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(labels / "3.jpg")
    message = refusal(semantic, "semantic")
    for part in (
        "labels/0.png: holds 255; class numbers 0 to 63 are allowed",
        "labels/1.png: has colours",
        "labels/2.png: not readable",
        "labels/3.jpg: is JPEG",
    ):
        assert part in message
    (semantic / "classes.json").write_text('["bg", "one"]')
    assert "labels/4.png: holds 7; class numbers 0 to 1 are allowed" in refusal(
        semantic, "semantic"
    )
    for text in ("{", '["a"]', '["a", "a"]', '{"0": "a", "2": "b"}', "[1, 2]"):
        (semantic / "classes.json").write_text(text)
        assert "classes.json" in refusal(semantic, "semantic")
    (semantic / "classes.json").unlink()
    for path in labels.iterdir():
        path.unlink()
    for index in range(6):
        Image.fromarray(np.zeros((24, 24), np.uint8)).save(labels / f"{index}.png")
    assert "all 6 labels are background (0)" in refusal(semantic, "semantic")
    assert "class numbers in the labels" in refusal(labels, "semantic")


def test_synthetic_cells_have_classes_of_pixels() -> None:
    data = load(None, "semantic", 32, synthetic_train=5, synthetic_val=2)
    assert data.classes == ("background", "cytoplasm", "nucleus")
    assert data.source == "built-in synthetic cells (no --data given): 5 train, 2 val, seed 0"
    assert set(data.labels.unique().tolist()) == {0, 1, 2}


# --- real data ------------------------------------------------------------------------------


@pytest.mark.skipif(not (REAL / "medmnist").is_dir(), reason="MedMNIST is not there")
def test_real_breastmnist() -> None:
    data = load(REAL / "medmnist" / "breastmnist.npz", "breastmnist", 28, channels=1)
    assert {side: len(ids) for side, ids in data.ids.items()} == {
        "train": 546,
        "val": 78,
        "test": 156,
    }
    assert data.class_counts == (147, 399)


@pytest.mark.skipif(not (REAL / "wbc").is_dir(), reason="the white blood cells are not there")
def test_real_white_blood_cells(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="nasseg.data"):
        data = load(REAL / "wbc", size=16, folds=5)
    assert data.classes == ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
    assert "class 'basophil' has only 1 image" in caplog.text
    side = {name: side for side, ids in data.ids.items() for name in ids}
    assert side["112"] == side["139"]
    pixels_ = load(REAL / "wbc", "semantic", 16)
    assert pixels_.classes == ("background", "class1", "class2")


# --- what lies beside -----------------------------------------------------------------------


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


def test_a_table_reads_nothing_outside_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "private" / "x.png", 0)
    outside = (tmp_path / "private" / "x.png").resolve()
    for value in (str(outside), "../private/x.png"):
        table = write_csv(tmp_path / "set" / "t.csv", [["path", "label"], [value, "a"]])
        assert "no such file at or below" in refusal(table)


def test_a_class_may_be_called_none_and_a_set_be_no_split(tmp_path: Path) -> None:
    rows: list[list[object]] = [["path", "label", "set"]]
    for k in range(8):
        write(tmp_path / f"{k}.png", k)
        rows.append([f"{k}.png", "None" if k % 2 else "Mild", "aptos"])
    assert load(write_csv(tmp_path / "t.csv", rows)).classes == ("Mild", "None")


def test_a_set_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    medmnist(tmp_path / "breastmnist.npz")
    said = refusal(tmp_path / "breastmnist.npz", "pneumoniamnist")
    assert "is breastmnist by its name" in said


def test_a_folder_gives_the_size_that_need_not_be_enlarged(tmp_path: Path) -> None:
    medmnist(tmp_path / "breastmnist.npz")
    arrays = {}
    for side, count in (("train", 8), ("val", 4), ("test", 4)):
        arrays[f"{side}_images"] = stack(count, 64, 1)
        arrays[f"{side}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, None]
    save_npz(tmp_path / "breastmnist_64.npz", **arrays)
    assert len(load(tmp_path, "breastmnist", size=28).train_ids) == 12
    assert len(load(tmp_path, "breastmnist", size=64).train_ids) == 8


def test_columns_without_a_table_are_refused(folder: Path) -> None:
    assert "no table with columns" in refusal(folder, group_column="patient")


def test_headers_of_any_length_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        length = 50_000_000
        head = b"\x93NUMPY\x02\x00" + struct.pack("<I", length)
        archive.writestr("images.npy", head + b" " * length)
    assert "has a header of 50000000 bytes" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        broken = b"{'descr': '|u1', 'shape': ((((" + b" " * 20
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(broken))
        archive.writestr("images.npy", head + broken)
    assert "not readable as .npz" in refusal(path)
