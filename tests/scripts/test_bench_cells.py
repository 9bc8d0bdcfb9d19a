"""The bench of searches over the whole space: tables that are shared and continued, rankings."""

from __future__ import annotations

import re
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nasseg.data import ClassificationData
from nasseg.search_spaces import get_space

SPACE = get_space("cells")


def noise() -> ClassificationData:
    rng = np.random.default_rng(0)
    rows = {"train": np.arange(16), "val": np.arange(16, 24), "test": np.arange(24, 32)}
    return ClassificationData(
        source="noise",
        in_channels=1,
        classes=("a", "b"),
        multilabel=False,
        ids={side: tuple(map(str, own)) for side, own in rows.items()},
        fingerprint="noise",
        images=torch.from_numpy(rng.integers(0, 255, (32, 1, 16, 16)).astype(np.uint8)),
        labels=torch.from_numpy(np.arange(32, dtype=np.int64) % 2),
        rows=rows,
        augment="none",
    )


@pytest.fixture
def cells(load_script, monkeypatch):
    module = load_script("cells_table")
    monkeypatch.setattr(module, "load_data", lambda _: noise())
    return module


@pytest.fixture
def bench(load_script, cells):
    return load_script("bench_cells")


def enumerate_(bench, out: Path, *words: str) -> int:
    common = ["--out", str(out), "--epochs", "1", "--batch-size", "8", "--image-size", "16"]
    return bench.main(["enumerate", *common, "--device", "cpu", *words])


def test_shards_share_the_work_and_what_is_there_is_not_trained_again(bench, cells, tmp_path):
    assert enumerate_(bench, tmp_path / "one", "--limit", "4") == 0
    for shard in ("0/2", "1/2"):
        assert enumerate_(bench, tmp_path / "two", "--limit", "4", "--shard", shard) == 0
    one, two = (cells.read_tables(tmp_path / name) for name in ("one", "two"))
    assert len(one) == 4
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))
    for row in one.to_dict("records"):
        arch = {name: row[name] for name in SPACE.feature_names}
        assert SPACE.arch_id(arch) == row["arch_id"]
    assert {"params", "macs", "val_accuracy", "val_auc", "test_accuracy", "test_auc"} <= set(one)
    assert enumerate_(bench, tmp_path / "two", "--limit", "3", "--seed", "1") == 0
    cells.measure = None  # whatever trained now would fail
    for words in (["--limit", "4", "--shard", "0/3"], ["--limit", "3", "--seed", "1"]):
        assert enumerate_(bench, tmp_path / "two", *words) == 0
    two = cells.read_tables(tmp_path / "two")
    assert two["seed"].value_counts().to_dict() == {0: 4, 1: 3}
    assert len(cells.averaged(two)) == 3


def test_the_ranking_is_of_the_mean_and_a_search_sees_single_trainings(cells, tmp_path):
    first, second = made_up(tmp_path), made_up(tmp_path, seed=1)
    second.iloc[1:].to_csv(tmp_path / "table_seed1_0of1.csv", index=False)
    table = cells.read_tables(tmp_path)
    truth = cells.averaged(table)
    assert set(truth["arch_id"]) == set(second["arch_id"][1:])
    both = first.merge(truth, on="arch_id", suffixes=("", "_mean"))
    np.testing.assert_allclose(both["val_auc_mean"], both["val_auc"] + 0.05)
    for seed, own in ((0, first), (1, second), (2, first)):
        seen = cells.seen(table, truth, seed).merge(own, on="arch_id", suffixes=("", "_made"))
        assert len(seen) == len(truth)
        assert (seen["val_accuracy"] == seen["val_accuracy_made"]).all()


def test_other_settings_and_impossible_shards_are_refused(bench, tmp_path, capsys):
    assert enumerate_(bench, tmp_path, "--limit", "1") == 0
    for words, said in (
        (["--lr", "0.1"], "table of other settings (train"),
        (["--shard", "2/2"], "--shard is '2/2'; allowed: I/N"),
        (["--limit", "0"], "--limit is 0"),
        (["--task", "segmentation"], "--task is 'segmentation'"),
    ):
        assert enumerate_(bench, tmp_path, *words) == 2
        assert said in capsys.readouterr().err
    assert bench.main(["compare", "--out", str(tmp_path)]) == 1
    assert "1 of 1800 architectures" in capsys.readouterr().err
    assert bench.main(["compare", "--out", str(tmp_path / "none")]) == 1
    assert "has no table" in capsys.readouterr().err


def test_percentiles_say_the_share_that_is_beaten(cells):
    assert cells.percentiles([0.1, 0.3, 0.2]).tolist() == [0, 100, 50]
    assert cells.percentiles([1.0, 1.0, 0.0]).tolist() == [75, 75, 0]
    assert cells.percentiles([2.0]).tolist() == [0]


def made_up(folder: Path, n: int = 40, seed: int = 0) -> pd.DataFrame:
    """A table whose score is the width of both stages, the better the later the seed."""
    archs = [arch for k, arch in enumerate(SPACE.enumerate()) if k % (SPACE.size() // n) == 0]
    rows = []
    for arch in archs:
        score = (arch["width1"] + arch["width2"]) / 100 + 0.001 * len(arch["block1"]) + seed / 10
        sides = {f"{s}_{k}": score for s in ("val", "test") for k in ("accuracy", "auc")}
        rows.append({"arch_id": SPACE.arch_id(arch), "seed": seed, **arch, **sides, "seconds": 2.0})
    table = pd.DataFrame(rows)
    table.to_csv(folder / f"table_seed{seed}_0of1.csv", index=False)
    return table


def test_searches_on_the_table_see_what_they_ask_for_and_the_report_ranks_them(
    bench, tmp_path, capsys
):
    assert enumerate_(bench, tmp_path, "--limit", "1") == 0  # makes settings.json
    table = made_up(tmp_path)
    made_up(tmp_path, seed=1)
    words = ["compare", "--out", str(tmp_path), "--partial", "--seeds", "2", "--queries", "12"]
    words += ["--darts-epochs", "1", "--device", "cpu", "--strategies"]
    assert bench.main([*words, "random", "regularized", "evolution", "darts"]) == 0
    runs = pd.read_csv(tmp_path / "runs.csv", dtype={"arch_id": str})
    names = ["random", "regularized", "evolution", "darts"]
    assert runs["strategy"].tolist() == [name for name in names for _ in range(2)]
    assert set(runs["seconds"][:4]) == {24.0}
    assert set(runs["arch_id"][:4]) <= set(table["arch_id"])
    evolved = runs[runs["strategy"] == "evolution"]
    assert evolved["seconds"].tolist() == [24.0] * 2
    assert set(evolved["arch_id"]) <= {SPACE.arch_id(arch) for arch in SPACE.enumerate()}
    text = (tmp_path / "README.md").read_text()
    assert "| random |" in text
    assert "| DARTS |" in text
    assert "accuracy of two trainings 1.00" in text
    assert "(40 architectures)" in text
    assert "trained alone twice" in text
    assert (tmp_path / "ranks.png").stat().st_size > 0
    assert not list(tmp_path.glob("*.ckpt"))
    before = (tmp_path / "runs.csv").read_bytes()
    bench.look_up = None  # what is known is not searched again
    assert bench.main([*words, "random"]) == 0
    assert (tmp_path / "runs.csv").read_bytes() == before
    # Look-ups are cheap and done again where they would be others; supernets are not.
    bench.look_up = lambda name, space, table, score, queries, seed: (table["arch_id"][0], queries)
    assert bench.main([*words[:-1], "--queries", "13", "--strategies", "random"]) == 0
    runs = pd.read_csv(tmp_path / "runs.csv", dtype={"arch_id": str})
    assert runs["strategy"].tolist() == ["darts"] * 2 + ["random"] * 2
    assert set(runs["seconds"][2:]) == {13}
    before = (tmp_path / "runs.csv").read_bytes()
    assert bench.main([*words[:-1], "--darts-candidates", "3", "--strategies", "darts"]) == 2
    assert "holds supernets trained with" in capsys.readouterr().err
    assert bench.main([*words[:-1], "--queries", "9", "--strategies", "random"]) == 2
    assert "--queries 9, of 40 architectures" in capsys.readouterr().err
    assert (tmp_path / "runs.csv").read_bytes() == before


def test_darts_takes_the_best_of_what_it_proposes_and_as_few_random_ones_stand_beside(
    bench, tmp_path, monkeypatch
):
    assert enumerate_(bench, tmp_path, "--limit", "1") == 0  # makes settings.json
    table = made_up(tmp_path)
    # The best of all is proposed last, and something that the table lacks first.
    order = table.sort_values("val_auc")["arch_id"].tolist()
    known = {SPACE.arch_id(arch): arch for arch in SPACE.enumerate()}
    lacking = next(i for i in known if i not in order)
    proposed = [types.SimpleNamespace(arch=known[i]) for i in [lacking, *order[5:9], order[-1]]]
    monitors = []

    def search(space, data, task, *_, propose, **__):
        monitors.append((task.monitor, propose))
        return types.SimpleNamespace(ranked=tuple(proposed))

    monkeypatch.setattr(bench, "search_darts", search)
    seen = []
    monkeypatch.setattr(bench, "report", lambda table, truth, runs, *_: seen.append(runs))
    words = ["compare", "--out", str(tmp_path), "--partial", "--seeds", "1", "--queries", "12"]
    words += ["--device", "cpu", "--strategies", "darts", "few"]

    def chosen(n):
        assert bench.main([*words, "--score", "auc", "--darts-measure", str(n)]) == 0
        return seen[-1].set_index("strategy")

    runs = chosen(6)
    assert runs["arch_id"]["darts"] == order[-1]
    assert runs["seconds"]["darts"] >= 10.0  # five look-ups of two seconds, one not in the table
    assert runs["seconds"]["few"] == 12.0
    assert chosen(5)["arch_id"]["darts"] == order[8]
    assert chosen(1)["arch_id"]["darts"] == lacking
    assert list(chosen(0).index) == ["darts"]
    assert chosen(0)["arch_id"]["darts"] == lacking
    assert monitors == [("auc", 50)]  # once: how many are looked up is decided afterwards
    assert bench.main([*words, "--score", "accuracy"]) == 2
    assert bench.main([*words, "--score", "auc", "--darts-measure", "-1"]) == 2


def test_of_equals_the_first_is_the_best(cells):
    table = pd.DataFrame({"arch_id": list("abcd"), "val_auc": [0.5, 0.7, 0.7, 0.1], "seconds": 1.0})
    assert cells.best_of(table, ["d", "c", "b", "none"], "auc") == ("c", 3.0)
    assert cells.best_of(table, ["b", "c"], "auc") == ("b", 2.0)


def test_a_seed_that_has_begun_tells_of_the_noise_and_takes_nothing_from_what_is_known(cells):
    rng = np.random.default_rng(0)
    made = rng.normal(0.9, 0.03, 400)
    rows = [
        {"arch_id": f"{k:03}", "seed": seed, "val_auc": made[k] + rng.normal(0, 0.01)}
        for seed, n in ((0, 400), (1, 400), (2, 3))
        for k in range(n)
    ]
    table = pd.DataFrame(rows)
    truth = table.groupby("arch_id", as_index=False)["val_auc"].mean()
    said = cells.noise_text(table, truth, "auc")
    found = re.search(r"over architectures ([\d.]+), over the trainings of one ([\d.]+)", said)
    assert float(found[1]) == pytest.approx(0.03, rel=0.1)
    assert float(found[2]) == pytest.approx(0.01, rel=0.1)
    assert "(400 architectures)" in said
    assert cells.noise_text(table[table["seed"] == 0], truth, "auc") == ""


def test_a_choice_is_ranked_by_trainings_that_its_search_has_not_seen(cells, tmp_path):
    first, second = made_up(tmp_path), made_up(tmp_path, seed=1)
    # Of the first training the best is what is worst in the second.
    worst = second["val_accuracy"].idxmin()
    first.loc[worst, "val_accuracy"] = 2.0
    first.to_csv(tmp_path / "table_seed0_0of1.csv", index=False)
    table = cells.read_tables(tmp_path)
    truth = cells.averaged(table)
    chosen = first["arch_id"][worst]

    def place(strategy: str, seed: int) -> float:
        run = types.SimpleNamespace(strategy=strategy, seed=seed, arch_id=chosen)
        return cells.placed(run, table, truth, "accuracy", ["val"])["place_val"]

    assert place("random", 0) < 5
    assert place("random", 1) == 100
    chosen = "none"
    assert np.isnan(place("random", 0))


def test_a_seed_that_is_not_complete_does_not_count_but_with_partial(bench, tmp_path, capsys):
    assert enumerate_(bench, tmp_path, "--limit", "1") == 0  # makes settings.json
    (tmp_path / "table_seed0_0of1.csv").unlink()
    made_up(tmp_path, SPACE.size())
    made_up(tmp_path, 40, seed=1)
    words = ["compare", "--out", str(tmp_path), "--seeds", "1", "--queries", "10"]
    words += ["--strategies", "random"]
    assert bench.main(words) == 0
    said = capsys.readouterr().out
    assert "1800 architectures, each trained alone once" in said
    assert "(40 architectures)" in said  # the noise is told of with what there is
    assert bench.main([*words, "--partial"]) == 0
    assert "40 architectures, each trained alone twice" in capsys.readouterr().out
