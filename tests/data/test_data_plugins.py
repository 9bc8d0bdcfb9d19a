"""Kinds of source by name, sources of plug-ins, and arrays in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pairs import write_pair
from PIL import Image

from nasseg.config import DataConfig
from nasseg.data import load_arrays, load_data
from nasseg.data.sources.base import PIXELS, SOURCES, Item, Pair, Source, SourceType
from nasseg.data.sources.find import open_source
from nasseg.errors import ConfigError, DataError, UnknownName
from nasseg.tasks.base import LabelKind

SMALL = {"image_size": 16, "synthetic_train": 8, "synthetic_val": 4}


def nuclei(count: int, side: int = 40, dtype: str = "uint8") -> tuple[np.ndarray, np.ndarray]:
    """Different grey pictures (N, side, side), and labels with two squares each."""
    rng = np.random.default_rng(0)
    top = 255 if dtype == "uint8" else 4000
    images = rng.integers(0, top, (count, side, side)).astype(dtype)
    labels = np.zeros((count, side, side), dtype=np.uint16)
    labels[:, 5:15, 5:15] = 1
    labels[:, 20:30, 18:30] = 2
    return images, labels


def write_folder(root: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        write_pair(root, f"image{row:05d}", image, label, "tif")
    return root


@pytest.fixture
def cities(monkeypatch: pytest.MonkeyPatch) -> type[SourceType]:
    """A source of another package, registered for one test."""
    images, labels = nuclei(6)

    class Cities(SourceType):
        labels: frozenset[LabelKind] = PIXELS
        layouts = ("a file of cities",)

        def recognises(self, path, config):
            return path is not None and path.suffix == ".city"

        def open(self, path, config):
            items = [
                Item(f"c{k}", lambda _, k=k: Pair(images[k][..., None].repeat(3, 2), labels[k]), "")
                for k in range(len(images))
            ]
            return Source("cities", items)

    monkeypatch.setattr(SOURCES, "_entries", dict(SOURCES._entries))
    SOURCES.register("cities")(Cities)
    return Cities


def test_a_source_of_a_plug_in_is_found_by_what_it_recognises(cities, tmp_path: Path) -> None:
    data = load_data(DataConfig(path=str(tmp_path / "some.city"), **SMALL))
    assert "cities" in data.source
    assert sum(data.counts.values()) == 6
    with pytest.raises(DataError, match="or a file of cities"):
        open_source(DataConfig(path=str(tmp_path)))


def test_a_source_is_named_where_the_path_does_not_tell(cities, tmp_path: Path) -> None:
    data = load_data(DataConfig(path=str(tmp_path), source="cities", **SMALL))
    assert "cities" in data.source
    with pytest.raises(UnknownName, match="no data source named 'citys'; did you mean 'cities'"):
        load_data(DataConfig(source="citys"))


def test_a_source_without_the_labels_of_the_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.source is 'kaggle'.*allowed: auto, medm"):
        load_data(DataConfig(task="classification", source="kaggle", path=str(tmp_path)))
    with pytest.raises(DataError, match=r"'folder', but there is no data\.path"):
        load_data(DataConfig(source="folder"))


def test_a_source_of_a_module_is_not_imported_for_a_setting_alone() -> None:
    with pytest.raises(ConfigError, match="NASSEG_PLUGINS=some_package"):
        load_data(DataConfig(source="some_package.zarr:Zarr"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("crop", [0, 32])
def test_arrays_and_files_of_the_same_values_are_the_same_data(
    tmp_path: Path, dtype: str, crop: int
) -> None:
    images, labels = nuclei(8, dtype=dtype)
    config = DataConfig(image_size=24, crop=crop)
    folder = write_folder(tmp_path / "set", images, labels)
    read = load_data(DataConfig(path=str(folder), image_size=24, crop=crop))
    held = load_arrays((list(images), labels), config)
    assert held.train_ids == read.train_ids
    assert held.fingerprint == read.fingerprint
    for (x, y), (a, b) in zip(held.val_loader(4), read.val_loader(4), strict=True):
        torch.testing.assert_close(x, a, rtol=0, atol=0)
        torch.testing.assert_close(y, b, rtol=0, atol=0)
    assert load_arrays((images[:, ::-1], labels), config).fingerprint != held.fingerprint


def test_splits_of_arrays_stay() -> None:
    images, labels = nuclei(8)
    splits = {"train": (images[:5], labels[:5]), "val": (images[5:], labels[5:])}
    data = load_arrays(splits, DataConfig(image_size=16))
    assert data.counts == {"train": 5, "val": 3}
    np.testing.assert_array_equal(
        data.label("val", 0), load_arrays(splits, DataConfig(image_size=16)).label("val", 0)
    )


def test_arrays_with_classes_of_pixels_and_of_images() -> None:
    images, labels = nuclei(8)
    semantic = load_arrays((images, labels), DataConfig(task="semantic", image_size=16))
    assert semantic.classes == ("background", "class1", "class2")
    names = np.array(["b", "a"] * 4)
    whole = load_arrays((images, names), DataConfig(task="classification", image_size=16))
    assert whole.classes == ("a", "b")
    several = load_arrays(
        (images, np.eye(8, 3, dtype=int)), DataConfig(task="classification", image_size=16)
    )
    assert several.multilabel
    assert several.kind == "multilabel"
    parts = {"train": (images[:4], names[:4]), "val": (images[4:6], names[4:6])}
    parts["test"] = (images[6:], names[6:])
    split = load_arrays(parts, DataConfig(task="classification", image_size=16))
    assert split.counts == {"train": 4, "val": 2, "test": 2}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda i, m: (i, m[:3]), "train has 8 images and 3 labels"),
        (lambda i, m: {"train": (i, m), "rest": (i, m)}, "'rest'; allowed: train, val"),
        (lambda i, m: {"train": (i, m)}, "splits are train; allowed: train and val"),
        (lambda i, m: (i[..., None].repeat(7, 3), m), r"shape \(40, 40, 7\); height x width"),
        (lambda i, m: (i, m[:, :20]), "image00000 is 40 x 40, its label is 20 x 40"),
        (lambda i, m: (i * np.float32("nan"), m), "not finite"),
        (lambda i, m: (i, 0 * m), "all 8 labels are empty"),
    ],
)
def test_arrays_that_cannot_be_used_are_named(change, text: str) -> None:
    with pytest.raises(DataError, match=text):
        load_arrays(change(*nuclei(8)), DataConfig(image_size=16))


def test_arrays_cannot_be_opened_again_from_settings() -> None:
    with pytest.raises(DataError, match="hand the same arrays over again"):
        load_data(DataConfig(source="arrays"))


def test_sixteen_bits_from_file_and_array_are_one_network_input(tmp_path: Path) -> None:
    from nasseg.data.read import as_pixels, read_image

    deep = np.random.default_rng(1).integers(100, 3000, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", 3), as_pixels(deep, 3))
