"""Parts named as ``module:Name``: flags allow their modules, files do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import command
from PIL import Image

NAMED = (
    "--task=points_learning:Points", "--search.space=points_hardware:Shallow",
    "--data.source=points_learning:PairFolder", "--analog.preset=points_hardware:Calm",
    "--sampler=points_hardware:coin",
)  # fmt: skip
SMALL = (
    "--quiet", "--device=cpu", "--threads=1", "--image-size=32", "--search.max_params=60000",
    "--measure=2", "--workers=2", "--train.epochs=1", "--analog.epochs=1",
    "--analog.statistics_chips=1", "--drift.chips=1", "--drift.times=1,86400",
    "--drift.sweep_chips=0", "--drift.recalibrate_images=4",
)  # fmt: skip
PROXY = "train: {epochs: 1}\nanalog: {epochs: 0, statistics_chips: 1}\ndrift: {chips: 1}\n"
BOTH = "points_learning,points_hardware"


@pytest.fixture(scope="module")
def run(modules: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "proxy.yaml").write_text(PROXY)
    command(modules)(
        "run", *NAMED, *SMALL, f"--data={pairs}", f"--proxy={folder / 'proxy.yaml'}",
        f"--out={folder / 'run'}",
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="module")
def image(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "nuclei.png"
    Image.fromarray(np.load(pairs / "03.pair.npy")[0].astype(np.uint8)).save(path)
    return path


def test_a_finished_run_is_used_with_its_modules_allowed(
    modules: Path, run: Path, image: Path, tmp_path: Path
) -> None:
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["task"] == NAMED[0][7:]
    variable = command(modules, NASSEG_PLUGINS=BOTH)
    variable("drift", f"--out={run}", "--drift.chips=2", "--quiet")
    flag = command(modules)
    said = flag("predict", run, image, f"--out={tmp_path}", "--quiet", "--plugins", BOTH).stdout
    assert " points" in said
    assert "uJ" in flag("cost", run, "--plugins", BOTH).stdout
    assert flag("report", run, "--plugins", BOTH).stderr == ""
    assert "count score" in (run / "report.html").read_text()


def test_without_a_word_of_the_user_the_error_says_what_to_do(
    modules: Path, run: Path, image: Path, tmp_path: Path
) -> None:
    plain = command(modules)
    for words in (
        ("predict", run, image, f"--out={tmp_path / 'out'}", "--quiet"),
        ("drift", f"--out={run}", "--drift.chips=3", "--quiet"),
    ):
        error = plain(*words, status=2).stderr
        assert error.count("\n") == 1
        assert "task is 'points_learning:Points', which a file alone" in error
        assert "--plugins points_learning or NASSEG_PLUGINS=points_learning" in error


def test_a_report_without_the_space_keeps_its_picture(
    modules: Path, run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = (copy / "figures" / "architecture.png").read_bytes()
    warning = command(modules)("report", copy).stderr
    assert warning.count("\n") == 1
    assert "figures/architecture.png is left as it is: search space is 'points_hardware" in warning
    assert (copy / "figures" / "architecture.png").read_bytes() == before
    assert "count_score" in (copy / "report.html").read_text()


def test_a_module_that_is_gone_is_named(run: Path) -> None:
    error = command()("cost", run, "--plugins", BOTH, status=1).stderr
    assert error.count("\n") == 1
    assert "task 'points_learning:Points' needs the module 'points_learning'" in error


def test_plugins_are_names_of_modules(run: Path) -> None:
    error = command()("cost", run, "--plugins", "a b", status=2).stderr
    assert "plugins has 'a b'; allowed: modules, with commas between" in error
