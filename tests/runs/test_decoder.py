"""The decoder of single nuclei is fitted after the digital training, stored, and used from then."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nasseg
from nasseg.cli import main
from nasseg.tasks import get_task

OLDER = Path(__file__).parent / "older"
DEFAULTS = dict(get_task("instances").decoder)


def begun(tmp_path: Path) -> Path:
    """Return an older folder of which only the search is done."""
    folder = tmp_path / "begun"
    folder.mkdir()
    for name in ("best.json", "config.yaml", "stages.json"):
        shutil.copy(OLDER / "instances" / name, folder)
    stages = json.loads((folder / "stages.json").read_text())
    kept = {name: stages[name] for name in ("data", "search")}
    (folder / "stages.json").write_text(json.dumps(kept))
    return folder


def best_of(folder: Path) -> dict:
    return json.loads((folder / "best.json").read_text())


def scores_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "stages.json").read_text())["train"]["metrics"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_training_ends_with_a_fitted_decoder_that_all_results_are_of(tmp_path):
    folder = begun(tmp_path)
    assert main(["run", "--out", str(folder), "--quiet"]) == 0
    best = best_of(folder)
    assert set(best["decoder"]) == set(DEFAULTS)
    assert best["decoder_fit"]["images"] == 24
    assert best["decoder_fit"]["score"] >= best["decoder_fit"]["default_score"]
    net = nasseg.load(folder)
    assert net.task.decoder == best["decoder"]
    found = net.evaluate()
    for name, value in scores_of(folder).items():
        assert found[name] == pytest.approx(value)
    assert "min_pixels" in (folder / "report.html").read_text()


def test_a_stage_that_is_repeated_fits_the_same_decoder(tmp_path):
    folder = begun(tmp_path)
    assert main(["train", "--out", str(folder), "--quiet"]) == 0
    before = (folder / "best.json").read_bytes(), scores_of(folder)
    stages = json.loads((folder / "stages.json").read_text())
    del stages["train"]
    (folder / "stages.json").write_text(json.dumps(stages))
    (folder / "metrics.jsonl").unlink()
    assert main(["train", "--out", str(folder), "--quiet"]) == 0
    assert ((folder / "best.json").read_bytes(), scores_of(folder)) == before


def test_a_decoder_that_cannot_be_is_refused_by_name(tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(OLDER / "instances", folder)
    for decoder, message in (
        ({"rise": 0.1, "corse": 1.0}, "decoder.corse"),
        ({"rise": "high"}, "decoder.rise is 'high'; allowed: a finite number"),
        ([1.0], "decoder is"),
    ):
        (folder / "best.json").write_text(json.dumps({**best_of(folder), "decoder": decoder}))
        assert main(["evaluate", str(folder), "--quiet"]) != 0
        error = capsys.readouterr().err
        assert message in error
        assert "best.json" in error


def test_a_parameter_that_a_stored_decoder_lacks_is_as_it_was_before(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(OLDER / "instances", folder)
    stored = {name: value for name, value in DEFAULTS.items() if name != "convexity"}
    (folder / "best.json").write_text(json.dumps({**best_of(folder), "decoder": stored}))
    assert nasseg.load(folder).task.decoder == {**stored, "convexity": 0.0}


def test_an_older_run_goes_on_with_the_decoder_and_the_dice_that_it_had(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(OLDER / "instances", folder)
    known = rows_of(folder / "drift.csv")
    kept = [row for row in known if row["chip"] == "0"]
    assert len(kept) < len(known)
    with (folder / "drift.csv").open("w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, known[0])
        table.writeheader()
        table.writerows(kept)
    assert main(["drift", "--out", str(folder), "--quiet"]) == 0
    again = rows_of(folder / "drift.csv")
    assert len(again) == len(known)
    for now, then in zip(again, known, strict=True):
        for name, value in then.items():
            if name == "recalibrated":
                assert now[name] == value
            else:
                # Other processors round otherwise; another decoder is far off.
                assert np.isclose(float(now[name]), float(value), rtol=0.02, atol=1e-3), name
    assert "decoder" not in best_of(folder)
    assert nasseg.load(folder).task.decoder["rise"] == 0
