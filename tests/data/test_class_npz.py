"""Classified images in .npz files: MedMNIST's, plain ones, and damaged ones."""

from __future__ import annotations

import io
import struct
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.class_images import REAL, labels_of, load, pixels, refusal, save_npz, stack

from nasseg.config import MEDMNIST_SETS
from nasseg.data.sources.medmnist import CLASSES, MULTILABEL
from nasseg.errors import MissingDependencyError
from nasseg.tasks import task_for


def medmnist(path: Path, counts=(12, 4, 6), classes: int = 2, **changed: np.ndarray) -> Path:
    arrays, first = {}, 0
    for side, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{side}_images"] = stack(count, 28, 1, first)
        arrays[f"{side}_labels"] = (np.arange(count, dtype=np.uint8) % classes)[:, None]
        first += count
    return save_npz(path, **{**arrays, **changed})


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


@pytest.mark.skipif(not (REAL / "medmnist").is_dir(), reason="MedMNIST is not there")
def test_real_breastmnist() -> None:
    data = load(REAL / "medmnist" / "breastmnist.npz", "breastmnist", 28, channels=1)
    assert {side: len(ids) for side, ids in data.ids.items()} == {
        "train": 546,
        "val": 78,
        "test": 156,
    }
    assert data.class_counts == (147, 399)


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
