"""Each file of a run folder has one reader and one writer."""

import json
from pathlib import Path

import numpy as np
import pytest

from nasseg import pipeline
from nasseg.errors import RunError
from nasseg.records.best import Best
from nasseg.records.drift import DriftRow, DriftTable
from nasseg.records.run_files import load_run
from nasseg.statistics import share_at_least, spread, spread_text, summarise

HEAD = "chip,time_s,recalibrated,dice,iou\n"
ROWS = [
    {"chip": c, "time_s": t, "recalibrated": r, "dice": 0.8 + 0.01 * c, "iou": 0.7}
    for c in range(3)
    for t in (1.0, 86_400.0)
    for r in (False, True)
]


def test_a_drift_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "drift.csv"
    table = DriftTable.of(ROWS)
    table.write(file)
    again = DriftTable.read(file)
    assert again == table
    assert again.to_rows() == ROWS
    before = file.read_bytes()
    again.write(file)
    assert file.read_bytes() == before
    assert pipeline.read_drift(tmp_path) == ROWS
    assert pipeline.read_drift(tmp_path / "none") == []


def test_rows_of_a_version_with_fewer_metrics_are_continued(tmp_path: Path) -> None:
    file = tmp_path / "drift.csv"
    older = {"chip": 0, "time_s": 1.0, "recalibrated": True, "dice": 0.5}
    newer = {"chip": 1, "time_s": 1.0, "recalibrated": True, "dice": 0.7, "pq": 0.4}
    DriftTable.of([older, newer]).write(file)
    table = DriftTable.read(file)
    assert table.to_rows() == [older, newer]
    assert table.metrics == ("dice", "pq")
    assert table.complete(1) == table
    assert table.values("pq", recalibrated=True) == [0.4]
    assert table.summary()["1"]["recalibrated"]["pq"]["mean"] == 0.4
    # What was measured once is not lost later.
    file.write_text(file.read_text() + "2,1.0,True,0.6,\n")
    with pytest.raises(RunError, match="row 4: pq is empty"):
        DriftTable.read(file)


def test_a_sweep_keeps_its_noise_scales(tmp_path: Path) -> None:
    table = DriftTable() + [{"noise_scale": 0.5, **row} for row in ROWS]
    table.write(tmp_path / "sweep.csv")
    assert (tmp_path / "sweep.csv").read_text().startswith("noise_scale,chip,")
    assert DriftTable.read(tmp_path / "sweep.csv") == table
    assert len(table.values("dice", recalibrated=True, time_s=1.0, noise_scale=0.5)) == 3
    assert table.values("dice", recalibrated=True, noise_scale=2.0) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("True", True), ("true", True), ("1", True), ("FALSE", False), ("0", False), (" True", True)],
)
def test_run_and_report_read_the_same_truth_values(tmp_path: Path, text: str, value: bool) -> None:
    (tmp_path / "drift.csv").write_text(f"{HEAD}0,1.0,{text},0.5,0.4\n")
    expected = DriftRow(0, 1.0, value, {"dice": 0.5, "iou": 0.4})
    assert tuple(load_run(tmp_path).drift) == (expected,)
    assert pipeline.read_drift(tmp_path) == [expected.to_dict()]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("0,1.0,True,,0.4", "row 3: dice is empty"),
        ("0,1.0,True,good,0.4", "row 3: dice is 'good', not a number"),
        ("0,1.0,yes,0.5,0.4", "row 3: recalibrated is 'yes', not True or False"),
        ("0.5,1.0,True,0.5,0.4", "row 3: chip is '0.5', not a whole number"),
        ("0,,True,0.5,0.4", "row 3: time_s is empty"),
        ("0,1.0,True,0.5", "row 3: iou is missing"),
        ("0,1.0,True,0.5,0.4,9", "row 3 has more cells than the header"),
    ],
)
def test_a_bad_cell_is_named_with_file_and_row(tmp_path: Path, row: str, says: str) -> None:
    (tmp_path / "drift.csv").write_text(f"{HEAD}0,1.0,True,0.5,0.4\n{row}\n")
    with pytest.raises(RunError) as error:
        pipeline.read_drift(tmp_path)
    assert str(tmp_path / "drift.csv") in str(error.value)
    assert says in str(error.value)
    files = load_run(tmp_path)
    assert says in files.missing["drift.csv"]
    assert len(files.drift) == 0


def test_statistics_are_of_a_sample_and_leave_out_what_is_undefined() -> None:
    over = spread([1.0, 2.0, 4.0])
    assert over.mean == pytest.approx(7 / 3)
    assert over.std == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert (over.p05, over.p95, over.min) == (pytest.approx(1.1), pytest.approx(3.8), 1.0)
    assert spread([3.0]).to_dict() == {
        "mean": 3.0,
        "std": 0.0,
        "p05": 3.0,
        "p95": 3.0,
        "min": 3.0,
    }
    assert share_at_least([0.1, 0.2, 0.3, 0.4], 0.3) == 0.5
    assert share_at_least([], 0.3) == 0.0
    rows = [dict(ROWS[0], dice=value) for value in (0.5, float("nan"), 0.7)]
    assert summarise(rows)["1"]["uncalibrated"]["dice"]["mean"] == pytest.approx(0.6)
    assert list(DriftTable.of(ROWS).summary()) == ["1", "86400"]


def test_best_keeps_what_it_does_not_know_and_the_order(tmp_path: Path) -> None:
    content = {
        "space": "unet", "arch_id": "x", "params": 5, "macs": 6, "tiles": 7, "monitor": "auc",
        "out_channels": 2, "classes": ["a", "b"], "multilabel": False, "seed": 3, "arch": {"M": 1},
        "darts": {"ranked": []}, "budget": {"strategy": "darts"}, "runs": {}, "history": [{"a": 1}],
        "later": 1,
    }  # fmt: skip
    file = tmp_path / "best.json"
    file.write_text(json.dumps(content, indent=2) + "\n")
    best = Best.read(file)
    assert (best.classes, best.multilabel, best.history) == (("a", "b"), False, [{"a": 1}])
    assert (best.predicted, best.measured, best.objectives) == ({}, {}, [])
    best.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()
    assert list(best.replace(tiles=9).to_dict()) == list(content)


@pytest.mark.parametrize("text", ["[]", '{"arch": 3}', "{"])
def test_a_best_of_another_form_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "best.json").write_text(text)
    with pytest.raises((TypeError, ValueError)):
        Best.read(tmp_path / "best.json")
    assert "cannot be read" in load_run(tmp_path).missing["best.json"]


def test_a_mean_has_a_deviation_where_there_are_several_values():
    assert spread_text([0.5]) == "0.500"
    assert spread_text((v for v in (0.4, 0.6)), 2) == "0.50 ± 0.14"
    assert spread_text([0.5, float("nan")]) == "- ± -"
