"""Classified images are split by class, without leaks, as the seed says."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.class_images import cells, labels_of, load, refusal, write, write_csv

from nasseg.data import DataConfig
from nasseg.data.classes.split import draw_sides, join_units, strata_of
from nasseg.errors import ConfigError, DataError


def test_negative_seeds_are_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"data\.seed is -1"):
        DataConfig(seed=-1)


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
