"""Every script does its work at a small budget, and explains itself."""

from __future__ import annotations

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nasseg.cli import main as nasseg
from nasseg.config import DataConfig
from nasseg.data import load_data
from nasseg.files.readers import read_json
from nasseg.io import write_json
from nasseg.text import time_name

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = sorted(
    path.name for path in SCRIPTS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)
DAY, MONTH, YEAR = 86_400.0, 2_592_000.0, 31_536_000.0


def tiny(_config: DataConfig):
    return load_data(DataConfig(image_size=16, synthetic_train=8, synthetic_val=4))


def table(text: str) -> list[list[str]]:
    """The rows of the Markdown tables of a text, their heads first."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_printed_and_the_docstring_has_a_command(name, monkeypatch, capsys):
    path = SCRIPTS / name
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(str(SCRIPTS))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "usage" in said.out.lower()
    assert not said.err
    assert f"python scripts/{name}" in path.read_text(encoding="utf-8").split('"""')[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished runs that differ by their seed."""
    base = tmp_path_factory.mktemp("runs")
    words = ["--quiet", "--data.image_size", "16", "--data.synthetic_train", "8"]
    words += ["--data.synthetic_val", "4", "--train.epochs", "24", "--train.batch_size", "4"]
    words += ["--train.lr", "0.01", "--train.ema_decay", "0", "--analog.epochs", "1"]
    words += ["--search.space", "basicunet", "--search.arch", str(base / "arch.json")]
    words += ["--drift.chips", "2", "--drift.times", "86400,31536000", "--drift.sweep_chips", "0"]
    write_json(base / "arch.json", {"width": 4})
    folders = [base / f"run{seed}" for seed in (0, 1)]
    for seed, out in enumerate(folders):
        assert nasseg(["run", "--out", str(out), "--seed", str(seed), *words]) == 0
    return folders


# -- ablation ---------------------------------------------------------------------------------


def test_an_ablation_measures_what_is_missing_and_compares_with_the_digital_network(
    load_script, monkeypatch, tmp_path, capsys
):
    script = load_script("ablation")
    monkeypatch.setattr(script, "load_data", tiny)
    words = ["--image-size", "16", "--chips", "2", "--epochs", "1", "--analog-epochs", "1"]
    words += ["--out", str(tmp_path), "--only", "the recipe", "no hardware-aware training"]
    assert script.main([*words, "--seeds", "0"]) == 0
    first = pd.read_csv(tmp_path / "rows.csv")
    assert list(first)[:7] == [
        "variant", "seed", "digital", "cost", "chip", "time_s", "recalibrated",
    ]  # fmt: skip
    assert len(first) == 2 * 2 * 3 * 2  # variants, chips, times, states
    assert set(first.digital) == {read_json(tmp_path / "digital0.json")["dice"]}
    assert (tmp_path / "curves.png").stat().st_size > 0
    head, recipe, without = table(capsys.readouterr().out)
    assert head[1:5] == ["seeds", "1 day", "30 days", "1 year"]
    assert [recipe[:2], without[:2]] == [["the recipe", "1"], ["no hardware-aware training", "1"]]
    own = first[(first.variant == "the recipe") & (first.time_s == DAY) & first.recalibrated]
    assert recipe[2] == f"{own.dice.mean() / own.digital.mean():.4f}"
    # With another seed, the rows that are there stay as they are.
    assert script.main([*words, "--seeds", "0", "1"]) == 0
    both = pd.read_csv(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(both.head(len(first)), first)
    assert both.seed.value_counts().to_dict() == {0: 24, 1: 24}
    head, recipe, _ = table(capsys.readouterr().out)
    assert recipe[1] == "2"
    assert " ± " in recipe[2]


def test_an_ablation_starts_from_the_networks_and_the_recipe_of_runs(
    load_script, runs, tmp_path, capsys
):
    script = load_script("ablation")
    words = ["--like", *map(str, runs), "--chips", "1", "--out", str(tmp_path)]
    assert script.main([*words, "--only", "the recipe", "last layer digital"]) == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    digital = [read_json(run / "summary.json")["digital"]["dice"] for run in runs]
    assert rows.groupby("seed").digital.first().tolist() == pytest.approx(digital)
    _, *variants = table(capsys.readouterr().out)
    assert [row[:2] for row in variants] == [["the recipe", "2"], ["last layer digital", "2"]]
    # The recipe is that of the runs, seeds and chips too.
    drift = pd.read_csv(runs[1] / "drift.csv")
    own = drift[(drift.chip == 0) & (drift.time_s == DAY)]
    found = rows[(rows.variant == "the recipe") & (rows.seed == 1) & (rows.time_s == DAY)]
    assert sorted(found.dice) == pytest.approx(sorted(own.dice), abs=1e-4)
    assert script.main(["--like", str(runs[0]), str(runs[0]), "--out", str(tmp_path / "two")]) == 1
    assert "another run has seed 0 too" in capsys.readouterr().err


def test_rows_of_other_settings_are_refused(load_script, tmp_path, capsys):
    script = load_script("ablation")
    write_json(
        tmp_path / "settings.json",
        {"data": None, "image_size": 32, "crop": 0, "chips": 10, "epochs": 40}
        | {"analog_epochs": 20, "set": "{}"},
    )
    assert script.main(["--out", str(tmp_path), "--chips", "3"]) == 2
    assert "rows of other settings (chips: " in capsys.readouterr().err
    # A folder that does not name its space has rows of the default one.
    assert script.main(["--out", str(tmp_path), "--space", "unet_group"]) == 2
    assert "rows of other settings (space: " in capsys.readouterr().err


# -- runs: baseline, collect, compensation ------------------------------------------------------


def test_a_baseline_has_the_budget_and_about_the_size_of_the_run(load_script, runs, tmp_path):
    script = load_script("baseline")
    out = tmp_path / "baseline.json"
    assert script.main(["--like", str(runs[1]), "--out", str(out)]) == 0
    found = read_json(out)
    assert (found["seed"], found["epochs"]) == (1, 24)
    assert 0 <= found["digital"]["dice"] <= 1
    width = int(found["network"].rpartition(" ")[2])
    params = read_json(runs[1] / "best.json")["params"]

    def distance(width: int) -> int:
        net = script.plain_unet(width, 3, 1)
        return abs(sum(p.numel() for p in net.parameters()) - params)

    assert abs(found["params"] - params) == distance(width)
    assert distance(width) <= distance(width + 1)
    assert not out.with_suffix(".ckpt").exists()
    assert script.main(["--like", str(tmp_path), "--out", str(out)]) == 1


def test_runs_are_collected_into_one_table_over_seeds(load_script, runs, tmp_path, capsys):
    script = load_script("collect")
    baseline = {"network": "other", "params": 1234}
    digital = [read_json(run / "summary.json")["digital"] for run in runs]
    write_json(tmp_path / "baseline.json", {**baseline, "digital": digital[0]})
    words = [*map(str, runs), "--out", str(tmp_path), "--title", "Two seeds"]
    assert script.main([*words, "--baseline", str(tmp_path / "baseline.json")]) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "README.md").read_text()
    assert text.startswith("# Two seeds\n")
    assert text.count("\nnasseg run --out ") == 2
    rows = {row[0]: row for row in table(text)}
    dice = np.array([scores["dice"] for scores in digital])
    assert rows["nasseg"][2] == f"{dice.mean():.3f} ± {dice.std(ddof=1):.3f}"
    assert rows["other, same training, 1 seed"][1:3] == ["1,234", f"{dice[0]:.3f}"]
    chips = pd.read_csv(tmp_path / "drift.csv")
    assert chips.groupby("seed").chip.nunique().to_dict() == {0: 2, 1: 2}
    for recalibrated, state in ((True, "recalibrated"), (False, "drift compensation alone")):
        own = chips[(chips.recalibrated == recalibrated) & (chips.time_s == YEAR)]
        ratio = own.dice / own.seed.map(dict(enumerate(dice)))
        by_seed = ratio.groupby(own.seed).mean()
        mean, std = rows[f"1 year, {state}"][2].split(" ± ")
        assert float(mean) == pytest.approx(by_seed.mean(), abs=2e-4)
        assert float(std) == pytest.approx(by_seed.std(), abs=2e-4)
        assert float(rows[f"1 year, {state}"][4]) == pytest.approx(ratio.min(), abs=2e-4)
    assert (tmp_path / "drift.png").stat().st_size > 0
    # A network that found nothing has no multiple.
    nothing = script._analog({0: script.load_run(runs[0]).drift}, {0: {"dice": 0.0}}, "dice")
    assert [row[2:] for row in table(nothing)[1:]] == [["- ± -", "-", "-"]] * 4
    # Of one run, the spread is over its chips.
    assert script.main([str(runs[0]), "--out", str(tmp_path / "one")]) == 0
    assert "± is over chips" in capsys.readouterr().out
    assert script.main([str(runs[0]), str(runs[0]), "--out", str(tmp_path / "one")]) == 1
    assert "another run has seed 0 too" in capsys.readouterr().err


def test_a_run_without_chips_or_with_a_damaged_file_is_not_collected(
    load_script, runs, tmp_path, capsys
):
    script = load_script("collect")
    for name in ("config.yaml", "summary.json"):
        (tmp_path / name).write_bytes((runs[0] / name).read_bytes())
    words = [str(tmp_path), "--out", str(tmp_path / "out")]
    assert script.main(words) == 1
    assert "its drift stage is not done" in capsys.readouterr().err
    (tmp_path / "summary.json").write_text("{")
    assert script.main(words) == 1
    assert "summary.json cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_each_compensation_is_measured_with_and_without_recalibration(
    load_script, runs, tmp_path, capsys
):
    script = load_script("compensation")
    out = tmp_path / "table.md"
    words = [str(runs[0]), "--chips", "2", "--images", "4", "0", "--out", str(out)]
    assert script.main(words) == 0
    assert capsys.readouterr().out == out.read_text()
    head, *rows = table(out.read_text())
    assert head[2:4] == ["1 day", "1 year"]
    kinds = ("none", "global", "column")
    counts = ("no", "4 images", "8 images")
    assert [row[:2] for row in rows] == [[kind, count] for kind in kinds for count in counts]
    # The chips of the run, which is compensated globally, are these.
    chips = pd.read_csv(runs[0] / "drift.csv")
    own = chips[(chips.time_s == DAY) & ~chips.recalibrated].dice
    ratio = own / read_json(runs[0] / "summary.json")["digital"]["dice"]
    (row,) = [row for row in rows if row[:2] == ["global", "no"]]
    mean, std = map(float, row[2].split(" ± "))
    assert mean == pytest.approx(ratio.mean(), abs=2e-4)
    assert std == pytest.approx(ratio.std(), abs=2e-4)


# -- speed: the tables, not the figures ---------------------------------------------------------


def finite(values) -> bool:
    return all(math.isfinite(float(value)) and float(value) >= 0 for value in values)


def test_analog_layers_are_timed_beside_others(load_script, tmp_path, capsys):
    script = load_script("bench_analog")
    out = tmp_path / "new" / "table.json"
    words = ["--networks", "0.1 M", "--sizes", "16", "--batch", "2", "--repeats", "1"]
    assert script.main([*words, "--threads", "1", "--device", "cpu", "--json", str(out)]) == 0
    _, *rows = table(capsys.readouterr().out)
    assert [row[3] for row in rows][:3] == ["digital", "nasseg", "AIHWKit torch tile"]
    assert all(finite(row[4:]) for row in rows)
    found = json.loads(out.read_text())
    assert (found["device"], found["threads"]) == ("cpu", 1)
    assert [row["layers"] for row in found["result"]] == [row[3] for row in rows]
    assert found["result"][0]["step_ratio"] == 1.0


def test_drift_is_timed_beside_the_calls_of_aihwkit(load_script, monkeypatch, tmp_path, capsys):
    script = load_script("bench_analog")
    monkeypatch.setattr(script, "load_data", tiny)
    out = tmp_path / "drift.json"
    words = ["--drift", "--networks", "0.1 M", "--epochs", "1", "--chips", "2"]
    words += ["--reference-chips", "2", "--threads", "1", "--device", "cpu", "--json", str(out)]
    assert script.main(words) == 0
    _, *rows = table(capsys.readouterr().out)
    assert len(rows) == 5
    result = json.loads(out.read_text())["result"]
    assert [time_name(row["time_s"]) for row in result["times"]] == [
        "1 s", "1 h", "1 day", "30 days", "1 year",
    ]  # fmt: skip
    assert all(
        0 <= row[who]["mean"] <= 1 for row in result["times"] for who in ("nasseg", "aihwkit")
    )


def test_reference_networks_are_timed_digital_and_analog(load_script, capsys):
    script = load_script("bench_reference")
    assert script.main(["resnet18", "--size", "32", "--batch", "2"]) == 0
    _, (name, *figures) = table(capsys.readouterr().out)
    assert name == "resnet18"
    assert finite(figures)
    assert script.main(["resnet17"]) != 0
    assert "resnet17" in capsys.readouterr().err


def test_searches_are_timed_with_the_share_of_the_surrogate(load_script, tmp_path, capsys):
    script = load_script("bench_search_speed")
    out = tmp_path / "speed.json"
    words = ["--rows", "200", "--generations", "3", "--population", "10", "--repeats", "1"]
    assert script.main([*words, "--json", str(out)]) == 0
    assert "200 architectures through" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert set(found["searches"]) == {"evolution", "nsga2"}
    assert found["searches"]["nsga2"]["queries"] > 0
