"""Training crops are of images brought to nuclei of a common diameter; the images stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.pairs import write_pair
from skimage.draw import disk

from nasseg.config import DataConfig
from nasseg.data import NativeData, load_data, load_labelled
from nasseg.data.pixels.native import whole_image
from nasseg.errors import ConfigError, DataError
from nasseg.tasks import get_task
from nasseg.tasks.scale import median_diameter


def write(folder, name: str, radius: int | None) -> None:
    """An image of 96 x 120 pixels with six bright discs, or with none."""
    ids = np.zeros((96, 120), np.int32)
    if radius:
        for number, (row, column) in enumerate([(r, c) for r in (24, 72) for c in (20, 60, 100)]):
            ids[disk((row, column), radius, shape=ids.shape)] = number + 1
    image = np.random.default_rng(0).integers(0, 40, (*ids.shape, 3)).astype(np.uint8)
    image[ids > 0] += 150
    write_pair(folder, name, image, ids.astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "large", 16)
    write(tmp_path, "small", 8)
    write(tmp_path, "none", None)
    write(tmp_path, "val", 16)
    (tmp_path / "splits.json").write_text('{"train": ["large", "none", "small"], "val": ["val"]}')
    return tmp_path


def load(folder, **settings) -> NativeData:
    data = load_data(DataConfig(path=str(folder), crop=32, **settings))
    assert isinstance(data, NativeData)
    return data


@pytest.mark.parametrize("task", ["segmentation", "instances_offset"])
def test_images_are_brought_to_the_diameter_with_their_labels(folder, task):
    data = load(folder, task=task, diameter=16.0)
    large, none, small = data.rescaled
    assert large.size == pytest.approx((48, 60), abs=2)
    assert small.size == pytest.approx((96, 120), abs=4)
    assert none is data.images["train"][1]
    kind = get_task(data.kind)
    for item, own in zip(data.rescaled, data.images["train"], strict=True):
        assert item.image.dtype == torch.uint8
        assert item.image.shape[1:] == item.ids.shape
        assert item.ids.max() == own.ids.max() == len(np.unique(item.ids)) - 1
        assert torch.equal(item.reference, own.reference)
        if kind.directional:
            assert item.target.shape == (0, *item.ids.shape)
        else:
            np.testing.assert_array_equal(item.target.numpy(), kind.targets(item.ids))
        if item is not none:
            assert median_diameter(item.ids) == pytest.approx(16, rel=0.06)
    # The image shows its nuclei where the label has them.
    bright = large.image.float().mean(0).numpy() > 90
    assert (bright == (large.ids > 0)).mean() > 0.95


def test_images_become_larger_too(folder):
    data = load(folder, diameter=32.0)
    assert data.rescaled[2].size == pytest.approx((192, 240), rel=0.06)
    assert data.rescaled[2].ids.max() == 6


def test_what_is_shown_and_the_fingerprint_are_of_the_images_as_they_are(folder):
    plain, data = load(folder), load(folder, diameter=16.0)
    assert not plain.rescaled
    assert data.fingerprint == plain.fingerprint
    for row in range(3):
        np.testing.assert_array_equal(data.image("train", row), plain.image("train", row))
        np.testing.assert_array_equal(data.label("train", row), plain.label("train", row))
    for ours, theirs in (
        (data.loader("train", 4), plain.loader("train", 4)),
        (data.training_sample(3, 4), plain.training_sample(3, 4)),
        (data.val_loader(4), plain.val_loader(4)),
    ):
        for (image, ids), (own, label) in zip(ours, theirs, strict=True):
            assert torch.equal(image, own)
            assert torch.equal(ids, label)


def test_crops_of_training_and_calibration_are_of_the_rescaled_images(folder):
    data = load(folder, diameter=32.0)
    wholes = [whole_image(item.image) for item in data.images["train"]]
    low = min(float(image.min()) for image in wholes)
    high = max(float(image.max()) for image in wholes)
    assert len(next(iter(data.calibration_loader(3)))[0]) == 3
    for loader in (data.train_loader(3, 0, augment=False), data.calibration_loader(3)):
        assert loader._images is data.rescaled
        for image, target in loader:
            assert image.shape == (3, 3, 32, 32)
            assert target.shape == (3, 2, 32, 32)
            assert low - 1e-5 <= float(image.min()) <= float(image.max()) <= high + 1e-5


def test_images_to_be_scored_are_not_rescaled(folder):
    data = load_labelled(str(folder), DataConfig(crop=32, diameter=16.0))
    assert data.diameter == 16
    assert not data.rescaled


def test_rescaled_images_count_against_the_memory(folder):
    config = {"max_cache_gb": 0.0007}
    load(folder, **config)
    load(folder, diameter=16.0, **config)
    with pytest.raises(DataError, match=r"data.diameter = 40 pixels, .* max_cache_gb = 0.0007"):
        load(folder, diameter=40.0, **config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 32, "diameter": 5.0}, r"data.diameter is 5.0; allowed: 8 to 200 pixels, or 0"),
        ({"crop": 32, "diameter": 300.0}, "data.diameter is 300.0; allowed: 8 to 200 pixels"),
        (
            {"diameter": 20.0},
            "data.diameter is 20.0; allowed: 0 for segmentation without data.crop",
        ),
        ({"task": "classification", "diameter": 20.0}, "data.diameter is 20.0; allowed: 0 for"),
        ({"task": "semantic", "crop": 0, "diameter": 20.0}, "data.diameter is 20.0; allowed: 0"),
    ],
)
def test_a_diameter_that_means_nothing_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**settings)
