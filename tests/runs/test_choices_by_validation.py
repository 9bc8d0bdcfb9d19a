"""Validation images choose nothing of a run or a labelling whose results are of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.pairs import one_square, write_pair, write_squares
from helpers.stripes import stripes
from PIL import Image
from safetensors.torch import load_file

from nasseg import pipeline
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    DriftConfig,
    LabelConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
)
from nasseg.errors import ConfigError, RunError
from nasseg.evaluators import MeasuredEvaluator
from nasseg.evaluators.measured import Budget
from nasseg.records.folder import read_run_config
from nasseg.records.resolve import resolve_config
from nasseg.runs import job
from nasseg.runs.stages import train as stage
from nasseg.search_spaces import get_space
from nasseg.studies.proxy import check_measured_search, proxy_config
from nasseg.training import recipe

TRAIN = TrainConfig(epochs=4, batch_size=8, eval_every=1, lr=0.3, ema_decay=0.0)


def config(out: Path, kind: str = "segmentation", **train: object) -> RunConfig:
    space = get_space("basicunet" if kind == "segmentation" else "cells")
    arch = space.default() if kind != "segmentation" else {**space.default(), "width": 4}
    file = out.parent / "arch.json"
    file.write_text(json.dumps(arch))
    return RunConfig(
        out=str(out),
        device="cpu",
        threads=1,
        data=DataConfig(task=kind, image_size=16, synthetic_train=16, synthetic_val=6),
        search=SearchConfig(arch=str(file), space=space.name),
        train=dataclasses.replace(TRAIN, **train),  # type: ignore[arg-type]
        analog=AnalogConfig(epochs=1),
        drift=DriftConfig(chips=1, times=(1.0, 86_400.0, 2_592_000.0)),
    )


def older(folder: Path) -> None:
    """Make a folder one of a version that had no setting of which weights are kept."""
    file = folder / "config.yaml"
    saved = yaml.safe_load(file.read_text())
    del saved["train"]["keep"]
    file.write_text(yaml.safe_dump(saved))


def facts(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "stages.json").read_text())["train"]
    return found


def best_epoch(folder: Path) -> int:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    dice = [json.loads(line)["val_dice"] for line in lines]
    return 1 + dice.index(max(dice))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"keep": "best"}, r"train\.keep is 'best'; allowed: auto or last, because results of"),
        ({"patience": 3}, r"train\.patience is 3; allowed: 0, because results of these data are"),
    ],
)
@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_a_choice_by_the_images_of_the_result_is_refused(
    tmp_path, monkeypatch, train, message, kind
):
    if kind == "classification":
        # The built-in images of classes have some for the test.
        monkeypatch.setattr(job, "load_data", lambda config: stripes())
    with pytest.raises(ConfigError, match=message) as caught:
        pipeline.run(config(tmp_path / "run", kind, **train), progress=False)
    named = "data.test_fraction" in str(caught.value)
    assert named == (kind == "classification" and "patience" in train)
    assert not (tmp_path / "run" / "best.json").exists()
    # The folder is not bound to what was refused.
    pipeline.run(config(tmp_path / "run", kind), stages=("search",), progress=False)


def test_patience_means_nothing_where_the_last_weights_are_kept():
    with pytest.raises(ConfigError, match=r"train\.patience is 3; allowed: 0 where keep is 'last'"):
        TrainConfig(patience=3, keep="last")


def test_a_run_keeps_the_weights_at_the_end_of_its_schedule(tmp_path):
    out = tmp_path / "run"
    pipeline.run(config(out), stages=("search", "train"), progress=False)
    assert facts(out)["best_epoch"] == facts(out)["epochs"] == TRAIN.epochs


def test_test_images_leave_the_choice_to_the_validation_images(tmp_path, monkeypatch):
    seen = []
    real = recipe.fit

    def fit(*args, **kwargs):
        seen.append((kwargs["keep"], args[4].patience))
        return real(*args, **kwargs)

    monkeypatch.setattr(recipe, "fit", fit)
    for name, train in (("a", {"patience": 2}), ("b", {"keep": "best"}), ("c", {"keep": "last"})):
        wanted = config(tmp_path / name, "classification", **train)
        pipeline.run(wanted, stages=("search", "train"), progress=False)
    assert seen == [("best", 2), ("best", 0), ("last", 0)]


def test_a_folder_from_before_goes_on_with_the_best_weights(tmp_path, monkeypatch):
    wanted = config(tmp_path / "run")
    monkeypatch.setattr(stage, "train_digital", interrupted(after=2))
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(wanted, stages=("search", "train"), progress=False)
    monkeypatch.undo()
    older(tmp_path / "run")
    assert read_run_config(tmp_path / "run").train.keep == "best"
    assert resolve_config(RunConfig, {"out": str(tmp_path / "run")}).train.keep == "best"
    last = dataclasses.replace(wanted, train=dataclasses.replace(TRAIN, keep="last"))
    with pytest.raises(RunError, match=r"train\.keep: 'best' -> 'last'"):
        pipeline.run(last, stages=("search", "train"), progress=False)
    # The same command as before.
    pipeline.run(wanted, stages=("search", "train"), progress=False)
    assert facts(tmp_path / "run")["best_epoch"] == best_epoch(tmp_path / "run")
    weights = load_file(tmp_path / "run" / "digital.safetensors")
    whole = dataclasses.replace(wanted, out=str(tmp_path / "whole"))
    pipeline.run(whole, stages=("search",), progress=False)
    older(tmp_path / "whole")
    pipeline.run(whole, stages=("search", "train"), progress=False)
    for name, tensor in load_file(tmp_path / "whole" / "digital.safetensors").items():
        assert tensor.equal(weights[name])


def interrupted(after: int):
    def train(*args, **kwargs):
        real = recipe.fit
        with pytest.MonkeyPatch.context() as patch:
            # As a version trained that knew no other weights.
            best = {"keep": "best", "stop_after": after}
            patch.setattr(recipe, "fit", lambda *a, **k: real(*a, **{**k, **best}))
            recipe.train_digital(*args, **kwargs)
        raise KeyboardInterrupt

    return train


def test_patience_of_a_folder_from_before_stays(tmp_path):
    plain = config(tmp_path / "run")
    pipeline.run(plain, stages=("search",), progress=False)
    older(tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    saved = yaml.safe_load(file.read_text())
    saved["train"] |= {"patience": 1, "lr": 1e-9, "epochs": 30}
    file.write_text(yaml.safe_dump(saved))
    train = dataclasses.replace(TRAIN, patience=1, lr=1e-9, epochs=30)
    wanted = dataclasses.replace(plain, train=train)
    pipeline.run(wanted, stages=("search", "train"), progress=False)
    assert facts(tmp_path / "run")["epochs"] < 30


def test_labels_are_of_the_last_weights_whatever_the_data(tmp_path, monkeypatch):
    seen = []
    real = recipe.fit

    def fit(*args, **kwargs):
        seen.append(kwargs["keep"])
        return real(*args, **kwargs)

    monkeypatch.setattr(recipe, "fit", fit)
    labels = LabelConfig(
        out=str(tmp_path / "labels"),
        space="cells",
        count=1,
        device="cpu",
        threads=1,
        min_params=0,
        data=config(tmp_path / "x", "classification").data,
        train=dataclasses.replace(TRAIN, epochs=1),
        analog=AnalogConfig(epochs=0),
        drift=DriftConfig(chips=1, times=(1.0, 86_400.0, 2_592_000.0)),
    )
    for train in ({"keep": "best"}, {"patience": 2}):
        other = dataclasses.replace(labels.train, **train)
        with pytest.raises(ConfigError, match="because scores are measured on the validation"):
            pipeline.label(dataclasses.replace(labels, train=other), progress=False)
        budget = Budget(other, labels.analog, labels.drift)
        with pytest.raises(ConfigError, match="because scores are measured on the validation"):
            MeasuredEvaluator(get_space("cells"), None, None, budget)
        assert not (tmp_path / "labels").exists()
    pipeline.label(labels, progress=False)
    older(tmp_path / "labels")
    # A labelling from before goes on as it was begun, in its study too.
    study = dataclasses.replace(labels, count=2, storage=f"sqlite:///{tmp_path}/other.db")
    pipeline.label(study, progress=False)
    assert seen == ["last", "best"]


def test_a_proxy_chooses_no_weights(tmp_path):
    run = config(tmp_path / "run", "classification", patience=4)
    search = SearchConfig(space="cells", measure=2)
    run = dataclasses.replace(run, search=search)
    assert (proxy_config(run).train.keep, proxy_config(run).train.patience) == ("auto", 0)
    best = dataclasses.replace(run, train=dataclasses.replace(TRAIN, keep="best"))
    assert proxy_config(best).train.keep == "auto"
    file = tmp_path / "proxy.yaml"
    file.write_text("train: {keep: best}")
    proxied = dataclasses.replace(run, search=dataclasses.replace(search, proxy=str(file)))
    with pytest.raises(ConfigError, match=r"train\.keep is 'best'.*scores are measured"):
        check_measured_search(proxied)


def test_labels_of_the_result_choose_neither_architecture_nor_digital_layers(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    val = write_squares(folder, rng)

    def chosen(out: Path) -> list[object]:
        wanted = RunConfig(
            out=str(out),
            device="cpu",
            threads=1,
            data=DataConfig(path=str(folder), image_size=16),
            search=SearchConfig(space="unet", measure=2, sampler="random", max_params=40_000),
            train=TrainConfig(epochs=2, batch_size=4),
            analog=AnalogConfig(epochs=1, digital_layers="auto", sensitivity_chips=1),
        )
        pipeline.run(wanted, stages=("search", "train", "analog"), progress=False)
        best = json.loads((out / "best.json").read_text())
        best["measured"].pop("seconds", None)
        return [
            *(best[key] for key in ("arch_id", "measured", "history")),
            json.loads((out / "sensitivity.json").read_text()),
            (out / "analog.safetensors").read_bytes(),
        ]

    before = chosen(tmp_path / "before")
    for name in val:
        write_pair(folder, name, *one_square(rng))
    assert chosen(tmp_path / "after") == before


def test_a_supernet_is_judged_by_images_that_no_result_is_of(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"

    def write(side: str, count: int, turned: bool) -> None:
        for number in range(count):
            name = "ab"[(number + turned) % 2]
            image = rng.integers(0, 120, (16, 16)).astype(np.uint8)
            image[::4] += 100
            picture = Image.fromarray(image if number % 2 else image.T)
            file = folder / side / name / f"{side}{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)

    write("train", 30, turned=False)
    write("val", 8, turned=False)

    def chosen(out: Path) -> object:
        wanted = RunConfig(
            out=str(out),
            device="cpu",
            threads=1,
            data=DataConfig(task="classification", path=str(folder), image_size=16),
            search=SearchConfig(strategy="darts", darts_epochs=2, darts_candidates=2),
            train=TrainConfig(batch_size=8),
        )
        pipeline.run(wanted, stages=("search",), progress=False)
        best = json.loads((out / "best.json").read_text())
        return best["arch"], best["history"], best["darts"]

    before = chosen(tmp_path / "before")
    shutil.rmtree(folder / "val")
    write("val", 8, turned=True)
    assert chosen(tmp_path / "after") == before
