"""Choices without an order have a column each; what was fitted to their codes predicts as ever."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nasseg.evaluators import Scores, XGBoostEvaluator, load_surrogate
from nasseg.evaluators.boosting import fit_head, predict, tau
from nasseg.evaluators.ensemble import Ensemble
from nasseg.evaluators.features import LOW_FIDELITY, Features
from nasseg.evaluators.low_fidelity import LowFidelity
from nasseg.evaluators.one_hot import OneHot
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.search_spaces.hyperparameters import Condition, Hyperparameter

RECORDED = Path(__file__).parent / "shipped_predictions.npz"
"""Of 200 architectures, by the shipped surrogates before choices had columns of their own."""


class Space(SearchSpace):
    base_name = "operations"
    base_hyperparameters = (
        Hyperparameter("M", (1, 2), "depth"),
        Hyperparameter("op", (2, 5, 9), "other", (Condition("M", (2,)),), nominal=True),
        Hyperparameter("zero", (0, 3), "other", nominal=True),
        Hyperparameter("word", ("b", "a"), "width"),
        *(Hyperparameter(f"width{i}", (8, 16, 24), "width") for i in range(3)),
    )

    def _count_params(self, columns, in_channels, out_channels):
        return 100 * columns["width0"]

    def _count_macs_per_pixel(self, columns, in_channels, out_channels):
        return 1.0 * columns["width1"]


NAMES = ["M", "op=2", "op=5", "op=9", "zero=0", "zero=3", "word=b", "word=a"]


def test_every_choice_has_a_column_which_is_zero_in_what_is_inactive():
    space = Space()
    widths = {f"width{i}": 8 for i in range(3)}
    X = space.encode(
        [
            {"M": 2, "op": 5, "zero": 0, "word": "a", **widths},
            {"M": 1, "op": 0, "zero": 3, "word": "b", **widths},
        ]
    )
    features = Features(space)
    more = ["width0", "width1", "width2", "log_params", "log_macs"]
    assert features.names == [*NAMES, *more]
    Z = features.matrix(X)
    assert Z.dtype == np.float32
    expected = [[2, 0, 1, 0, 1, 0, 0, 1, 8, 8, 8], [1, 0, 0, 0, 0, 1, 1, 0, 8, 8, 8]]
    np.testing.assert_array_equal(Z[:, :11], expected)
    np.testing.assert_array_equal(features.groups, [0, 1, 1, 1, 2, 2, 3, 3, *range(4, 9)])
    # Codes that are a little off, which spaces decode as well.
    np.testing.assert_array_equal(features.matrix(X * np.float32(1 + 2e-5))[:, 1:8], Z[:, 1:8])
    assert features.matrix(X[:0]).shape == (0, len(features.names))
    assert Features(space, one_hot=False).names == [*space.feature_names, *more[3:]]


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_shipped_surrogates_predict_as_before(name):
    space = get_space(name)
    surrogate = load_surrogate(name, space)
    recorded = np.load(RECORDED)
    X = recorded[f"{name}_X"]
    found = surrogate.evaluate_matrix(X)
    for target in surrogate.heads:
        np.testing.assert_allclose(getattr(found, target), recorded[f"{name}_{target}"], rtol=1e-6)
    said = surrogate.predict_day1(X)
    np.testing.assert_allclose(said.mean, recorded[f"{name}_ensemble_mean"], rtol=1e-6)
    np.testing.assert_allclose(said.std, recorded[f"{name}_ensemble_std"], rtol=1e-5)
    np.testing.assert_array_equal(said.outside, recorded[f"{name}_outside"])
    # To the bit: trees that are asked with the codes, as they were fitted.
    described = np.stack(list(space.describe_matrix(X).values()), axis=1)
    Z = np.column_stack([X, described]).astype(np.float32)
    short = surrogate.features.low_fidelity
    if short is not None:
        Z = np.column_stack([Z, short.predict(Z).astype(np.float32)])
    for target, head in surrogate.heads.items():
        np.testing.assert_array_equal(getattr(found, target), predict(head, Z))


def test_a_new_surrogate_sees_low_fidelity_that_was_fitted_to_codes():
    space = get_space("unet")
    shipped = load_surrogate("unet", space).features
    features = Features(space, low_fidelity=shipped.low_fidelity)
    assert "inputs" not in shipped.low_fidelity.facts
    assert "skip=add" in features.names
    assert "skip=add" not in shipped.names
    X = space.sample_matrix(50, np.random.default_rng(0))
    np.testing.assert_array_equal(features.matrix(X)[:, -1], shipped.matrix(X)[:, -1])
    grey = Features(space, 1, 2, low_fidelity=shipped.low_fidelity)
    np.testing.assert_array_equal(grey.matrix(X)[:, -1], shipped.matrix(X)[:, -1])


def fitted(space, features=None, low_fidelity=None):
    X = space.sample_matrix(60, np.random.default_rng(3))
    y = X @ np.linspace(0, 0.01, X.shape[1])
    surrogate = XGBoostEvaluator(space, low_fidelity=low_fidelity)
    surrogate.features = features or surrogate.features
    return surrogate.fit(X, Scores.of(len(X), day1=y, avm=-y, std=y), repeats=0)


@pytest.mark.parametrize("one_hot", [True, False])
def test_a_saved_surrogate_keeps_the_layout_it_was_fitted_to(tmp_path, one_hot):
    space = Space()
    surrogate = fitted(space, Features(space, one_hot=one_hot))
    surrogate.save(tmp_path)
    again = XGBoostEvaluator.load(tmp_path, space)
    assert again.features.names == json.loads((tmp_path / "schema.json").read_text())["inputs"]
    assert ("op=5" in again.features.names) == one_hot
    X = space.sample_matrix(200, np.random.default_rng(1))
    np.testing.assert_array_equal(again.evaluate_matrix(X).day1, surrogate.evaluate_matrix(X).day1)
    one, two = again.predict_day1(X), surrogate.predict_day1(X)
    np.testing.assert_array_equal(one.std, two.std)
    np.testing.assert_array_equal(one.outside, two.outside)


def test_low_fidelity_keeps_the_layout_it_was_fitted_to(tmp_path):
    space = Space()
    X = space.sample_matrix(60, np.random.default_rng(4))
    short = LowFidelity.fit(Features(space), X, X @ np.linspace(1, 0, X.shape[1]))
    assert short.features(space).names == Features(space).names
    surrogate = fitted(space, low_fidelity=short)
    surrogate.save(tmp_path)
    again = XGBoostEvaluator.load(tmp_path, space)
    assert again.features.names == [*Features(space).names, LOW_FIDELITY]
    np.testing.assert_array_equal(again.features.matrix(X), surrogate.features.matrix(X))


def test_a_change_of_a_choice_is_as_far_whatever_the_number_of_columns():
    """Of two choices, as far as of a number with two values."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, [2, 8, 2], (4000, 3)).astype(np.float32)
    choices = {name: {str(k): k for k in range(n)} for name, n in (("two", 2), ("eight", 8))}
    encoding = OneHot(["two", "eight", "number"], choices)
    X = encoding.matrix(rows)
    few = rng.permutation(len(X))[:40]
    model = Ensemble(4, groups=encoding.groups).fit(X[few], rng.normal(size=40))
    model._scale_distances(X)
    scaled = X / model._unit

    def step(one, other):
        return np.linalg.norm(np.subtract(*(scaled[(rows == r).all(1)][0] for r in (one, other))))

    number = step([0, 0, 0], [0, 0, 1])
    assert number == pytest.approx(2, rel=0.01)
    assert step([0, 0, 0], [1, 0, 0]) == pytest.approx(number, rel=0.01)
    eight = [step([0, 0, 0], [0, k, 0]) for k in range(1, 8)]
    assert eight == pytest.approx([np.sqrt(2 / (1 - 1 / 8))] * 7, rel=0.01)


def test_where_codes_are_names_their_order_only_misleads():
    """The best and the worst operation have neighbouring codes."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, (1200, 5)).astype(np.float32)
    effect = np.array([0.0, 1.0, -1.0, 0.7, -0.8, 0.3])
    y = effect[rows.astype(int)] @ np.array([1.0, 0.8, 0.6, 0.5, 0.4])
    names = list("abcde")
    hot = OneHot(names, {name: {str(k): k for k in range(6)} for name in names}).matrix(rows)

    def ranked(X):
        known, rest = np.arange(100), np.arange(100, len(X))
        return tau(y[rest], predict(fit_head(X[known], y[known]), X[rest]))

    assert ranked(hot) > ranked(rows) + 0.05
