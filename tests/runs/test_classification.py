"""Classification from the first image to the leaderboard's file, on synthetic cells."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from nasseg.cli import main
from nasseg.compare import compare, format_comparison
from nasseg.config import AnalogConfig, DataConfig, LabelConfig, RunConfig, TrainConfig
from nasseg.data import load_data
from nasseg.errors import ConfigError, RunError
from nasseg.search_spaces import get_space
from nasseg.studies.study import open_study
from nasseg.tasks import task_for
from nasseg.tasks.class_metrics import (
    predict_probabilities,
)
from nasseg.training import recipe
from nasseg.training.recipe import analog_task, train_analog

TINY = [
    "--data.image_size=16",
    "--data.synthetic_train=32",
    "--data.synthetic_val=16",
    "--train.epochs=2",
    "--train.eval_every=1",
    "--train.batch_size=8",
    "--analog.epochs=1",
    "--analog.statistics_chips=1",
    "--drift.chips=2",
    "--drift.sweep_chips=0",
    "--drift.recalibrate_images=16",
    "--device=cpu",
    "--quiet",
]


def run(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def arch(tmp_path_factory):
    space = get_space("resnet")
    small = space.canonical({**space.default(), "out_channel0": 8, "M": 1, "R1": 1})
    path = tmp_path_factory.mktemp("arch") / "arch.json"
    path.write_text(json.dumps(small))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, arch):
    out = tmp_path_factory.mktemp("run") / "cells"
    run("run", "--task", "classification", "--arch", arch, *TINY, "--out", out)
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out / f"cell{k}.png")
    return out


def test_the_space_follows_from_the_task_unless_it_is_named():
    cells = DataConfig(task="classification")
    assert RunConfig().search.space == "unet"
    assert RunConfig(data=cells).search.space == "resnet"
    assert DataConfig(task="breastmnist").kind == "classification"
    assert DataConfig(crop=64).kind == "instances"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "classificatoin"], "semantic, classification, or a MedMNIST set"),
        (["--task", "classification", "--crop", "64"], "crop is 64"),
        (["--task", "classification", "--search.space", "unet"], "allowed are "),
        (["--data.augment", "strong"], "data.augment is 'strong'"),
        (["--task", "classification", "--data.fold", "3", "--data.folds", "3"], "fold is 3"),
        (["--train.label_smoothing", "1"], "train.label_smoothing is 1.0"),
        (["--data.folds", "5"], "folds is 5; allowed: not for segmentation"),
        (["--class-weights", "balanced"], "train.class_weights is 'balanced'; allowed: not for"),
        (
            ["--analog.class_weights", "balanced"],
            "analog.class_weights is 'balanced'; allowed: not",
        ),
        (
            ["--task", "classification", "--search.space", "cells"],
            "no surrogate is shipped for the space 'cells'",
        ),
        (["--weights", "x.pt"], "unless search.arch says which network"),
    ],
)
def test_settings_that_cannot_be_are_named(words, said, tmp_path, capsys):
    assert main(["run", *words, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


def test_the_default_search_asks_the_surrogate_that_ships(tmp_path):
    words = ["--search.population_size=8", "--search.nb_iter=2", "--search.runs=1"]
    given = ["search", "--task", "classification", *TINY, *words, "--out", str(tmp_path)]
    assert main(given) == 0
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["space"] == "resnet"
    assert 0.4 < best["predicted"]["day1"] <= 1
    assert best["surrogate"]["metric"] == "auc"


def test_a_network_that_diverged_is_an_error_of_its_own():
    class Nothing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.value = torch.nn.Parameter(torch.tensor(float("nan")))

        def forward(self, x):
            return self.value.expand(len(x), 2)

    with pytest.raises(RunError, match="not finite"):
        predict_probabilities(Nothing(), [(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))])


@pytest.mark.parametrize("words", [("label", "--count", "2"), ("search", "--measure", "2")])
def test_classes_that_cannot_be_weighed_are_said_before_anything_is_trained(
    words, tmp_path, monkeypatch, capsys
):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (40, 14))
    sides = {
        f"{side}_{what}": values[rows]
        for side, rows in (("train", slice(0, 24)), ("val", slice(24, 32)), ("test", slice(32, 40)))
        for what, values in (
            ("images", rng.integers(0, 255, (40, 28, 28)).astype(np.uint8)),
            ("labels", labels),
        )
    }
    np.savez(tmp_path / "chestmnist.npz", **sides)
    monkeypatch.setattr(recipe, "fit", None)
    given = [*words, "--task", "chestmnist", "--data", str(tmp_path / "chestmnist.npz")]
    given += ["--channels", "1", "--image-size", "28", "--analog.class_weights", "balanced"]
    assert main([*given, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "analog.class_weights is 'balanced', but these data do not have one class" in said


def test_the_retraining_weighs_classes_as_training_does_or_as_it_is_told(monkeypatch):
    data = load_data(
        DataConfig(task="classification", image_size=16, synthetic_train=16, synthetic_val=8)
    )
    train = TrainConfig(monitor="auc", tta=True)
    task = task_for(data, train)
    assert analog_task(data, task, train, AnalogConfig()) is task
    own = analog_task(data, task, train, AnalogConfig(class_weights="balanced"))
    assert task.loss().weight is None
    assert len(own.loss().weight) == len(data.classes)
    assert own.monitor == "auc"
    weighted = TrainConfig(class_weights="balanced")
    plain = analog_task(
        data, task_for(data, weighted), weighted, AnalogConfig(class_weights="none")
    )
    assert plain.loss().weight is None
    # What else the task is stays as it is.
    other = dataclasses.replace(task, monitor="f1")
    assert analog_task(data, other, train, AnalogConfig(class_weights="balanced")).monitor == "f1"
    # It is what the retraining minimises.
    seen = []
    monkeypatch.setattr(recipe, "fit", lambda net, *args, **_: seen.append(args[2].loss().weight))
    net = get_space("cells").build(get_space("cells").default(), 3, len(data.classes))
    for config in (AnalogConfig(), AnalogConfig(class_weights="balanced")):
        config = dataclasses.replace(config, statistics_chips=0)
        train_analog(net, data, task, train, config, seed=0)
    assert seen[0] is None
    assert torch.equal(seen[1], own.loss().weight)


def test_results_are_of_the_test_images(folder):
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["monitor"] == "accuracy"
    assert set(summary["digital"]) == {"accuracy", "balanced_accuracy", "auc", "f1"}
    assert summary["images"]["test"] > 0
    assert set(summary["analog"]["86400"]) == {"recalibrated", "uncalibrated"}
    best = json.loads((folder / "best.json").read_text())
    assert best["space"] == "resnet"
    assert len(best["classes"]) == best["out_channels"] == 4
    with np.load(folder / "panels.npz", allow_pickle=False) as panels:
        said = panels["digital"].argmax(1) == panels["labels"]
    assert said.mean() == pytest.approx(summary["digital"]["accuracy"])


def test_the_report_shows_classes(folder):
    page = (folder / "report.html").read_text()
    for text in ("Classified images", "true classes against those said", "balanced accuracy"):
        assert text in page
    assert "Dice" not in page
    for name in ("confusion", "reliability", "panels", "drift", "curves"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5_000


def test_evaluate_repeats_the_scores_of_the_run(folder, tmp_path, capsys):
    run("evaluate", folder, "--out", tmp_path, "--quiet", "--device", "cpu")
    text = capsys.readouterr().out
    found = json.loads((tmp_path / "evaluation.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    assert {k: v["mean"] for k, v in found["metrics"].items()} == pytest.approx(summary["digital"])
    assert f"{summary['digital']['accuracy']:.4f}" in text
    assert "lymphocyte" in text
    assert "first chip" not in text
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.json",
        "confusion.png",
        "reliability.png",
    }
    aged = tmp_path / "aged"
    run("evaluate", folder, "--at", "1day", "--chips", "2", "--out", aged, "--quiet")
    chips = json.loads((aged / "evaluation.json").read_text())
    assert (chips["chips"], chips["at_s"]) == (2, 86_400.0)
    said = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("(first chip)") for line in said) == 2  # calibration error, classes
    other = tmp_path / "val"
    run("evaluate", folder, "--side", "val", "--tta", "--out", other, "--quiet")
    assert json.loads((other / "evaluation.json").read_text())["side"] == "val"


def test_predict_writes_a_file_for_a_leaderboard(folder, images, tmp_path, capsys):
    out = tmp_path / "said.csv"
    run("predict", folder, images, "--csv", out, "--quiet")
    rows = list(csv.DictReader(out.open()))
    assert [row["id"] for row in rows] == ["cell0", "cell1", "cell2"]
    for row in rows:
        shares = {k.removeprefix("p_"): float(v) for k, v in row.items() if k.startswith("p_")}
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
        assert row["label"] == max(shares, key=shares.get)
    # As a test list of a leaderboard names them.
    listed = images / "test.csv"
    listed.write_text("id\ncell2\ncell0\n")
    run("predict", folder, listed, "--csv", out, "--at", "30days", "--chips", "2", "--quiet")
    listed.unlink()
    rows = list(csv.DictReader(out.open()))
    assert [row["id"] for row in rows] == ["cell2", "cell0"]
    assert all(float(row["uncertainty"]) > 0 for row in rows)


def test_one_bad_image_does_not_lose_the_others(folder, images, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    out = tmp_path / "said.csv"
    assert main(["predict", str(folder), str(images), str(bad), "--csv", str(out), "--quiet"]) == 1
    assert "bad.png" in capsys.readouterr().err
    assert len(list(csv.DictReader(out.open()))) == 3


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["predict", "RUN", "IMAGES", "--out", "OUT"], "--csv FILE", 2),
        (["predict", "RUN", "IMAGES"], "out is missing", 2),
        (["predict", "RUN", "nowhere", "--csv", "OUT"], "no such image", 1),
        (["evaluate", "RUN", "--side", "train"], "allowed: val, test", 2),
        (["evaluate", "RUN", "--chips", "3"], "chips needs --at", 2),
        (["evaluate"], "which run", 2),
        (["compare"], "which runs", 2),
        (["compare", "RUN", "RUN"], "named twice", 2),
        (["compare", "nowhere"], "no run folder", 1),
    ],
)
def test_what_is_missing_is_said(words, said, status, folder, images, tmp_path, capsys):
    places = {"RUN": folder, "IMAGES": images, "OUT": tmp_path / "out"}
    assert main([str(places.get(word, word)) for word in words]) == status
    assert said in capsys.readouterr().err


def test_runs_that_differ_by_seed_are_one_row(folder, arch, tmp_path, capsys):
    other = tmp_path / "other"
    run("train", "--task", "classification", "--arch", arch, *TINY, "--seed=1", "--out", other)
    found = compare([folder, other])
    assert [len(group.runs) for group in found.groups] == [2]
    assert found.metrics[0][0] == "accuracy"
    group = found.groups[0]
    assert len(group.values["digital_accuracy"]) == 2
    # The second has not been put onto chips: the pair has no analog value.
    assert group.mean("recalibrated_86400s_accuracy") is None
    run("compare", folder, other, "--out", tmp_path / "both")
    assert "±" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        "compare.csv",
        "compare.md",
        "compare.png",
    }
    third = tmp_path / "third"
    run(
        *("train", "--task", "classification", "--arch", arch, *TINY),
        *("--train.lr=1e-3", "--out", third),
    )
    assert len(compare([folder, other, third]).groups) == 2


def test_a_slip_in_the_task_does_not_lock_the_folder(arch, tmp_path):
    out = tmp_path / "slip"
    assert main(["train", "--data", str(tmp_path / "nowhere"), "--out", str(out)]) == 1
    run("train", "--task", "classification", "--data", "none", "--arch", arch, *TINY, "--out", out)


def test_runs_without_recalibration_stand_beside_others(folder, tmp_path):
    copy = tmp_path / "plain"
    shutil.copytree(folder, copy)
    summary = json.loads((copy / "summary.json").read_text())
    for kinds in summary["analog"].values():
        del kinds["recalibrated"]
    (copy / "summary.json").write_text(json.dumps(summary))
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("recalibrate: true", "recalibrate: false"))
    text = format_comparison(compare([folder, copy]))
    assert " * |" in text
    assert "* = chips as programmed" in text
    assert "Of the test images" in text
    # A star that stands for several networks is none of these.
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    best = json.loads((other / "best.json").read_text()) | {"arch_id": "0" * 12}
    (other / "best.json").write_text(json.dumps(best))
    text = format_comparison(compare([folder, other]))
    assert "/* |" in text
    assert "as programmed" not in text


def test_runs_of_different_tasks_are_not_compared(folder, tmp_path):
    nuclei = tmp_path / "nuclei"
    nuclei.mkdir()
    (nuclei / "summary.json").write_text(json.dumps({"digital": {"dice": 0.9, "iou": 0.8}}))
    with pytest.raises(ConfigError, match="no metric in common"):
        compare([folder, nuclei])
    (nuclei / "summary.json").write_text("{}")
    with pytest.raises(RunError, match="not trained"):
        compare([nuclei])


def test_a_study_from_before_the_retraining_weighed_classes_goes_on(tmp_path):
    data = load_data(
        DataConfig(task="classification", image_size=16, synthetic_train=16, synthetic_val=8)
    )
    config = LabelConfig(
        out=str(tmp_path), space="cells", data=DataConfig(task="classification", image_size=16)
    )
    space = get_space("cells")
    study = open_study(config, space, data).study
    settings = study.user_attrs["settings"]
    del settings["analog"]["class_weights"]
    study.set_user_attr("settings", settings)
    assert open_study(config, space, data).study.study_name == study.study_name
    weighed = dataclasses.replace(config, analog=AnalogConfig(epochs=4, class_weights="balanced"))
    with pytest.raises(RunError, match=r"class_weights"):
        open_study(weighed, space, data)
