"""Images with a class for each pixel."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.class_images import load, pixels, refusal, write
from PIL import Image

from nasseg.data import SegmentationData
from nasseg.data.pixels.augment import Augment
from nasseg.runs.panels import panels
from nasseg.tasks import get_task, task_for


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
    kept, say = panels(data, get_task("semantic"), 4, torch.device("cpu"))
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
