from __future__ import annotations

import json
import math

import numpy as np
import pytest

from nasseg.config import SearchConfig
from nasseg.errors import ConfigError
from nasseg.evaluators import CostEvaluator, Evaluator, Scores, XGBoostEvaluator
from nasseg.search import EAOptimizer, RandomSearch, Worker, search
from nasseg.search_spaces import get_space


class Formula(Evaluator):
    """A closed-form surrogate that remembers every row it was asked for.

    Wide and deep networks score best and drift most, so that both bounds bite.
    """

    def __init__(self, space, stop_after=None):
        self.space = space
        rng = np.random.default_rng(11)
        self.weights = rng.uniform(0.1, 1, len(space.feature_names))
        self.scale = np.maximum(space.sample_matrix(500, rng).max(0), 1)
        self.batches = []
        self.stop_after = stop_after

    def evaluate(self, archs):
        return self.evaluate_matrix(self.space.encode(archs))

    def evaluate_matrix(self, X):
        if self.stop_after is not None and len(self.batches) >= self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(np.array(X))
        size = (X / self.scale * self.weights).sum(axis=1) / self.weights.sum()
        return Scores.of(len(X), day1=0.5 + 0.5 * size, avm=16 * size)


@pytest.fixture
def space():
    return get_space("unet")


@pytest.fixture
def surrogate(space):
    return Formula(space)


def optimizer(surrogate, **changes):
    settings = {"nb_iter": 12, "population_size": 16, "progress": False}
    return EAOptimizer(surrogate, **{**settings, **changes})


def test_first_population_is_a_latin_hypercube_of_different_architectures(surrogate):
    search = optimizer(surrogate, nb_iter=0, population_size=40, max_nb_param=None, T_AVM=None)
    search.run(surrogate.space)
    (first,) = surrogate.batches
    assert len(np.unique(first, axis=0)) == 40
    column = surrogate.space.feature_names.index("out_channel0")
    counts = np.unique(first[:, column], return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("kind", ["width", "depth", "other"])
def test_a_mutation_changes_its_kind_and_keeps_the_rest(surrogate, kind):
    probabilities = {f"mutation_prob_{k}": float(k == kind) for k in ("width", "depth", "other")}
    optimizer(
        surrogate, generic_mutation_prob=0, max_nb_param=None, T_AVM=None, **probabilities
    ).run(surrogate.space)
    names = surrogate.space.feature_names
    kinds = {h.name: h.kind for h in surrogate.space.hyperparameters}
    seen = surrogate.batches[0]
    for batch in surrogate.batches[1:]:
        for child in batch:
            changes = [
                {kinds[names[j]] for j in np.flatnonzero((row != child) & (row > 0) & (child > 0))}
                for row in seen
            ]
            assert any(change <= {kind} for change in changes)
        seen = np.concatenate([seen, batch])


def test_children_are_not_drawn_anew_from_the_space(space, surrogate, monkeypatch):
    draws = []
    for name in ("sample_matrix", "sample_lhs_matrix", "sample_arch_uniformly", "sample"):
        original = getattr(space, name)

        def spy(*args, original=original, name=name):
            draws.append((name, len(surrogate.batches)))
            return original(*args)

        monkeypatch.setattr(space, name, spy)
    optimizer(surrogate, max_nb_param=None, T_AVM=None).run(space)
    assert draws == [("sample_lhs_matrix", 0)]


def test_the_best_of_parents_and_children_survive(surrogate):
    search = optimizer(surrogate, nb_iter=1)
    search.run(surrogate.space)
    X = np.concatenate(surrogate.batches)
    scores = Formula(surrogate.space).evaluate_matrix(X)
    ok = (scores.avm <= 10) & (CostEvaluator(surrogate.space).params_matrix(X) <= 1_000_000)
    expected = np.sort(scores.day1[ok])[::-1][:16]
    kept = Formula(surrogate.space).evaluate(search.population).day1
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_returned_is_the_best_feasible_one_ever_seen(surrogate, seed):
    search = optimizer(surrogate, seed=seed)
    arch, score = search.run(surrogate.space)
    X = np.concatenate(surrogate.batches)
    scores = Formula(surrogate.space).evaluate_matrix(X)
    ok = (scores.avm <= 10) & (CostEvaluator(surrogate.space).params_matrix(X) <= 1_000_000)
    surrogate.space.validate(arch)
    assert score == scores.day1[ok].max()
    assert score == Formula(surrogate.space).evaluate([arch]).day1[0]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("params", "avm"), [(0.05, None), (None, 5.5), (0.2, 6.0), (1, 10)])
def test_bounds_hold_for_everything_that_is_kept(surrogate, params, avm, seed):
    search = optimizer(surrogate, max_nb_param=params, T_AVM=avm, seed=seed)
    search.run(surrogate.space)
    scores = surrogate.evaluate(search.population)
    counted = CostEvaluator(surrogate.space).params_matrix(
        surrogate.space.encode(search.population)
    )
    if params is not None:
        assert counted.max() <= params * 1e6
        assert CostEvaluator(surrogate.space).params_matrix(
            np.concatenate(surrogate.batches)
        ).max() > (params * 1e6)
    if avm is not None:
        assert scores.avm.max() <= avm


@pytest.mark.parametrize("seed", range(3))
def test_the_best_never_gets_worse(surrogate, seed):
    search = optimizer(surrogate, seed=seed)
    search.run(surrogate.space)
    best = [g.best for g in search.history]
    mean = [g.mean for g in search.history]
    assert len(best) == 13
    assert (np.diff(best) >= 0).all()
    assert best[-1] > best[0]
    assert mean[-1] > mean[0]
    assert all(0 <= g.feasible <= 1 or math.isnan(g.feasible) for g in search.history)


@pytest.mark.parametrize("kind", [EAOptimizer, RandomSearch])
def test_no_architecture_is_asked_for_twice_and_queries_are_counted(surrogate, kind):
    search = kind(surrogate, nb_iter=8, population_size=16, progress=False)
    search.run(surrogate.space)
    X = np.concatenate(surrogate.batches)
    assert len(np.unique(X, axis=0)) == len(X) == search.history[-1].queries
    ids = {surrogate.space.arch_id(a) for a in search.population}
    assert len(ids) == len(search.population)


@pytest.mark.parametrize("kind", [EAOptimizer, RandomSearch])
def test_same_seed_repeats_all_runs_and_runs_differ(surrogate, kind):
    def runs(seed):
        search = kind(surrogate, nb_iter=4, population_size=12, seed=seed, progress=False)
        results = []
        for _ in range(2):
            results.append((search.run(surrogate.space), search.population, search.history))
        return results

    first, again, other = runs(7), runs(7), runs(8)
    assert first == again
    assert first[0] != first[1]
    assert first[0] != other[0]


def test_global_random_state_is_neither_used_nor_changed(surrogate):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    optimizer(surrogate, nb_iter=2).run(surrogate.space)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize("kind", [EAOptimizer, RandomSearch])
def test_nothing_feasible_is_an_error_that_says_what_was_seen(surrogate, kind):
    search = kind(surrogate, nb_iter=2, population_size=8, max_nb_param=1e-5, progress=False)
    with pytest.raises(ConfigError, match=r"at most 10 parameters \(fewest seen: \d.*raise the b"):
        search.run(surrogate.space)
    search = kind(surrogate, nb_iter=2, population_size=8, T_AVM=-1, progress=False)
    with pytest.raises(ConfigError, match=r"AVM of at most -1 points \(lowest seen: \d"):
        search.run(surrogate.space)
    assert search.history == ()


def test_a_small_feasible_region_is_filled_from_few_parents(surrogate):
    search = optimizer(surrogate, max_nb_param=0.004, nb_iter=20)
    search.run(surrogate.space)
    assert search.history[0].feasible < 0.3
    assert len(search.population) == 16


def test_predictions_that_are_nan_are_never_kept(space, surrogate):
    class Nan(Formula):
        def evaluate_matrix(self, X):
            scores = super().evaluate_matrix(X)
            scores.day1[::2] = np.nan
            return scores

    search = optimizer(Nan(space))
    search.run(space)
    assert all(math.isfinite(g.best) and math.isfinite(g.mean) for g in search.history)


def test_a_space_smaller_than_the_population_is_exhausted_without_harm(space, surrogate):
    for name in space.get_hyperparameters():
        if name not in ("out_channel0", "kernel0") and name in space.get_hyperparameters():
            space.remove_hyperparameter(name)
    small = Formula(space)
    search = optimizer(small, max_nb_param=None, T_AVM=None)
    arch, score = search.run(space)
    everything = small.evaluate(
        [{**arch, "out_channel0": c, "kernel0": k} for c in (8, 12, 16, 24, 32) for k in (3, 5, 7)]
    )
    assert score == everything.day1.max()
    assert search.history[-1].queries <= space.size() == 15


@pytest.mark.parametrize("runs", [1, 3])
def test_an_interruption_leaves_what_was_finished(space, runs):
    probe = Formula(space)
    optimizer(probe, nb_iter=3).run(space)
    surrogate = Formula(space, stop_after=len(probe.batches) * runs + 2)
    search = optimizer(surrogate, nb_iter=3, max_nb_param=None, T_AVM=None)
    worker = Worker(space, optimizer=search, runs=50)
    with pytest.raises(KeyboardInterrupt):
        worker.search()
    assert worker.best_config is None
    assert worker.results == []
    assert len(search.history) == 4
    assert len(search.population) == 16


@pytest.mark.parametrize(
    "bad",
    [
        {"population_size": 3},
        {"nb_iter": -1},
        {"mutation_prob_width": 1.5},
        {"generic_mutation_prob": -0.1},
        {"max_nb_param": 0},
        {"max_nb_param": 1_000_000},
        {"seed": -1},
    ],
)
def test_settings_that_are_not_allowed_are_named(surrogate, bad):
    (key, value), *_ = bad.items()
    with pytest.raises(ConfigError, match=f"{key} is {value}; allowed"):
        optimizer(surrogate, **bad)


def test_a_surrogate_of_another_space_is_refused(surrogate):
    with pytest.raises(ConfigError, match=r"scores 'unet' .* the search is in 'resnet'"):
        optimizer(surrogate).run(get_space("resnet"))
    with pytest.raises(ConfigError, match="neither evaluate_matrix nor query_pop"):
        EAOptimizer(object())
    with pytest.raises(ConfigError, match="dict is no search space of nasseg"):
        optimizer(surrogate).run({})


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_evolution_finds_better_than_two_thousand_random_samples(name):
    space = get_space(name)
    X = space.sample_matrix(300, np.random.default_rng(0))
    Z = (X - X.mean(0)) / (X.std(0) + 1e-9)
    y = 0.8 + 0.05 * np.tanh(Z @ np.random.default_rng(1).normal(size=Z.shape[1]) / 4)
    y += 0.02 * np.tanh(Z[:, 0] * Z[:, 2])
    scores = Scores.of(len(X), day1=y, avm=20 - 15 * y, std=0.02)
    surrogate = XGBoostEvaluator(space).fit(X, scores, repeats=0)
    samples = space.sample_matrix(2000, np.random.default_rng(2))
    predicted = surrogate.evaluate_matrix(samples)
    ok = CostEvaluator(space).params_matrix(samples) <= 1_000_000
    for seed in range(2):
        _, score = EAOptimizer(surrogate, nb_iter=30, seed=seed, progress=False).run(space)
        assert score >= predicted.day1[ok].max()


def test_search_reports_mean_and_spread_and_is_repeatable(surrogate):
    config = SearchConfig(nb_iter=5, population_size=12, runs=3, max_params=300_000, max_avm=9.0)
    result = search(surrogate.space, surrogate, config, seed=4, progress=False)
    bests = [run.day1 for run in result.runs]
    assert result.scores["day1"] == max(bests)
    assert result.mean == pytest.approx(np.mean(bests))
    assert result.std == pytest.approx(np.std(bests, ddof=1))
    assert result.arch_id == surrogate.space.arch_id(result.arch)
    assert result.scores["params"] <= 300_000
    assert result.scores["avm"] <= 9
    assert result.scores["tiles"] >= 1
    assert [len(h) for h in result.history] == [6, 6, 6]
    plain = result.to_dict()
    text = json.dumps(plain, allow_nan=False)
    assert plain["scores"]["energy_uj"] is None
    assert plain["budget"]["runs"] == 3
    again = search(get_space("unet"), Formula(get_space("unet")), config, 4, progress=False)
    assert json.dumps(again.to_dict()) == text


def test_a_single_run_has_no_spread(surrogate):
    config = SearchConfig(nb_iter=0, population_size=8, runs=1, max_params=None, max_avm=None)
    result = search(surrogate.space, surrogate, config, progress=False)
    assert math.isnan(result.std)
    assert result.to_dict()["std"] is None
    assert result.seed == 0
