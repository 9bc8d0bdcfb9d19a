"""Classified images as batches: preprocessing, balance, random views."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.class_images import cells, load, pixels, save_npz, stack, write

from nasseg.data import DataConfig
from nasseg.data.classes.augment import STRENGTHS, ClassAugment, Strength
from nasseg.data.classes.dataset import ClassBatchLoader
from nasseg.data.classes.preprocess import prepare
from nasseg.tasks import task_for


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
