"""Numbers that are names: encoded as themselves, and without an order for everything else."""

from __future__ import annotations

import numpy as np
import pytest

from nasseg.errors import ArchError
from nasseg.search_spaces import SearchSpace
from nasseg.search_spaces.hyperparameters import Condition, Hyperparameter

OPS = (1, 2, 5, 9)


class Space(SearchSpace):
    base_name = "operations"
    base_hyperparameters = (
        Hyperparameter("M", (1, 2), "depth"),
        Hyperparameter("op", OPS, "other", (Condition("M", (2,)),), nominal=True),
        Hyperparameter("zero", (0, 3, 4), "other", nominal=True),
        Hyperparameter("word", ("a", "b"), "width"),
    )


def test_strings_and_nominal_numbers_are_categorical() -> None:
    found = {h.name: (h.categorical, h.strings) for h in Space().hyperparameters}
    words = (True, True)
    numbers = (True, False)
    assert found == {"M": (False, False), "op": numbers, "zero": numbers, "word": words}


def test_nominal_numbers_are_encoded_as_themselves() -> None:
    space = Space()
    archs = [
        {"M": 2, "op": 9, "zero": 0, "word": "b"},
        {"M": 1, "op": 0, "zero": 4, "word": "a"},
    ]
    X = space.encode(archs)
    np.testing.assert_array_equal(X, [[2, 9, 0, 2], [1, 0, 4, 1]])
    assert space.decode(X) == archs
    assert space.from_json(space.to_json(archs[0])) == archs[0]


def test_a_number_that_is_no_choice_is_near_to_none_of_them() -> None:
    ordinal = Hyperparameter("op", OPS, default=2)
    nominal = Hyperparameter("op", OPS, default=2, nominal=True)
    assert ordinal.choices[ordinal.closest(8) - 1] == 9
    assert nominal.choices[nominal.closest(8) - 1] == 2
    assert nominal.index(np.float32(9)) == 4
    with pytest.raises(ArchError, match="op cannot be 8"):
        Space().validate({"M": 2, "op": 8, "zero": 0, "word": "a"})


def test_a_mutation_takes_all_other_codes_equally_often() -> None:
    space = Space()
    arch = {"M": 2, "op": 1, "zero": 0, "word": "a"}
    moved = space.mutate_matrix(
        space.encode([arch] * 6000), np.random.default_rng(0), kind="other"
    )[:, space.feature_names.index("op")]
    counts = np.array([np.count_nonzero(moved == op) for op in OPS[1:]])
    assert abs(counts / counts.sum() - 1 / 3).max() < 0.03
