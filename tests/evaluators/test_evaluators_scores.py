from __future__ import annotations

import math

import numpy as np
import pytest

from nasseg.errors import ArchError, ConfigError
from nasseg.evaluators import Evaluator, Scores
from nasseg.evaluators.scores import COLUMNS
from nasseg.search_spaces import get_space


def test_rows_and_from_rows_are_inverse():
    rng = np.random.default_rng(0)
    scores = Scores.of(7, day1=rng.random(7), params=np.arange(7), avm=3)
    again = Scores.from_rows(scores.rows())
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(scores, name), getattr(again, name))
        assert getattr(again, name).dtype == np.float64


def test_what_is_not_known_is_nan():
    scores = Scores.from_rows([{"day1": 0.8}, {"day1": None, "avm": 2}])
    assert len(scores) == 2
    assert math.isnan(scores.day1[1])
    assert scores.avm[1] == 2
    assert np.isnan(scores.energy_uj).all()


def test_take_selects_rows_by_index_mask_and_nothing():
    scores = Scores.of(4, day1=[0.1, 0.2, 0.3, 0.4])
    assert scores.take([3, 0]).day1.tolist() == [0.4, 0.1]
    assert scores.take(scores.day1 > 0.25).day1.tolist() == [0.3, 0.4]
    assert len(scores.take([])) == 0


def test_columns_of_other_lengths_names_or_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"'day1' has shape \(2,\); allowed: \(3,\)"):
        Scores.of(3, day1=[1, 2])
    with pytest.raises(ConfigError, match="'dayone'; did you mean 'day1'"):
        Scores.from_rows([{"dayone": 1}])
    full = {name: np.zeros(2) for name in COLUMNS}
    with pytest.raises(ConfigError, match="differ in length"):
        Scores(**{**full, "avm": np.zeros(3)})
    with pytest.raises(ConfigError, match=r"'std' has shape \(2, 1\)"):
        Scores(**{**full, "std": np.zeros((2, 1))})


class Widths(Evaluator):
    def __init__(self, space):
        self.space = space

    def evaluate(self, archs):
        return Scores.of(len(archs), day1=[a["out_channel0"] / 100 for a in archs], avm=1.5)


@pytest.fixture
def evaluator():
    return Widths(get_space("unet"))


def test_matrix_and_analognas_calls_agree_with_evaluate(evaluator):
    space = evaluator.space
    archs = [space.sample(np.random.default_rng(s)) for s in range(5)]
    expected = evaluator.evaluate(archs)
    matrix = evaluator.evaluate_matrix(space.encode(archs))
    day1, avm = evaluator.query_pop([[a] for a in archs])
    np.testing.assert_array_equal(matrix.day1, expected.day1)
    np.testing.assert_array_equal(day1, expected.day1)
    np.testing.assert_array_equal(avm, expected.avm)
    assert evaluator.query([archs[2]]) == (expected.day1[2], 1.5)


def test_a_mixture_of_two_architectures_is_scored_as_its_repaired_form(evaluator):
    space = evaluator.space
    short = {**space.default(), "M": 2}
    mixture = {**space.default(), "M": 5}  # stages 3 to 5 were never given values
    for i in (3, 4, 5):
        for name in ("R", "convblock", "widenfact", "B"):
            mixture[f"{name}{i}"] = 0
    day1, _ = evaluator.query_pop([[short], [mixture]], should_bypass_eval=True, bypass_threshold=0)
    assert np.isfinite(day1).all()


@pytest.mark.parametrize("member", [[], [{}] * 300, {"M": 2}, [3]])
def test_a_member_that_is_no_single_architecture_is_refused(evaluator, member):
    with pytest.raises(ArchError, match="allowed: a list of one architecture") as caught:
        evaluator.query_pop([member])
    assert len(str(caught.value)) < 400  # even of a whole population
