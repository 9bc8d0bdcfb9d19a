"""Run folders begun by an earlier version are continued, reported and predicted with.

`older/` holds folders that commit 672a9da made on synthetic images: three finished runs, and one
that was killed in its analog stage with a checkpoint at the fourth of six epochs. `expected/` is
what that version wrote from them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file

from nasseg.cli import main

OLDER = Path(__file__).parent / "older"
DEMO = Path(__file__).parents[2] / "docs" / "demo.yaml"


def arithmetic() -> dict[str, str]:
    """Return all that decides how floating-point sums round, beside the code under test."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    packages = ("torch", "numpy", "scipy", "numba", "monai", "aihwkit", "xgboost", "scikit-image")
    return {
        "processor": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        **{name: version(name) for name in packages},
    }


@pytest.fixture(autouse=True)
def one_thread():
    """Compute with one thread, as the expected files were: sums over threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def same_arithmetic() -> bool:
    """True where this machine rounds as the one that the expected files are from."""
    return bool(json.loads((OLDER / "expected" / "arithmetic.json").read_text()) == arithmetic())


def copied(tmp_path: Path, name: str) -> Path:
    """Return a copy of one of the older folders."""
    folder = tmp_path / name
    shutil.copytree(OLDER / name, folder)
    return folder


def drift_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a drift table."""
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_run_killed_in_its_analog_stage_is_continued(tmp_path, same_arithmetic):
    folder = copied(tmp_path, "killed")
    assert main(["run", "--out", str(folder), "--quiet"]) == 0
    own = load_file(folder / "analog.safetensors")
    expected = load_file(OLDER / "expected" / "uninterrupted.safetensors")
    assert own.keys() == expected.keys()
    same = same_arithmetic
    for name, tensor in expected.items():
        assert torch.equal(own[name], tensor) if same else own[name].shape == tensor.shape, name
    rows = drift_table(folder / "drift.csv")
    known = drift_table(OLDER / "expected" / "uninterrupted.csv")
    assert rows == known if same else len(rows) == len(known)
    assert (folder / "report.html").is_file()
    assert not (folder / "analog.ckpt").exists()


@pytest.mark.parametrize("name", ["finished", "instances", "classification"])
def test_a_finished_run_is_known_as_finished(tmp_path, name, monkeypatch):
    folder = copied(tmp_path, name)
    before = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    table = (folder / "drift.csv").read_bytes()
    stages = json.loads((folder / "stages.json").read_text())
    assert main(["run", "--out", str(folder), "--quiet"]) == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} == before
    assert (folder / "drift.csv").read_bytes() == table
    after = json.loads((folder / "stages.json").read_text())
    for stage in ("search", "train", "analog", "drift"):
        assert after[stage] == stages[stage]


@pytest.mark.parametrize("name", ["finished", "instances", "classification"])
def test_a_finished_run_is_reported_and_compared(tmp_path, name):
    folder = copied(tmp_path, name)
    assert main(["report", str(folder)]) == 0
    assert "<svg" in (folder / "report.html").read_text()
    assert main(["compare", str(folder), "--out", str(tmp_path / "comparison")]) == 0


def test_a_finished_run_takes_more_chips(tmp_path, same_arithmetic):
    folder = copied(tmp_path, "finished")
    before = drift_table(folder / "drift.csv")
    assert main(["drift", "--out", str(folder), "--drift.chips", "3", "--quiet"]) == 0
    rows = drift_table(folder / "drift.csv")
    assert rows[: len(before)] == before
    assert {row["chip"] for row in rows} == {"0", "1", "2"}


@pytest.mark.parametrize("name", ["finished", "instances"])
@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("", []),
        ("at1daychips2", ["--at", "1day", "--chips", "2"]),
        ("at1daychips2uncalibrated", ["--at", "1day", "--chips", "2", "--uncalibrated"]),
    ],
)
def test_a_finished_run_predicts_the_same_labels(tmp_path, name, kind, flags, same_arithmetic):
    folder = copied(tmp_path, name)
    out = tmp_path / "out"
    words = ["predict", str(folder), str(OLDER / "images" / "nuclei.png"), "--out", str(out)]
    assert main([*words, *flags, "--quiet"]) == 0
    labels = tifffile.imread(out / "nuclei.tif")
    expected = tifffile.imread(OLDER / "expected" / f"{name}{kind}.tif")
    if same_arithmetic:
        assert np.array_equal(labels, expected)
    assert labels.shape == expected.shape
    assert labels.dtype == expected.dtype


@pytest.mark.parametrize(
    ("file", "flags"), [("classes.csv", []), ("classes1day.csv", ["--at", "1day", "--chips", "2"])]
)
def test_a_finished_run_classifies_the_same(tmp_path, file, flags, same_arithmetic):
    folder = copied(tmp_path, "classification")
    table = tmp_path / "classes.csv"
    words = ["predict", str(folder), str(OLDER / "images" / "cell.png"), "--csv", str(table)]
    assert main([*words, *flags, "--quiet"]) == 0
    if same_arithmetic:
        assert table.read_bytes() == (OLDER / "expected" / file).read_bytes()


def test_the_demo_gives_the_bytes_that_it_gave_before(tmp_path, same_arithmetic):
    if not same_arithmetic:
        pytest.skip("another processor or other packages, which round otherwise")
    words = ["run", "--config", str(DEMO), "--out", str(tmp_path / "demo"), "--threads", "1"]
    # The network is found as then.
    words += ["--budget", "0", "--search.nb_iter", "40", "--search.runs", "2"]
    assert main([*words, "--quiet"]) == 0
    # Its best evaluation is its last one, so that it is the same whichever weights are kept.
    lines = (tmp_path / "demo" / "metrics.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    dice = [e["val_dice"] for e in entries if e["stage"] == "train" and "val_dice" in e]
    assert max(dice) == dice[-1]
    expected = json.loads((OLDER / "expected" / "demo.json").read_text())
    own = {
        name: hashlib.sha256((tmp_path / "demo" / name).read_bytes()).hexdigest()
        for name in expected
    }
    assert own == expected
