"""Reading folders: layouts, file formats, and what is said of a bad one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from helpers.pairs import write_pair
from PIL import Image

from nasseg.data import DataConfig, load_data
from nasseg.data import read as reading
from nasseg.data.problems import SHOWN
from nasseg.data.sources.synthetic_nuclei import draw_nuclei
from nasseg.errors import DataError


def nuclei(index: int, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """An image and its instance labels, small."""
    image, labels = draw_nuclei(np.random.default_rng([9, index]), 192)
    step = 192 // side
    return np.ascontiguousarray(image[::step, ::step]), np.ascontiguousarray(labels[::step, ::step])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images with instance labels and a split."""
    root = tmp_path / "nuclei"
    for index in range(6):
        write_pair(root, f"n{index}", *nuclei(index))
    split = {"train": [f"n{i}" for i in range(4)], "val": ["n4", "n5"], "note": "kept"}
    (root / "splits.json").write_text(json.dumps(split))
    return root


def load(root: Path, size: int = 24, **settings: object):
    return load_data(DataConfig(path=str(root), image_size=size, **settings))


def refusal(root: Path, **settings: object) -> str:
    with pytest.raises(DataError) as error:
        load(root, **settings)
    return str(error.value)


def test_folder_is_read_with_its_split(folder: Path) -> None:
    data = load(folder)
    assert data.train_ids == ("n0", "n1", "n2", "n3")
    assert data.val_ids == ("n4", "n5")
    assert data.source == f"6 nuclei images from {folder} (4 train, 2 val)"
    image, label = next(iter(data.val_loader(8)))
    assert image.shape == (2, 3, 24, 24)
    assert label.shape == (2, 1, 24, 24)
    assert image.dtype == label.dtype == torch.float32


def test_image_and_label_are_sampled_at_the_same_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(2):
        small = rng.integers(0, 2, (16, 16), dtype=np.uint8)
        big = np.kron(small, np.ones((5, 5), dtype=np.uint8))
        write_pair(tmp_path, f"n{index}", big * 255, big)
    (tmp_path / "splits.json").write_text('{"train": ["n0"], "val": ["n1"]}')
    data = load(tmp_path, 16)
    np.testing.assert_array_equal(data.image("train", 0)[..., 0] // 255, data.label("train", 0))
    assert set(np.unique(data.label("train", 0))) == {0, 1}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "I;16", "1"])
def test_every_kind_of_png_gives_the_channels_asked(
    tmp_path: Path, mode: str, channels: int
) -> None:
    image, _ = nuclei(1)
    path = tmp_path / "x.png"
    if mode == "I;16":
        Image.fromarray(image[..., 0].astype(np.uint16) * 16).save(path)
    else:
        Image.fromarray(image).convert(mode).save(path)
    pixels = reading.read_image(path, channels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (48, 48, channels)
    assert pixels[..., 0].std() > 0
    if channels == 4 and mode not in ("RGBA", "LA"):
        assert (pixels[..., 3] == 255).all()


def test_sixteen_bit_tiff_keeps_its_contrast(tmp_path: Path) -> None:
    image, label = nuclei(2)
    dim = image[..., 0].astype(np.uint16) * 3 + 200  # a camera that fills a hundredth of its range
    dim[0, 0] = 65535  # one hot pixel
    tifffile.imwrite(tmp_path / "x.tif", dim)
    pixels = reading.read_image(tmp_path / "x.tif", 1)[..., 0]
    assert np.ptp(pixels[1:]) > 200
    assert np.corrcoef(pixels[1:].ravel(), image[1:, :, 0].ravel())[0, 1] > 0.99
    tifffile.imwrite(tmp_path / "l.tif", label)
    foreground, kind = reading.read_label(tmp_path / "l.tif")
    np.testing.assert_array_equal(foreground, label > 0)
    assert kind == "instances"


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_planes_and_compression(tmp_path: Path, compression: str | None) -> None:
    image, _ = nuclei(3)
    Image.fromarray(image).save(tmp_path / "x.tif", compression=compression)
    np.testing.assert_array_equal(reading.read_image(tmp_path / "x.tif", 3), image)
    tifffile.imwrite(
        tmp_path / "planes.tif",
        np.moveaxis(image, -1, 0),
        photometric="rgb",
        planarconfig="separate",
    )
    np.testing.assert_array_equal(reading.read_image(tmp_path / "planes.tif", 3), image)


def test_jpeg_images_and_binary_jpeg_labels(tmp_path: Path) -> None:
    image, label = nuclei(0, 96)
    binary = ((label > 0) * 255).astype(np.uint8)
    Image.fromarray(binary).save(tmp_path / "l.jpg", quality=80)
    assert len(np.unique(np.asarray(Image.open(tmp_path / "l.jpg")))) > 2
    foreground, _ = reading.read_label(tmp_path / "l.jpg")
    assert (foreground == (label > 0)).mean() > 0.99
    Image.fromarray(image).save(tmp_path / "x.jpg")
    assert reading.read_image(tmp_path / "x.jpg", 3).shape == image.shape


@pytest.mark.parametrize("top", [1, 255])
def test_binary_labels_equal_instance_labels(folder: Path, tmp_path: Path, top: int) -> None:
    other = tmp_path / "binary"
    for index in range(6):
        image, label = nuclei(index)
        write_pair(other, f"n{index}", image, ((label > 0) * top).astype(np.uint8))
    (other / "splits.json").write_bytes((folder / "splits.json").read_bytes())
    assert load(other).fingerprint == load(folder).fingerprint


def test_kaggle_layout_equals_the_folder_it_was_made_from(folder: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "stage1_train"
    for index in range(6):
        image, label = nuclei(index)
        for sub in ("images", "masks"):
            (raw / f"n{index}" / sub).mkdir(parents=True)
        Image.fromarray(image).convert("RGBA").save(raw / f"n{index}/images/n{index}.png")
        for nucleus in np.unique(label[label > 0]):
            mask = ((label == nucleus) * 255).astype(np.uint8)
            Image.fromarray(mask).save(raw / f"n{index}/masks/{nucleus}.png")
    (raw / "splits.json").write_bytes((folder / "splits.json").read_bytes())
    expected = load(folder)
    assert load(raw).fingerprint == expected.fingerprint
    assert load(raw.parent).fingerprint == expected.fingerprint
    (raw / "splits.json").unlink()
    assert len(load(raw).train_ids) + len(load(raw).val_ids) == 6


def test_kaggle_problems_are_listed_with_their_files(tmp_path: Path) -> None:
    image, label = nuclei(0)
    for name in ("a", "b", "c"):
        (tmp_path / name / "images").mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / name / "images" / f"{name}.png")
    (tmp_path / "b" / "masks").mkdir()
    Image.fromarray(label[:10] > 0).save(tmp_path / "b" / "masks" / "m1.png")
    (tmp_path / "c" / "masks").mkdir()
    (tmp_path / "c" / "masks" / "m2.png").write_bytes(b"not a picture")
    (tmp_path / "c" / "images" / "second.png").write_bytes(b"x")
    message = refusal(tmp_path)
    assert "a/ has no masks/" in message
    assert "b/masks/m1.png is 10 x 48, images/b.png is 48 x 48" in message
    assert "c/images/ holds 2 image files" in message


def test_a_bad_folder_names_every_problem_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, label = nuclei(7)
    (folder / "splits.json").unlink()
    (folder / "labels/n0.png").unlink()
    (folder / "images/n1.png").unlink()
    write_pair(folder, "n2", image, label[:30])
    (folder / "images/n3.png").write_bytes((folder / "images/n3.png").read_bytes()[:200])
    (folder / "labels/n4.png").write_bytes(b"")
    write_pair(folder, "bin", image, ((label > 0) * 255).astype(np.uint8))
    write_pair(folder, "twice", image, label)
    write_pair(folder, "twice", image, label, "tif")
    write_pair(folder, "large", np.zeros((80, 80), np.uint8), np.zeros((80, 80), np.uint8))
    tifffile.imwrite(folder / "images/stack.tif", np.zeros((5, 20, 20), np.uint8))
    tifffile.imwrite(folder / "labels/stack.tif", np.ones((20, 20), np.uint8))
    monkeypatch.setattr(reading, "MAX_PIXELS", 70 * 70)
    message = refusal(folder)
    for part in (
        str(folder),
        "images/n0.png has no labels/n0.*",
        "labels/n1.png has no images/n1.*",
        "images/n2.png is 48 x 48, labels/n2.png is 30 x 48",
        "images/n3.png: not readable",
        "labels/n4.png: not readable",
        "labels/bin.png is binary (0 and 255 only)",
        "images/twice.png and images/twice.tif",
        "images/large.png: 80 x 80 pixels",
        "labels/large.png: 80 x 80 pixels",
        "images/stack.tif: ",
    ):
        assert part in message


def test_bad_splits_are_listed(folder: Path) -> None:
    (folder / "splits.json").write_text(
        json.dumps({"train": ["n0", "n1", "n1", "ghost"], "val": ["n0"]})
    )
    message = refusal(folder)
    for part in ("'n1' twice", "'ghost', which is not", "'n0' is in both train and val"):
        assert part in message
    (folder / "splits.json").write_text("{not json")
    assert "splits.json: not readable as JSON" in refusal(folder)
    (folder / "splits.json").write_text('{"train": ["n0"], "val": []}')
    assert "'val' must be a list" in refusal(folder)


def test_images_outside_the_split_may_lack_labels(folder: Path) -> None:
    (folder / "labels/n3.png").unlink()
    (folder / "splits.json").write_text('{"train": ["n0.png", "n1"], "val": ["n2"]}')
    assert load(folder).train_ids == ("n0", "n1")


def test_empty_label_is_a_warning_but_all_empty_is_an_error(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, label = nuclei(3)
    write_pair(folder, "n3", image, np.zeros_like(label))
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        load(folder)
    assert "labels/n3.png" in caplog.text
    for index in range(6):
        write_pair(folder, f"n{index}", image, np.zeros_like(label))
    assert "all 6 labels are empty" in refusal(folder)


def test_long_lists_are_cut_with_a_count(folder: Path) -> None:
    for index in range(SHOWN + 7):
        (folder / f"images/x{index:02d}.png").write_bytes(b"")
    (folder / "splits.json").unlink()
    message = refusal(folder)
    assert f"label missing ({SHOWN + 7})" in message
    assert "... and 7 more" in message


def test_unknown_layouts_say_what_was_found_and_expected(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "pictures").mkdir()
    assert "holds pictures; expected images/ and labels/" in refusal(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    assert "is a file" in refusal(tmp_path / "file.txt")
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    assert "holds no images" in refusal(tmp_path)


def test_memory_is_estimated_before_anything_is_read(folder: Path) -> None:
    (folder / "images/n0.png").write_bytes(b"never opened")
    message = refusal(folder, size=2048, max_cache_gb=0.05)
    assert "0.101 GB" in message
    assert "max_cache_gb = 0.05" in message
    assert "image_size" in message


def test_equal_images_on_both_sides_of_a_given_split_are_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "images/n5.png").write_bytes((folder / "images/n0.png").read_bytes())
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        load(folder)
    assert "n0 = n5" in caplog.text
