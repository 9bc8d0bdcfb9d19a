"""Every kind of image file is read as a viewer shows it, or refused by its name; docs/data.md."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.image_kinds import HEIGHT, KINDS, TRANSPARENT, UNNAMED, WIDTH, Kind
from PIL import Image

from nasseg.config import DataConfig
from nasseg.data.problems import Problems
from nasseg.data.sources.find import open_source
from nasseg.errors import DataError
from nasseg.network import Prediction
from nasseg.predict import pixels as prediction

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.suffix}-{k.name}")


def check(kind: Kind, found: np.ndarray) -> None:
    """Compare uint8 (H, W, 3) with what a viewer shows."""
    assert not isinstance(kind.shown, str), f"read, but expected: {kind.shown}"
    shown = kind.shown if kind.shown.ndim == 3 else np.repeat(kind.shown[..., None], 3, axis=-1)
    assert found.shape == shown.shape
    assert found.dtype == np.uint8
    off = np.abs(found.astype(int) - shown.astype(int)).max()
    assert off <= kind.tolerance, f"off by {off}"


def from_folder(kind: Kind, root: Path, channels: int = 3) -> np.ndarray:
    """As training reads it, beside a label; DataError where it is refused."""
    for name in ("images", "labels"):
        (root / name).mkdir()
    kind.write(root / "images" / f"x.{kind.suffix}")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:9, 3:9] = 1
    Image.fromarray(mask).save(root / "labels" / "x.png")
    (item,) = open_source(DataConfig(path=str(root), channels=channels)).items
    problems = Problems()
    pair = item.read(problems)
    problems.raise_if_any(str(root))
    return pair.image


@each_kind
def test_training_reads_what_a_viewer_shows(kind: Kind, tmp_path: Path) -> None:
    if isinstance(kind.shown, str):
        with pytest.raises(DataError, match=f"images/x.{kind.suffix}: .*{kind.shown}"):
            from_folder(kind, tmp_path)
    else:
        check(kind, from_folder(kind, tmp_path))


@each_kind
def test_prediction_reads_what_a_viewer_shows(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def predict(images: list[np.ndarray]) -> list[Prediction]:
        seen.extend(images)
        empty = np.zeros((HEIGHT, WIDTH), np.int32)
        probability = empty[None].astype(np.float32)
        return [Prediction(empty, probability, (), "segmentation", 0, None, i) for i in images]

    network = SimpleNamespace(predict=predict, task=SimpleNamespace(noun="nuclei"))
    monkeypatch.setattr(prediction, "open_network", lambda *_, **__: network)
    settings = SimpleNamespace(data=DataConfig())
    monkeypatch.setattr(prediction, "read_run_config", lambda *_, **__: settings)
    folder = tmp_path / "images"
    folder.mkdir()
    kind.write(folder / f"x.{kind.suffix}")
    if isinstance(kind.shown, str):
        with pytest.raises(DataError, match=f"x.{kind.suffix}: .*{kind.shown}"):
            prediction.predict("run", [folder], tmp_path / "out", progress=False)
    else:
        prediction.predict("run", [folder], tmp_path / "out", progress=False)
        check(kind, seen[0])


@each_kind
def test_classes_and_kaggle_read_what_a_viewer_shows(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "classes" / "a").mkdir(parents=True)
    path = tmp_path / "classes" / "a" / f"x.{kind.suffix}"
    kind.write(path)
    config = DataConfig(path=str(tmp_path / "classes"), task="classification")
    images = open_source(config).images
    raw = tmp_path / "raw" / "x"
    for name in ("images", "masks"):
        (raw / name).mkdir(parents=True)
    (raw / "images" / path.name).write_bytes(path.read_bytes())
    (item,) = open_source(DataConfig(path=str(raw.parent))).items
    problems = Problems()
    pair = item.read(problems)
    if isinstance(kind.shown, str):
        with pytest.raises(DataError, match=kind.shown):
            images.load(0)
        assert f"x/images/{path.name}: " in problems.message("raw")
    else:
        check(kind, images.load(0))
        check(kind, pair.image)


KEPT = [
    k
    for k in KINDS
    if isinstance(k.shown, str) and k.shown in (TRANSPARENT, UNNAMED) and "minisblack" not in k.name
]


@pytest.mark.parametrize("kind", KEPT, ids=lambda k: f"{k.suffix}-{k.name}")
def test_four_channels_keep_an_opacity_and_a_channel_without_a_name(
    kind: Kind, tmp_path: Path
) -> None:
    pixels = from_folder(kind, tmp_path, channels=4)
    assert pixels.shape == (HEIGHT, WIDTH, 4)
    assert pixels[..., 3].min() < 255
