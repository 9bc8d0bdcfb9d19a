"""Flags that are declared once, and errors of scripts."""

from __future__ import annotations

import sys

import pytest

from nasseg.cli import script_main, setting_texts
from nasseg.cli._command import Command, exactly_one
from nasseg.cli._flags import Flag, Given, whole
from nasseg.config import RunConfig
from nasseg.errors import ConfigError, RunError

FLAGS = (
    Flag("chip_count", "N", "Chips.", whole(1), 8, other_names=("chips",)),
    Flag("out", "FOLDER", "Results. [beside the run]"),
    Flag("plan", "", "Also a plan."),
)


def run(*words: str) -> tuple[Given, list[str]]:
    found = []

    def keep(given: Given, positional: list[str]) -> int:
        found.append((given, positional))
        return 3

    command = Command("try", "tries", "RUN", "Try.", FLAGS, keep, exactly_one("which run?"))
    assert command(words) == 3
    return found[0]


def test_a_flag_that_is_not_given_has_its_default():
    given, words = run("a")
    assert words == ["a"]
    assert (given["chip_count"], given["out"], given["plan"]) == (8, None, False)
    assert not any(flag.name in given for flag in FLAGS)
    assert given.get("chip_count", 1) == 1


def test_a_flag_may_have_two_names_and_is_given_once():
    given, _ = run("a", "--chips", "8", "--plan")
    assert (given["chip_count"], given["plan"]) == (8, True)
    assert "chip_count" in given
    assert given.get("chip_count", 1) == 8
    with pytest.raises(ConfigError, match="given twice"):
        run("a", "--chips", "8", "--chip-count", "8")


def test_a_value_is_checked_where_the_flag_is_declared():
    with pytest.raises(ConfigError, match="chip_count is '0'; allowed: a whole number, 1 or more"):
        run("a", "--chips", "0")
    with pytest.raises(ConfigError, match="which run"):
        run("--chips", "0")


def test_the_help_of_a_flag_ends_with_its_default():
    assert [flag.entry for flag in FLAGS] == [
        ("--chip-count N, --chips N", "Chips. [8]"),
        ("--out FOLDER", "Results. [beside the run]"),
        ("--plan", "Also a plan."),
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [(RunError("no run"), 1), (ConfigError("no value"), 2), (FileNotFoundError("no file"), 1)],
)
def test_an_error_of_a_script_is_one_line(error, status, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scripts/measure.py"])

    def work() -> None:
        raise error

    assert script_main(work) == status
    assert capsys.readouterr().err == f"measure: error: {error}\n"
    assert script_main(work, "other") == status
    assert capsys.readouterr().err == f"other: error: {error}\n"


def test_a_script_has_the_status_of_its_work():
    assert script_main(lambda: None) == 0
    assert script_main(lambda: 4) == 4


def test_an_unforeseen_error_of_a_script_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        script_main(lambda: 1 // 0)


def test_a_script_sets_the_threads_that_it_is_given(monkeypatch):
    import torch

    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert script_main(lambda: None, threads=3) == 0
    assert script_main(lambda: None, threads=0) == 0
    assert script_main(lambda: None) == 0
    assert asked == [3]


def test_words_of_a_script_are_read_as_settings():
    own = [Flag("networks", "NAME", "")]
    words = ["--drift.chips", "5", "--image-size=32", "--networks", "a"]
    texts = setting_texts(RunConfig, words, own)
    assert texts == {"drift.chips": "5", "data.image_size": "32", "networks": "a"}
    with pytest.raises(ConfigError, match="did you mean --networks"):
        setting_texts(RunConfig, ["--network", "a"], own)
    with pytest.raises(ConfigError, match="unexpected 'b'"):
        setting_texts(RunConfig, ["b"], own)
