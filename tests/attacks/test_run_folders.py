"""Run folders that are damaged, or somebody else's: one line, and nothing outside is touched."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nasseg.cli import main
from nasseg.compare import compare, format_comparison
from nasseg.config import LabelConfig, RunConfig
from nasseg.errors import ConfigError, NassegError, RunError
from nasseg.records.best import Best
from nasseg.records.drift import DriftTable
from nasseg.records.folder import RunFolder
from nasseg.records.metrics import read_metrics, write_metrics
from nasseg.records.resolve import resolve_config
from nasseg.records.run_files import load_run
from nasseg.report import _write
from nasseg.report._headline import cards
from nasseg.report.sections import SECTIONS
from nasseg.search.measured.storage import open_storage

OLDER = Path(__file__).parents[1] / "runs" / "older" / "finished"
TEXTS = (
    "stages.json",
    "summary.json",
    "best.json",
    "coverage.json",
    "config.yaml",
    "metrics.jsonl",
    "drift.csv",
    "sweep.csv",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLDER, tmp_path / "run"))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in pairs:
        found.append((*path, key))
        if isinstance(inner, dict | list):
            found += leaves(inner, (*path, key))
    return found


def ask(run: Path) -> None:
    """Read everything of a folder that a report shows, but draw nothing."""
    files = load_run(run)
    cards(files)
    for section in SECTIONS:
        section.html(files)
    RunFolder(RunConfig(out=str(run)), readonly=True)


@pytest.mark.parametrize("name", ["stages.json", "summary.json", "best.json", "coverage.json"])
@pytest.mark.parametrize("wrong", [7, "text", [1], {"a": {"b": 1}}, True, -1.5, None], ids=repr)
def test_a_value_of_another_kind_is_an_error_or_shown(run: Path, name: str, wrong: Any) -> None:
    content = json.loads((run / name).read_text())
    places = leaves(content)
    for path in places[:: max(1, len(places) // 8)]:
        damaged = json.loads(json.dumps(content))
        target = damaged
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = wrong
        (run / name).write_text(json.dumps(damaged))
        try:
            ask(run)
        except NassegError as error:
            assert name in str(error)  # noqa: PT017


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_an_error_or_nothing(run: Path, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    file = run / draw.choice(TEXTS)
    data = bytearray(file.read_bytes())
    place = draw.randrange(len(data))
    how = draw.randrange(3)
    if how == 0:
        data[place] = draw.randrange(256)
    elif how == 1:
        del data[place:]
    else:
        data[place:place] = draw.choice([b"\0", b"\xff", b"[" * 5000, b"9" * 5000, b'"'])
    file.write_bytes(bytes(data))
    for work in (ask, lambda run: format_comparison(compare([run]))):
        try:
            work(run)
        except NassegError as error:
            assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("stages.json", "", "stages.json cannot be read as JSON"),
        ("stages.json", '{"data": 3}', "data is 3; allowed: an object"),
        ("stages.json", '{"train": {"done": "yes"}}', "train.done is 'yes'; allowed: true or"),
        ("stages.json", '{"analog": {"digital_layers": [3]}}', "analog.digital_layers[0] is 3"),
        ("config.yaml", "[1]", "config.yaml holds list; allowed: keys with values"),
        ("config.yaml", "seed: 1\nseed: 2\n", "the key 'seed' is there twice"),
    ],
)
def test_the_command_line_says_in_one_line_what_is_damaged(
    run: Path, name: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_text(text)
    assert main(["drift", "--out", str(run)]) in (1, 2)
    line = capsys.readouterr().err
    assert said in line
    assert len(line.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    ["chip,time_s\n", "chip,chip\n1,2\n", "a\0b", "chip,time_s,recalibrated,dice\n0,1,True,x\n"],
)
def test_damaged_chips_say_what_to_delete_and_what_is_kept(tmp_path: Path, text: str) -> None:
    file = tmp_path / "drift.csv"
    file.write_text(text)
    if text.count("\n") < 2 and "\0" not in text:
        assert not DriftTable.read(file).rows
        return
    with pytest.raises(RunError, match=r"drift\.csv cannot be read.*delete it.*kept"):
        DriftTable.read(file)


def test_damaged_epochs_are_left_out_and_the_others_kept(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    good = [{"stage": "train", "epoch": k, "loss": 0.5} for k in (1, 2)]
    lines = [json.dumps(entry) for entry in good]
    bad = ['{"stage": "train", "epoch"', "[]", '{"stage": 1, "epoch": 1}', "9" * 5000, "[" * 9999]
    file.write_text("\n".join([lines[0], *bad, lines[1]]) + "\n")
    assert read_metrics(file) == good
    write_metrics(file, "analog", [{"stage": "analog", "epoch": 1}])
    assert read_metrics(file) == [good[0], {"stage": "analog", "epoch": 1}, good[1]]


def test_a_name_of_a_metric_puts_no_script_into_the_report(run: Path) -> None:
    evil = "--!><script>alert(1)</script><img src=x onerror=alert(2)>"
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"monitor": evil, "task": "none:Here", "arch_id": evil, "data": evil}
    summary["digital"][evil] = 0.5
    for states in summary["analog"].values():
        for metrics in states.values():
            metrics[evil] = dict(metrics["dice"])
    (run / "summary.json").write_text(json.dumps(summary))
    table = (run / "drift.csv").read_text().replace("dice", evil, 1)
    (run / "drift.csv").write_text(table)
    page = _write.write_report(run).read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<!--" not in page


# -- links ----------------------------------------------------------------------------------


def test_a_lock_that_is_a_link_empties_nothing(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_text("content")
    config = RunConfig(out=str(tmp_path / "new"))
    (tmp_path / "new").mkdir()
    for link in (os.symlink, os.link):
        link(other, tmp_path / "new" / ".lock")
        with (
            pytest.raises(RunError, match=r"\.lock is a link"),
            RunFolder(config, readonly=True).locked(),
        ):
            pass
        (tmp_path / "new" / ".lock").unlink()
    os.mkfifo(tmp_path / "new" / ".lock")
    with pytest.raises(RunError, match="no plain file"):
        RunFolder(config)
    assert other.read_text() == "content"


@pytest.mark.parametrize("name", ["figures", "evaluation", "search", "study.db", "study.db-wal"])
def test_nothing_is_written_through_links_of_a_run_folder(
    run: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "outside").mkdir()
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(tmp_path / "outside")
    with pytest.raises(RunError, match="is a link"):
        _write.write_report(run)
    with pytest.raises(RunError, match="is a link"):
        RunFolder(RunConfig(out=str(run)))
    assert not list((tmp_path / "outside").iterdir())


# -- storages -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "sqlite:///{}/made.db",
        "journal:{}/made.journal",
        "{}/made.log",
        "postgresql://u@localhost/x",
    ],
)
@pytest.mark.parametrize("config", [LabelConfig, RunConfig])
def test_a_storage_that_only_a_file_names_is_not_opened(
    where: str, config: type[Any], tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    where = where.format(tmp_path / "outside")
    run = tmp_path / "run"
    run.mkdir()
    key = "storage" if config is LabelConfig else "search.storage"
    tree = {"storage": where} if config is LabelConfig else {"search": {"storage": where}}
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    resolve_config(config, {"out": str(run)})
    with pytest.raises(ConfigError, match=r"config\.yaml: storage is .*--storage names it"):
        open_storage(where)
    assert not list((tmp_path / "outside").iterdir())
    if not where.startswith("postgresql"):
        resolve_config(config, {"out": str(run), key: where})
        open_storage(where)


def test_a_storage_inside_the_run_folder_is_opened(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/own.db"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"storage": where}))
    resolve_config(LabelConfig, {"out": str(tmp_path)})
    open_storage(where)
    assert (tmp_path / "own.db").exists()


# -- what was refused -----------------------------------------------------------------------


def test_a_run_that_was_refused_leaves_no_settings(tmp_path: Path) -> None:
    first = RunFolder(RunConfig(out=str(tmp_path / "run"), seed=1))
    second = RunFolder(RunConfig(out=str(tmp_path / "run"), seed=2))
    with first.locked():
        with pytest.raises(RunError, match="in use"), second.locked():
            pass
        assert not (tmp_path / "run" / "config.yaml").exists()
        first.check_data("f", "images", {"train": 1})
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed"] == 1
    with pytest.raises(RunError, match="seed: 1 -> 2"), second.locked():
        pass
    first.unbind()
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_chips_of_an_earlier_beginning_are_not_taken_for_those_of_this_run(
    run: Path, tmp_path: Path
) -> None:
    before = (run / "drift.csv").read_bytes()
    (run / "stages.json").unlink()
    RunFolder(RunConfig(out=str(run))).check_data("f", "images", {})
    assert not (run / "drift.csv").exists()
    assert (run / "drift.csv.before").read_bytes() == before


def test_the_architecture_of_another_form_names_the_file(run: Path) -> None:
    (run / "best.json").write_text('{"arch": {}, "out_channels": "9"}')
    with pytest.raises(NassegError, match=r"best\.json cannot be read: out_channels is '9'"):
        Best.read(run / "best.json")
