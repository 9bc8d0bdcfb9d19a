"""Objectives and constraints from the command line to the run folder and the report."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from nasseg.cli import main
from nasseg.cli._flags import split_flags
from nasseg.cli._settings import read_config
from nasseg.config import RunConfig, SearchConfig, to_dict
from nasseg.errors import ConfigError, RunError
from nasseg.evaluators import CostEvaluator, Scores, XGBoostEvaluator
from nasseg.records.folder import RunFolder
from nasseg.records.front_table import format_front, some_of
from nasseg.records.pareto import front_csv, read_front
from nasseg.report import write_report
from nasseg.search_spaces import get_space

WORDS = ["--maximize", "day1", "--minimize", "params,avm"]
WORDS += ["--constraint", "params<1e5", "--constraint=std < 0.1"]


def config_of(*words: str) -> RunConfig:

    return read_config(RunConfig, words)[0]


def error_of(capsys: pytest.CaptureFixture[str], *words: str, status: int = 2) -> str:
    assert main(list(words)) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("nasseg: error: ")
    return lines[0]


# -- settings -------------------------------------------------------------------------------


def test_flags_of_objectives_and_constraints(tmp_path: Path) -> None:
    search = config_of(*WORDS, "--search.pick", "best").search
    assert search.maximize == ("day1",)
    assert search.minimize == ("params", "avm")
    assert search.constraints == ("params<1e5", "std < 0.1")
    assert search.pick == "best"
    together = config_of("--constraint", "params<1e5, std < 0.1").search
    assert together.constraints == search.constraints
    repeated = config_of("--minimize", "params", "--search.minimize", "avm").search
    assert repeated.minimize == ("params", "avm")
    assert config_of("--minimize", "none").search == RunConfig().search


def test_only_lists_may_be_said_twice() -> None:
    flags, _ = split_flags(["--a", "1", "--a", "2"], ["a", "b"], repeatable=["a"])
    assert flags == {"a": "1,2"}
    with pytest.raises(ConfigError, match="--b is given twice"):
        split_flags(["--b", "1", "--b", "2"], ["a", "b"], repeatable=["a"])


@pytest.mark.parametrize("constraints", ["[params<1e5, std < 0.1]", "'params<1e5, std < 0.1'"])
def test_a_file_takes_lists_and_texts(constraints: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"search:\n  minimize: [params]\n  constraints: {constraints}\n")
    search = config_of("--config", str(file)).search
    assert search.minimize == ("params",)
    assert search.constraints == ("params<1e5", "std < 0.1")


def test_written_settings_read_back_equal(tmp_path: Path) -> None:
    config = config_of(*WORDS)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(to_dict(config)))
    assert config_of("--config", str(file)) == config


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--constraint", "parms<3"], ["search.constraints", "did you mean 'params'?"]),
        (["--constraint", "params"], ["'params' is no constraint", "params<1e6"]),
        (["--minimize", "tile"], ["objective 'tile'", "did you mean 'tiles'?"]),
        (["--maximize", "day1", "--minimize", "day1"], ["'day1' is given twice"]),
        (["--search.pick", "middle"], ["search.pick is 'middle'", "knee or best"]),
        (["--maximise", "day1"], ["did you mean --maximize?"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    words: list[str], says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    line = error_of(capsys, "search", "--out", str(out), *words)
    assert all(text in line for text in says), line
    assert not out.exists()


def test_a_run_made_before_there_were_objectives_is_continued(tmp_path: Path) -> None:
    config = RunConfig(out=str(tmp_path))
    saved = to_dict(config)
    for name in ("maximize", "minimize", "constraints", "pick"):
        del saved["search"][name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    (tmp_path / "stages.json").write_text('{"data": {"fingerprint": "x"}}')
    RunFolder(config)
    other = dataclasses.replace(config, search=SearchConfig(minimize=("params",)))
    with pytest.raises(RunError, match=r"search\.minimize: \[\] -> \['params'\]"):
        RunFolder(other)


# -- a run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run folder after a search for three objectives, and what was printed."""
    folder = tmp_path_factory.mktemp("front")
    space = get_space("unet")
    rng = np.random.default_rng(0)
    X = space.sample_matrix(40, rng)
    made_up = Scores.of(40, day1=rng.uniform(0.5, 0.9, 40), avm=rng.uniform(0, 3, 40), std=0.01)
    XGBoostEvaluator(space).fit(X, made_up, repeats=0).save(folder / "surrogate")
    words = ["search", "--out", str(folder / "run"), *WORDS, "--image-size", "16", "--quiet"]
    words += ["--data.synthetic_train=8", "--data.synthetic_val=4", "--threads=1"]
    words += ["--search.surrogate", str(folder / "surrogate"), "--search.runs=2"]
    words += ["--search.population_size=8", "--search.nb_iter=3"]
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(words) == 0
    return folder / "run", printed.getvalue()


def test_a_search_writes_its_front_and_takes_the_knee(run: tuple[Path, str]) -> None:
    folder, _ = run
    with (folder / "pareto.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    best = json.loads((folder / "best.json").read_text())
    first = [row for row in rows if row["rank"] == "0"]
    assert [row["arch_id"] for row in first if row["knee"] == "1"] == [best["arch_id"]]
    space = get_space("unet")
    for row in first:
        arch = json.loads(row["arch"])
        assert space.arch_id(arch) == row["arch_id"]
        assert float(row["params"]) == space.count_params(space.encode([arch]))[0] < 1e5
        assert float(row["tiles"]) >= 1
        assert float(row["std"]) < 0.1
    assert best["objectives"] == ["maximize day1", "minimize params", "minimize avm"]
    assert best["constraints"] == ["params < 100000", "std < 0.1"]
    assert set(best["reference"]) == {"day1", "params", "avm"}
    assert len(best["history"]) == 2 * 4
    assert all(entry["hypervolume"] >= 0 for entry in best["history"])


@pytest.mark.parametrize(("named", "kept"), [("head", ("last",)), ("encoder.0", ())])
def test_energies_of_a_search_are_those_of_the_digital_layers(
    named: str, kept: tuple[str, ...], run: tuple[Path, str], tmp_path: Path
) -> None:
    words = ["search", "--out", str(tmp_path), "--maximize", "day1", "--minimize", "energy_uj"]
    words += ["--image-size", "16", "--quiet", "--data.synthetic_train=8", "--threads=1"]
    words += ["--data.synthetic_val=4", "--search.surrogate", str(run[0].parent / "surrogate")]
    words += ["--search.runs=1", "--search.population_size=8", "--search.nb_iter=1"]
    assert main([*words, "--analog.digital_layers", named]) == 0
    front = read_front(tmp_path)
    assert front is not None
    space = get_space("unet")
    evaluator = CostEvaluator(space, input_size=(16, 16), digital_layers=kept)
    archs = [space.canonical(row.arch) for row in front.rows]
    expected = evaluator.estimate(archs).energy_uj
    assert [row.scores["energy_uj"] for row in front.rows] == pytest.approx(expected.tolist())


def test_the_front_is_printed(run: tuple[Path, str]) -> None:
    folder, printed = run
    assert "Pareto front: maximize day1, minimize params, minimize avm" in printed
    assert "*knee" in printed
    assert max(map(len, printed.replace(str(folder), "").splitlines())) < 80


def test_the_report_shows_the_front(run: tuple[Path, str]) -> None:
    folder, _ = run
    page = write_report(folder).read_text()
    assert (folder / "figures" / "front.png").exists()
    assert "hypervolume over generations" in page
    assert "of the front</summary>" in page
    assert "--search.minimize params,avm" in page
    assert page == write_report(folder).read_text()


def test_a_damaged_front_is_said_in_the_report(run: tuple[Path, str], tmp_path: Path) -> None:
    for name in ("best.json", "config.yaml"):
        (tmp_path / name).write_bytes((run[0] / name).read_bytes())
    (tmp_path / "pareto.csv").write_text("arch_id,rank\nx,one\n")
    with pytest.raises(RunError, match=r"pareto\.csv .* cannot be read: ValueError"):
        read_front(tmp_path)
    assert "pareto.csv" in write_report(tmp_path).read_text()


def test_a_front_that_is_read_is_written_as_it_was(run: tuple[Path, str]) -> None:
    front = read_front(run[0])
    assert front is not None
    assert front_csv(front.rows) == (run[0] / "pareto.csv").read_text()


def test_a_search_for_one_objective_has_no_front(tmp_path: Path) -> None:
    assert read_front(tmp_path) is None


def test_a_long_front_is_shown_by_its_ends_and_what_is_taken(run: tuple[Path, str]) -> None:
    front = read_front(run[0])
    assert front is not None
    template = front.first[0]
    rows = [
        dataclasses.replace(
            template,
            arch_id=f"{k:012d}",
            rank=0,
            knee=k == 33,
            scores={**template.scores, "day1": k / 99, "params": 1.0 + k, "avm": (k - 50) ** 2},
        )
        for k in range(99, -1, -1)
    ]
    twin = dataclasses.replace(rows[10], arch_id="twin")
    long = dataclasses.replace(front, rows=(*rows, twin), taken="twin")
    shown = some_of(long, 12)
    ids = [row.arch_id for row in shown]
    assert len(ids) == 12
    assert {"000000000099", "000000000000", "000000000050", "000000000033", "twin"} <= set(ids)
    assert "000000000089" not in ids
    text = format_front(long)
    assert "15 of 101 that no other dominates" in text
    assert max(map(len, text.splitlines())) < 80


def test_the_label_command_has_no_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no flag --minimize" in error_of(capsys, "label", "--minimize", "params")
