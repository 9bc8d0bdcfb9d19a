"""Dominance, crowding, knee, hypervolume; objectives and constraints; the search for a front."""

from __future__ import annotations

import csv
import io
import json
import logging
import math

import numpy as np
import pytest

from nasseg.config import SearchConfig
from nasseg.errors import ConfigError
from nasseg.evaluators import CostEvaluator, Evaluator, Scores
from nasseg.evaluators.scores import COLUMNS
from nasseg.search import (
    Constraint,
    NSGA2Optimizer,
    Objective,
    Worker,
    front_csv,
    parse_constraints,
    parse_objectives,
    search,
)
from nasseg.search import pareto as P
from nasseg.search._rows import SeenRows, row_hashes
from nasseg.search.objectives import goals_of
from nasseg.search_spaces import Hyperparameter, SearchSpace, get_space

FREE = {"max_nb_param": None, "T_AVM": None, "progress": False}


# -- dominance ------------------------------------------------------------------------------


def fronts_by_hand(F):
    """The definition, row by row."""

    def beats(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(
            x < y for x, y in zip(a, b, strict=True)
        )

    left, ranks, rank = set(range(len(F))), [0] * len(F), 0
    while left:
        front = {i for i in left if not any(beats(F[j], F[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left, rank = left - front, rank + 1
    return ranks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_ranks_are_those_of_the_definition(m, seed):
    # Few different values, so that there are ties of every kind.
    F = np.random.default_rng(seed).integers(0, 6, size=(60, m)).astype(float)
    ranks = fronts_by_hand(F)
    assert P.nondominated_ranks(F).tolist() == ranks
    assert P.nondominated(F).tolist() == [rank == 0 for rank in ranks]


def test_a_known_front():
    F = np.array([[1, 5], [2, 3], [4, 1], [2, 5], [4, 4], [5, 5], [1, 5]])
    assert P.nondominated_ranks(F).tolist() == [0, 0, 0, 1, 1, 2, 0]


def test_nothing_has_no_fronts():
    empty = np.empty((0, 2))
    assert P.nondominated_ranks(empty).shape == (0,)
    assert P.crowding_distances(empty).shape == (0,)
    assert P.best_first(empty, []).shape == (0,)
    assert P.hypervolume(empty, [1, 1]) == 0


def test_constrained_domination_puts_the_feasible_first_and_then_goes_by_violation():
    F = np.array([[0.0, 0.0], [3, 3], [4, 4], [np.inf, np.inf], [1, 1], [2, 4]])
    violation = [0.5, 0, 0, np.inf, 0.2, 0]
    # Feasible: rows 1, 2 and 5; the best objectives of all (row 0) do not help.
    assert P.constrained_ranks(F, violation).tolist() == [3, 0, 1, 4, 2, 0]
    assert P.best_first(F, violation).tolist() == [1, 5, 2, 4, 0, 3]


@pytest.mark.parametrize("seed", range(3))
def test_an_archive_grown_in_parts_is_the_front_of_all(seed):
    F = np.random.default_rng(seed).random((200, 3)).round(1)
    archive = np.empty((0, 3))
    for part in np.array_split(F, 7):
        old, new = P.update_archive(archive, part)
        archive = np.concatenate([archive[old], part[new]])
    expected = F[P.nondominated(F)]
    assert sorted(archive.tolist()) == sorted(expected.tolist())


# -- crowding -------------------------------------------------------------------------------


def test_crowding_is_the_sum_of_the_gaps_over_the_range():
    F = np.array([[0.0, 10.0], [4, 4], [1, 6], [8, 0]])
    # Row 1 lies between rows 2 and 3, row 2 between rows 0 and 1.
    expected = [np.inf, (8 - 1) / 8 + (6 - 0) / 10, (4 - 0) / 8 + (10 - 4) / 10, np.inf]
    np.testing.assert_allclose(P.crowding_distances(F), expected)


def test_crowding_is_within_each_front():
    F = np.random.default_rng(0).random((50, 3))
    ranks = P.nondominated_ranks(F)
    together = P.crowding_distances(F, ranks)
    for rank in range(ranks.max() + 1):
        own = ranks == rank
        np.testing.assert_allclose(together[own], P.crowding_distances(F[own]))


def test_an_objective_without_range_tells_nobody_apart():
    crowding = P.crowding_distances(np.array([[0.0, 7], [1, 7], [3, 7], [4, 7]]))
    np.testing.assert_allclose(crowding[1:3], [3 / 4, 3 / 4])
    assert (P.crowding_distances(np.ones((5, 2))) == 0).all()
    flat = P.crowding_distances(np.array([[0.0, 3, 7], [1, 2, 7], [2, 1, 7], [3, 0, 7]]))
    np.testing.assert_array_equal(np.isinf(flat), [True, False, False, True])


# -- knee -----------------------------------------------------------------------------------


def test_the_knee_is_furthest_from_the_line_between_the_ends():
    F = np.array([[0.0, 100], [1, 40], [2, 20], [6, 10], [10, 0]])
    distance = P.knee_distances(F)
    unit = F / [10, 100]
    np.testing.assert_allclose(distance, (1 - unit.sum(axis=1)) / math.sqrt(2), atol=1e-12)
    assert distance.argmax() == 2
    # Units have no say.
    assert P.knee_distances(F * [1e6, 1e-3] + 5).argmax() == 2


def test_the_knee_of_three_objectives_is_furthest_from_the_plane_of_the_extremes():
    extremes = np.array([[0.0, 1, 0.4], [0.3, 0, 1], [1, 0.2, 0]])
    F = np.concatenate([extremes, [[0.25, 0.3, 0.25], [0.5, 0.5, 0.3]]])
    normal = np.linalg.solve(extremes, np.ones(3))
    assert (normal > 0).all()
    expected = (1 - F @ normal) / np.linalg.norm(normal)
    np.testing.assert_allclose(P.knee_distances(F), expected, atol=1e-12)
    assert P.knee_distances(F).argmax() == 3


@pytest.mark.parametrize(
    "F", [[[1.0, 2.0]], [[1.0, 2], [1, 2]], [[0.0, 1], [1, 0]], [[0, 0.2, 1], [1, 0.2, 0]]]
)
def test_a_front_without_an_inside_has_a_knee_all_the_same(F):
    distance = P.knee_distances(F)
    assert np.isfinite(distance).all()
    np.testing.assert_allclose(distance, 0, atol=1e-12)


def test_one_row_best_in_two_objectives_leaves_equal_weights():
    F = np.array([[0.0, 0, 1], [1, 1, 0], [0.2, 0.2, 0.2]])
    assert P.knee_distances(F).argmax() == 2


# -- hypervolume ----------------------------------------------------------------------------


def test_hypervolume_against_closed_forms():
    assert P.hypervolume([[0.0, 0.0]], [2, 3]) == pytest.approx(6)
    assert P.hypervolume([[1.0, 2, 3]], [4, 4, 4]) == pytest.approx(3 * 2 * 1)
    # Two boxes, less what they share.
    assert P.hypervolume([[0.0, 1, 1], [1, 0, 1]], [3, 3, 3]) == pytest.approx(12 + 12 - 8)
    assert P.hypervolume([[1.0], [0.5]], [2]) == pytest.approx(1.5)
    # A staircase of n steps under the line x + y = 1.
    x = np.linspace(0, 1, 11)
    n = len(x) - 1
    line = np.stack([x, 1 - x], axis=1)
    assert P.hypervolume(line, [1, 1]) == pytest.approx(0.5 - 1 / (2 * n))


def test_hypervolume_of_five_objectives_by_inclusion_and_exclusion():
    a, b = np.full(5, 0.5), np.r_[0.25, np.full(4, 0.75)]
    both = np.prod(1 - np.maximum(a, b))
    expected = np.prod(1 - a) + np.prod(1 - b) - both
    assert P.hypervolume([a, b], np.ones(5)) == pytest.approx(expected)


def test_rows_beyond_the_reference_and_dominated_rows_add_nothing():
    F = [[0.5, 0.5], [0.6, 0.6], [0.1, 1.0], [2, 0]]
    assert P.hypervolume(F, [1, 1]) == pytest.approx(0.25)
    assert P.hypervolume([[2.0, 2.0]], [1, 1]) == 0
    with pytest.raises(ConfigError, match=r"reference of shape \(3,\); allowed: \(2,\)"):
        P.hypervolume(F, [1, 1, 1])


# -- objectives and constraints -------------------------------------------------------------


def test_objectives_come_in_the_order_said_those_to_maximise_first():
    found = parse_objectives(("day1", "p05"), "tiles, energy_uj")
    assert [str(o) for o in found] == [
        "maximize day1", "maximize p05", "minimize tiles", "minimize energy_uj",
    ]  # fmt: skip
    assert parse_objectives() == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params<1e6", [("params", "<", 1e6)]),
        ("p05 >= 0.85, avm<=-2", [("p05", ">=", 0.85), ("avm", "<=", -2.0)]),
        (("tiles>3", "std<0.02"), [("tiles", ">", 3.0), ("std", "<", 0.02)]),
        ("", []),
    ],
)
def test_constraints_are_read(text, expected):
    assert [(c.name, c.op, c.value) for c in parse_constraints(text)] == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("param<1e6", r"constraint 'param'.*did you mean 'params'\?.*columns: day1, avm"),
        ("params<many", r"'params<many': 'many' is not a number"),
        ("params", r"'params' is no constraint; allowed: COLUMN OPERATOR NUMBER"),
        ("params=3", r"operator '='; allowed: <=, >=, <, >"),
        ("params=<3", r"operator '=<'"),
        ("params<nan", r"constraint on params: nan; allowed: a finite number"),
        ("0<params", r"constraint|not a number"),
    ],
)
def test_what_is_no_constraint_is_said(text, says):
    with pytest.raises(ConfigError, match=says):
        parse_constraints(text)


def test_what_is_no_objective_is_said():
    with pytest.raises(ConfigError, match=r"objective 'energy'.*did you mean 'energy_uj'"):
        Objective("energy", maximize=False)
    with pytest.raises(ConfigError, match="objective 'day1' is given twice"):
        parse_objectives("day1", "tiles,day1")
    with pytest.raises(ConfigError, match=r"search\.constraints: constraint 'parms'"):
        goals_of(SearchConfig(constraints=("parms<3",)))
    with pytest.raises(ConfigError, match=r"search\.maximize, search\.minimize: objective 'x'"):
        goals_of(SearchConfig(maximize=("x",)))


def test_a_violation_is_a_fraction_of_the_bound():
    values = np.array([50.0, 100, 150, np.nan])
    np.testing.assert_allclose(
        Constraint("params", "<=", 100).violation(values), [0, 0, 0.5, np.inf]
    )
    np.testing.assert_allclose(
        Constraint("params", ">=", 100).violation(values), [0.5, 0, 0, np.inf]
    )
    # A strict bound is missed by what equals it; a bound of 0 has no fractions.
    assert Constraint("params", "<", 100).violation(values)[1] > 0
    np.testing.assert_allclose(Constraint("avm", "<=", 0).violation(values)[:2], [50, 100])


def test_constraints_alone_keep_the_metric_after_a_day_as_the_objective():
    assert goals_of(SearchConfig()) == ((), ())
    objectives, constraints = goals_of(SearchConfig(constraints=("params<5e4",)))
    assert objectives == (Objective("day1", maximize=True),)
    assert constraints == (Constraint("params", "<", 5e4),)


# -- rows -----------------------------------------------------------------------------------


def test_hashes_tell_all_rows_of_a_large_sample_apart():
    X = get_space("unet").sample_matrix(20_000, np.random.default_rng(0))
    assert len(np.unique(row_hashes(X))) == len(np.unique(X, axis=0))
    assert row_hashes(np.array([[0.0, 1.0]], np.float32)) == row_hashes(
        np.array([[-0.0, 1.0]], np.float32)
    )
    assert len(set(row_hashes(np.array([[1, 2], [2, 1]], np.float32)).tolist())) == 2


def test_rows_are_new_once_and_in_order():
    X = np.array([[1], [2], [1], [3], [4], [2]], dtype=np.float32)
    seen = SeenRows()
    assert seen.add_new(X, 3).tolist() == [0, 1, 3]
    assert seen.add_new(X, 3).tolist() == [4]
    assert seen.add_new(X, 3).tolist() == []
    assert len(seen) == 4


# -- the search -----------------------------------------------------------------------------


class Grid(SearchSpace):
    """ZDT1 on a grid (Zitzler, Deb and Thiele 2000): x0 of 41 levels, five more of 5."""

    base_name = "grid"
    base_hyperparameters = (
        Hyperparameter("x0", tuple(k / 40 for k in range(41)), "width"),
        *(Hyperparameter(f"x{i}", (0.0, 0.25, 0.5, 0.75, 1.0), "depth") for i in range(1, 4)),
        *(Hyperparameter(f"x{i}", (0.0, 0.25, 0.5, 0.75, 1.0)) for i in range(4, 6)),
    )

    def _count_params(self, columns, in_channels, out_channels):
        return 1000 * (1 + columns["x0"] + columns["x5"])


class ZDT1(Evaluator):
    """``avm`` and ``std`` are the two objectives, both to be minimised; ``p05`` is infeasible far
    from the front."""

    def __init__(self, stop_after=None):
        self.space = Grid()
        self.batches = []
        self.stop_after = stop_after

    def evaluate(self, archs):
        return self.evaluate_matrix(self.space.encode(archs))

    def evaluate_matrix(self, X):
        if self.stop_after is not None and len(self.batches) >= self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(np.array(X))
        f1, f2, g = zdt1(X.astype(float))
        return Scores.of(len(X), avm=f1, std=f2, day1=1 - f2 / 10, p05=1 - g / 10)


def zdt1(X):
    g = 1 + 9 * X[:, 1:].mean(axis=1)
    return X[:, 0], g * (1 - np.sqrt(X[:, 0] / g)), g


BOTH = parse_objectives(minimize="avm,std")


def run_zdt1(seed=0, nb_iter=40, **changes):
    evaluator = ZDT1()
    settings = {"population_size": 24, "nb_iter": nb_iter, "seed": seed, **FREE, **changes}
    optimizer = NSGA2Optimizer(evaluator, BOTH, **settings)
    return optimizer, optimizer.run(evaluator.space), evaluator


@pytest.mark.parametrize("seed", range(3))
def test_the_front_of_zdt1_is_found(seed):
    optimizer, _, evaluator = run_zdt1(seed)
    F = np.stack([optimizer.front_scores.avm, optimizer.front_scores.std], axis=1)
    exact = np.linspace(0, 1, 41)
    exact = np.stack([exact, 1 - np.sqrt(exact)], axis=1)
    reference = [1.1, 6]
    reached = P.hypervolume(F, reference) / P.hypervolume(exact, reference)
    assert reached > 0.99
    queries = optimizer.history[-1].queries
    X = evaluator.space.sample_matrix(queries, np.random.default_rng(seed))
    at_random = np.stack(zdt1(X.astype(float))[:2], axis=1)
    assert P.hypervolume(F, reference) > P.hypervolume(at_random, reference)


def test_the_archive_is_the_front_of_everything_scored():
    optimizer, _, evaluator = run_zdt1(nb_iter=10)
    X = np.concatenate(evaluator.batches)
    assert len(np.unique(X, axis=0)) == len(X) == optimizer.history[-1].queries
    F = np.stack(zdt1(X.astype(np.float64))[:2], axis=1)
    expected = X[P.nondominated(F)]
    found = evaluator.space.encode(optimizer.front)
    assert sorted(found.tolist()) == sorted(expected.tolist())
    assert (np.diff(optimizer.front_scores.avm) >= 0).all()


def test_the_knee_or_the_best_is_returned():
    optimizer, (arch, value), evaluator = run_zdt1(nb_iter=10)
    F = np.stack([optimizer.front_scores.avm, optimizer.front_scores.std], axis=1)
    assert arch == optimizer.front[int(P.knee_distances(F).argmax())]
    # Of a minimised objective the sign is turned: the higher of two is the better.
    assert value == -evaluator.evaluate([arch]).avm[0]
    _, (best, value), _ = run_zdt1(nb_iter=10, pick="best")
    assert best == optimizer.front[0]
    assert value == -optimizer.front_scores.avm[0]
    with pytest.raises(ConfigError, match="pick is 'middle'; allowed: knee or best"):
        run_zdt1(pick="middle")


def test_hypervolume_rises_and_runs_share_its_box():
    optimizer, _, evaluator = run_zdt1(nb_iter=15)
    first, box = optimizer.history, optimizer.box
    values = [g.hypervolume for g in first]
    assert (np.diff(values) >= 0).all()
    assert 0 < values[0] < values[-1]
    # By hand: the box is that of the first population, all of it feasible.
    F = np.stack(zdt1(evaluator.batches[0].astype(float))[:2], axis=1)
    np.testing.assert_allclose(box.reference, F.max(axis=0))
    expected = P.hypervolume(F, F.max(axis=0)) / np.prod(np.ptp(F, axis=0))
    assert values[0] == pytest.approx(expected)
    optimizer.run(evaluator.space)
    assert optimizer.box is box


def test_same_seed_same_front_and_runs_differ():
    def both(seed):
        optimizer, first, evaluator = run_zdt1(seed, nb_iter=6)
        front, history = optimizer.front, optimizer.history
        return first, front, history, optimizer.run(evaluator.space), optimizer.front

    assert both(3) == both(3)
    assert both(3)[1] != both(4)[1]
    assert both(3)[1] != both(3)[4]


def test_constraints_hold_for_the_front_and_the_population_that_is_reported():
    constraints = parse_constraints("avm>0.3,p05>=0.8")
    optimizer, (arch, _), evaluator = run_zdt1(constraints=constraints)
    for archs in (optimizer.front, optimizer.population, [arch]):
        scores = evaluator.evaluate(archs)
        assert scores.avm.min() > 0.3
        assert scores.p05.min() >= 0.8
    everything = evaluator.evaluate_matrix(np.concatenate(evaluator.batches))
    assert everything.avm.min() <= 0.3


def test_a_search_may_begin_where_nothing_is_feasible():
    # One architecture in 3,125 has g below 1.1; a population of 24 hardly ever has it.
    optimizer, _, _ = run_zdt1(constraints=parse_constraints("p05>0.89"), nb_iter=60)
    assert optimizer.history[0].feasible == 0
    assert math.isnan(optimizer.history[0].best)
    assert optimizer.history[0].hypervolume == 0
    assert optimizer.front_scores.p05.min() > 0.89


def test_nothing_feasible_says_how_near_it_came():
    with pytest.raises(ConfigError, match=r"none of \d+ .* p05 > 2 \(nearest seen: 0\.\d.*loosen"):
        run_zdt1(constraints=parse_constraints("p05>2"), nb_iter=2)
    with pytest.raises(ConfigError, match=r"at most 10 parameters \(fewest seen: \d"):
        run_zdt1(max_nb_param=1e-5, nb_iter=2)


def test_bounds_work_as_constraints_do():
    optimizer, _, evaluator = run_zdt1(max_nb_param=0.0015, T_AVM=0.4)
    counted = CostEvaluator(evaluator.space).params_matrix(evaluator.space.encode(optimizer.front))
    assert counted.max() <= 1500
    assert optimizer.front_scores.avm.max() <= 0.4
    assert (optimizer.front_scores.params == counted).all()


def test_counted_columns_are_objectives_too():
    evaluator = ZDT1()
    objectives = parse_objectives("day1", "params")
    optimizer = NSGA2Optimizer(evaluator, objectives, nb_iter=5, population_size=12, **FREE)
    optimizer.run(evaluator.space)
    X = evaluator.space.encode(optimizer.front)
    counted = CostEvaluator(evaluator.space).params_matrix(X)
    assert (optimizer.front_scores.params == counted).all()


def test_a_column_that_nobody_knows_is_named_with_those_known():
    class Counted(CostEvaluator):
        def evaluate_matrix(self, X):
            return Scores.of(len(X), params=self.params_matrix(X), tiles=1)

    evaluator = ZDT1()
    objectives = parse_objectives("day1", "energy_uj")
    optimizer = NSGA2Optimizer(evaluator, objectives, cost=Counted(evaluator.space), **FREE)
    says = (
        r"energy_uj is an objective.*known: day1, avm, std, p05 \(surrogate\), params, tiles \(cou"
    )
    with pytest.raises(ConfigError, match=says):
        optimizer.run(evaluator.space)


def test_objectives_that_are_nan_are_never_kept():
    class Nan(ZDT1):
        def evaluate_matrix(self, X):
            scores = super().evaluate_matrix(X)
            scores.std[::2] = np.nan
            return scores

    evaluator = Nan()
    optimizer = NSGA2Optimizer(evaluator, BOTH, nb_iter=4, population_size=12, **FREE)
    optimizer.run(evaluator.space)
    assert np.isfinite(optimizer.front_scores.std).all()
    assert all(0 <= g.feasible <= 1 for g in optimizer.history)


def test_one_objective_is_a_search_under_constraints():
    evaluator = ZDT1()
    optimizer = NSGA2Optimizer(
        evaluator,
        parse_objectives("day1"),
        parse_constraints("avm<0.2"),
        nb_iter=60,
        population_size=16,
        **FREE,
    )
    arch, score = optimizer.run(evaluator.space)
    everything = evaluator.evaluate_matrix(np.concatenate(evaluator.batches))
    assert score == everything.day1[everything.avm < 0.2].max()
    assert evaluator.evaluate([arch]).avm[0] < 0.2
    assert all(math.isnan(g.hypervolume) for g in optimizer.history)
    assert optimizer.history[-1].best == score


@pytest.mark.parametrize("objectives", [[], [Objective("day1", True), Objective("day1", False)]])
def test_objectives_must_be_different_columns(objectives):
    with pytest.raises(ConfigError, match="allowed: one or more different columns"):
        NSGA2Optimizer(ZDT1(), objectives)


def test_an_interruption_leaves_the_finished_run():
    evaluator = ZDT1(stop_after=6)
    optimizer = NSGA2Optimizer(evaluator, BOTH, nb_iter=3, population_size=12, **FREE)
    optimizer.run(evaluator.space)
    front, history = optimizer.front, optimizer.history
    with pytest.raises(KeyboardInterrupt):
        optimizer.run(evaluator.space)
    assert (optimizer.front, optimizer.history) == (front, history)


def test_a_worker_takes_it_as_it_is():
    evaluator = ZDT1()
    worker = Worker(
        evaluator.space,
        optimizer=NSGA2Optimizer(evaluator, BOTH, nb_iter=3, population_size=12, **FREE),
        runs=2,
    )
    worker.search()
    assert worker.best_acc == max(score for _, score in worker.results)
    assert len(worker.histories[0]) == 4


# -- several runs ---------------------------------------------------------------------------


def study(**changes):
    evaluator = ZDT1()
    config = SearchConfig(
        **{
            "population_size": 16, "nb_iter": 8, "runs": 2, "max_params": None,
            "max_macs_per_pixel": None, "max_avm": None, "minimize": ("avm", "std"), **changes,
        }
    )  # fmt: skip

    class Counted(CostEvaluator):
        def evaluate_matrix(self, X):
            return Scores.of(len(X), params=self.params_matrix(X), tiles=7)

    space = evaluator.space
    return search(space, evaluator, config, 1, progress=False, cost=Counted(space)), evaluator


def test_the_fronts_of_all_runs_are_ranked_together():
    result, evaluator = study()
    F = np.array([[row.scores["avm"], row.scores["std"]] for row in result.front])
    assert [row.rank for row in result.front] == P.nondominated_ranks(F).tolist()
    assert sorted({row.arch_id for row in result.front}) == sorted(r.arch_id for r in result.front)
    first = [row for row in result.front if row.rank == 0]
    everything = np.concatenate(evaluator.batches)
    everything = np.stack(zdt1(everything.astype(np.float64))[:2], axis=1)
    assert len({(r.scores["avm"], r.scores["std"]) for r in first}) == len(
        np.unique(everything[P.nondominated(everything)], axis=0)
    )
    assert [row.knee for row in first].count(True) == 1
    assert result.arch_id == next(row.arch_id for row in first if row.knee)
    assert all(row.scores["tiles"] == 7 for row in first)
    assert result.objectives == ("minimize avm", "minimize std")
    assert set(result.reference) == {"avm", "std"}
    bests = [evaluator.evaluate([row.arch]).avm[0] for row in first]
    assert min(bests) <= result.mean


def test_the_best_may_be_taken_instead():
    result, _ = study(pick="best")
    assert result.arch_id == result.front[0].arch_id
    assert result.scores["avm"] == min(row.scores["avm"] for row in result.front)


def test_a_study_is_repeatable_and_strict_json():
    first, again = (json.dumps(study()[0].to_dict(), allow_nan=False) for _ in range(2))
    assert first == again


def test_one_objective_of_ones_own_has_no_front():
    result, evaluator = study(minimize=("std",), constraints=("avm<0.5",))
    assert result.front == ()
    assert result.reference == {}
    assert result.scores["avm"] < 0.5
    assert result.scores["std"] == evaluator.evaluate([result.arch]).std[0]
    assert result.mean >= result.scores["std"]


def test_a_bound_that_is_tighter_than_a_constraint_is_said(caplog, monkeypatch):
    # The command line, once used, keeps the package's log to itself.
    monkeypatch.setattr(logging.getLogger("nasseg"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="nasseg")
    study(max_params=2000, constraints=("params<3000",))
    assert "search.max_params is 2,000 and holds beside params < 3000" in caplog.text
    caplog.clear()
    study(max_params=2000, constraints=("params<1500",))
    assert caplog.text == ""


def test_the_front_as_a_file():
    result, evaluator = study()
    rows = list(csv.DictReader(io.StringIO(front_csv(result.front))))
    assert list(rows[0]) == ["arch_id", "rank", "crowding", "knee", *COLUMNS, "arch"]
    for row, kept in zip(rows, result.front, strict=True):
        assert json.loads(row["arch"]) == kept.arch
        assert evaluator.space.arch_id(kept.arch) == row["arch_id"]
        assert float(row["std"]) == kept.scores["std"]
        assert row["energy_uj"] == ""
        assert float(row["crowding"]) == kept.crowding
    assert [row["knee"] for row in rows].count("1") == 1
