"""Splits, batches, augmentation, synthetic nuclei, and the real data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import get_track_meta
from monai.transforms import ScaleIntensityRangePercentiles
from PIL import Image

from nasseg.data import BatchLoader, DataConfig, SegmentationData, load_data
from nasseg.data import normalise as normalising
from nasseg.data.pixels.augment import Augment
from nasseg.data.pixels.scenes import group_scenes, scene_of_name, trace_image
from nasseg.data.pixels.split import split_groups
from nasseg.data.pixels.stain import RandStain
from nasseg.data.sources.synthetic_nuclei import draw_nuclei
from nasseg.errors import DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "dsb2018"


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    return load_data(DataConfig(image_size=32, synthetic_train=11, synthetic_val=3))


def batches(loader: BatchLoader, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader.set_epoch(epoch)
    return list(loader)


def test_synthetic_nuclei_are_the_default_and_say_so(data: SegmentationData) -> None:
    assert data.source == ("built-in synthetic nuclei (no --data given): 11 train, 3 val, seed 0")
    assert (len(data.train_ids), len(data.val_ids)) == (11, 3)
    assert 0.01 < data.labels.float().mean() < 0.5


def test_synthetic_images_depend_on_seed_and_index_only(data: SegmentationData) -> None:
    more = load_data(DataConfig(image_size=32, synthetic_train=12, synthetic_val=2))
    np.testing.assert_array_equal(more.image("train", 10), data.image("train", 10))
    np.testing.assert_array_equal(more.image("val", 1), data.image("val", 1))
    other = load_data(DataConfig(image_size=32, synthetic_train=1, synthetic_val=1, seed=1))
    assert (other.image("train", 0) != data.image("train", 0)).any()
    assert other.fingerprint != data.fingerprint


def test_synthetic_nuclei_come_on_dark_and_bright_fields_and_differ_from_their_surroundings() -> (
    None
):
    means = []
    for index in range(16):
        image, labels = draw_nuclei(np.random.default_rng([3, index]), 192)
        means.append(image.mean())
        inside, outside = image[labels > 0].mean(), image[labels == 0].mean()
        bright = means[-1] > 110
        assert (inside < outside) if bright else (inside > outside)
        assert labels.max() >= 2
    assert 1 <= sum(mean > 110 for mean in means) <= 8


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_batches_have_the_channels_and_values_promised(channels: int) -> None:
    loaded = load_data(
        DataConfig(image_size=33, channels=channels, synthetic_train=5, synthetic_val=1)
    )
    assert loaded.in_channels == channels
    assert loaded.image("train", 0).shape == (33, 33, channels)
    for image, label in loaded.train_loader(2, seed=0):
        assert image.shape == (2, channels, 33, 33)
        assert label.shape == (2, 1, 33, 33)
        assert type(image) is type(label) is torch.Tensor
        assert image.dtype == label.dtype == torch.float32
        assert torch.isfinite(image).all()
        assert set(label.unique().tolist()) <= {0.0, 1.0}


def test_batches_are_a_function_of_seed_and_epoch(data: SegmentationData) -> None:
    reference = batches(data.train_loader(4, seed=5), 3)
    again = data.train_loader(4, seed=5)
    batches(again, 0)  # what came before does not matter
    np.random.seed(1)  # noqa: NPY002 - the global generators do not matter either
    torch.manual_seed(1)
    for (a, b), (c, d) in zip(reference, batches(again, 3), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    assert not torch.equal(reference[0][0], batches(again, 4)[0][0])
    assert not torch.equal(reference[0][0], batches(data.train_loader(4, seed=6), 3)[0][0])


def test_batches_leave_global_state_alone(data: SegmentationData) -> None:
    before, tracking = torch.get_rng_state(), get_track_meta()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    batches(data.train_loader(4, seed=0), 0)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert get_track_meta() is tracking is True


def test_partial_batches_are_dropped_in_training_only(data: SegmentationData) -> None:
    def sizes(loader: BatchLoader) -> list[int]:
        found = [len(image) for image, _ in loader]
        assert len(found) == len(loader)
        return found

    assert sizes(data.train_loader(4, seed=0)) == [4, 4]
    assert sizes(data.train_loader(11, seed=0)) == [11]
    assert sizes(data.train_loader(32, seed=0)) == [11]
    assert sizes(data.calibration_loader(4)) == [4, 4, 3]
    assert sizes(data.val_loader(2)) == [2, 1]


def test_calibration_is_the_training_images_in_order_unaugmented(data: SegmentationData) -> None:
    labels = torch.cat([label for _, label in data.calibration_loader(4)])
    for index in range(11):
        np.testing.assert_array_equal(labels[index, 0].numpy(), data.label("train", index))
    plain = torch.cat([label for _, label in data.train_loader(11, seed=0, augment=False)])
    assert not torch.equal(plain, labels)
    assert sorted(plain.sum((1, 2, 3)).tolist()) == sorted(labels.sum((1, 2, 3)).tolist())


def test_augmentation_moves_label_and_image_together() -> None:
    rng = np.random.default_rng(0)
    labels = np.stack([draw_nuclei(rng, 96)[1] > 0 for _ in range(8)])
    label = torch.from_numpy(labels[:, None].astype(np.float32))
    image = label.expand(-1, 3, -1, -1).clone()
    augment = Augment(96)
    moved = 0
    for seed in range(12):
        augment.seed(seed)
        new_image, new_label = augment.spatial(image, label)
        assert set(new_label.unique().tolist()) <= {0.0, 1.0}
        # Bilinear and nearest differ at edges, but by less than half of a one-pixel shift.
        wrong = ((new_image > 0.5) != (new_label > 0.5)).float().mean()
        shifted = (new_label != new_label.roll(1, dims=-1)).float().mean()
        assert wrong < 0.5 * shifted
        moved += int(not torch.equal(new_label, label))
    assert moved >= 10


def test_augmentation_changes_colour_but_not_alpha() -> None:
    images = torch.rand(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    stain = RandStain()
    stain.set_random_state(seed=0)
    changed = stain(images)
    assert torch.equal(changed[:, 3], images[:, 3])
    assert (changed[:, :3] - images[:, :3]).abs().mean() > 0.02
    assert changed.min() >= 0
    assert changed.max() <= 1
    grey = RandStain(grey_prob=1.0, channel_gamma=0.0)
    grey.set_random_state(seed=0)
    merged = grey(images[:, :3])
    torch.testing.assert_close(merged[:, 0], merged[:, 2])


def test_normalisation_is_monais_without_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) ** 3
    monkeypatch.setattr(normalising, "CONTRAST_FLOOR", 0.0)
    reference = ScaleIntensityRangePercentiles(1, 99, -1, 1)
    expected = torch.stack([torch.as_tensor(reference(image.sqrt())) for image in images])
    torch.testing.assert_close(normalising.normalise(images), expected, rtol=1e-4, atol=1e-5)


def test_normalisation_of_a_flat_image_is_finite() -> None:
    flat = normalising.normalise(torch.full((1, 3, 16, 16), 0.3))
    torch.testing.assert_close(flat, torch.full_like(flat, -1.0))


def crops_of_scenes() -> tuple[list[str], list[np.ndarray], list[int]]:
    """Four scenes cut into four crops each, under names that say nothing."""
    names, crops, scenes = [], [], []
    for scene in range(4):
        rng = np.random.default_rng([21, scene])
        # Detail along every border, so that they have something to match.
        noise = Image.fromarray(rng.integers(0, 255, (30, 30, 3), dtype=np.uint8))
        picture = np.asarray(noise.resize((192, 192), Image.Resampling.BICUBIC))
        for row in (0, 96):
            for column in (0, 96):
                names.append(f"{rng.integers(2**60):016x}")
                crops.append(picture[row : row + 96, column : column + 96])
                scenes.append(scene)
    return names, crops, scenes


def test_crops_of_one_scene_are_found_by_their_borders() -> None:
    names, crops, scenes = crops_of_scenes()
    groups = group_scenes(names, [trace_image(crop) for crop in crops])
    assert groups == scenes


def test_copies_are_found_though_resized_and_compressed(tmp_path: Path) -> None:
    pictures = [draw_nuclei(np.random.default_rng([31, i]), 192)[0] for i in range(5)]
    copy = Image.fromarray(pictures[1]).resize((150, 140), Image.Resampling.BILINEAR)
    copy.save(tmp_path / "copy.jpg", quality=70)
    pictures += [np.asarray(Image.open(tmp_path / "copy.jpg")), pictures[3].copy()]
    groups = group_scenes([f"p{i}" for i in range(7)], [trace_image(p) for p in pictures])
    assert groups == [0, 1, 2, 3, 4, 1, 3]


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("scene_r0_c1", "scene"),
        ("Slide7-row10-col2", "slide7"),
        ("a_b_x256_y0", "a_b"),
        ("liver_tile12", "liver"),
        ("liver-crop-3", "liver"),
        ("image_12", None),
        ("tile3", None),
        ("0a1b2c3", None),
    ],
)
def test_tile_names_give_their_scene(name: str, scene: str | None) -> None:
    assert scene_of_name(name) == scene


def test_split_keeps_scenes_whole_whatever_the_order_of_listing(tmp_path: Path) -> None:
    names, crops, scenes = crops_of_scenes()
    for number, order in enumerate((range(16), reversed(range(16)))):
        for folder in ("images", "labels"):
            (tmp_path / str(number) / folder).mkdir(parents=True)
        for index in order:
            path = tmp_path / str(number) / "images" / f"{names[index]}.png"
            Image.fromarray(crops[index]).save(path)
            label = Image.fromarray((crops[index][..., 0] > 128).astype(np.uint8))
            label.save(tmp_path / str(number) / "labels" / path.name)
    config = {"image_size": 16, "val_fraction": 0.3}
    first = load_data(DataConfig(path=str(tmp_path / "0"), **config))
    second = load_data(DataConfig(path=str(tmp_path / "1"), **config))
    assert first.val_ids == second.val_ids
    assert len(first.val_ids) == 4
    assert first.fingerprint == second.fingerprint
    scene = dict(zip(names, scenes, strict=True))
    assert not {scene[i] for i in first.train_ids} & {scene[i] for i in first.val_ids}
    seeds = {
        load_data(DataConfig(path=str(tmp_path / "0"), seed=seed, **config)).val_ids
        for seed in range(6)
    }
    assert len(seeds) > 1


def test_split_size_and_its_limits() -> None:
    ids = [f"i{n:03d}" for n in range(100)]
    split = split_groups(ids, list(range(100)), 0.2, seed=0)
    assert (len(split.train), len(split.val)) == (80, 20)
    shuffled = [int(n) for n in np.random.default_rng(0).permutation(100)]
    again = split_groups([ids[n] for n in shuffled], shuffled, 0.2, seed=0)
    assert again == split
    assert split_groups(["a", "b", "c"], [0, 0, 1], 0.1, seed=0).val == ["c"]
    assert split_groups(["a", "b"], [0, 1], 0.99, seed=0).train != []
    with pytest.raises(DataError, match=r"splits\.json"):
        split_groups(["a", "b"], [0, 0], 0.2, seed=0)


def test_dsb2018_loads_with_its_split() -> None:
    if not REAL.is_dir():
        pytest.skip(f"real data not found: {REAL}")
    data = load_data(DataConfig(path=str(REAL), image_size=32))
    split = json.loads((REAL / "splits.json").read_text())
    assert data.train_ids == tuple(sorted(split["train"]))
    assert data.val_ids == tuple(sorted(split["val"]))
    assert (len(data.train_ids), len(data.val_ids)) == (470, 98)
    assert 0.05 < data.labels.float().mean() < 0.3
    images = torch.cat([image for image, _ in data.val_loader(32)])
    assert images.shape == (98, 3, 32, 32)
    assert images.abs().max() <= normalising.LIMIT
