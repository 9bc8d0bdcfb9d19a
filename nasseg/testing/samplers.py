"""What every sampler of measured studies promises, as tests.

.. code-block:: python

    class TestMySampler(SamplerContract):
        @pytest.fixture
        def sampler(self):
            return "my_sampler"  # registered, of an entry point, or an allowed module:Name
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler

from nasseg.search.measured.bounds import SizeBounds
from nasseg.search.measured.distributions import distributions, to_params
from nasseg.search.measured.sampler import SAMPLERS, Request, propose
from nasseg.search_spaces import SearchSpace, get_space


class SamplerContract:
    """Subclass it and give ``sampler``, the name; ``space`` where it is made for another one.

    A sampler is asked through :func:`nasseg.search.measured.sampler.propose`, as a study does: for
    one architecture, given the trials so far. Its answer is a function of these, of the seed and
    of the place in the study.
    """

    trials = 12
    """Finished trials that it is asked with."""

    @pytest.fixture
    def sampler(self) -> str:
        raise NotImplementedError("give a fixture named 'sampler' that returns a sampler's name")

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("unet")

    def request_of(
        self, space: SearchSpace, slot: int, seed: int = 0, bounds: SizeBounds | None = None
    ) -> Request:
        """What the proposal at a place of a study is made for."""
        return Request(space, seed, slot, bounds or SizeBounds())

    def history(self, space: SearchSpace, count: int) -> list[optuna.trial.FrozenTrial]:
        """Finished trials of random architectures, one in four of which failed."""
        rng = np.random.default_rng(0)
        trials = []
        for number, arch in enumerate(space.decode(space.sample_matrix(count, rng))):
            params = to_params(space, arch)
            known = distributions(space)
            failed = number % 4 == 3
            states = optuna.trial.TrialState
            trial = optuna.trial.create_trial(
                state=states.FAIL if failed else states.COMPLETE,
                value=None if failed else float(rng.random()),
                params=params,
                distributions={name: known[name] for name in params},
                user_attrs={"arch_id": space.arch_id(arch)},
            )
            trials.append(trial)
        return trials

    def _propose(
        self, sampler: str, request: Request, history: Sequence[Any], taken: Sequence[str] = ()
    ) -> dict[str, Any]:
        return propose(sampler, request, history, taken).arch

    def test_a_request_makes_an_optuna_sampler(self, sampler: str, space: SearchSpace) -> None:
        assert isinstance(SAMPLERS[sampler].make(self.request_of(space, 0)), BaseSampler)

    def test_proposals_are_architectures_of_the_space(
        self, sampler: str, space: SearchSpace
    ) -> None:
        for count in (0, 1, self.trials):
            arch = self._propose(sampler, self.request_of(space, count), self.history(space, count))
            space.validate(arch)

    def test_a_proposal_is_a_function_of_seed_place_and_trials(
        self, sampler: str, space: SearchSpace
    ) -> None:
        history = self.history(space, self.trials)
        request = self.request_of(space, self.trials)
        first = self._propose(sampler, request, history)
        assert self._propose(sampler, request, history) == first
        seeds = [
            self._propose(sampler, self.request_of(space, 0, seed), []) for seed in range(1, 6)
        ]
        assert any(arch != seeds[0] for arch in seeds)

    def test_no_architecture_is_proposed_twice(self, sampler: str, space: SearchSpace) -> None:
        history = self.history(space, self.trials)
        seen = [trial.user_attrs["arch_id"] for trial in history]
        for _ in range(3):
            arch = self._propose(sampler, self.request_of(space, self.trials), history, seen)
            assert space.arch_id(arch) not in seen
            seen.append(space.arch_id(arch))

    def test_bounds_are_kept(self, sampler: str, space: SearchSpace) -> None:
        X = space.sample_matrix(200, np.random.default_rng(1))
        bounds = SizeBounds(max_params=int(np.median(space.count_params(X, 3, 1))))
        for count in (0, self.trials):
            request = self.request_of(space, count, bounds=bounds)
            arch = self._propose(sampler, request, self.history(space, count))
            assert bounds.within(space, space.encode([arch]))[0]
