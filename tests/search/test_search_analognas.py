"""Code written for AnalogNAS runs with our classes, and the other way round.

The stand-ins make the calls of github.com/IBM/analog-nas, its defects included, on objects they
know only by that protocol.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from nasseg.errors import ConfigError
from nasseg.evaluators import Scores, XGBoostEvaluator
from nasseg.search import EAOptimizer, Worker
from nasseg.search_spaces import get_space


class TheirOptimizer:
    """Their calls: populations of one-architecture lists, scalars compared one by one."""

    def __init__(self, surrogate, nb_iter=5, population_size=50, T_AVM=10, batched=False):
        self.surrogate, self.nb_iter, self.T_AVM, self.batched = surrogate, nb_iter, T_AVM, batched
        self.size = int(population_size / 10)

    def run(self, cs):
        return self._batched(cs) if self.batched else self._one_by_one(cs)

    def _one_by_one(self, cs):
        members = [cs.sample_arch_uniformly(1)] * self.size
        for _ in range(100):
            _, slopes = self.surrogate.query_pop(members)
            if not any(slope > self.T_AVM for slope in slopes):
                break
            members = [
                cs.sample_arch_uniformly(1) if slope > self.T_AVM else member
                for member, slope in zip(members, slopes, strict=True)
            ]
        top, winner = 0.0, None
        for _ in range(self.nb_iter):
            scores = []
            for i in range(self.size):
                members[i] = cs.sample_arch_uniformly(1)
                score, _ = self.surrogate.query(members[i])
                scores.append(score)
            if max(scores) > top:
                top, winner = max(scores), members[-1][0]
        return winner, top

    def _batched(self, cs):
        members = cs.sample_arch_uniformly(self.size)
        top, winner = -float("inf"), None
        draw = random.Random(0)  # noqa: S311
        for _ in range(self.nb_iter):
            children = []
            for member in members:
                child = cs.sample_arch_uniformly(1)[0]
                child.update({k: v for k, v in member.items() if draw.random() < 0.5})
                children.append(child)
            scores, _ = self.surrogate.query_pop(
                [[child] for child in children], should_bypass_eval=True, bypass_threshold=top
            )
            order = sorted(range(self.size), key=lambda i, s=scores: s[i], reverse=True)
            if scores[order[0]] > top:
                top, winner = scores[order[0]], children[order[0]]
            members = [children[i] for i in [order[0], *order[:-1]]]
        return winner, top


class TheirWorker:
    """Their calls: several runs, winners written key by key, the spread from the scores."""

    def __init__(self, cs=None, optimizer=None, runs=5):
        self.config_space, self.optimizer, self.runs = cs, optimizer, runs
        self.best_config, self.best_acc, self.std_err = None, 0, 0
        self.lines = []

    def search(self):
        results = []
        for _ in range(self.runs):
            config, score = self.optimizer.run(self.config_space)
            self.lines += [f"{key},{config[key]}\n" for key in config.keys()]  # noqa: SIM118
            results.append(score)
            if score > self.best_acc:
                self.best_config, self.best_acc = config, score
        self.std_err = np.std(results, ddof=1) / np.sqrt(np.size(results))


class TheirEvaluator:
    """Only their two calls, on the values of the dicts."""

    def query_pop(self, P):
        day1 = [0.6 + 0.002 * p[0]["out_channel0"] + 0.01 * p[0]["M"] for p in P]
        return np.array(day1), np.full(len(P), 5.0)

    def query(self, p):
        return self.query_pop([p])


@pytest.fixture(scope="module")
def surrogate():
    space = get_space("unet")
    X = space.sample_matrix(60, np.random.default_rng(0))
    y = 0.7 + 0.1 * X[:, 0] / 32 + 0.02 * X[:, 1] / 5
    scores = Scores.of(60, day1=y, avm=8 - y, std=0.02)
    return XGBoostEvaluator(space).fit(X, scores, repeats=0)


@pytest.mark.parametrize("batched", [False, True])
def test_their_optimizer_runs_on_our_space_and_evaluator(surrogate, batched):
    space = get_space("unet", seed=3)
    arch, score = TheirOptimizer(surrogate, batched=batched).run(space)
    space.build(space.repair(arch))
    assert 0.6 < score < 0.9


def test_their_worker_runs_their_optimizer_and_ours_on_our_space(surrogate):
    space = get_space("unet", seed=3)
    theirs = TheirWorker(space, TheirOptimizer(surrogate), runs=3)
    theirs.search()
    ours = TheirWorker(
        space,
        EAOptimizer(
            surrogate, nb_iter=10, population_size=12, max_nb_param=None, T_AVM=None, progress=False
        ),
        runs=3,
    )
    ours.search()
    assert ours.best_acc >= theirs.best_acc
    assert len(ours.lines) == 3 * len(space.feature_names)
    # Runs differ, so that their spread means something.
    per_run = len(space.feature_names)
    assert len({tuple(ours.lines[i * per_run : (i + 1) * per_run]) for i in range(3)}) > 1


def test_our_optimizer_takes_an_evaluator_that_knows_only_their_calls():
    space = get_space("unet")
    evaluator = TheirEvaluator()
    arch, score = EAOptimizer(evaluator, nb_iter=20, population_size=20, progress=False).run(space)
    assert score == evaluator.query([arch])[0][0]
    assert (arch["out_channel0"], arch["M"]) == (32, 5)


def test_our_optimizer_takes_their_arguments_by_position_and_by_name(surrogate):
    search = EAOptimizer(surrogate, 3, 12, 0.7, 0.6, 0.5, 0.4, 0.8, 9, True, progress=False)
    assert (search.nb_iter, search.population_size, search.T_AVM) == (3, 12, 9)
    assert search.max_params == 800_000
    named = EAOptimizer(
        surrogate=surrogate,
        nb_iter=3,
        population_size=12,
        mutation_prob_width=0.7,
        mutation_prob_depth=0.6,
        mutation_prob_other=0.5,
        generic_mutation_prob=0.4,
        max_nb_param=0.8,
        T_AVM=9,
        batched_evaluation=True,
        progress=False,
    )
    assert named.run(get_space("unet")) == search.run(get_space("unet"))


@pytest.mark.parametrize("batched", [False, True])
def test_our_worker_runs_their_optimizer(surrogate, batched):
    worker = Worker(
        get_space("unet", 1), optimizer=TheirOptimizer(surrogate, batched=batched), runs=2
    )
    assert worker.search() is None
    assert worker.best_config is not None
    assert worker.histories == [(), ()]


def test_our_worker_keeps_best_mean_and_spread(surrogate, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = get_space("unet")
    worker = Worker(
        cs=space, eval=surrogate, runs=3, max_budget=1,
        optimizer=EAOptimizer(surrogate, nb_iter=2, population_size=8, progress=False),
    )  # fmt: skip
    assert worker.result_summary() == "not searched yet"
    with pytest.raises(ConfigError, match="before search"):
        _ = worker.best_arch
    worker.search()
    scores = [score for _, score in worker.results]
    assert worker.best_acc == max(scores)
    assert worker.mean_acc == pytest.approx(np.mean(scores))
    assert worker.std_err == pytest.approx(np.std(scores, ddof=1) / np.sqrt(3))
    assert f"{worker.best_acc:.4f}" in worker.result_summary()
    assert worker.best_arch.arch == space.canonical(worker.best_config)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_our_worker_makes_an_optimizer_from_an_evaluator(surrogate):
    worker = Worker(get_space("unet"), surrogate, runs=1, n_iter=2)
    worker.search()
    assert len(worker.histories[0]) == 3
    with pytest.raises(ConfigError, match="give an optimizer"):
        Worker(get_space("unet"))
    with pytest.raises(ConfigError, match="cs is None"):
        Worker(eval=surrogate)
    with pytest.raises(ConfigError, match="runs is 0"):
        Worker(get_space("unet"), surrogate, runs=0)
