"""Images at their own scale: crops are functions of the seed, whole images stay whole."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.pairs import write_pair
from PIL import Image

from nasseg.config import DataConfig
from nasseg.data import NativeData, load_data
from nasseg.data.pixels.native import CropLoader, NativeImage, WholeLoader, grid_points, whole_image
from nasseg.data.sources.synthetic_nuclei import draw_nuclei
from nasseg.errors import DataError
from nasseg.tasks.watershed import depth_map


@pytest.fixture
def folder(tmp_path):
    """Six images of three sizes, the first one smaller than a crop."""
    for k, (height, width) in enumerate(
        [(40, 50), (100, 80), (100, 80), (120, 150), (120, 150), (90, 90)]
    ):
        image, ids = draw_nuclei(np.random.default_rng(k), 192)
        write_pair(tmp_path, f"i{k}", image[:height, :width], ids[:height, :width])
    (tmp_path / "splits.json").write_text(
        '{"train": ["i0", "i1", "i3", "i5"], "val": ["i2", "i4"]}'
    )
    return tmp_path


@pytest.fixture
def data(folder) -> NativeData:
    loaded = load_data(DataConfig(path=str(folder), crop=64))
    assert isinstance(loaded, NativeData)
    return loaded


def test_images_and_instances_are_as_in_the_files(folder, data):
    assert [item.size for item in data.images["train"]] == [
        (40, 50),
        (100, 80),
        (120, 150),
        (90, 90),
    ]
    pixels = np.asarray(Image.open(folder / "images" / "i3.png"))
    np.testing.assert_array_equal(data.image("train", 2), pixels)
    ids = np.asarray(Image.open(folder / "labels" / "i3.png"))
    np.testing.assert_array_equal(data.images["train"][2].ids > 0, ids > 0)
    assert data.images["train"][2].ids.max() == len(np.unique(ids[ids > 0]))
    assert data.size == 64
    assert "own scale" in data.source


def test_crops_are_a_function_of_seed_and_epoch(data):
    def batch(seed, epoch):
        loader = data.train_loader(4, seed=seed)
        loader.set_epoch(epoch)
        return next(iter(loader))

    image, target = batch(0, 1)
    assert image.shape == (4, 3, 64, 64)
    assert target.shape == (4, 2, 64, 64)
    assert 0 <= float(target.min()) <= float(target.max()) <= 1
    assert torch.equal(image, batch(0, 1)[0])
    assert not torch.equal(image, batch(0, 2)[0])
    assert not torch.equal(image, batch(1, 1)[0])


def test_a_crop_keeps_image_and_target_in_place():
    """Where the image is its own label, every crop of it says so, zoomed and mirrored too."""
    rng = np.random.default_rng(0)
    ids = np.kron(rng.random((12, 12)) > 0.6, np.ones((8, 8))).astype(np.int32)
    picture = torch.from_numpy(ids.astype(np.uint8) * 255)[None]
    target = torch.from_numpy((np.stack([ids > 0, depth_map(ids)]) * 255).astype(np.uint8))
    item = NativeImage(picture, target, ids, grid_points(picture))
    loader = CropLoader([item] * 8, 128, 8)
    for _ in range(3):
        for k in range(8):
            image, found = loader._cut(item, np.random.default_rng(k))
            assert image.shape == (1, 128, 128)
            agree = ((image[0] > 0.5) == (found[0] > 0.5)).float().mean()
            assert agree > 0.97


def test_large_images_are_drawn_more_often_but_evaluated_once(data):
    small, large = data.images["train"][0], data.images["train"][2]
    images = [small] * 8 + [dataclasses.replace(large)] * 8
    loader = CropLoader(images, 32, 16, seed=0)
    drawn = []
    loader._cut = lambda item, rng: (
        drawn.append(item is small) or CropLoader._cut(loader, item, rng)
    )
    for epoch in range(4):
        loader.set_epoch(epoch)
        list(loader)
    assert len(drawn) == 64
    expected = np.sqrt(40 * 50) / (np.sqrt(40 * 50) + np.sqrt(120 * 150))
    assert np.mean(drawn) == pytest.approx(expected, abs=0.05)


def native(pixels: np.ndarray) -> NativeImage:
    """An image of uint8 (C, H, W) without nuclei."""
    image = torch.from_numpy(pixels)
    ids = np.zeros(pixels.shape[1:], dtype=np.int32)
    return NativeImage(image, torch.zeros(2, *ids.shape, dtype=torch.uint8), ids, image)


@pytest.mark.parametrize(("power", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_images_of_a_rare_kind_are_drawn_more_often(power: float, share: float) -> None:
    dark = native(np.full((3, 64, 64), 9, np.uint8))
    stained = native(np.tile(np.array([220, 120, 200], np.uint8)[:, None, None], (1, 64, 64)))
    loader = CropLoader([dark] * 180 + [stained] * 20, 32, 20, rare_kinds=power)
    drawn = []
    loader._cut = lambda item, rng: (
        drawn.append(item is stained) or CropLoader._cut(loader, item, rng)
    )
    list(loader)
    assert np.mean(drawn) == pytest.approx(share, abs=0.01)


def test_crops_are_shown_up_to_zoom_times_as_large_or_as_small():
    picture = np.zeros((1, 400, 400), np.uint8)
    loader = CropLoader([native(picture)], 64, 1, zoom=2.0)
    sides = []
    whole = dataclasses.replace(native(picture), image=_Recorder(torch.from_numpy(picture), sides))
    for k in range(200):
        loader._cut(whole, np.random.default_rng(k))
    assert 32 <= min(sides) < 36
    assert 120 < max(sides) <= 128
    assert 0.4 < np.mean([side == 64 for side in sides]) < 0.6


class _Recorder:
    """An image that notes the side of every part that is cut out."""

    def __init__(self, image: torch.Tensor, sides: list[int]) -> None:
        self.image, self.sides, self.shape = image, sides, image.shape

    def __getitem__(self, area: tuple[slice, ...]) -> torch.Tensor:
        self.sides.append(area[1].stop - area[1].start)
        return self.image[area]


def test_whole_images_come_once_each_those_of_a_size_together(data):
    images = [*data.images["train"], *data.images["val"]]
    loader = WholeLoader(images, pixels=20_000)
    seen = []
    for rows, (image, ids) in zip(loader.batches, loader, strict=True):
        assert image.shape[2:] == ids.shape[2:]
        assert len(rows) == len(image)
        assert len(rows) == 1 or len(rows) * image.shape[2] * image.shape[3] <= 20_000
        for k, row in enumerate(rows):
            torch.testing.assert_close(image[k : k + 1], whole_image(images[row].image))
        seen += rows
    assert sorted(seen) == list(range(len(images)))


def test_a_crop_has_the_intensities_that_it_has_in_its_whole_image(data):
    loader = data.calibration_loader(4)
    image, _ = next(iter(loader))
    wholes = [whole_image(item.image) for item in data.images["train"]]
    ranges = {(float(w.min()), float(w.max())) for w in wholes}
    for crop in image:
        assert any(
            low - 1e-5 <= float(crop.min()) and float(crop.max()) <= high + 1e-5
            for low, high in ranges
        )


def test_binary_labels_become_their_connected_parts(folder):
    mask = np.zeros((90, 90), dtype=np.uint8)
    mask[10:20, 10:20] = mask[40:60, 40:60] = 255
    for k in range(6):
        size = Image.open(folder / "images" / f"i{k}.png").size
        Image.fromarray(mask).crop((0, 0, *size)).save(folder / "labels" / f"i{k}.png")
    data = load_data(DataConfig(path=str(folder), crop=64))
    assert data.images["train"][3].ids.max() == 2


def test_what_cannot_be_used_at_native_scale_is_named(folder):
    Image.new("RGB", (12, 30)).save(folder / "images" / "i1.png")
    Image.new("L", (12, 30)).save(folder / "labels" / "i1.png")
    with pytest.raises(DataError, match="i1: is 30 x 12 pixels; 16 x 16 is the least"):
        load_data(DataConfig(path=str(folder), crop=64))
    with pytest.raises(DataError, match="max_cache_gb"):
        load_data(DataConfig(path=str(folder), crop=64, max_cache_gb=1e-5))
