"""What every evaluator promises, as tests.

.. code-block:: python

    class TestMyEvaluator(EvaluatorContract):
        @pytest.fixture
        def evaluator(self):
            return MyEvaluator(get_space("unet"))
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasseg.errors import ArchError
from nasseg.evaluators import Evaluator, Scores
from nasseg.evaluators.scores import COLUMNS
from nasseg.search_spaces import SearchSpace


class EvaluatorContract:
    """Subclass it and give ``evaluator``, a subclass of :class:`~nasseg.evaluators.Evaluator`."""

    rows = 24
    """Architectures that are scored; fewer where an evaluation is slow."""
    tolerance = 1e-6
    """Relative difference allowed between two ways to ask for the same score."""

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        raise NotImplementedError("give a fixture named 'evaluator' that returns the evaluator")

    @pytest.fixture
    def space(self, evaluator: Evaluator) -> SearchSpace:
        return evaluator.space

    @pytest.fixture
    def archs(self, space: SearchSpace) -> list[dict[str, object]]:
        return space.decode(space.sample_matrix(self.rows, np.random.default_rng(0)))

    def _same(self, ours: Scores, theirs: Scores) -> None:
        assert len(ours) == len(theirs)
        for mine, other in zip(ours.rows(), theirs.rows(), strict=True):
            assert mine.keys() == other.keys()
            for name, value in mine.items():
                assert other[name] == pytest.approx(value, rel=self.tolerance, nan_ok=True), name

    def test_scores_have_a_row_for_each_architecture(
        self, evaluator: Evaluator, archs: list[dict[str, object]]
    ) -> None:
        scores = evaluator.evaluate(archs)
        assert isinstance(scores, Scores)
        assert len(scores) == len(archs)
        known = [name for name in COLUMNS if np.isfinite(scores.column(name)).any()]
        assert known or scores.extra, "no column of the scores has a value"
        assert len(evaluator.evaluate([])) == 0

    def test_columns_of_its_own_are_named_beforehand(
        self, evaluator: Evaluator, archs: list[dict[str, object]]
    ) -> None:
        assert tuple(evaluator.evaluate(archs[:2]).extra) == tuple(evaluator.extra_columns)
        assert not set(evaluator.extra_columns) & set(COLUMNS)
        # The factory of a registered evaluator is asked before one is made.
        assert tuple(type(evaluator).extra_columns) == tuple(evaluator.extra_columns)

    def test_a_score_depends_on_no_other_architecture(
        self, evaluator: Evaluator, archs: list[dict[str, object]]
    ) -> None:
        whole = evaluator.evaluate(archs)
        order = list(range(len(archs)))[::-1]
        self._same(whole.take(order), evaluator.evaluate([archs[k] for k in order]))
        self._same(whole.take([0]), evaluator.evaluate(archs[:1]))

    def test_encoded_architectures_have_the_same_scores(
        self, evaluator: Evaluator, archs: list[dict[str, object]], space: SearchSpace
    ) -> None:
        self._same(evaluator.evaluate(archs), evaluator.evaluate_matrix(space.encode(archs)))

    def test_analognas_asks_for_the_same_scores(
        self, evaluator: Evaluator, archs: list[dict[str, object]]
    ) -> None:
        scores = evaluator.evaluate(archs[:4])
        day1, avm = evaluator.query_pop([[arch] for arch in archs[:4]])
        assert day1 == pytest.approx(scores.day1, rel=self.tolerance, nan_ok=True)
        assert avm == pytest.approx(scores.avm, rel=self.tolerance, nan_ok=True)
        one = evaluator.query([archs[0]])
        assert one[0] == pytest.approx(float(day1[0]), rel=self.tolerance, nan_ok=True)
        assert math.isnan(one[1]) == math.isnan(float(avm[0]))

    def test_what_is_no_architecture_is_refused(self, evaluator: Evaluator) -> None:
        with pytest.raises(ArchError):
            evaluator.evaluate([{"no such hyperparameter": 1}])
