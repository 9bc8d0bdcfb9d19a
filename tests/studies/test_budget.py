"""The search within a budget, with real (tiny) trainings."""

from __future__ import annotations

import csv
import dataclasses
import json
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.pairs import one_square, write_pair, write_squares
from safetensors.numpy import load_file

from nasseg import pipeline
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    DriftConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
)
from nasseg.errors import ConfigError, RunError
from nasseg.evaluators import load_surrogate
from nasseg.records.pareto import read_front
from nasseg.records.resolve import resolve_config
from nasseg.report import write_report
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search_spaces import get_space
from nasseg.studies import budget as budgets
from nasseg.studies import workers
from nasseg.studies.budget import BudgetSearch
from nasseg.studies.budgeted import why_taken
from nasseg.studies.prior import nearest_within, predicted_best
from nasseg.studies.rungs import Plan, Rung

DATA = DataConfig(image_size=16, synthetic_train=20, synthetic_val=6)


def run_config(out: Path, data: DataConfig = DATA, **search) -> RunConfig:
    settings = {
        "space": "unet",
        "budget": "0.5x",
        "max_params": 40_000,
        "max_macs_per_pixel": 3_000,
        **search,
    }
    return RunConfig(
        out=str(out),
        threads=1,
        device="cpu",
        data=data,
        search=SearchConfig(**settings),
        train=TrainConfig(epochs=20, batch_size=8, eval_every=20),
        analog=AnalogConfig(epochs=1),
        drift=DriftConfig(chips=2, times=(86_400.0,)),
    )


def search(config: RunConfig) -> dict:
    pipeline.run(config, stages=("search",), progress=False)
    return json.loads((Path(config.out) / "best.json").read_text())


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "search.csv").open(newline="", encoding="utf-8") as handle:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(handle)
        ]


def found_of(best: dict) -> dict:
    """What a search found, without how long it took."""
    best = json.loads(json.dumps(best))
    best["measured"].pop("seconds")
    best["budget"].pop("seconds")
    return best


@pytest.fixture
def toy(monkeypatch):
    """Measuring is a formula, and nothing is timed."""

    def measure(self, place):
        rung = self.plan.rungs[place]

        def one(arch):
            counted = self._counted(arch)
            score = np.log(counted["params"]) / 20 + 0.01 * place
            return {"score": score, **counted, "metric": self.metric, "epochs": rung.epochs,
                    "seconds": 1.0}  # fmt: skip

        return one

    monkeypatch.setattr(BudgetSearch, "_measure", measure)
    monkeypatch.setattr(budgets, "seconds_per_epoch", lambda *a, **k: 1.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, search(run_config(out))


def test_the_best_of_each_rung_go_on_and_the_winner_is_of_the_last(whole):
    out, best = whole
    rungs, rows = best["rungs"], rows_of(out)
    assert len(rungs) > 1
    before: list[dict[str, str]] = []
    for place, rung in enumerate(rungs, 1):
        own = [row for row in rows if row["rung"] == str(place)]
        assert len(own) == rung["count"]
        assert {row["epochs"] for row in own} == {str(rung["epochs"])}
        if place > 1:
            order = sorted(before, key=lambda row: -float(row["score"]))
            assert {r["arch_id"] for r in own} == {r["arch_id"] for r in order[: rung["count"]]}
        before = own
    assert best["arch_id"] == max(before, key=lambda row: float(row["score"]))["arch_id"]
    assert best["measured"]["metric"] == "dice"
    assert best["budget"]["plan"].startswith(f"{rungs[0]['count']} candidates x")
    assert not (out / "search").exists()
    assert [len(course["scores"]) for course in best["candidates"]].count(len(rungs)) == len(own)


@pytest.mark.parametrize("place", [0, 1])
def test_an_interruption_in_any_rung_changes_nothing(whole, tmp_path, monkeypatch, place):
    done, _ = whole
    real = budgets.train_network
    calls = []

    def stopped(*args, **settings):
        # In the second candidate of the rung, after an epoch of it.
        rung = args[3].epochs
        calls.append(rung)
        if len(set(calls)) == place + 1 and calls.count(rung) == 2:
            real(*args, **settings, stop_after=1)
            raise KeyboardInterrupt
        return real(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(budgets, "train_network", stopped)
        with pytest.raises(KeyboardInterrupt):
            search(run_config(tmp_path))
    found = search(run_config(tmp_path))
    assert found_of(found) == found_of(whole[1])
    assert rows_of(tmp_path) == rows_of(done)


def test_killed_workers_lose_nothing(whole, tmp_path):
    """Two processes, of which one is killed: the same winner, and nothing is measured twice."""
    real = workers._start
    started = []

    def start(*args):
        started.append(real(*args))
        return started[-1]

    def kill() -> None:
        file, deadline = tmp_path / "search", time.monotonic() + 120
        while not (file.exists() and list(file.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.05)
        started[0].kill()

    killer = threading.Thread(target=kill)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_start", start)
        killer.start()
        best = search(run_config(tmp_path, workers=2))
    killer.join()
    assert [process.returncode for process in started] == [-signal.SIGKILL, 0]
    assert best["arch_id"] == whole[1]["arch_id"]
    assert rows_of(tmp_path) == rows_of(whole[0])


def test_images_that_are_reported_choose_nothing(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    val = write_squares(folder, rng)
    data = dataclasses.replace(DATA, path=str(folder))
    before = tmp_path / "before"
    pipeline.run(run_config(before, data), stages=("search", "train"), progress=False)
    for name in val:
        write_pair(folder, name, *one_square(rng))
    after = tmp_path / "after"
    pipeline.run(run_config(after, data), stages=("search", "train"), progress=False)
    assert rows_of(after) == rows_of(before)
    one, other = (json.loads((out / "best.json").read_text()) for out in (before, after))
    assert found_of(one) == found_of(other)
    weights = [load_file(out / "digital.safetensors") for out in (before, after)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_some_candidates_are_those_that_a_shipped_surrogate_expects_most_of(toy, tmp_path):
    plan = Plan((Rung(16, 1), Rung(4, 2, 1, 1)), 0.1)
    space, wide = get_space("unet"), {"max_params": 500_000, "max_macs_per_pixel": 30_000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BudgetSearch, "_planned", lambda self: plan)
        search(run_config(tmp_path / "small", **wide))
        opened = BudgetSearch(run_config(tmp_path / "other", **wide))
        opened.open()
    best = predicted_best(space, opened.bounds, 4, 0)
    measured = {row["arch_id"] for row in rows_of(tmp_path / "small") if row["rung"] == "1"}
    assert len(measured) == 16
    assert {space.arch_id(arch) for arch in best} <= measured
    surrogate = load_surrogate("auto", space)
    days = [float(surrogate.evaluate_matrix(space.encode([a])).column("day1")[0]) for a in best]
    assert days == sorted(days, reverse=True)
    assert opened.bounds.within(space, space.encode(best)).all()
    # None is shipped for this space.
    assert predicted_best(get_space("unet2"), opened.bounds, 4, 0) == []


def test_what_is_nearest_to_a_network_within_bounds():
    space = get_space("unet2")
    arch = space.default()
    free = SizeBounds()
    assert nearest_within(space, arch, free, 1) == [space.canonical(arch)]
    near = nearest_within(space, arch, free, 200)
    # A choice may set others to 0 that mean nothing with it.
    changes = [sum(a[key] not in (arch[key], 0) for key in arch) for a in near]
    assert changes[0] == 0
    assert set(changes[1:30]) == {1}
    assert max(changes) == 2
    assert len({space.arch_id(a) for a in near}) == 200
    tight = SizeBounds(max_params=300_000)
    within = nearest_within(space, arch, tight, 5)
    assert tight.within(space, space.encode(within)).all()
    params = space.count_params(space.encode(within), 3, 1)
    assert within[0] == space.canonical({**arch, "out_channel0": 24})
    assert (params <= 300_000).all()
    assert nearest_within(space, arch, SizeBounds(max_params=10), 5) == []


def test_a_search_says_why_it_took_a_network():
    def row(name: str, score: float, epochs: int) -> dict:
        cost = {"params": 1e4, "energy_uj": 850.0}
        return {"arch_id": name, "score": score, "epochs": epochs, **cost}

    rungs = [
        [row("default", 0.5, 4), row("a", 0.6, 4), row("b", 0.7, 4)],
        [row("b", 0.75, 12), row("a", 0.8, 12)],
    ]
    best = rungs[1][1]
    assert why_taken("ap50", "default", rungs, best) == (
        "a is taken: ap50 0.8000 after a day on chips (10,000 parameters, 850 uJ); 0.7500 the best "
        "other one of 2 put onto chips; 0.5000 after 4 epochs the network that the space has by "
        "default, 0.6000 this one; of 3 candidates"
    )
    assert "by default" not in why_taken("ap50", "a", rungs, best)
    assert "other one" not in why_taken("ap50", "a", [rungs[1][1:]], best)


def test_candidates_keep_constraints(toy, tmp_path):
    best = search(run_config(tmp_path, constraints=("energy_uj<9000", "tiles<=34")))
    for row in rows_of(tmp_path):
        assert float(row["energy_uj"]) < 9000
        assert float(row["tiles"]) <= 34
    assert best["budget"]["constraints"] == ["energy_uj < 9000", "tiles <= 34"]


def test_a_front_goes_on_where_several_things_count(toy, tmp_path):
    best = search(run_config(tmp_path, maximize=("score",), minimize=("energy_uj",)))
    last = [row for row in rows_of(tmp_path) if row["rung"] == str(len(best["rungs"]))]
    first = [row for row in rows_of(tmp_path) if row["rung"] == "1"]
    assert min(float(r["energy_uj"]) for r in last) == min(float(r["energy_uj"]) for r in first)
    front = read_front(tmp_path)
    assert front is not None
    assert {row.arch_id for row in front.rows} == {row["arch_id"] for row in last}
    assert front.objectives == (("score", True), ("energy_uj", False))
    (knee,) = [row.arch_id for row in front.rows if row.knee]
    assert best["arch_id"] == front.taken == knee
    write_report(tmp_path)
    assert "Knee" in (tmp_path / "report.html").read_text()
    other = tmp_path / "best"
    found = search(run_config(other, maximize=("score",), minimize=("energy_uj",), pick="best"))
    top = max((row for row in read_front(other).rows), key=lambda row: row.scores["score"])
    assert found["arch_id"] == top.arch_id


def test_where_time_is_short_fewer_go_on(tmp_path, monkeypatch):
    plan = Plan((Rung(6, 1), Rung(4, 2, 1, 1)), 0.1)
    monkeypatch.setattr(BudgetSearch, "_planned", lambda self: plan)
    monkeypatch.setattr(budgets, "seconds_per_epoch", lambda *a, **k: 1.0)
    opened = BudgetSearch(run_config(tmp_path, budget="100s"))
    opened.open()
    cost = plan.costs()
    rows = [{"seconds": 60.0 / 6}] * 6
    assert opened._affordable([rows], 1) < 4
    assert opened._affordable([[{"seconds": 1.0}] * 6], 1) == 4
    assert opened._affordable([[{"seconds": 100.0}] * 6], 1) == 1
    assert cost[1] > cost[0]


def test_a_rung_ends_where_its_time_is_over(toy, tmp_path, monkeypatch):
    plan = Plan((Rung(6, 1), Rung(4, 2, 1, 1)), 0.1)
    monkeypatch.setattr(BudgetSearch, "_planned", lambda self: plan)
    real = BudgetSearch._measure

    def slow(self, place):
        one = real(self, place)
        return lambda arch: {**one(arch), "seconds": 25.0}

    monkeypatch.setattr(BudgetSearch, "_measure", slow)
    search(run_config(tmp_path, budget="100s"))
    counts = [sum(row["rung"] == rung for row in rows_of(tmp_path)) for rung in "12"]
    assert counts[0] == 2
    assert 1 <= counts[1] <= 2
    # As long as it was planned for.
    search(run_config(tmp_path / "other", budget="1000s"))
    counts = [sum(row["rung"] == rung for row in rows_of(tmp_path / "other")) for rung in "12"]
    assert counts == [6, 4]


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path):
    for changes, message in (
        ({"constraints": ("day1>0.5",)}, "day1"),
        ({"maximize": ("avm",)}, "avm"),
        ({"budget": "0.01x"}, r"search\.budget is 0\.01"),
        ({"max_params": 1}, "widen the bounds"),
    ):
        with pytest.raises(ConfigError, match=message):
            search(run_config(tmp_path / "run", **changes))
        # Nothing that was refused binds the folder.
        assert not (tmp_path / "run" / "study.db").exists()
    for changes, message in (
        ({"budget": "2 h"}, "search.budget is '2 h'; allowed: 0.5x"),
        ({"measure": 3}, "search.measure is 3; allowed: 0 with search.budget"),
    ):
        with pytest.raises(ConfigError) as error:
            run_config(tmp_path, **changes)
        assert message in str(error.value)


def test_the_plan_is_said_before_it_begins(toy, tmp_path, monkeypatch):
    logged: list[str] = []
    monkeypatch.setattr(budgets.log, "info", lambda text, *facts: logged.append(text % facts))
    best = search(run_config(tmp_path))
    said = next(text for text in logged if text.startswith("search: "))
    assert best["budget"]["plan"] in said
    assert "on this machine" in said


def test_another_budget_needs_another_folder(toy, tmp_path):
    out = tmp_path / "run"
    search(run_config(out))
    (out / "best.json").unlink()
    with pytest.raises(RunError, match="budget"):
        search(run_config(out, budget="5x"))


def test_a_search_with_a_budget_has_a_picture(toy, tmp_path):
    search(run_config(tmp_path))
    text = write_report(tmp_path).read_text()
    assert "on training images held out" in text
    assert (tmp_path / "figures" / "search.png").exists()


def test_the_reference_network_of_the_space_is_a_candidate(tmp_path):
    config = run_config(tmp_path, max_params=1_000_000, max_macs_per_pixel=None)
    space = get_space("unet")
    study = BudgetSearch(config).open()
    assert study.first[0] == space.canonical(space.default())


def test_a_budget_sets_the_network_of_a_recipe_aside(tmp_path):
    (tmp_path / "arch.json").write_text(json.dumps(get_space("unet2").default()))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("search: {space: unet2, arch: arch.json}\n")
    plain = resolve_config(RunConfig, {"out": str(tmp_path / "run")}, recipe)
    assert plain.search.arch is not None
    config = resolve_config(
        RunConfig, {"out": str(tmp_path / "run"), "search.budget": "1x"}, recipe
    )
    assert (config.search.arch, config.search.space) == (None, "unet2")
    assert budgets.is_budgeted(config)
    assert not budgets.is_budgeted(plain)
    with pytest.raises(ConfigError, match=r"search\.arch is 'a.json'; allowed: none with"):
        SearchConfig(budget="1x", arch="a.json")
