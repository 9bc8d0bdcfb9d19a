"""Held-out training images stand in for the validation images, which then do not matter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.class_images import pixels, write, write_csv
from helpers.pairs import write_pair

from nasseg.config import DataConfig, RunConfig, SearchConfig
from nasseg.data import Data, load_arrays, load_data, load_labelled
from nasseg.errors import ConfigError, DataError
from nasseg.studies.proxy import proxy_config

SIDE = 40
"""Height and width in pixels of the images."""
TRAIN = [f"scene{scene}_r0_c{column}" for scene in range(6) for column in range(2)]
"""Training images, two of each scene."""
VAL = [f"scene{scene}_r0_c{column}" for scene in (6, 7) for column in range(2)]
"""Validation images of other scenes."""
EVERY = {"train": TRAIN, "val": VAL}


def scene(name: str) -> str:
    return name.split("_")[0]


def image(name: str, changed: bool) -> np.ndarray:
    return pixels((TRAIN + VAL).index(name) + 100 * changed, SIDE)


def instances(name: str, changed: bool) -> np.ndarray:
    """Two nuclei; three elsewhere where they are changed."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    for number in range(2 + changed):
        top = 2 + 12 * number + 2 * changed
        label[top : top + 8, 4 : 12 + (TRAIN + VAL).index(name)] = number + 1
    return label


def class_pixels(name: str, changed: bool) -> np.ndarray:
    """Classes 1 and 2; also 7, which no other label has, where they are changed."""
    label = instances(name, False)
    label[30:, 30:] = 7 * changed
    return label


def write_folder(
    root: Path, changed: bool, label: Callable[[str, bool], np.ndarray], split: bool
) -> None:
    for side, names in EVERY.items():
        for name in names:
            other = changed and side == "val"
            write_pair(root, name, image(name, other), label(name, other))
    if split:
        (root / "splits.json").write_text(json.dumps(EVERY), encoding="utf-8")


def load_pixels(root: Path, changed: bool, split: bool = True, **settings: Any) -> Data:
    semantic = settings.get("task") == "semantic"
    write_folder(root, changed, class_pixels if semantic else instances, split)
    return load_data(DataConfig(path=str(root), image_size=SIDE, **settings))


def load_classes(
    root: Path, changed: bool, grouped: bool, split: bool = True, **settings: Any
) -> Data:
    """Two classes by a CSV, whose column of scenes is the group."""
    rows: list[list[object]] = [["file", "label", "scene", *(["split"] if split else [])]]
    for side, names in EVERY.items():
        for index, name in enumerate(names):
            other = changed and side == "val"
            write(root / f"{name}.png", (TRAIN + VAL).index(name) + 100 * other, SIDE)
            kind = "ab"[(index // 2 + other) % 2]
            rows.append([f"{name}.png", kind, scene(name), *([side] if split else [])])
    path = write_csv(root / "t.csv", rows)
    column = "scene" if grouped else None
    return load_data(
        DataConfig(
            task="classification",
            path=str(path),
            image_size=SIDE,
            group_column=column,
            **settings,
        )
    )


def stacked(changed: bool, label: Callable[[str, bool], np.ndarray]) -> Any:
    return {
        side: tuple(
            np.stack([make(name, changed and side == "val") for name in names])
            for make in (image, label)
        )
        for side, names in EVERY.items()
    }


def load_held(root: Path, changed: bool, **settings: Any) -> Data:
    """Arrays of pixels in memory."""
    return load_arrays(stacked(changed, instances), DataConfig(image_size=SIDE, **settings))


def load_several(root: Path, changed: bool, **settings: Any) -> Data:
    """Arrays of images of several classes in memory."""

    def label(name: str, other: bool) -> np.ndarray:
        index = (TRAIN + VAL).index(name)
        return np.array([index % 2, index % 3 > 0, other or index % 4 == 0])

    settings["task"] = "classification"
    return load_arrays(stacked(changed, label), DataConfig(image_size=SIDE, **settings))


CASES: dict[str, tuple[Callable[..., Data], dict[str, Any]]] = {
    "resized": (load_pixels, {}),
    "native": (load_pixels, {"crop": 32}),
    "native, rescaled": (load_pixels, {"crop": 32, "diameter": 16.0}),
    "offsets": (load_pixels, {"crop": 32, "task": "instances_offset"}),
    "semantic": (load_pixels, {"task": "semantic"}),
    "classes": (load_classes, {"grouped": False}),
    "classes in groups": (load_classes, {"grouped": True}),
    "arrays": (load_held, {}),
    "arrays, native": (load_held, {"crop": 32}),
    "arrays of several classes": (load_several, {}),
}
every_case = pytest.mark.parametrize("case", CASES)
on_disk = pytest.mark.parametrize("case", [name for name in CASES if "arrays" not in name])


def load(case: str, root: Path, changed: bool = False, **settings: Any) -> Data:
    reader, own = CASES[case]
    return reader(root, changed, **own, **settings)


def everything(data: Data) -> Iterator[torch.Tensor]:
    """All that the loaders yield, and what is shown."""
    loader = data.train_loader(4, 0)
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch in loader:
            yield from batch
    for batches in (
        data.val_loader(4),
        data.report_loader(4),
        data.calibration_loader(4),
    ):
        for batch in batches:
            yield from batch
    for side, ids in data.ids.items():
        for index in range(len(ids)):
            yield torch.from_numpy(data.image(side, index))


def ids_of(data: Data) -> set[str]:
    """Ids of all splits, without the suffix of a file."""
    return {name.removesuffix(".png") for ids in data.ids.values() for name in ids}


@every_case
@pytest.mark.parametrize("share", [0.2, 0.4])
def test_what_is_held_out_is_of_the_training_images(case: str, share: float, tmp_path: Path):
    plain, data = load(case, tmp_path), load(case, tmp_path, holdout=share)
    assert set(data.ids) == {"train", "val"}
    assert data.report_side == "val"
    assert sorted(data.train_ids + data.val_ids) == sorted(plain.train_ids)
    assert data.val_ids
    assert data.fingerprint != plain.fingerprint
    assert len(data.val_ids) == pytest.approx(share * 12, abs=2)
    counts = f"{len(data.train_ids)} train, {len(data.val_ids)} held out of the training images"
    assert counts in data.source
    assert data.source.startswith("12 ")
    shown = sum(len(image) for image, _ in data.report_loader(4))
    assert shown == len(data.val_ids)
    assert getattr(data, "classes", ()) == getattr(plain, "classes", ())


@on_disk
def test_the_training_images_of_a_drawn_split_are_divided(case: str, tmp_path: Path):
    for seed in range(3):
        plain = load(case, tmp_path, split=False, seed=seed)
        data = load(case, tmp_path, split=False, seed=seed, holdout=0.3)
        assert sorted(data.train_ids + data.val_ids) == sorted(plain.train_ids)
        assert data.val_ids


@pytest.mark.parametrize(
    "case", ["resized", "native", "native, rescaled", "offsets", "semantic", "classes in groups"]
)
@pytest.mark.parametrize("split", [True, False])
def test_scenes_and_groups_are_not_divided(case: str, split: bool, tmp_path: Path):
    for seed in range(4):
        data = load(case, tmp_path, split=split, seed=seed, holdout=0.3)
        train, val = ({scene(name) for name in ids} for ids in (data.train_ids, data.val_ids))
        assert not train & val


@every_case
def test_the_validation_images_of_the_split_do_not_matter(case: str, tmp_path: Path):
    data = load(case, tmp_path / "one", holdout=0.3)
    other = load(case, tmp_path / "other", changed=True, holdout=0.3)
    assert (
        load(case, tmp_path / "one").fingerprint
        != load(case, tmp_path / "other", changed=True).fingerprint
    )
    assert other.fingerprint == data.fingerprint
    assert other.ids == data.ids
    assert other.source.replace("other", "one") == data.source
    assert other.class_counts == data.class_counts
    assert getattr(other, "classes", ()) == getattr(data, "classes", ())
    for mine, theirs in zip(everything(data), everything(other), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("case", ["resized", "native", "semantic"])
def test_validation_images_of_a_given_split_are_not_read(case: str, tmp_path: Path):
    expected = load(case, tmp_path, holdout=0.3).fingerprint
    for name in VAL:
        (tmp_path / "images" / f"{name}.png").write_bytes(b"no image")
    _, own = CASES[case]
    config = DataConfig(path=str(tmp_path), image_size=SIDE, holdout=0.3, **own)
    assert load_data(config).fingerprint == expected


@pytest.mark.parametrize(
    ("case", "fingerprint"),
    [
        ("resized", "1cbc4abe424e3214"),
        ("native", "27c5ea92d06266d4"),
        ("native, rescaled", "27c5ea92d06266d4"),
        ("offsets", "27c5ea92d06266d4"),
        ("semantic", "321493210233bd19"),
        ("classes", "4fd9a9f5a7798112"),
        ("classes in groups", "4fd9a9f5a7798112"),
        ("arrays", "d9563e77e18cbf74"),
        ("arrays, native", "53d4ad8a97a0ca74"),
        ("arrays of several classes", "baab6f46aa8d2c91"),
    ],
)
def test_without_it_the_data_are_those_of_versions_that_lacked_it(
    case: str, fingerprint: str, tmp_path: Path
):
    data = load(case, tmp_path, holdout=0.0)
    assert data.fingerprint == fingerprint
    assert "(12 train, 4 val)" in data.source


@every_case
def test_it_is_a_function_of_the_seed_of_the_data(case: str, tmp_path: Path):
    first, again = (load(case, tmp_path, holdout=0.3, seed=1) for _ in range(2))
    assert first.ids == again.ids
    assert first.fingerprint == again.fingerprint
    others = [load(case, tmp_path, holdout=0.3, seed=seed) for seed in range(2, 6)]
    assert any(set(other.val_ids) != set(first.val_ids) for other in others)


@pytest.mark.parametrize("case", ["resized", "native", "semantic"])
def test_training_images_of_one_scene_are_refused(case: str, tmp_path: Path):
    _, own = CASES[case]
    load(case, tmp_path)
    split = {"train": TRAIN[:2], "val": VAL}
    (tmp_path / "splits.json").write_text(json.dumps(split), encoding="utf-8")
    config = DataConfig(path=str(tmp_path), image_size=SIDE, holdout=0.3, **own)
    with pytest.raises(DataError) as caught:
        load_data(config)
    assert str(caught.value).startswith(
        f"{tmp_path}: data.holdout is 0.3, but the training images (2) cannot be divided"
    )


def test_training_images_of_one_group_are_refused(tmp_path: Path):
    rows: list[list[object]] = [["file", "label", "patient", "split"]]
    for index in range(8):
        write(tmp_path / f"{index}.png", index)
        side = "train" if index < 4 else "val"
        rows.append([f"{index}.png", "ab"[index % 2], side, side])
    path = write_csv(tmp_path / "t.csv", rows)
    config = DataConfig(task="classification", path=str(path), image_size=16, holdout=0.3)
    with pytest.raises(DataError) as caught:
        load_data(DataConfig(**{**vars(config), "group_column": "patient"}))
    assert f"{path}: data.holdout is 0.3, but the training images cannot" in str(caught.value)
    assert load_data(config).counts == {"train": 2, "val": 2}


def test_every_class_keeps_a_training_image(tmp_path: Path):
    rows: list[list[object]] = [["file", "label", "split"]]
    for index, kind in enumerate("aaaaaabbc"):
        write(tmp_path / f"{index}.png", index)
        rows.append([f"{index}.png", kind, "train"])
    for index, kind in enumerate("abc", 9):
        write(tmp_path / f"{index}.png", index)
        rows.append([f"{index}.png", kind, "val"])
    path = str(write_csv(tmp_path / "t.csv", rows))
    for seed in range(4):
        config = DataConfig(task="classification", path=path, image_size=16, holdout=0.3, seed=seed)
        data = load_data(config)
        assert data.classes == ("a", "b", "c")
        assert min(data.class_counts) > 0


@pytest.mark.parametrize("settings", [{"folds": 3, "fold": 1}, {"test_fraction": 0.25}])
def test_test_images_are_held_out_first(settings: dict[str, Any], tmp_path: Path):
    plain = load("classes in groups", tmp_path, split=False, **settings)
    data = load("classes in groups", tmp_path, split=False, holdout=0.3, **settings)
    assert set(plain.ids) == {"train", "val", "test"}
    assert set(data.ids) == {"train", "val"}
    assert data.report_side == "val"
    assert sorted(data.train_ids + data.val_ids) == sorted(plain.train_ids)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"crop": 64},
        {"crop": 64, "diameter": 20.0},
        {"task": "semantic"},
        {"task": "classification"},
    ],
)
def test_synthetic_training_images_are_held_out(settings: dict[str, Any]):
    small = {"image_size": 32, "synthetic_train": 20, "synthetic_val": 5, **settings}
    plain, data = load_data(DataConfig(**small)), load_data(DataConfig(**small, holdout=0.25))
    assert sorted(data.train_ids + data.val_ids) == sorted(plain.train_ids)
    counts = f"{len(data.train_ids)} train, {len(data.val_ids)} held out of the training images"
    assert f"{counts}, seed 0" in data.source


def test_only_images_that_are_trained_on_are_rescaled(tmp_path: Path):
    data = load("native, rescaled", tmp_path, holdout=0.3)
    assert len(data.rescaled) == len(data.train_ids)


@pytest.mark.parametrize("case", ["resized", "native", "classes"])
def test_images_to_score_a_network_on_are_not_divided(case: str, tmp_path: Path):
    load(case, tmp_path)
    config = DataConfig(
        task="classification" if case == "classes" else "segmentation",
        crop=32 if case == "native" else 0,
        image_size=SIDE,
        holdout=0.3,
    )
    source = tmp_path / "t.csv" if case == "classes" else tmp_path
    whole = load_labelled(source, config, ("a", "b") if case == "classes" else ())
    assert len(whole.val_ids) == 16
    assert "held out" not in whole.source


def test_no_share_of_all_is_held_out() -> None:
    with pytest.raises(ConfigError, match=r"data\.holdout is 1"):
        DataConfig(holdout=1.0)


def test_a_proxy_may_hold_images_out(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text("data: {holdout: 0.2}\n", encoding="utf-8")
    config = RunConfig(search=SearchConfig(measure=4, proxy=str(file)))
    assert proxy_config(config).data == DataConfig(holdout=0.2)
