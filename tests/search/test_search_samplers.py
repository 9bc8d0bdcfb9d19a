"""Samplers by name: the contract of our own, and samplers from elsewhere."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from nasseg import _registry
from nasseg.errors import ConfigError
from nasseg.search import list_samplers
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search.measured.sampler import SAMPLERS, Request, propose
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.testing.samplers import SamplerContract


@pytest.mark.parametrize("name", sorted(set(list_samplers())))
class TestOwnSamplers(SamplerContract):
    trials = 8

    @pytest.fixture
    def sampler(self, name: str) -> str:
        return name

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("resnet")


MODULE = """
from optuna.samplers import RandomSampler

def mine(request):
    return RandomSampler(request.seed + request.slot)

nothing = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_sampler.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_registry, "_allowed", [])
    return "own_sampler"


def test_a_sampler_of_a_module_proposes_once_it_is_allowed(module):
    space = get_space("unet")
    request = Request(space, 0, 0, SizeBounds())
    with pytest.raises(ConfigError, match="a file alone does not make nasseg import"):
        propose(f"{module}:mine", request, [])
    _registry.allow(f"{module}:mine")
    space.validate(propose(f"{module}:mine", request, []).arch)
    _registry.allow(module)
    with pytest.raises(ConfigError, match=r"nothing' is 3; allowed: a function from a Request"):
        SAMPLERS[f"{module}:nothing"]


def test_a_sampler_of_an_installed_package_is_listed(monkeypatch):
    class Point:
        name, value, dist = "of_a_package", "package:make", None

        @staticmethod
        def load():
            return lambda request: optuna.samplers.RandomSampler(np.int64(1).item())

    monkeypatch.setattr(SAMPLERS, "_points", {"of_a_package": Point})
    monkeypatch.setattr(SAMPLERS, "_entries", dict(SAMPLERS._entries))
    assert "of_a_package" in list_samplers()
    assert SAMPLERS["of_a_package"].attempts == 64
