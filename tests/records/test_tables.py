"""The numbers that a run prints."""

from __future__ import annotations

from typing import Any

import pytest

from nasseg.config import DRIFT_TIMES
from nasseg.records.tables import format_predicted, format_summary
from nasseg.text import duration_name, markdown_table, parse_time, time_name


def summary() -> dict[str, Any]:
    value = {"mean": 0.81234, "std": 0.0123, "p05": 0.79, "n": 25}
    metrics = {"dice": value, "iou": value, "iou_pooled": value}
    # JSON has no numbers as keys, and as text "86400.0" comes after "31536000.0".
    analog = {str(t): {"recalibrated": metrics, "uncalibrated": metrics} for t in DRIFT_TIMES}
    return {
        "digital": {"dice": 0.9, "iou": 0.8, "iou_pooled": 0.85},
        "analog": analog,
        "arch_id": "0123456789ab",
        "params": 483123,
        "seed": 0,
        "seconds": {"search": 3.21, "train": 412.0, "analog": 4000.0},
    }


def test_every_time_is_listed_in_order_for_both_protocols() -> None:
    text = format_summary(summary())
    names = ["1 s", "1 h", "1 day", "30 days", "1 year"]
    rows = [line for line in text.splitlines() if "±" in line and "[0.790]" in line]
    assert [row[:12].strip() for row in rows] == names + names
    assert all(row.count("0.812 ± 0.012 [0.790]") == 3 for row in rows)


def test_table_fits_a_terminal_and_says_what_was_run() -> None:
    text = format_summary(summary())
    assert max(map(len, text.splitlines())) <= 80
    for part in ("0123456789ab", "483,123 parameters", "seed 0", "0.850", "train 6 min 52 s"):
        assert part in text


@pytest.mark.parametrize("part", ["digital", "analog", "arch_id", "params", "seed", "seconds"])
def test_missing_parts_are_left_out(part: str) -> None:
    value = summary()
    del value[part]
    assert format_summary(value)


def test_nothing_measured_yet_is_no_error() -> None:
    assert format_summary({}) == ""


def test_missing_and_infinite_metrics_are_dashes() -> None:
    text = format_summary({"digital": {"dice": float("nan"), "iou": None}})
    assert text.splitlines()[-1].split() == ["digital", "-", "-"]


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(0.5, "0.5 s"), (1, "1 s"), (90, "1.5 min"), (172_800, "2 days"), (63_072_000, "2 years")],
)
def test_times_in_words(seconds: float, name: str) -> None:
    assert time_name(seconds) == name


@pytest.mark.parametrize(
    ("seconds", "name"), [(3.21, "3.2 s"), (59.7, "1 min 00 s"), (7_800, "2 h 10 min")]
)
def test_durations_in_words(seconds: float, name: str) -> None:
    assert duration_name(seconds) == name


@pytest.mark.parametrize("seconds", [1.0, 60.0, 3600.0, 86_400.0, 2_592_000.0, 31_536_000.0, 150.0])
def test_a_time_in_words_is_read_as_that_time(seconds: float) -> None:
    assert parse_time(time_name(seconds)) == seconds


def test_a_table_in_markdown() -> None:
    table = markdown_table([["a|b", 1], ["c", 2.5]], ["name", "value"])
    assert table.splitlines() == ["| name | value |", "|---|---|", r"| a\|b | 1 |", "| c | 2.5 |"]
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        markdown_table([["a"]], ["name", "value"])


def test_a_prediction_is_never_without_its_images():
    best = {"predicted": {"day1": 0.85}, "surrogate": {"images": "DSB2018 at 32 x 32"}}
    text = format_predicted(best, "dice")
    assert text.startswith("predicted, for DSB2018 at 32 x 32: Dice after a day 0.8500")
    assert "nothing was measured" in " ".join(text.split())
    assert max(map(len, text.splitlines())) < 80
    assert "for the images of the surrogate" in format_predicted({**best, "surrogate": {}}, "dice")
    assert format_predicted({"predicted": {"day1": None}}) == ""
    assert format_predicted({"measured": {"day1": 0.8}}) == ""
