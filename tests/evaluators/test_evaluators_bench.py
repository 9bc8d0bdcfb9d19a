from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from nasseg.errors import ArchError, ConfigError, DataError
from nasseg.evaluators import NASSegBench, fit_table
from nasseg.evaluators._repeats import repeat_noise
from nasseg.evaluators.bench import make_bench
from nasseg.evaluators.tables import read_table, read_tables
from nasseg.search_spaces import get_space

SPACE = get_space("unet")


def rows(archs, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"arch": [SPACE.to_json(a) for a in archs]})
    table["arch_id"] = [SPACE.arch_id(a) for a in archs]
    signal = np.array([a["M"] for a in archs]) / 20
    table["day1"] = 0.6 + signal + shift + 0.004 * rng.normal(size=len(archs))
    table["avm"], table["std"], table["params"] = 1.5, 0.01, np.arange(len(archs)) + 1000
    return table


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    archs = SPACE.sample_lhs(30, np.random.default_rng(0))
    entries = []
    for name, some, budget, seed, shift in (
        ("a", archs, "proxy", 0, 0.0),
        ("b", archs[:12], "proxy", 1, 0.0),
        ("c", archs[:8], "full", 0, 0.1),
    ):
        rows(some, len(entries), shift).to_csv(folder / f"{name}.csv", index=False)
        entries.append(
            {"path": folder / f"{name}.csv", "space": "unet", "budget": budget, "seed": seed}
        )
    make_bench(entries, folder / "bench.parquet")
    return NASSegBench(folder / "bench.parquet"), archs, entries


def test_a_lookup_is_the_mean_over_seeds_or_one_of_them(bench):
    table, archs, _ = bench
    assert len(table) == 30
    one, two = (table.lookup(archs[0], "day1", seed=s) for s in (0, 1))
    assert table.lookup(archs[0], "day1") == pytest.approx((one + two) / 2)
    assert table.lookup(archs[20])["std"] == 0.01
    assert table.seeds(archs[0]) == [0, 1]
    assert table.seeds(archs[20]) == [0]
    with pytest.raises(ArchError, match=r"not measured with seed 1; it was with \[0\]"):
        table.lookup(archs[20], "day1", seed=1)
    with pytest.raises(ConfigError, match="did you mean 'day1'"):
        table.lookup(archs[0], "day2")


def test_it_is_an_evaluator(bench):
    table, archs, _ = bench
    scores = table.evaluate(archs[5:9])
    assert scores.day1.tolist() == [table.lookup(a, "day1") for a in archs[5:9]]
    assert np.isnan(scores.energy_uj).all()
    assert len(table.scores()) == len(table.matrix) == 30
    other = SPACE.sample_lhs(60, np.random.default_rng(9))[-1]
    with pytest.raises(ArchError, match="not one of the 30 architectures"):
        table.evaluate([other])


def test_noise_and_proxy_are_known_where_they_were_measured(bench):
    table, _, _ = bench
    deviation, agreement, ceiling, several = table.noise()
    assert several == 12
    assert 0.001 < deviation < 0.01
    assert 0.4 < agreement < ceiling <= 1
    tau, both = table.proxy_tau()
    assert both == 8
    assert tau > 0.4
    full = NASSegBench(table.path, budget="full")
    assert len(full) == 8
    assert np.isnan(full.noise()[0])


def test_noise_is_the_deviation_within_architectures_and_the_tau_between_repeats():
    # One of the six pairs changes its order; the squared differences are 0.04, 0.04, 1.44, 0.64.
    values = np.array([1, 2, 3, 4, 1.2, 2.2, 4.2, 3.2, 9])
    found = repeat_noise("abcdabcde", None, values)
    assert found[:2] == (pytest.approx(0.27**0.5), pytest.approx(2 / 3))
    assert found.several == 4
    assert repeat_noise("abcdabcde", [0] * 4 + [7] * 4 + [0], values) == found
    # A measurement that is in two tables is no second one.
    twice = np.concatenate([values, values])
    assert repeat_noise("abcdabcde" * 2, None, twice) == found
    assert repeat_noise("abc", None, values[:3]).several == 0


def test_pairs_of_repeats_count_by_their_size():
    # Ten architectures agree between the first two seeds; of four that have a third, none does.
    values = np.concatenate([np.arange(10.0), np.arange(10.0), -np.arange(4.0)])
    seeds = [0] * 10 + [1] * 10 + [2] * 4
    found = repeat_noise("abcdefghijabcdefghijabcd", seeds, values)
    assert found.agreement == pytest.approx((90 - 12 - 12) / (90 + 12 + 12))


def test_the_ceiling_is_what_the_truth_would_reach():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=1500)
    first, second = (truth + 0.6 * rng.normal(size=truth.size) for _ in range(2))
    found = repeat_noise(list(range(1500)) * 2, None, np.concatenate([first, second]))
    assert found.agreement == pytest.approx(kendalltau(first, second).statistic)
    assert found.ceiling == pytest.approx(kendalltau(truth, first).statistic, abs=0.02)
    assert found.deviation == pytest.approx(0.6, abs=0.03)


def test_a_card_says_how_well_measurements_repeat(bench, tmp_path):
    table, _, entries = bench
    known = table.noise()
    seeds = [entry["path"] for entry in entries if entry["budget"] == "proxy"]
    assert read_tables(seeds, SPACE).noise == pytest.approx(known)
    assert np.isnan(read_table(seeds[0], SPACE).noise.ceiling)
    fit_table(table.path, SPACE, tmp_path / "s")
    card = (tmp_path / "s" / "card.md").read_text()
    assert f"with another seed: {known.agreement:.2f} (12 architectures have several)" in card
    assert f"would have {known.ceiling:.2f} (the noise ceiling" in card


def test_a_surrogate_is_fitted_to_it(bench):
    table, _, _ = bench
    assert len(read_table(table.path, SPACE).X) == 30
    assert fit_table(table.path, SPACE).schema["n"] == 30


def test_what_is_no_bench_is_said(bench, tmp_path):
    table, _, entries = bench
    with pytest.raises(DataError, match="no such table"):
        NASSegBench(tmp_path / "gone.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no readable Parquet"):
        NASSegBench(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="no rows of budget 'huge'"):
        NASSegBench(table.path, budget="huge")
    pd.DataFrame({"arch": []}).to_parquet(tmp_path / "few.parquet")
    with pytest.raises(DataError, match="no column arch_id, space, space_version, budget, seed"):
        NASSegBench(tmp_path / "few.parquet")
    other = tmp_path / "other.parquet"
    pd.read_parquet(table.path).assign(space_version=SPACE.version + 1).to_parquet(other)
    with pytest.raises(DataError, match="version 2 of the space 'unet'"):
        NASSegBench(other)
    changed = tmp_path / "changed.csv"
    found = pd.read_csv(entries[0]["path"])
    found.assign(day1=found.day1 + 0.01).to_csv(changed, index=False)
    with pytest.raises(DataError, match="is there twice"):
        make_bench([entries[0], {**entries[0], "path": changed}], tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"a.csv, row 2"):
        make_bench([{**entries[0], "space": "resnet"}], tmp_path / "x.parquet")


def test_what_a_search_proposed_is_told_from_what_was_drawn(bench, tmp_path):
    table, archs, entries = bench
    assert not table.searched.any()
    begun = pd.read_csv(entries[0]["path"])
    more = SPACE.sample_lhs(5, np.random.default_rng(9))
    # A search begins with some of the table, whose rows its own table has as well.
    pd.concat([begun.head(10), rows(more, 7, 0.2)]).to_csv(tmp_path / "search.csv", index=False)
    entry = {**entries[0], "path": tmp_path / "search.csv", "drawn": "search"}
    make_bench([*entries, entry], tmp_path / "all.parquet")
    both = NASSegBench(tmp_path / "all.parquet")
    assert len(both) == len(archs) + 5
    new = {SPACE.arch_id(arch) for arch in more}
    assert [SPACE.arch_id(a) in new for a in both.archs] == both.searched.tolist()
    assert both.metrics == table.metrics
    # The same network under another architecture.
    arch = SPACE.repair({**SPACE.default(), "M": 5, "topology": "isotropic"})
    same = [{**arch, "R4": 1, "R5": 3}, {**arch, "R4": 2, "R5": 2}]
    rows(same, 3).to_csv(tmp_path / "same.csv", index=False)
    make_bench([{**entries[0], "path": tmp_path / "same.csv"}], tmp_path / "one.parquet")
    assert NASSegBench(tmp_path / "one.parquet").archs == same[:1]
    # A table from before this was written down.
    pd.read_parquet(both.path).drop(columns="drawn").to_parquet(tmp_path / "old.parquet")
    assert not NASSegBench(tmp_path / "old.parquet").searched.any()


def test_a_bench_is_added_to(bench, tmp_path):
    table, archs, entries = bench
    whole = pd.read_parquet(table.path)
    make_bench([*entries[:2], {**entries[2], "drawn": "search"}], tmp_path / "begun.parquet")
    long = tmp_path / "long.csv"
    rows(archs[20:24], 5, 0.1).to_csv(long, index=False)
    begun = {"path": tmp_path / "begun.parquet", "space": "unet"}
    more = {"path": long, "space": "unet", "budget": "full", "seed": 4, "drawn": "search"}
    make_bench([begun, more], tmp_path / "more.parquet")
    after = NASSegBench(tmp_path / "more.parquet")
    assert len(pd.read_parquet(after.path)) == len(whole) + 4
    assert after.scores().day1.tolist() == table.scores().day1.tolist()
    assert NASSegBench(after.path, "full").seeds(archs[20]) == [4]
    # They were drawn at random, as the bench says.
    assert after.proxy_tau(drawn_only=True) == after.proxy_tau()
    assert after.proxy_tau()[1] == 12
    # Searched ones in another order do not count with those drawn.
    others = rows(SPACE.sample_lhs(5, np.random.default_rng(9)), 6)
    others.to_csv(tmp_path / "o.csv", index=False)
    others.assign(day1=-others.day1).to_csv(tmp_path / "of.csv", index=False)
    found = [
        {**more, "path": tmp_path / name, "budget": budget}
        for name, budget in (("o.csv", "proxy"), ("of.csv", "full"))
    ]
    make_bench([{"path": after.path, "space": "unet"}, *found], tmp_path / "mixed.parquet")
    mixed = NASSegBench(tmp_path / "mixed.parquet")
    assert mixed.proxy_tau(drawn_only=True) == after.proxy_tau()
    assert mixed.proxy_tau()[0] < after.proxy_tau()[0]
    # What is there already stays once.
    make_bench([{"path": after.path, "space": "unet"}, more], tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "again.parquet"), pd.read_parquet(after.path)
    )
    with pytest.raises(DataError, match="architectures of the spaces"):
        make_bench([{**begun, "space": "resnet"}], tmp_path / "x.parquet")
    whole.drop(columns="day1").to_parquet(tmp_path / "few.parquet")
    with pytest.raises(DataError, match=r"few.parquet: no column day1"):
        make_bench([{**begun, "path": tmp_path / "few.parquet"}], tmp_path / "x.parquet")


def test_a_short_training_does_not_say_what_an_architecture_was_drawn_for(bench, tmp_path):
    table, _, _ = bench
    others = SPACE.sample_lhs(5, np.random.default_rng(9))
    rows(others, 6).to_csv(tmp_path / "o.csv", index=False)
    one = {"path": tmp_path / "o.csv", "space": "unet", "seed": 1}
    begun = tmp_path / "begun.parquet"
    make_bench([{"path": table.path, "space": "unet"}, {**one, "budget": "screen"}], begun)
    found = {**one, "budget": "proxy", "drawn": "search"}
    make_bench([{"path": begun, "space": "unet"}, found], tmp_path / "more.parquet")
    assert NASSegBench(tmp_path / "more.parquet").searched.sum() == 5


def test_the_shipped_bench_has_what_it_promises():
    bench = NASSegBench()
    assert len(bench) >= 200
    assert bench.space.name == "unet"
    scores = bench.scores()
    for name in ("day1", "avm", "std", "p05"):
        assert np.isfinite(getattr(scores, name)).all(), name
    counted = bench.space.count_params(bench.matrix)
    np.testing.assert_array_equal(counted, bench.values("params"))
    # Short trainings are of other architectures.
    short = NASSegBench(budget="screen")
    assert len(short) >= 400
    same = {bench.space.arch_id(a) for a in bench.archs}
    assert sum(bench.space.arch_id(a) in same for a in short.archs) < 20
