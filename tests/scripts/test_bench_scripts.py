"""The scripts that make a bench and compare searches on it, on an invented one."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from nasseg.cli._settings import read_config
from nasseg.config import LabelConfig
from nasseg.errors import ConfigError
from nasseg.evaluators import NASSegBench
from nasseg.search_spaces import get_space

SCRIPTS = Path(__file__).parents[2] / "scripts"
SPACE = get_space("unet")
TIMES = (1, 3600, 86_400, 2_592_000, 31_536_000)


def script(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script as the shell would, but in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main = runpy.run_path(str(SCRIPTS / name))["main"]
            status = main(list(map(str, words)))
        except SystemExit as ended:
            status = ended.code
    return subprocess.CompletedProcess(name, status, out.getvalue(), err.getvalue())


def process(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, whose log and threads are no other test's."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def table(path: Path, n: int, seed: int) -> Path:
    """Scores that grow with the first width, as ``nasseg label`` writes them."""
    X = SPACE.sample_matrix(n, np.random.default_rng(seed))
    width = X[:, SPACE.feature_names.index("out_channel0")].astype(float)
    y = 0.7 + 0.002 * width + 0.001 * np.random.default_rng(seed + 9).normal(size=n)
    archs = SPACE.decode(X)
    columns = {
        "arch_id": [SPACE.arch_id(arch) for arch in archs],
        "arch": [SPACE.to_json(arch) for arch in archs],
        **{f"mean_{t}s{state}": y for t in TIMES for state in ("", "_uncalibrated")},
    }
    more = {"day1": y, "avm": 1 - y, "std": 0.02 - 0.01 * y, "digital": y, "params": 1000 * width}
    frame = pd.DataFrame({**columns, **more, "seconds": 1.0})
    frame.drop_duplicates("arch_id").to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    long, short = table(folder / "long.csv", 40, 1), table(folder / "short.csv", 80, 2)
    words = [f"{long}:proxy:0", f"{short}:screen:1", "--out", folder / "bench.parquet"]
    done = script("make_bench.py", *words, "--page", folder / "page.md")
    assert done.returncode == 0, done.stderr
    assert (folder / "page.md").read_text() == done.stdout
    return folder / "bench.parquet"


def test_the_page_says_what_short_trainings_are_worth(bench: Path) -> None:
    page = (bench.parent / "page.md").read_text()
    assert "| short trainings of 80 other architectures alone | 0." in page
    assert "| surrogate with them as one more input | 0." in page
    assert "| surrogate that follows a line over them first | 0." in page
    assert "Intervals of 90 % hold" in page


def test_searches_are_compared_with_and_without_short_trainings(
    bench: Path, tmp_path: Path
) -> None:
    words = ["--bench", bench, "--queries", 14, "--seeds", 1, "--out", tmp_path / "out"]
    names = ["random", "surrogate", "surrogate_short"]
    done = script("bench_search.py", *words, "--strategies", *names)
    assert done.returncode == 0, done.stderr
    assert "| surrogate-assisted, short trainings known |" in done.stdout
    runs = pd.read_csv(tmp_path / "out" / "runs.csv")
    assert runs.groupby("strategy").size().to_dict() == dict.fromkeys(names, 14)
    assert (tmp_path / "out" / "regret.png").stat().st_size > 0
    # Asked for where there are none.
    csv = tmp_path / "plain.csv"
    pd.DataFrame({"a": range(30), "b": [1, 2] * 15, "score": range(30)}).to_csv(csv, index=False)
    words = ["--table", csv, "--score", "score", "--out", tmp_path / "other"]
    refused = script("bench_search.py", *words, "--strategies", "surrogate_short")
    assert refused.returncode == 1
    assert "has no short trainings of other architectures" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_how_well_a_table_can_be_predicted_is_said(tmp_path: Path) -> None:
    rows = pd.DataFrame(np.random.default_rng(0).integers(0, 5, (60, 3)), columns=list("abc"))
    rows.assign(score=rows.a + 0.1 * rows.b).to_csv(tmp_path / "table.csv", index=False)
    words = ["--table", tmp_path / "table.csv", "--score", "score", "--strategies", "random"]
    done = script("bench_search.py", *words, "--queries", 12, "--seeds", 1, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    found = re.search(r"\(5 splits\): (0\.\d+) ± 0\.\d+ by the trees of a surrogate", done.stdout)
    assert found is not None
    assert float(found[1]) > 0.6


def test_words_and_named_columns_of_a_table_are_categorical(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.integers(0, 6, (300, 3)), columns=list("abc"))
    effect = np.array([0.0, 1.0, -1.0, 0.7, -0.8, 0.3])
    rows["score"] = effect[rows.a] + 0.5 * effect[rows.b] + 0.1 * rows.c
    rows["b"] = rows.b.map(lambda code: "uvwxyz"[code])
    rows.to_csv(tmp_path / "table.csv", index=False)
    words = ["--table", tmp_path / "table.csv", "--score", "score", "--categorical", "a"]
    words += ["--queries", 40, "--seeds", 1]
    names = ["random", "surrogate", "tpe"]
    done = script("bench_search.py", *words, "--strategies", *names, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    found = re.search(
        r"Fitted to 40 rows .* tau of (0\.\d+) ± .*, and of (0\.\d+) ± .* where they see a, b as",
        done.stdout,
    )
    assert found is not None
    assert float(found[1]) > float(found[2]) + 0.05
    refused = script("bench_search.py", *words[:5], "d", "--out", tmp_path / "p")
    assert refused.returncode == 1
    assert "no column d" in refused.stderr


def test_what_a_search_proposed_is_a_table_of_its_own(bench: Path, tmp_path: Path) -> None:
    long, more = bench.parent / "long.csv", table(tmp_path / "more.csv", 12, 5)
    # Some of each are trained to the end.
    full = tmp_path / "full.csv"
    pd.concat([pd.read_csv(long).head(4), pd.read_csv(more).head(3)]).to_csv(full, index=False)
    words = ["--out", tmp_path / "b.parquet", "--page", tmp_path / "page.md"]
    done = script("make_bench.py", bench, f"{more}:proxy:0:search", f"{full}:full:0", *words)
    assert done.returncode == 0, done.stderr
    assert NASSegBench(tmp_path / "b.parquet").searched.sum() == 12
    assert " of a Latin hypercube and 12 that a search proposed" in done.stdout
    assert "| the same on the 40 of the hypercube alone | 0." in done.stdout
    assert "| full budget (7 architectures) | 1.00 |" in done.stdout
    assert "| the same on the 4 of the hypercube alone | 1.00 |" in done.stdout
    for wrong in (f"{long}:proxy:0:luck", f"{bench}:proxy:0"):
        refused = script("make_bench.py", wrong, *words)
        assert refused.returncode == 2
        assert "allowed: FILE:BUDGET:SEED" in refused.stderr
    words = ["--queries", 12, "--seeds", 1, "--strategies", "random", "--out", tmp_path / "s"]
    done = script("bench_search.py", "--bench", tmp_path / "b.parquet", "--drawn-only", *words)
    assert "on b.parquet (40 architectures drawn at random, day1)" in done.stdout
    refused = script("bench_search.py", "--table", long, "--drawn-only", *words)
    assert refused.returncode == 2
    assert "--table goes with neither" in refused.stderr


def test_a_winner_is_trained_beside_the_best_random_one_and_a_plain_unet(
    bench: Path, tmp_path: Path
) -> None:
    small = "  image_size: 16\n  synthetic_train: 6\n  synthetic_val: 3\n"
    few = "drift:\n  chips: 2\n  times: [1, 3600, 86400, 2592000, 31536000]\n"
    budget = f"space: unet\ndata:\n{small}train:\n  epochs: 1\nanalog:\n  epochs: 0\n{few}"
    (tmp_path / "budget.yaml").write_text(budget + "  recalibrate_images: 2\n")
    arch = tmp_path / "arch.json"
    out = tmp_path / "out"
    words = ["--bench", bench, "--config", tmp_path / "budget.yaml", "--threads", 1, "--out", out]
    done = process("bench_winner.py", *words, "--seeds", 0)
    assert done.returncode == 0, done.stderr
    assert "| MONAI BasicUNet |" in done.stdout
    assert "The search saw a surrogate fitted to measurements of" in done.stdout
    found = json.loads((out / "search" / "best.json").read_text())
    rows = pd.read_csv(out / "trained.csv")
    assert rows.network.tolist() == ["searched", "best of the random ones", "MONAI BasicUNet"]
    assert (out / "drift.png").stat().st_size > 0
    assert (out / "README.md").read_text() == done.stdout
    assert rows.params[0] == found["params"] <= min(rows.params[1:])
    # One that is larger than the best random one is not in the bargain.
    arch.write_text(SPACE.to_json(SPACE.repair({**SPACE.default(), "M": 5, "R5": 3, "B5": 3})))
    refused = script("bench_winner.py", *words, "--arch", arch)
    assert refused.returncode == 1
    assert "parameters; allowed:" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture
def winner(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("bench_winner")


@pytest.fixture
def searched(bench: Path, tmp_path: Path) -> NASSegBench:
    rows = pd.read_parquet(bench)
    rows["drawn"] = np.where((rows.budget == "proxy") & (rows.index % 3 == 0), "search", "random")
    rows.to_parquet(tmp_path / "searched.parquet")
    return NASSegBench(tmp_path / "searched.parquet")


def test_the_winner_is_the_best_that_a_search_proposed_where_the_bench_has_one(
    winner: ModuleType, searched: NASSegBench, tmp_path: Path
) -> None:
    own = searched
    assert 0 < own.searched.sum() < len(own)
    options = argparse.Namespace(arch=None, surrogate=None, measure=None, data=None, promote=1)
    networks = winner.networks(own, options, tmp_path)
    (_, found), (_, luck) = networks["searched"], networks["best of the random ones"]
    sizes = SPACE.count_params(SPACE.encode([found, luck]))
    assert sizes[0] <= sizes[1]
    place = {SPACE.arch_id(arch): i for i, arch in enumerate(own.archs)}
    one, other = place[SPACE.arch_id(found)], place[SPACE.arch_id(luck)]
    values, all_sizes = own.values(), SPACE.count_params(own.matrix)
    assert values[other] == values[~own.searched].max()
    assert values[one] == values[own.searched & (all_sizes <= sizes[1])].max()
    assert f"of {own.searched.sum()} that a" in winner.origin_text(own, options, tmp_path)
    # Asked for a search on a surrogate, it does not look.
    assert not winner.from_bench(own, argparse.Namespace(arch=None, surrogate="auto", measure=None))


def test_of_the_best_that_a_search_proposed_a_full_training_chooses(
    winner: ModuleType, searched: NASSegBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def labelled(space: object, arch: dict[str, int], seed: int, *_: object) -> dict[str, object]:
        assert seed == 10
        asked.append(searched.lookup(arch, "day1"))
        return {"arch": str(arch), "day1": -asked[-1]}

    monkeypatch.setattr(winner, "labelled", labelled)
    options = argparse.Namespace(
        arch=None, surrogate=None, measure=None, promote=3, promote_seed=10
    )
    _, found = winner.networks(searched, options, tmp_path)["searched"]
    # The three best, of which the training says the opposite of the bench.
    assert len(asked) == 3
    assert asked == sorted(asked, reverse=True)
    assert searched.lookup(found, "day1") == asked[-1]
    said = winner.origin_text(searched, options, tmp_path)
    assert "the 3 best, of those with several measurements" in said
    options.surrogate = "auto"
    with pytest.raises(ConfigError, match="promote is 3: it chooses among"):
        winner.networks(searched, options, tmp_path)


def test_a_search_that_measures_anew_is_compared_with_as_many_random_ones(
    winner: ModuleType, searched: NASSegBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    sizes = SPACE.count_params(searched.matrix)
    least, *small = (searched.archs[i] for i in np.argsort(sizes, kind="stable")[:3])

    def run(words: list[str]) -> None:
        said.extend(words)
        (tmp_path / "search").mkdir(exist_ok=True)
        archs = [SPACE.to_json(arch) for arch in (small[0], least, small[1])]
        found = pd.DataFrame({"arch": archs, "day1": [0.4, 0.5, 0.45]})
        found.to_csv(tmp_path / "search" / "table.csv", index=False)

    def labelled(space: object, arch: dict[str, int], seed: int, *_: object) -> dict[str, object]:
        assert seed == 10
        return {"arch": str(arch), "day1": 0.9 if arch == small[1] else 0.8}

    monkeypatch.setattr(winner, "run", run)
    monkeypatch.setattr(winner, "labelled", labelled)
    options = argparse.Namespace(
        arch=None, surrogate=None, measure=8, promote=1, data=None, proxy="docs/bench.yaml",
        draw_seed=3, threads=1, workers=2, promote_seed=10,
    )  # fmt: skip
    networks = winner.networks(searched, options, tmp_path)
    some = winner.drawn(searched, options)
    assert some.sum() == 8
    assert not (some & searched.searched).any()
    luck = searched.archs.index(networks["best of the random ones"][1])
    assert luck == winner.luck(searched, options)
    assert searched.values()[luck] == searched.values()[some].max()
    assert networks["searched"][1] == least
    asked, _ = read_config(LabelConfig, said[1:])
    assert said[0] == "label"
    assert (asked.count, asked.max_params, asked.seed) == (8, sizes[luck], 3)
    assert (asked.sampler, asked.workers, asked.train.epochs) == ("surrogate", 2, 16)
    assert "measured 3 architectures" in winner.origin_text(searched, options, tmp_path)
    assert "but 402 short trainings of others" in winner.origin_text(searched, options, tmp_path)
    within = f"{(sizes[some] <= sizes[luck]).sum()} of those drawn"
    assert within in winner.luck_text(searched, options)
    # Of the two best, a full training chooses the second.
    options.promote = 2
    assert winner.networks(searched, options, tmp_path)["searched"][1] == small[1]
    assert "`promoted.csv`: the 2 best were trained" in winner.origin_text(
        searched, options, tmp_path
    )
    options.measure = 500
    with pytest.raises(ConfigError, match="--measure is 500; allowed: at most "):
        winner.networks(searched, options, tmp_path)
    for words, message in (
        (["--measure", 1], "--measure is 1; allowed: 2 or more"),
        (["--measure", 8, "--arch", "x"], "--measure goes with neither"),
        (["--measure", 8, "--draw-seed", 2], "--draw-seed is 2; allowed: 0 or more, but none of"),
    ):
        refused = script("bench_winner.py", *words, "--out", tmp_path / "out")
        assert refused.returncode == 2
        assert message in refused.stderr


def test_candidates_are_known_from_several_measurements_where_any_is(
    winner: ModuleType, searched: NASSegBench, tmp_path: Path
) -> None:
    rows = pd.read_parquet(searched.path)
    own = rows[(rows.budget == "proxy") & (rows.drawn == "search")].sort_values("day1")
    # The third and fifth best have another seed, the worst has two of them.
    again = own.iloc[[-3, -5, 0, 0]].assign(seed=[1, 1, 1, 2])
    pd.concat([rows, again]).to_parquet(tmp_path / "twice.parquet")
    bench = NASSegBench(tmp_path / "twice.parquet")
    best = [SPACE.arch_id(a) for a in winner.candidates(bench, bench.searched, 2)]
    assert best == own.arch_id.iloc[[-3, -5]].tolist()
    assert len(winner.candidates(bench, bench.searched, 9)) == 3
    (one,) = winner.candidates(bench, bench.searched, 1)
    assert SPACE.arch_id(one) == own.arch_id.iloc[-1]
