"""Chips of a run that see a share of the images each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from nasseg.cli import main
from nasseg.records.drift import DriftTable
from nasseg.statistics import DAY, YEAR

OLDER = Path(__file__).parent / "older" / "instances"
CHIPS = 6


def begun(folder: Path, images: int) -> Path:
    """A run that is to measure its chips, each on so many of 8 images."""
    shutil.copytree(OLDER, folder)
    for name in ("drift.csv", "sweep.csv", "summary.json"):
        (folder / name).unlink()
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["drift"] |= {"images": images, "chips": CHIPS, "times": [DAY, YEAR], "sweep_chips": 2}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    stages = json.loads((folder / "stages.json").read_text())
    del stages["drift"], stages["report"]
    (folder / "stages.json").write_text(json.dumps(stages))
    return folder


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> Path:
    folder = begun(tmp_path_factory.mktemp("sampled") / "run", 4)
    assert main(["run", "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> Path:
    folder = begun(tmp_path_factory.mktemp("exact") / "run", 8)
    assert main(["run", "--out", str(folder), "--quiet"]) == 0
    return folder


def test_tables_have_a_row_for_each_chip_as_ever(sampled, exact):
    ours, theirs = (DriftTable.read(run / "drift.csv") for run in (sampled, exact))
    facts = [
        [(row.chip, row.time_s, row.recalibrated, sorted(row.scores)) for row in table]
        for table in (ours, theirs)
    ]
    assert facts[0] == facts[1]
    assert all(row.part is None for row in ours)
    sweeps = [DriftTable.read(run / "sweep.csv") for run in (sampled, exact)]
    assert len(sweeps[0]) == len(sweeps[1]) == 8
    assert not (exact / "drift_parts.csv").exists()


def test_means_are_within_their_errors(sampled, exact):
    summary, truth = (json.loads((run / "summary.json").read_text()) for run in (sampled, exact))
    assert summary["images_each"] == 4
    assert "images_each" not in truth
    for time_s, states in summary["standard_errors"].items():
        for state, errors in states.items():
            mean, right = (
                found["analog"][time_s][state]["dice"]["mean"] for found in (summary, truth)
            )
            assert 0 < errors["dice"] < 0.05
            assert abs(mean - right) < 4 * errors["dice"]


def test_what_was_interrupted_goes_on_to_the_same_table(sampled, tmp_path):
    folder = begun(tmp_path / "run", 4)
    parts = DriftTable.read(sampled / "drift_parts.csv")
    # Killed in the middle of the third chip.
    DriftTable(parts.rows[: 5 + 2 * 8 + 3]).write(folder / "drift_parts.csv")
    assert main(["drift", "--out", str(folder), "--quiet"]) == 0
    for name in ("drift_parts.csv", "drift.csv"):
        assert (folder / name).read_text() == (sampled / name).read_text()
    assert main(["drift", "--out", str(folder), "--quiet", "--chips", "8"]) == 0
    table = DriftTable.read(folder / "drift.csv")
    assert len(table.chips) == 8
    later = DriftTable.read(folder / "drift_parts.csv")
    assert later.rows[: len(parts)] == parts.rows


def test_terminal_and_report_say_so(sampled, exact, capsys):
    assert main(["drift", "--out", str(sampled)]) == 0
    text = capsys.readouterr().out
    assert "each chip on 4 other images; standard error of a mean of Dice: 0." in text
    assert "each chip on 4 other images" in (sampled / "report.html").read_text()
    assert "other images" not in (exact / "report.html").read_text()
    assert np.isfinite([row.scores["dice"] for row in DriftTable.read(sampled / "drift.csv")]).all()


def test_a_single_image_is_refused(tmp_path, capsys):
    assert main(["run", "--drift.images", "1", "--out", str(tmp_path / "run")]) != 0
    assert "drift.images is 1; allowed: 0, or 2 or more" in capsys.readouterr().err


@pytest.mark.parametrize("images", [4, 8])
def test_chips_are_added_until_the_mean_is_known_well_enough(tmp_path, images):
    folder = begun(tmp_path / "run", images)
    words = ["drift", "--out", str(folder), "--quiet", "--chips", "9", "--drift.precision"]
    assert main([*words, "0.9"]) == 0
    assert len(DriftTable.read(folder / "drift.csv").chips) == 5
    before = (folder / "drift.csv").read_text()
    assert main([*words, "0.9"]) == 0
    assert (folder / "drift.csv").read_text() == before
    # What is asked for more closely, or without an end, goes on.
    assert main([*words, "1e-9"]) == 0
    table = DriftTable.read(folder / "drift.csv")
    assert len(table.chips) == 9
    if images == 8:
        assert (folder / "drift.csv").read_text().startswith(before)
