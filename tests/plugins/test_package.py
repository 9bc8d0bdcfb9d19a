"""A package that adds a part of every kind: each command, in a process of its own, knows them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from conftest import PACKAGE, Command, command
from PIL import Image

RUN = (
    "--quiet", "--device=cpu", "--threads=1", "--task=points", "--image-size=32",
    "--search.space=shallow", "--search.max_params=60000",
    "--data.source=arrays_of_points", "--analog.preset=calm",
    "--train.epochs=1", "--analog.epochs=1", "--analog.statistics_chips=1", "--drift.chips=1",
    "--drift.times=1,86400", "--drift.sweep_chips=0", "--drift.recalibrate_images=4",
)  # fmt: skip
PROXY = """
train: {epochs: 1}
analog: {epochs: 0, statistics_chips: 1}
drift: {chips: 1, recalibrate_images: 4}
"""


@pytest.fixture(scope="module")
def nasseg(site: Path) -> Command:
    return command(site)


@pytest.fixture(scope="module")
def run(nasseg: Command, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that measured its architectures with two workers."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "proxy.yaml").write_text(PROXY)
    nasseg(
        "run", *RUN, f"--data={pairs}", "--sampler=coin", "--measure=4", "--workers=2",
        f"--proxy={folder / 'proxy.yaml'}", f"--out={folder / 'run'}",
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="module")
def image(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "nuclei.png"
    pixels = np.load(pairs / "03.pair.npy")[0].astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_the_package_is_short() -> None:
    sources = [file.read_text() for file in PACKAGE.glob("*.py")]
    assert sum(len(source.splitlines()) for source in sources) < 120


def test_a_run_is_of_all_its_parts(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["task"] == "points"
    assert config["data"]["source"] == "arrays_of_points"
    assert config["search"]["sampler"] == "coin"
    assert config["analog"]["preset"] == "calm"
    best = json.loads((run / "best.json").read_text())
    assert best["space"] == "shallow"
    assert best["arch"]["out_channel0"] in (4, 6, 8)
    assert best["budget"]["sampler"] == "coin"
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["digital"]) == {"count_score", "count_error"}
    assert "count score" in (run / "report.html").read_text()
    assert (run / "figures" / "architecture.png").is_file()


def test_the_packages_of_its_parts_are_recorded(run: Path) -> None:
    record = json.loads((run / "stages.json").read_text())["plugins"]
    package = {"package": "nasseg-points", "version": "1.2"}
    assert record == {
        "data.task": {"name": "points", **package},
        "data.source": {"name": "arrays_of_points", **package},
        "search.space": {"name": "shallow", **package},
        "search.sampler": {"name": "coin", **package},
        "analog.preset": {"name": "calm", **package},
    }


def test_a_package_that_is_gone_is_named(run: Path, image: Path, tmp_path: Path) -> None:
    for words in (("predict", run, image, f"--out={tmp_path}"), ("drift", f"--out={run}")):
        error = command()(*words, status=1).stderr
        assert error == (
            f"nasseg: error: {run} needs the plug-in task 'points' of the package nasseg-points "
            "1.2, which is not installed\n"
        )
    before = (run / "figures" / "architecture.png").read_bytes()
    assert command()("report", run).stderr.count("architecture.png is left as it is") == 1
    assert (run / "figures" / "architecture.png").read_bytes() == before


def test_later_commands_know_the_parts_of_a_finished_run(
    nasseg: Command, run: Path, image: Path, tmp_path: Path
) -> None:
    nasseg("drift", f"--out={run}", "--drift.chips=2", "--quiet")
    assert {row["chip"] for row in csv.DictReader((run / "drift.csv").open())} == {"0", "1"}
    for age in ((), ("--at=1day", "--chips=2")):
        out = tmp_path / f"labels{len(age)}"
        said = nasseg("predict", run, image, f"--out={out}", "--quiet", *age).stdout
        labels = tifffile.imread(out / "nuclei.tif")
        assert f"nuclei.png: {labels.max()} " in said
    assert "count error" in nasseg("evaluate", run, "--quiet").stdout
    assert "uJ" in nasseg("cost", run).stdout
    assert "count score" in nasseg("compare", run).stdout
    nasseg("report", run)
    assert (run / "figures" / "architecture.png").is_file()


def test_a_plug_in_is_a_space_like_the_others(nasseg: Command) -> None:
    assert "U-Nets with a narrow stem." in nasseg("spaces").stdout
    assert "4, 6, 8" in nasseg("spaces", "shallow").stdout


def test_python_opens_the_run(site: Path, run: Path, pairs: Path) -> None:
    code = (
        "import sys, nasseg, numpy as np\n"
        "net = nasseg.load(sys.argv[1])\n"
        "image = np.load(sys.argv[2])[0].astype(np.uint8)\n"
        "found, aged = net.predict(image), net.age('1 day', chips=2).predict(image)\n"
        "assert found.count == found.labels.max() and found.task == 'points'\n"
        "assert aged.uncertainty.shape == image.shape\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, run, pairs / "03.pair.npy"],
        env={"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        check=True,
    )


def test_its_evaluators_column_is_an_objective_and_a_constraint(
    nasseg: Command, pairs: Path, tmp_path: Path
) -> None:
    nasseg(
        "search", *RUN, f"--data={pairs}", "--search.surrogate=thrift", "--maximize=day1,thrift",
        "--constraint=thrift<0.25", "--search.population_size=10", "--search.nb_iter=3",
        "--search.runs=1", f"--out={tmp_path}",
    )  # fmt: skip
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["objectives"] == ["maximize day1", "maximize thrift"]
    rows = list(csv.DictReader((tmp_path / "pareto.csv").open()))
    assert all(float(row["thrift"]) < 0.25 for row in rows)
