"""The parts of the package keep the contracts that nasseg ships, found by their entry points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nasseg import _registry
from nasseg.analog.memories import MEMORIES
from nasseg.config import DataConfig
from nasseg.data.sources.base import SOURCES, SourceType
from nasseg.evaluators import Evaluator, load_surrogate
from nasseg.evaluators.shipping import EVALUATORS
from nasseg.search.measured.sampler import SAMPLERS
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.tasks import TASKS, TaskType, get_task
from nasseg.testing.evaluators import EvaluatorContract
from nasseg.testing.memories import MemoryContract
from nasseg.testing.samplers import SamplerContract
from nasseg.testing.sources import SourceContract
from nasseg.testing.spaces import SearchSpaceContract
from nasseg.testing.tasks import TaskContract

ALL = (EVALUATORS, MEMORIES, SAMPLERS, SOURCES, TASKS)


@pytest.fixture(scope="module", autouse=True)
def installed(site: Path) -> Iterator[None]:
    """The package, as if it were installed, while these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        for registry in _registry._registries.values():
            patch.setattr(registry, "_points", None)
            patch.setattr(registry, "_entries", dict(registry._entries))
            patch.setattr(registry, "_loaded", set())
        yield


def test_the_package_adds_to_every_registry() -> None:
    groups = {registry.group for registry in _registry._registries.values()}
    assert {registry.group for registry in ALL} | {"nasseg.spaces"} == groups
    names = ["thrift", "calm", "coin", "arrays_of_points", "points"]
    for registry, name in zip(ALL, names, strict=True):
        assert name in registry
        assert registry.group is not None
        package = {"package": "nasseg-points", "version": "1.2"}
        assert _registry.package_of(registry.group, name) == package


class TestShallow(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("shallow")


class TestPoints(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("points")


class TestPairFolder(SourceContract):
    @pytest.fixture
    def source(self) -> SourceType:
        return SOURCES["arrays_of_points"]

    @pytest.fixture
    def config(self, pairs: Path) -> DataConfig:
        return DataConfig(path=str(pairs), image_size=32)


class TestCoin(SamplerContract):
    @pytest.fixture
    def sampler(self) -> str:
        return "coin"


class TestCalm(MemoryContract):
    @pytest.fixture
    def memory(self) -> str:
        return "calm"


class TestThrift(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> Evaluator:
        found = load_surrogate("thrift", get_space("unet"))
        assert isinstance(found, Evaluator)
        return found
