from __future__ import annotations

import numpy as np
import pytest

from nasseg.errors import ConfigError
from nasseg.evaluators.cost import row_keys
from nasseg.evaluators.features import Features
from nasseg.search.measured.domain import SpaceDomain, TableDomain
from nasseg.search.measured.strategies import PROPOSERS, History, SurrogateAssisted
from nasseg.search_spaces import get_space


def grid(n=300, columns=6, seed=0):
    rng = np.random.default_rng(seed)
    X = np.unique(rng.integers(0, 5, size=(n, columns)).astype(np.float32), axis=0)
    y = 0.6 + 0.05 * X[:, 0] + 0.03 * X[:, 1] - 0.02 * np.abs(X[:, 2] - X[:, 3])
    return X, y + 0.002 * rng.normal(size=len(X))


def run(name, X, y, queries, seed=0, batch=1):
    domain = TableDomain(X, [f"c{i}" for i in range(X.shape[1])])
    few = {"members": 4} if name == "surrogate" else {}
    strategy = PROPOSERS[name](domain, **few)
    asked: list[int] = []
    while len(asked) < queries:
        history = History(X[asked], y[asked])
        n = min(batch, queries - len(asked))
        rows = strategy.propose(history, n, np.random.default_rng([seed, len(asked)]))
        asked += [domain.row_of[key] for key in row_keys(rows)]
    return asked


@pytest.mark.parametrize("name", PROPOSERS.names())
def test_every_strategy_asks_for_each_architecture_of_a_table_once_and_can_ask_for_all(name):
    X, y = grid(40)
    asked = run(name, X, y, len(X), batch=3)
    assert sorted(asked) == list(range(len(X)))


@pytest.mark.parametrize("name", PROPOSERS.names())
def test_a_proposal_is_a_function_of_history_and_generator(name):
    X, y = grid()
    assert run(name, X, y, 16, seed=3) == run(name, X, y, 16, seed=3)
    assert run(name, X, y, 16, seed=3) != run(name, X, y, 16, seed=4)


def test_surrogates_need_fewer_queries_than_chance():
    X, y = grid()
    top = np.sort(y)[-3]

    def found(name, seed):
        scores = y[run(name, X, y, 60, seed, batch=5)]
        return np.argmax(scores >= top) + 1 if (scores >= top).any() else 61

    ours = np.median([found("surrogate", s) for s in range(3)])
    assert ours < np.median([found("random", s) for s in range(3)])
    assert ours <= 40


def test_no_more_than_the_table_has_and_no_architecture_twice_in_it():
    X, y = grid(30)
    domain = TableDomain(X, list("abcdef"))
    strategy = PROPOSERS["random"](domain)
    with pytest.raises(ConfigError, match="no 2 architectures are left"):
        strategy.propose(History(X[:-1], y[:-1]), 2, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="twice"):
        TableDomain(np.concatenate([X, X[:1]]), list("abcdef"))


def test_what_is_beside_the_table_becomes_the_nearest_free_row():
    X = np.array([[0, 0], [0, 1], [4, 4]], dtype=np.float32)
    domain = TableDomain(X, ["a", "b"])
    rng = np.random.default_rng(0)
    beside = np.array([[0, 3], [0, 3], [0, 3]], dtype=np.float32)
    np.testing.assert_array_equal(domain.settle(beside, set(), rng), X[[1, 0, 2]])
    taken = set(row_keys(X[:2]))
    np.testing.assert_array_equal(domain.settle(beside, taken, rng), X[2:])


@pytest.mark.parametrize("name", PROPOSERS.names())
def test_strategies_work_on_a_space_within_bounds(name):
    space = get_space("unet")

    def small(X):
        return space.count_params(X) < 60_000

    domain = SpaceDomain(space, small, Features(space).matrix)
    strategy = PROPOSERS[name](domain)
    rng = np.random.default_rng(0)
    X = domain.spread(14, rng)
    y = 0.5 + 0.02 * X[:, 1].astype(float)
    batch = strategy.propose(History(X, y, pending=X[:0]), 3, rng)
    assert len(set(row_keys(batch))) == 3
    assert small(batch).all()
    assert not set(row_keys(batch)) & set(row_keys(X))
    space.decode(batch)


def test_what_is_under_way_is_not_proposed_again_and_failures_count_as_taken():
    X, y = grid(60)
    domain = TableDomain(X, list("abcdef"))
    y = y.copy()
    y[5] = np.nan
    strategy = SurrogateAssisted(domain)
    history = History(X[:20], y[:20], pending=X[20:50])
    batch = strategy.propose(history, 5, np.random.default_rng(0))
    assert not set(row_keys(batch)) & set(row_keys(X[:50]))


def test_little_is_expected_where_only_poor_architectures_are_left():
    X, y = grid()
    strategy = SurrogateAssisted(TableDomain(X, list("abcdef")), members=6)
    order = np.argsort(-y)
    some = order[10::5]
    early = strategy.expected_gain(History(X[some], y[some]), np.random.default_rng(0))
    most = order[:-20]
    late = strategy.expected_gain(History(X[most], y[most]), np.random.default_rng(0))
    assert early > 5 * late
    assert late >= 0
    everything = History(X, y)
    assert strategy.expected_gain(everything, np.random.default_rng(0)) == 0


def test_what_is_expected_beforehand_is_tried_first_and_weighed_later():
    X, y = grid()
    known = y + np.random.default_rng(7).normal(size=len(y)) * y.std() / 2
    said = dict(zip(row_keys(X), known, strict=True))

    def see(rows):
        column = np.array([said[key] for key in row_keys(rows)], dtype=np.float32)
        return np.column_stack([rows, column])

    domain = TableDomain(X, list("abcdef"), see)
    strategy = SurrogateAssisted(domain, members=6, trend=6)
    asked: list[int] = []
    for n in (1, 3, 6, 1, 1, 1):
        history = History(X[asked], y[asked])
        rows = strategy.propose(history, n, np.random.default_rng(len(asked)))
        assert len(rows) == n
        asked += [domain.row_of[key] for key in row_keys(rows)]
    assert len(set(asked)) == 13
    assert asked[0] == int(known.argmax())
    # All of the first ten are promising but the second, which is drawn from everything.
    rank = np.argsort(np.argsort(-known))
    assert rank[[asked[0], *asked[2:10]]].max() < len(y) / 4 < rank[asked[1]]
    assert y[asked].max() >= np.quantile(y, 0.98)


def test_expectations_of_a_space_need_no_list_of_it():
    space = get_space("unet")
    see = Features(space).matrix
    domain = SpaceDomain(space, None, see)
    strategy = SurrogateAssisted(domain, members=6, population=20, generations=2, trend=3)
    nothing = History(space.encode([]), np.empty(0))
    rows = strategy.propose(nothing, 4, np.random.default_rng(0))
    assert len(set(row_keys(rows))) == 4


def twins():
    """Two architectures of `unet` that build one network: blocks counted to other stages."""
    space = get_space("unet")
    arch = space.repair({**space.default(), "M": 5, "topology": "isotropic"})
    own = {"convblock4": 2, "convblock5": 2, "B4": 3, "B5": 3}
    one = space.canonical({**arch, **own, "R4": 1, "R5": 3})
    return space, space.encode([one, {**one, "R4": 2, "R5": 2}])


def test_a_network_is_not_measured_under_two_names():
    space, X = twins()
    one, other = space.network_keys(X)
    assert one == other
    assert len(set(row_keys(X))) == 2
    domain, rng = SpaceDomain(space), np.random.default_rng(0)
    assert len(domain.settle(X, set(), rng)) == 1
    strategy = SurrogateAssisted(domain, members=6)
    known = strategy.taken(History(X[:1], np.ones(1)))
    assert not len(domain.settle(X[1:], known, rng))
    # Being measured is known as well.
    assert strategy.taken(History(X[:0], np.empty(0), pending=X[1:])) == known


def test_what_was_asked_for_counts_whether_it_has_a_twin_or_not():
    space, X = twins()
    others = space.sample_matrix(8, np.random.default_rng(3))
    history = History(np.concatenate([X, others]), np.arange(10.0))
    strategy = SurrogateAssisted(SpaceDomain(space), members=6, population=20, generations=1)
    strategy._initial = None  # ten were asked for, so that it is not asked any more
    row = strategy.propose(history, 1, np.random.default_rng(0))
    assert not set(space.network_keys(row)) & strategy.taken(history)


@pytest.mark.parametrize("name", ["lhs", "random", "tpe"])
def test_samplers_do_not_propose_a_twin(name, monkeypatch):
    import optuna

    from nasseg.search.measured import sampler
    from nasseg.search.measured.bounds import SizeBounds
    from nasseg.search.measured.distributions import distributions, to_params

    space, X = twins()
    one, other = space.decode(X)
    known = optuna.trial.create_trial(
        params=to_params(space, one),
        distributions={k: distributions(space)[k] for k in to_params(space, one)},
        value=0.5,
        user_attrs={"arch_id": space.arch_id(one)},
    )
    asked = iter([other])
    real = sampler.suggest
    monkeypatch.setattr(sampler, "suggest", lambda trial, s: next(asked, None) or real(trial, s))
    request = sampler.Request(space, 0, 1, SizeBounds())
    said = sampler.propose(name, request, [known])
    assert next(asked, None) is None
    assert space.network_keys(space.encode([said.arch])) != space.network_keys(X[:1])
