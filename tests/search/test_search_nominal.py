"""Searches where numbers are names: categorical for samplers of Optuna, columns for surrogates."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from nasseg.errors import ArchError, ConfigError
from nasseg.evaluators.features import Features
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search.measured.distributions import distributions, from_params, suggest, to_params
from nasseg.search.measured.domain import SpaceDomain, TableDomain
from nasseg.search.measured.sampler import Request, propose
from nasseg.search.measured.strategies import History, SurrogateAssisted
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.search_spaces.hyperparameters import Condition, Hyperparameter

OPS = (1, 2, 5, 9)


class Space(SearchSpace):
    base_name = "operations"
    base_hyperparameters = (
        Hyperparameter("M", (1, 2), "depth"),
        Hyperparameter("op1", OPS, "other", nominal=True),
        Hyperparameter("op2", OPS, "other", (Condition("M", (2,)),), nominal=True),
        Hyperparameter("width", (8, 16, 24), "width"),
    )

    def _count_params(self, columns, in_channels, out_channels):
        return 100 * columns["width"]

    def _count_macs_per_pixel(self, columns, in_channels, out_channels):
        return 1.0 * columns["width"]


def score(arch):
    effect = {0: 0.0, 1: 0.5, 2: -1.0, 5: 1.0, 9: -0.5}
    return effect[arch["op1"]] + effect[arch["op2"]] + arch["width"] / 100


def test_a_nominal_hyperparameter_is_categorical_for_optuna():
    space = Space()
    found = distributions(space)
    assert found["op1"] == CategoricalDistribution(OPS)
    assert found["M"] == IntDistribution(1, 2)
    arch = {"M": 2, "op1": 9, "op2": 5, "width": 16}
    assert to_params(space, arch) == arch
    assert from_params(space, arch) == arch
    with pytest.raises(ArchError, match="op1 cannot be 4"):
        from_params(space, {**arch, "op1": 4})
    trial = optuna.trial.FixedTrial(arch)
    assert suggest(trial, space) == arch


@pytest.mark.parametrize("name", ["unet", "unet2", "resnet", "cells"])
def test_numbers_of_our_own_spaces_are_ordinal_as_in_studies_of_earlier_versions(name):
    space = get_space(name)
    assert not any(h.nominal for h in space.hyperparameters)
    found = distributions(space).values()
    kinds = [isinstance(d, CategoricalDistribution) for d in found]
    assert kinds == [h.strings for h in space.hyperparameters]


@pytest.mark.parametrize("sampler", ["tpe", "analognas", "surrogate"])
def test_samplers_propose_nominal_choices(sampler):
    space = Space()

    def search():
        study = optuna.create_study(direction="maximize")
        for slot in range(16):
            request = Request(space, 1, slot, SizeBounds())
            arch = propose(sampler, request, study.get_trials()).arch
            space.validate(arch)
            study.add_trial(
                optuna.trial.create_trial(
                    params=to_params(space, arch),
                    distributions={
                        name: distributions(space)[name] for name in to_params(space, arch)
                    },
                    value=score(arch),
                )
            )
        return [from_params(space, trial.params) for trial in study.get_trials()]

    found = search()
    assert found == search()
    assert len({space.arch_id(arch) for arch in found}) == 16


def test_domains_give_every_choice_a_column():
    space = Space()
    X = space.sample_matrix(60, np.random.default_rng(0))
    X = np.unique(X, axis=0)
    domain, features = SpaceDomain(space), Features(space)
    wide = len(domain.encoding.names)
    np.testing.assert_array_equal(domain.features(X), features.matrix(X)[:, :wide])
    np.testing.assert_array_equal(domain.groups, features.groups[:wide])
    table = TableDomain(X, space.feature_names, categorical=["op1"])
    ops = [f"op1={op}" for op in OPS]
    assert table.encoding.names == ["M", *ops, "op2", "width"]
    assert set(np.unique(table.features(X)[:, 1:5])) == {0, 1}
    with pytest.raises(ConfigError, match=r"categorical is \['op3'\]; allowed: M, op1, op2, width"):
        TableDomain(X, space.feature_names, categorical=["op3"])


def test_codes_that_differ_are_equally_far():
    X = np.array([[1, 0], [2, 0], [9, 0], [9, 8]], dtype=np.float32)
    plain = TableDomain(X, ["op", "width"])
    names = TableDomain(X, ["op", "width"], categorical=["op"])
    unit = np.ptp(X, axis=0)
    np.testing.assert_array_equal(plain.gaps(X, X[0], unit)[:, 0], [0, 0.125, 1, 1])
    np.testing.assert_array_equal(names.gaps(X, X[0], unit)[:, 0], [0, 1, 1, 1])
    # Of rows that differ in the operation alone, none is the nearest.
    found = {
        float(names.settle(X[:1], set(names.keys(X[:1])), np.random.default_rng(s))[0, 0])
        for s in range(20)
    }
    assert found == {2.0, 9.0}


def test_a_search_that_sees_choices_needs_fewer_measurements():
    rng = np.random.default_rng(0)
    X = np.unique(rng.integers(0, 6, (500, 5)).astype(np.float32), axis=0)
    effect = np.array([0.0, 1.0, -1.0, 0.7, -0.8, 0.3])
    y = effect[X.astype(int)] @ np.array([1.0, 0.8, 0.6, 0.5, 0.4])
    ordered = TableDomain(X, list("abcde"))
    nominal = TableDomain(X, list("abcde"), categorical=list("abcde"))

    def best(domain, seed):
        strategy = SurrogateAssisted(domain, members=4)
        asked = []
        while len(asked) < 40:
            n = 10 if not asked else 5
            history = History(X[asked], y[asked])
            rows = strategy.propose(history, n, np.random.default_rng([seed, len(asked)]))
            asked += [domain.row_of[key] for key in domain.keys(rows)]
        return y[asked].max()

    seeds = range(4)
    assert np.mean([best(nominal, s) for s in seeds]) > np.mean([best(ordered, s) for s in seeds])
