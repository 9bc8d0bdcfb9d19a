"""nasseg's own tasks keep the contract of tasks."""

from __future__ import annotations

import pytest

from nasseg.tasks import TaskType, get_task
from nasseg.testing.tasks import TaskContract


class TestSegmentation(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("segmentation")


class TestInstances(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("instances")


class TestSemantic(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("semantic")


class TestClassification(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("classification")


class TestMultilabel(TaskContract):
    several = True

    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("multilabel")
