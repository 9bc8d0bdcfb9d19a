"""The contract of evaluators, and evaluators from elsewhere with columns of their own."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from nasseg.config import SearchConfig
from nasseg.errors import ConfigError, UnknownName
from nasseg.evaluators import (
    CostEvaluator,
    Evaluator,
    Scores,
    load_surrogate,
    register_evaluator,
)
from nasseg.evaluators.scores import COLUMNS
from nasseg.evaluators.shipping import EVALUATORS, find_surrogate
from nasseg.search import front_csv, search
from nasseg.search.objectives import goals_of
from nasseg.search_spaces import get_space
from nasseg.testing.evaluators import EvaluatorContract


class Robust(Evaluator):
    """A made-up score, and a column that nasseg has no name for."""

    extra_columns = ("robustness",)

    def __init__(self, space):
        self.space = space

    def evaluate(self, archs):
        X = self.space.encode(list(archs))
        total = X.sum(axis=1).astype(float)
        day1 = 1 / (1 + np.exp(-(total - 30) / 50))
        return Scores.of(len(X), day1=day1, avm=0.1).with_extra(robustness=np.sin(total))


class TestCostEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return CostEvaluator(get_space("unet"))


class TestShippedSurrogate(EvaluatorContract):
    tolerance = 1e-5

    @pytest.fixture
    def evaluator(self):
        return load_surrogate("auto", get_space("unet"))


class TestOneWithColumnsOfItsOwn(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return Robust(get_space("resnet"))


@pytest.fixture
def robust(monkeypatch):
    monkeypatch.setattr(EVALUATORS, "_entries", {})
    register_evaluator("robust")(Robust)
    return "robust"


def test_a_registered_evaluator_is_a_surrogate_by_its_name(robust):
    space = get_space("resnet")
    assert find_surrogate(robust, space) is None
    assert isinstance(load_surrogate(robust, space), Robust)
    with pytest.raises(UnknownName, match="did you mean 'robust'"):
        load_surrogate("robusd", space)


def test_what_gives_no_evaluator_is_refused(monkeypatch):
    monkeypatch.setattr(EVALUATORS, "_entries", {})
    register_evaluator("wrong")(lambda space: 3)
    with pytest.raises(ConfigError, match="'wrong' gives 3; allowed: an Evaluator"):
        load_surrogate("wrong", get_space("resnet"))


def test_its_columns_are_objectives_and_constraints(robust):
    space = get_space("resnet")
    config = SearchConfig(
        surrogate=robust, maximize=("day1", "robustness"), constraints=("robustness > -0.5",),
        population_size=16, nb_iter=4, runs=2, max_params=None, max_avm=None,
    )  # fmt: skip
    found = search(space, load_surrogate(robust, space), config, seed=1, progress=False)
    assert found.objectives == ("maximize day1", "maximize robustness")
    assert found.scores["robustness"] > -0.5
    assert set(found.scores) == {*COLUMNS, "robustness"}
    front = [row for row in found.front if row.rank == 0]
    for row in front:
        expected = Robust(space).evaluate([row.arch]).extra["robustness"][0]
        assert math.isclose(row.scores["robustness"], expected)
    (head, *_) = list(csv.reader(io.StringIO(front_csv(found.front))))
    assert head[-2:] == ["robustness", "arch"]


def test_a_column_of_another_evaluator_is_none_of_this_one(robust):
    asked = SearchConfig(maximize=("robustness",))
    with pytest.raises(ConfigError, match="'robustness' is no column of the scores"):
        goals_of(asked)
    assert goals_of(SearchConfig(maximize=("robustness",), surrogate=robust))[0]
