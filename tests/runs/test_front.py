"""A trained network in three lines: arrays in, labels out, digital or on aged chips."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from helpers.pairs import write_pair
from PIL import Image
from safetensors.torch import save_file

import nasseg
from nasseg.cli import main
from nasseg.errors import ConfigError, DataError, RunError
from nasseg.runs.calibration import kept_calibration

OLDER = Path(__file__).parent / "older"
SMALL = {
    "train.epochs": 2,
    "train.batch_size": 8,
    "train.eval_every": 2,
    "analog.epochs": 1,
    "analog.statistics_chips": 1,
    "drift.times": (1.0, 86_400.0),
    "drift.sweep_chips": 0,
    "chips": 2,
    "threads": 1,
}
ARCH = json.loads((OLDER / "finished" / "best.json").read_text())["arch"]


def read(name: str) -> np.ndarray:
    """Return one of the example images, uint8 (H, W, 3)."""
    return np.asarray(Image.open(OLDER / "images" / name).convert("RGB"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Copies of finished runs: of resized nuclei, of instances, of classes of images."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("finished", "instances", "classification"):
        shutil.copytree(OLDER / name, folder / name)
    return folder


@pytest.fixture
def arch(tmp_path) -> str:
    path = tmp_path / "arch.json"
    path.write_text(json.dumps(ARCH))
    return str(path)


def nuclei(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 32, 32) with bright squares, and their instance labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((count, 32, 32), dtype=np.int32)
    for label in labels:
        for number in range(1, 4):
            top, left = rng.integers(0, 24, 2)
            label[top : top + 7, left : left + 7] = number
    images = np.where(labels > 0, 180, 40) + rng.integers(0, 30, labels.shape)
    return images.astype(np.uint8), labels


def test_importing_the_package_imports_nothing_heavy():
    code = "import nasseg, sys; print(sorted({'torch', 'numpy', 'monai'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert callable(nasseg.load)
    with pytest.raises(AttributeError):
        _ = nasseg.nothing


@pytest.mark.parametrize("name", ["finished", "instances"])
def test_pixels_are_labelled_as_the_command_labels_them(runs, tmp_path, name):
    image = read("nuclei.png")
    net = nasseg.load(runs / name)
    found = net.predict(image)
    assert found.labels.shape == image.shape[:2]
    assert found.probability.shape[1:] == image.shape[:2]
    assert found.count == found.labels.max()
    assert found.uncertainty is None
    assert found.overlay().shape == image.shape
    out = tmp_path / "out"
    file = str(OLDER / "images" / "nuclei.png")
    assert main(["predict", str(runs / name), file, "--out", str(out), "--quiet"]) == 0
    assert np.array_equal(tifffile.imread(out / "nuclei.tif"), found.labels)
    aged = net.age("1 day", chips=2)
    first = aged.predict(image)
    words = ["predict", str(runs / name), file, "--out", str(out), "--quiet"]
    assert main([*words, "--at", "1day", "--chips", "2"]) == 0
    assert np.array_equal(tifffile.imread(out / "nuclei.tif"), first.labels)
    assert np.array_equal(tifffile.imread(out / "nuclei_uncertainty.tif"), first.uncertainty)
    # Nothing that a prediction draws is left over for the next one.
    again = aged.predict(image)
    assert np.array_equal(first.probability, again.probability)
    assert np.array_equal(first.uncertainty, again.uncertainty)


@pytest.mark.parametrize("name", ["finished", "instances"])
def test_an_aged_chip_labels_an_image_alone_as_in_a_list(runs, name):
    image = read("nuclei.png")
    aged = nasseg.load(runs / name).age("1 month", chips=2)
    alone = aged.predict(image)
    listed = aged.predict([image[::-1], image])[1]
    assert np.array_equal(alone.probability, listed.probability)
    assert np.array_equal(alone.labels, listed.labels)
    assert np.array_equal(alone.uncertainty, listed.uncertainty)
    assert "30 days old, chips 0 to 1" in repr(aged)


def test_a_whole_image_gets_a_class(runs, tmp_path):
    image = read("cell.png")
    net = nasseg.load(runs / "classification")
    found = net.predict(image)
    assert found.classes == ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
    assert found.probability.sum() == pytest.approx(1)
    assert found.names == (found.classes[int(found.labels)],)
    assert found.overlay().ndim == 3
    aged = net.age("1 year", chips=2).predict([image, image])
    assert [float(entry.uncertainty) >= 0 for entry in aged] == [True, True]
    table = tmp_path / "classes.csv"
    words = ["predict", str(runs / "classification"), str(OLDER / "images" / "cell.png")]
    assert main([*words, "--csv", str(table), "--quiet"]) == 0
    row = dict(zip(*(line.split(",") for line in table.read_text().splitlines()), strict=True))
    assert row["label"] == found.names[0]
    assert float(row["p_monocyte"]) == pytest.approx(found.probability[2], abs=1e-6)


@pytest.mark.parametrize("name", ["finished", "instances"])
def test_kinds_of_arrays_are_taken(runs, name):
    net = nasseg.load(runs / name)
    image = read("nuclei.png")
    colour = net.predict(image)
    same = [image[..., :1], image[..., 0]]
    grey = net.predict(same)
    assert np.array_equal(grey[0].labels, grey[1].labels)
    deep = net.predict(image[..., 0].astype(np.uint16) * 200)
    real = net.predict(image[..., 0].astype(np.float32) / 255)
    assert np.array_equal(deep.labels, real.labels)
    with_alpha = np.concatenate([image, np.full_like(image[..., :1], 255)], axis=2)
    assert np.array_equal(net.predict(with_alpha).labels, colour.labels)
    assert net.predict([]) == []
    for one in (torch.from_numpy(image), Image.fromarray(image)):
        assert np.array_equal(net.predict(one).labels, colour.labels)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 40, 40, 3), np.uint8), r"image 0: has shape \(3, 40, 40, 3\)"),
        (np.zeros((8, 40), np.uint8), "image 0: is 8 x 40; 16 x 16 is the least"),
        (np.full((40, 40), np.nan), "image 0: holds values that are not finite"),
        (np.zeros((40, 40), complex), "image 0: holds complex128 values"),
        (np.zeros((0, 40), np.uint8), "image 0: has no pixels"),
        ("nuclei.png", "image is 'nuclei.png'; allowed: arrays"),
    ],
)
def test_other_arrays_are_refused(runs, image, message):
    with pytest.raises(DataError, match=message):
        nasseg.load(runs / "finished").predict(image)


def test_a_network_tells_what_it_is(runs):
    net = nasseg.load(runs / "instances")
    assert net.arch == ARCH
    assert net.task.name == "instances"
    assert net.summary["digital"].keys() >= {"dice", "ap50"}
    assert net.coverage.mac_fraction == 1.0
    assert "unet/" in repr(net)
    assert sum(p.numel() for p in net.module.parameters()) == net.summary["params"]
    cost = net.cost("hermes", 64)
    assert cost.energy_uj.shape == (1,)
    assert net.cost("hermes", 128).energy_uj[0] > cost.energy_uj[0]
    assert net.cost("hermes", np.int64(64)).energy_uj == cost.energy_uj
    with pytest.raises(ConfigError, match="size is 8"):
        net.cost("hermes", 8)


def test_layers_that_a_run_keeps_digital_cost_no_crossbars(runs, tmp_path):
    shutil.copytree(runs / "finished", tmp_path / "run")
    before = nasseg.load(tmp_path / "run").cost("hermes", 64)
    stages = json.loads((tmp_path / "run" / "stages.json").read_text())
    stages["analog"]["digital_layers"] = ["head"]
    (tmp_path / "run" / "stages.json").write_text(json.dumps(stages))
    cost = nasseg.load(tmp_path / "run").cost("hermes", 64)
    assert cost.tiles[0] == before.tiles[0] - 1
    assert cost.macs[0] == before.macs[0]
    assert cost.energy_uj[0] < before.energy_uj[0]


def test_ages_and_chips_are_checked(runs):
    net = nasseg.load(runs / "finished")
    with pytest.raises(ConfigError, match="age is 'soon'"):
        net.age("soon")
    with pytest.raises(ConfigError, match=r"age is '-1\.0'"):
        net.age(-1.0)
    with pytest.raises(ConfigError, match="chips is 0"):
        net.age("1 day", chips=0)
    with pytest.raises(RunError, match="no run folder"):
        nasseg.load(runs / "nowhere")
    with pytest.raises(ConfigError, match="device is 'cuda:99'"):
        nasseg.load(runs / "finished", device="cuda:99")


def test_a_network_is_scored_on_its_own_and_on_other_images(runs, tmp_path):
    net = nasseg.load(runs / "finished")
    own = net.evaluate()
    assert own["dice"] == pytest.approx(net.summary["digital"]["dice"])
    images, labels = nuclei(3)
    other = net.evaluate((images, labels))
    assert other.images == 3
    assert 0 <= other["dice"] <= 1
    for row, (image, label) in enumerate(zip(images, labels.astype(np.uint8), strict=True)):
        write_pair(tmp_path, str(row), image, label)
    assert net.evaluate(tmp_path).metrics == other.metrics
    aged = net.age("30 days", chips=2).evaluate((images, labels))
    assert aged.chips == 2
    assert aged.metrics["dice"]["std"] >= 0


def test_a_classifier_is_scored_on_arrays_of_its_classes(runs):
    net = nasseg.load(runs / "classification")
    images = np.stack([read("cell.png")] * 3)
    found = net.evaluate((images, np.array(["monocyte", "neutrophil", "monocyte"])))
    assert found.images == 3
    assert [entry["images"] for entry in found.classes] == [0, 0, 2, 1]
    with pytest.raises(DataError, match="class 'basophil', which the network does not know"):
        net.evaluate((images, np.array(["monocyte", "basophil", "monocyte"])))


def test_a_folder_copied_without_its_images_still_ages(tmp_path, arch):
    images, labels = nuclei(12)
    for row, (image, label) in enumerate(zip(images, labels.astype(np.uint8), strict=True)):
        write_pair(tmp_path / "data", str(row), image, label)
    run = nasseg.run(
        tmp_path / "data",
        out=tmp_path / "run",
        arch=arch,
        progress=False,
        **{**SMALL, "data.image_size": 32},
    )
    assert set(run.drift["time_s"]) == {1.0, 86_400.0}
    assert run.report is not None
    with_data = nasseg.load(run.folder).age("1 year", chips=2).predict(images[0])
    shutil.copytree(run.folder, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "data")
    without = nasseg.load(tmp_path / "elsewhere").age("1 year", chips=2).predict(images[0])
    assert np.abs(with_data.probability - without.probability).mean() < 0.1
    (tmp_path / "elsewhere" / "calibration.safetensors").unlink()
    with pytest.raises(RunError, match="chips are recalibrated with, cannot be used"):
        nasseg.load(tmp_path / "elsewhere").age("1 year")
    alone = nasseg.load(tmp_path / "elsewhere").age("1 year", chips=1, recalibrate=False)
    assert alone.predict(images[0]).labels.shape == (32, 32)


def test_a_run_on_arrays_is_continued_and_refuses_others(tmp_path, arch):
    data = nuclei(12)

    def run(arrays, stages=None, **changes):
        settings = {**SMALL, "arch": arch, "data.image_size": 32, **changes}
        return nasseg.run(arrays, out=tmp_path / "run", stages=stages, progress=False, **settings)

    first = run(data, stages=("search", "train"))
    assert "analog" not in first.summary
    whole = run(data)
    assert whole.summary["digital"] == first.summary["digital"]
    assert whole.network().predict(data[0][0]).labels.shape == (32, 32)
    other = (data[0] + 1, data[1])
    with pytest.raises(RunError, match="images have changed"):
        run(other, chips=3)
    with pytest.raises(RunError, match=r"data\.source: 'arrays' -> 'auto'"):
        run(None, **{"data.source": "auto"})
    with pytest.raises(RunError, match=r"train\.lr"):
        run(data, **{"train.lr": 1e-4})
    # Another process has no arrays: it ages with what the folder keeps.
    assert nasseg.load(tmp_path / "run").age("1 day", chips=1).predict(data[0][0]).count >= 0
    assert main(["drift", "--out", str(tmp_path / "run"), "--drift.chips", "4", "--quiet"]) == 1


def test_a_measured_search_sees_the_arrays(tmp_path):
    settings = {
        **SMALL,
        "data.image_size": 32,
        "measure": 2,
        "sampler": "random",
        "search.max_params": 60_000,
        "stages": ("search",),
        "progress": False,
    }
    (tmp_path / "proxy.yaml").write_text(
        "data: {image_size: 16}\ntrain: {epochs: 1, batch_size: 8}\n"
        "analog: {epochs: 1, statistics_chips: 1}\ndrift: {chips: 1, recalibrate_images: 8}\n"
    )
    settings["proxy"] = str(tmp_path / "proxy.yaml")
    run = nasseg.run(nuclei(12), out=tmp_path / "run", **settings)
    assert json.loads((run.folder / "best.json").read_text())["measured"]["metric"] == "dice"
    with pytest.raises(ConfigError, match=r"search\.workers is 2; allowed: 1, since"):
        nasseg.run(nuclei(12), out=tmp_path / "other", **{**settings, "workers": 2})


def test_splits_of_arrays_are_kept(tmp_path, arch):
    splits = {"train": nuclei(8, 0), "val": nuclei(4, 1)}
    run = nasseg.run(
        splits,
        out=tmp_path / "run",
        stages=("search", "train"),
        progress=False,
        **{**SMALL, "arch": arch, "data.image_size": 32},
    )
    assert run.summary["images"] == {"train": 8, "val": 4}


def test_splits_of_other_names_are_refused_as_splits(tmp_path, arch):
    splits = {"training": nuclei(8, 0), "holdout": nuclei(4, 1)}
    with pytest.raises(DataError, match=r"splits are 'training', 'holdout'; allowed"):
        nasseg.run(splits, out=tmp_path / "run", progress=False, **{**SMALL, "arch": arch})


def test_settings_are_named_as_on_the_command_line(tmp_path, arch):
    with pytest.raises(ConfigError, match=r"no setting 'train.epoch'; did you mean train.epochs"):
        nasseg.run(out=tmp_path / "run", train={"epoch": 3})
    with pytest.raises(ConfigError, match=r"train\.epochs is 0"):
        nasseg.run(out=tmp_path / "run", train={"epochs": 0})
    with pytest.raises(ConfigError, match=r"analog\.spec\.adc_bits is 1"):
        nasseg.run(out=tmp_path / "run", **{"analog.spec.adc_bits": 1})
    run = nasseg.run(
        {"image_size": 16, "synthetic_train": 8, "synthetic_val": 4},
        out=tmp_path / "run",
        arch=arch,
        stages=("search",),
        progress=False,
        train={"epochs": 2},
    )
    assert run.config.data.image_size == 16
    assert run.config.train.epochs == 2
    typed = {"seed": np.int64(0), "train.lr": np.float64(1e-3), "drift.times": np.array([1.0, 60])}
    other = nasseg.run(
        {"image_size": 16, "synthetic_train": 8, "synthetic_val": 4},
        out=tmp_path / "other",
        arch=arch,
        stages="search",
        progress=False,
        **typed,
    )
    assert other.config.drift.times == (1.0, 60.0)
    with pytest.raises(RunError, match="is missing"):
        run.network()


def test_a_split_that_is_not_there_is_refused_with_those_that_are(runs):
    with pytest.raises(ConfigError, match="side is 'test'; these data have val only"):
        nasseg.load(runs / "finished").evaluate(split="test")


class Stopped(Exception):
    """Stands for whatever ends a loop over chips in its middle."""


def test_a_network_carries_the_chips_of_one_loop_at_a_time(runs):
    net = nasseg.load(runs / "finished")
    day, year = (net.age(age, chips=2, recalibrate=False) for age in ("1 day", "1 year"))
    image = read("nuclei.png")
    before = [aged.predict(image).probability for aged in (day, year)]
    data = nuclei(2)
    with pytest.raises(ConfigError, match="carries a chip already"):
        day.evaluate(data, on_scores=lambda scores: year.predict(image))

    def stop(scores):
        raise Stopped

    try:
        day.evaluate(data, on_scores=stop)
    except Stopped:
        # Here the traceback is alive, and with it all that was at work.
        found = [aged.predict(image).probability for aged in (day, year)]
    assert np.array_equal(found, before)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("classification", "predict_probabilities"), ("finished", "predict_at_scale")],
)
def test_an_interrupted_prediction_leaves_the_network_as_it_was(runs, monkeypatch, name, answer):
    aged = nasseg.load(runs / name).age("1 day", chips=2, recalibrate=False)
    image = read("cell.png")
    before = aged.predict(image).probability

    def stop(*args, **options):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(f"nasseg.network.{answer}", stop)
        try:
            aged.predict(image)
        except Stopped:
            patch.undo()
            found = aged.predict(image).probability
    assert np.array_equal(found, before)


def test_a_long_list_is_worked_on_in_blocks(runs, monkeypatch):
    aged = nasseg.load(runs / "finished").age("1 day", chips=2, recalibrate=False)
    first, second = read("cell.png"), read("nuclei.png")
    alone = aged.predict(second)
    monkeypatch.setattr("nasseg.network.BLOCK", 1)
    found = aged.predict([first, second])[1]
    assert np.array_equal(found.probability, alone.probability)
    assert np.array_equal(found.uncertainty, alone.uncertainty)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(0, 3, 32, 32),
        torch.zeros(10**12, 3, 0, 32),
        torch.zeros(4, 3, 32),
        torch.full((4, 3, 32, 32), torch.nan),
    ],
)
def test_kept_images_that_are_none_are_refused(tmp_path, images):
    save_file({"images": images}, tmp_path / "calibration.safetensors")
    with pytest.raises(RunError, match="holds no images"):
        kept_calibration(tmp_path, 8)


def test_kept_images_are_used_at_any_batch_size(tmp_path):
    save_file({"images": torch.zeros(5, 3, 32, 32)}, tmp_path / "calibration.safetensors")
    assert [len(images) for images, _ in kept_calibration(tmp_path, 1)] == [2, 2]


def test_numbers_are_no_images_and_labels(tmp_path):
    with pytest.raises(DataError, match=r"train is \(int, int\); \(images, labels\) is allowed"):
        nasseg.run((5, 5), out=tmp_path, progress=False)


def test_an_error_names_the_command_that_makes_a_missing_file(runs, tmp_path):
    shutil.copytree(runs / "finished", tmp_path / "run")
    net = nasseg.load(tmp_path / "run")
    (tmp_path / "run" / "analog.safetensors").unlink()
    with pytest.raises(RunError, match=r"analog\.safetensors is missing; `nasseg analog --out"):
        net.age("1 day")
    (tmp_path / "run" / "coverage.json").write_text("{}")
    with pytest.raises(RunError, match=r"coverage\.json cannot be read"):
        _ = net.coverage
    (tmp_path / "run" / "coverage.json").unlink()
    with pytest.raises(RunError, match=r"coverage\.json is missing; `nasseg analog --out"):
        _ = net.coverage
