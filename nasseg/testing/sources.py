"""What every kind of data source promises, as tests.

.. code-block:: python

    class TestZarr(SourceContract):
        @pytest.fixture
        def source(self):
            return SOURCES["zarr"]

        @pytest.fixture
        def config(self, tmp_path):
            return DataConfig(path=str(write_example(tmp_path)))
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nasseg.config import DataConfig
from nasseg.data import load_data
from nasseg.data.problems import Problems
from nasseg.data.sources.base import SOURCES, Source, SourceType
from nasseg.data.sources.class_base import ClassSource
from nasseg.errors import DataError
from nasseg.tasks import get_task


class SourceContract:
    """Subclass it, give ``source`` and a ``config`` whose path is a small example of it."""

    drawn = False
    """True if it reads nothing: it recognises that there is no path."""

    @pytest.fixture
    def source(self) -> SourceType:
        raise NotImplementedError("give a fixture named 'source' that returns the kind of source")

    @pytest.fixture
    def config(self) -> DataConfig:
        raise NotImplementedError("give a fixture named 'config' with the path of an example")

    @pytest.fixture
    def path(self, config: DataConfig) -> Path | None:
        return None if config.path is None else Path(config.path)

    @pytest.fixture
    def opened(
        self, source: SourceType, path: Path | None, config: DataConfig
    ) -> Source | ClassSource:
        return source.open(path, config)

    def test_it_is_registered_under_its_name(self, source: SourceType) -> None:
        assert type(SOURCES[source.name]) is type(source)

    def test_it_serves_the_task_of_its_example(
        self, source: SourceType, config: DataConfig
    ) -> None:
        assert get_task(config.kind).labels in source.labels

    def test_it_recognises_its_own(
        self, source: SourceType, path: Path | None, config: DataConfig
    ) -> None:
        assert source.recognises(path, config)

    def test_it_recognises_nothing_else(
        self, source: SourceType, config: DataConfig, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        assert source.recognises(None, config) is self.drawn
        assert not source.recognises(empty, config)
        assert not source.recognises(tmp_path / "nowhere", config)

    def test_without_a_path_it_says_so(self, source: SourceType, config: DataConfig) -> None:
        if not self.drawn:
            with pytest.raises(DataError):
                source.open(None, config)

    def test_the_list_is_the_same_every_time(
        self,
        source: SourceType,
        path: Path | None,
        config: DataConfig,
        opened: Source | ClassSource,
    ) -> None:
        again = source.open(path, config)
        assert _ids(again) == _ids(opened)
        assert len(set(_ids(opened))) == len(_ids(opened))

    def test_the_split_is_of_its_own_images(self, opened: Source | ClassSource) -> None:
        if isinstance(opened, ClassSource):
            assert opened.sides is None or len(opened.sides) == len(opened.ids)
        elif opened.split is not None:
            train, val = set(opened.split.train), set(opened.split.val)
            assert not train & val
            assert train | val <= set(_ids(opened))

    def test_images_are_bytes_with_labels_of_their_size(
        self, opened: Source | ClassSource, config: DataConfig
    ) -> None:
        problems = Problems()
        if isinstance(opened, ClassSource):
            shapes: dict[int, tuple[int, ...]] = {}

            def use(first: int, block: npt.NDArray[np.uint8]) -> None:
                assert block.dtype == np.uint8
                shapes.update({first + row: image.shape for row, image in enumerate(block)})

            opened.images.each(use, problems)
            assert sorted(shapes) == list(range(len(opened.ids)))
            assert all(shape[2] == config.channels for shape in shapes.values())
            assert len(opened.labels) == len(opened.ids)
        else:
            for item in opened.items:
                pair = item.read(problems)
                assert pair is not None
                assert pair.image.dtype == np.uint8
                assert pair.image.shape == (*pair.ids.shape, config.channels)
                assert pair.ids.min() >= 0
        assert not problems
        assert not opened.problems

    def test_it_becomes_data_by_path_and_by_name(
        self, source: SourceType, config: DataConfig
    ) -> None:
        data = load_data(config)
        assert data.kind in (config.kind, "multilabel")
        assert sum(data.counts.values()) > 1
        image, _ = next(iter(data.val_loader(2)))
        assert image.shape[1] == config.channels
        named = load_data(dataclasses.replace(config, source=source.name))
        assert named.fingerprint == data.fingerprint


def _ids(opened: Source | ClassSource) -> list[str]:
    if isinstance(opened, ClassSource):
        return list(opened.ids)
    return [item.id for item in opened.items]
