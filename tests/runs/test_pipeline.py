"""A run goes from images to a report, continues after kill -9, and refuses to become another."""

import dataclasses
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

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
from nasseg.errors import ConfigError, DataError, RunError, UnknownName
from nasseg.evaluators import XGBoostEvaluator, fit_table
from nasseg.records.folder import RunFolder, read_run_config
from nasseg.runs import stages
from nasseg.search_spaces import get_space

DATA = DataConfig(image_size=16, synthetic_train=16, synthetic_val=6)
SMALL = {
    "out_channel0": 8, "M": 2, "topology": "pyramidal", "R1": 1, "R2": 1, "R3": 0, "R4": 0,
    "R5": 0, "convblock1": 1, "widenfact1": 1.0, "B1": 1, "convblock2": 1, "widenfact2": 2.0,
    "B2": 1, "convblock3": 0, "widenfact3": 0, "B3": 0, "convblock4": 0, "widenfact4": 0,
    "B4": 0, "convblock5": 0, "widenfact5": 0, "B5": 0, "kernel0": 3, "skip": "concat",
    "upsample": "transposed", "dec_kernel": 3, "dec_depth": 1,
}  # fmt: skip


@pytest.fixture
def arch_file(tmp_path: Path) -> Path:
    path = tmp_path / "arch.json"
    path.write_text(json.dumps(SMALL))
    return path


def config(out: Path, arch: Path | None = None, **changes) -> RunConfig:
    parts = {
        "data": DATA,
        "search": SearchConfig(arch=None if arch is None else str(arch)),
        "train": TrainConfig(epochs=3, batch_size=8, eval_every=1),
        "analog": AnalogConfig(epochs=2),
        "drift": DriftConfig(chips=2, times=(1.0, 86_400.0, 2_592_000.0)),
    }
    return RunConfig(out=str(out), threads=1, **{**parts, **changes})


def test_a_run_writes_what_it_promises_and_says_its_scores(tmp_path, arch_file):
    out = tmp_path / "run"
    summary = pipeline.run(config(out, arch_file), progress=False)
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "config.yaml", "best.json", "digital.safetensors", "analog.safetensors", "coverage.json",
        "drift.csv", "metrics.jsonl", "report.html", "summary.json", "panels.npz",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".ckpt", ".tmp"))]
    assert json.loads((out / "summary.json").read_text()) == summary
    assert set(summary["digital"]) == {"dice", "iou", "iou_pooled"}
    assert set(summary["analog"]) == {"1", "86400", "2592000"}
    assert set(summary["analog"]["86400"]) == {"recalibrated", "uncalibrated"}
    assert set(summary["analog"]["1"]["recalibrated"]["dice"]) == {
        "mean",
        "std",
        "p05",
        "p95",
        "min",
    }
    assert set(summary["seconds"]) == {"search", "train", "analog", "drift", "report"}
    table = pd.read_csv(out / "drift.csv")
    assert len(table) == 2 * 3 * 2
    best = json.loads((out / "best.json").read_text())
    assert best["arch"] == SMALL
    assert best["tiles"] == summary["tiles"]
    assert best["params"] == get_space("unet").count_params(get_space("unet").encode([SMALL]))[0]
    with np.load(out / "panels.npz", allow_pickle=False) as panels:
        assert panels["images"].shape == (6, 16, 16, 3)
    assert yaml.safe_load((out / "config.yaml").read_text())["seed"] == 0


def test_a_finished_run_is_not_computed_again(tmp_path, arch_file, monkeypatch):
    settings = config(tmp_path / "run", arch_file)
    first = pipeline.run(settings, progress=False)
    monkeypatch.setattr(stages.train, "train_digital", None)
    monkeypatch.setattr(stages.analog, "train_analog", None)
    monkeypatch.setattr(stages.drift, "age", None)
    again = pipeline.run(settings, progress=False)
    assert again["digital"] == first["digital"]
    assert again["analog"] == first["analog"]


def test_a_finished_run_takes_more_chips(tmp_path, arch_file):
    def drifted(out, chips):
        drift = DriftConfig(chips=chips, times=(1.0, 86_400.0), sweep_chips=0)
        return pipeline.run(config(out, arch_file, drift=drift), progress=False)

    drifted(tmp_path / "a", 1)
    assert drifted(tmp_path / "a", 3)["chips"] == 3
    assert read_run_config(tmp_path / "a").drift.chips == 3
    drifted(tmp_path / "b", 3)
    tables = [(tmp_path / name / "drift.csv").read_bytes() for name in "ab"]
    assert tables[0] == tables[1]
    # Fewer: what was measured stays.
    assert drifted(tmp_path / "a", 2)["chips"] == 3
    assert (tmp_path / "a" / "drift.csv").read_bytes() == tables[0]
    assert read_run_config(tmp_path / "a").drift.chips == 3
    # The report is of all chips, too.
    report = (tmp_path / "b" / "report.html").read_text()
    more = dataclasses.replace(read_run_config(tmp_path / "b").drift, chips=4)
    settings = config(tmp_path / "b", arch_file, drift=more)
    assert pipeline.run(settings, stages=("drift",), progress=False)["chips"] == 4
    assert (tmp_path / "b" / "report.html").read_text() != report


def test_images_may_move(tmp_path, arch_file):
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / "here" / name).mkdir(parents=True)
        for k in range(6):
            pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "here" / name / f"{k}.png")

    def searched(place):
        data = DataConfig(path=str(place), image_size=16)
        run = config(tmp_path / "run", arch_file, data=data)
        return pipeline.run(run, stages=("search", "train"), progress=False)

    searched(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "run" / "digital.safetensors").unlink()
    stages = json.loads((tmp_path / "run" / "stages.json").read_text())
    del stages["train"]
    (tmp_path / "run" / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(DataError, match=r"data\.path is .*here, which is not there .*--data PATH"):
        searched(tmp_path / "here")
    searched(tmp_path / "there")
    assert read_run_config(tmp_path / "run").data.path == str(tmp_path / "there")
    # Of a finished stage, too; and other images are no moved ones.
    (tmp_path / "there").rename(tmp_path / "last")
    searched(tmp_path / "last")
    assert read_run_config(tmp_path / "run").data.path == str(tmp_path / "last")
    (tmp_path / "last" / "images" / "0.png").unlink()
    (tmp_path / "last" / "labels" / "0.png").unlink()
    (tmp_path / "last").rename(tmp_path / "others")
    with pytest.raises(RunError, match="images have changed"):
        searched(tmp_path / "others")


def test_stages_one_by_one_equal_a_run_at_once(tmp_path, arch_file):
    whole = pipeline.run(config(tmp_path / "a", arch_file), progress=False)
    for stage in pipeline.STAGES:
        parts = pipeline.run(config(tmp_path / "b", arch_file), stages=(stage,), progress=False)
    assert parts["digital"] == whole["digital"]
    assert parts["analog"] == whole["analog"]
    for name in ("best.json", "digital.safetensors", "analog.safetensors", "drift.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_changed_setting_is_refused_with_the_difference(tmp_path, arch_file):
    out = tmp_path / "run"
    pipeline.run(config(out, arch_file), stages=("search",), progress=False)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(RunError, match=r"(?s)other settings.*train\.epochs: 3 -> 7"):
        pipeline.run(
            config(out, arch_file, train=TrainConfig(epochs=7, batch_size=8, eval_every=1))
        )
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before


def test_settings_of_a_search_that_the_run_does_not_have_may_change(tmp_path, arch_file):
    def folder(name, n, **search):
        own = config(tmp_path / name, search=SearchConfig(darts_candidates=n, **search))
        RunFolder(own).check_data("fingerprint", "source", {})

    for name, search in (
        ("evolution", {}),
        ("given", {"strategy": "darts", "arch": str(arch_file)}),
    ):
        for n in (20, 150):
            folder(name, n, **search)
    folder("darts", 20, strategy="darts")
    with pytest.raises(RunError, match=r"darts_candidates: 20 -> 150"):
        folder("darts", 150, strategy="darts")
    with pytest.raises(RunError, match=r"(?s)darts_candidates: 20 -> 150.*strategy"):
        folder("darts", 150)


def test_other_images_are_refused(tmp_path, arch_file, monkeypatch):
    out = tmp_path / "run"
    pipeline.run(config(out, arch_file), stages=("search",), progress=False)
    stages = json.loads((out / "stages.json").read_text())
    stages["data"]["fingerprint"] = "other"
    (out / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(RunError, match="the images have changed"):
        pipeline.run(config(out, arch_file), progress=False)


def test_a_second_process_on_the_same_folder_is_refused(tmp_path, arch_file):
    settings = config(tmp_path / "run", arch_file)
    with RunFolder(settings).locked(), pytest.raises(RunError, match="in use by another"):
        pipeline.run(settings, progress=False)


def test_who_waits_for_a_folder_is_told_so_and_has_it_next(
    tmp_path, arch_file, caplog, monkeypatch
):
    # The command line, once used, keeps the package's log to itself.
    monkeypatch.setattr(logging.getLogger("nasseg"), "propagate", True)
    settings = config(tmp_path / "run", arch_file)
    first, second = RunFolder(settings), RunFolder(settings)
    order: list[str] = []

    def wait() -> None:
        with second.locked(wait=True, tell=True):
            order.append("second")

    waiting = threading.Thread(target=wait)
    with first.locked():
        waiting.start()
        deadline = time.monotonic() + 30
        while "held by another" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]
    assert "run is held by another" in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "in use by another nasseg process"),
        (OSError(errno.ENOLCK, "No locks available"), "cannot be locked: No locks available"),
    ],
)
def test_a_lock_that_the_file_system_refuses_names_the_folder(
    tmp_path, arch_file, monkeypatch, error, said
):
    def refuse(handle, flags):
        raise error

    folder = RunFolder(config(tmp_path / "run", arch_file))
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(RunError, match=f"run is {said}|run {said}"), folder.locked():
        pass


HOLDER = """
import sys, time
from nasseg.config import RunConfig
from nasseg.records.folder import RunFolder
with RunFolder(RunConfig(out=sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_the_lock_of_a_folder_ends_with_the_process_that_holds_it(tmp_path):
    folder = RunFolder(RunConfig(out=str(tmp_path / "run")))
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="in use by another"), folder.locked():
            pass
        holder.kill()
        holder.wait()
        with folder.locked(wait=True):
            pass
    with folder.locked():
        pass


def test_a_stage_before_its_time_and_an_unknown_one_are_named(tmp_path, arch_file):
    with pytest.raises(RunError, match=r"best\.json is missing; run the search stage first"):
        pipeline.run(config(tmp_path / "run", arch_file), stages=("train",), progress=False)
    with pytest.raises(ConfigError, match="stages has 'fly'"):
        pipeline.run(config(tmp_path / "run", arch_file), stages=("fly",))


def test_a_bad_architecture_file_is_named(tmp_path):
    path = tmp_path / "arch.json"
    path.write_text(json.dumps({**SMALL, "M": 9}))
    with pytest.raises(ConfigError, match=r"search\.arch: .*arch\.json: .*M cannot be 9"):
        pipeline.run(config(tmp_path / "run", path), progress=False)
    path.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        pipeline.run(config(tmp_path / "run2", path), progress=False)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_killed_in_every_stage_and_continued_equals_an_uninterrupted_run(tmp_path, arch_file):
    flags = [
        "run", "--arch", str(arch_file), "--image-size", "16", "--threads", "1",
        "--data.synthetic_train", "16", "--data.synthetic_val", "6", "--train.epochs", "12",
        "--train.batch_size", "8", "--analog.epochs", "8", "--drift.chips", "4",
        "--drift.times", "1,86400,2592000",
    ]  # fmt: skip
    reference, killed = tmp_path / "reference", tmp_path / "killed"

    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "nasseg", *flags, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    process = start(reference)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    # A file that shows that the stage is under way, and one that shows that it is over.
    for begun, done in (
        ("config.yaml", "best.json"),
        ("train.ckpt", "digital.safetensors"),
        ("analog.ckpt", "analog.safetensors"),
        ("drift.csv", "panels.npz"),
    ):
        process = start(killed)
        while not (killed / begun).exists() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, f"ended before {begun}"
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (killed / done).exists(), f"{done} was there before the kill"
    process = start(killed)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    for name in ("best.json", "digital.safetensors", "analog.safetensors", "drift.csv"):
        assert (killed / name).read_bytes() == (reference / name).read_bytes(), name


def test_labelling_measures_resumes_and_fits_a_surrogate_that_a_run_searches(tmp_path):
    settings = LabelConfig(
        out=str(tmp_path / "labels"),
        count=2,
        threads=1,
        max_params=60_000,
        max_macs_per_pixel=4_000,
        data=DATA,
        train=TrainConfig(epochs=1, batch_size=8),
        analog=AnalogConfig(epochs=1),
        drift=DriftConfig(chips=2, times=(1.0, 86_400.0, 2_592_000.0)),
    )
    table = pipeline.label(settings, progress=False)
    two = pd.read_csv(table)
    assert len(two) == 2
    assert two[["day1", "avm", "std", "p05", "digital", "day1_uncalibrated"]].notna().all(None)
    assert two.params.between(10_000, 60_000).all()
    import dataclasses

    longer = pipeline.label(dataclasses.replace(settings, count=3), progress=False)
    three = pd.read_csv(longer)
    assert len(three) == 3
    pd.testing.assert_frame_equal(three.iloc[:2], two)

    # Enough rows to fit on, made up: what is learned is tested with the surrogate.
    space = get_space("unet")
    rng = np.random.default_rng(0)
    archs = space.sample_lhs(24, rng)
    made_up = pd.DataFrame(
        {
            "arch": [space.to_json(arch) for arch in archs],
            "day1": rng.uniform(0.5, 0.9, 24),
            "avm": rng.uniform(0, 3, 24),
            "std": rng.uniform(0, 0.01, 24),
        }
    )
    made_up.to_csv(tmp_path / "table.csv", index=False)
    fit_table(tmp_path / "table.csv", space, tmp_path / "surrogate")
    assert isinstance(XGBoostEvaluator.load(tmp_path / "surrogate", space), XGBoostEvaluator)
    search = SearchConfig(
        surrogate=str(tmp_path / "surrogate"), population_size=8, nb_iter=3, runs=2,
        max_params=100_000, max_macs_per_pixel=8_000,
    )  # fmt: skip
    for name in ("a", "b"):
        pipeline.run(config(tmp_path / name, search=search), stages=("search",), progress=False)
    best = json.loads((tmp_path / "a" / "best.json").read_text())
    assert best["params"] <= 100_000
    assert best["macs"] <= 8_000 * 16 * 16
    assert len(best["history"]) == 2 * 4
    assert (tmp_path / "a" / "best.json").read_bytes() == (
        tmp_path / "b" / "best.json"
    ).read_bytes()


def test_a_typing_error_does_not_lock_the_folder(tmp_path, arch_file):
    out = tmp_path / "run"
    with pytest.raises(DataError):
        pipeline.run(config(out, arch_file, data=DataConfig(path=str(tmp_path / "nowhere"))))
    with pytest.raises(UnknownName, match="analog preset"):
        pipeline.run(config(out, arch_file, analog=AnalogConfig(preset="pmc")))
    pipeline.run(config(out, arch_file), stages=("search",), progress=False)
    assert (out / "best.json").exists()


def test_a_space_of_classifiers_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"space is 'resnet'.*allowed are basicunet, unet"):
        pipeline.run(config(tmp_path / "run", search=SearchConfig(space="resnet")))
    with pytest.raises(ConfigError, match="classification"):
        pipeline.label(LabelConfig(out=str(tmp_path / "labels"), space="resnet", data=DATA))
    assert not list(tmp_path.glob("*/*"))


def test_damaged_records_are_named(tmp_path, arch_file):
    out = tmp_path / "run"
    pipeline.run(config(out, arch_file), stages=("search",), progress=False)
    (out / "best.json").write_text("{")
    with pytest.raises(RunError, match=r"best\.json cannot be read as JSON"):
        pipeline.run(config(out, arch_file), stages=("train",), progress=False)
    (out / "stages.json").write_text("[")
    with pytest.raises(RunError, match=r"stages\.json cannot be read"):
        pipeline.run(config(out, arch_file), progress=False)
