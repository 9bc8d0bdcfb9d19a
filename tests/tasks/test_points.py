"""A task that is one file runs through training, chips, evaluation, prediction and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nasseg import pipeline
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    DriftConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
)
from nasseg.data import load_data
from nasseg.evaluation import evaluate_run, format_evaluation
from nasseg.predict import predict
from nasseg.records.tables import format_summary
from nasseg.search_spaces import get_space
from nasseg.tasks import TASKS, TaskType, get_task, register_task
from nasseg.testing.tasks import TaskContract

PACKAGE = Path(__file__).parents[1] / "plugin_package"


@pytest.fixture(scope="module", autouse=True)
def points() -> Iterator[type[TaskType]]:
    """The task, registered while these tests run: others list the tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PACKAGE)
        from points_learning import Points

        # Other tests of this process may have found it as an entry point.
        found = TASKS._entries.pop("points", None)
        register_task("points")(Points)
        yield Points
    del TASKS._entries["points"]
    if found is not None:
        TASKS._entries["points"] = found


class TestPoints(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("points")


@pytest.fixture(scope="module")
def run(points: type[TaskType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("points")
    space = get_space("unet")
    arch = min(
        (space.sample(np.random.default_rng(seed)) for seed in range(50)),
        key=lambda arch: space.count_params(space.encode([arch]))[0],
    )
    (folder / "arch.json").write_text(json.dumps(arch))
    pipeline.run(
        RunConfig(
            out=str(folder / "run"),
            threads=1,
            data=DataConfig(task="points", image_size=32, synthetic_train=16, synthetic_val=6),
            search=SearchConfig(arch=str(folder / "arch.json")),
            train=TrainConfig(epochs=2, batch_size=8, eval_every=1),
            analog=AnalogConfig(epochs=1),
            drift=DriftConfig(chips=1, times=(1.0, 86_400.0), sweep_chips=0),
        ),
        progress=False,
    )
    return folder / "run"


def test_the_task_is_one_short_file(points) -> None:
    assert get_task("points").name == "points"
    source = (PACKAGE / "points_learning.py").read_text()
    assert len(source.splitlines()) < 80
    assert isinstance(get_task("points"), points)


def test_targets_go_with_the_crops_and_the_labels_with_the_scores() -> None:
    for crop in (0, 32):
        config = DataConfig(
            task="points", crop=crop, image_size=32, synthetic_train=4, synthetic_val=2
        )
        data = load_data(config)
        assert data.kind == "points"
        _, target = next(iter(data.train_loader(2, seed=0)))
        assert target.shape[1:] == (1, 32, 32)
        assert 0 <= float(target.min()) <= float(target.max()) <= 1
        _, ids = next(iter(data.val_loader(2)))
        assert int(ids.max()) > 1


def test_a_run_is_scored_and_reported_by_the_tasks_own_metrics(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["digital"]) == {"count_score", "count_error"}
    assert summary["monitor"] == "count_score"
    assert "count error" in format_summary(summary)
    page = (run / "report.html").read_text()
    assert "count score" in page
    # Of an error the bad chip is one with a large one.
    assert "count error: 95th" in format_summary(summary)
    assert "<small>p95" in page
    assert summary["analog"]["1"]["recalibrated"]["count_error"]["p95"] >= 0


def test_a_run_is_evaluated_and_predicts_points(run: Path, tmp_path: Path) -> None:
    found = evaluate_run(run, progress=False)
    assert set(found.metrics) == {"count_score", "count_error"}
    assert "count score" in format_evaluation(found)
    picture = load_data(DataConfig(synthetic_train=2, synthetic_val=1)).image("val", 0)
    Image.fromarray(picture).save(tmp_path / "nuclei.png")
    (entry,) = predict(run, [tmp_path / "nuclei.png"], tmp_path / "out", progress=False)
    labels = tifffile.imread(tmp_path / "out" / "nuclei.tif")
    assert labels.shape == picture.shape[:2]
    assert entry.instances == int(labels.max())


def test_the_task_is_taken_from_a_module_that_the_user_allowed(monkeypatch) -> None:
    monkeypatch.delenv("NASSEG_PLUGINS", raising=False)
    with pytest.raises(ValueError, match="NASSEG_PLUGINS=points_learning"):
        DataConfig(task="points_learning:Points")
    monkeypatch.setenv("NASSEG_PLUGINS", "points_learning")
    config = DataConfig(task="points_learning:Points", synthetic_train=2, synthetic_val=1)
    data = load_data(config)
    assert data.kind == "points_learning:Points"
    assert get_task(data.kind).bind(data).monitor == "count_score"


def test_a_task_that_needs_no_crop_is_refused_one_by_its_scales(points, monkeypatch) -> None:
    monkeypatch.setattr(points, "scales", frozenset({"resized"}))
    with pytest.raises(ValueError, match=r"data\.crop is 32; allowed: 0 for points"):
        DataConfig(task="points", crop=32)


def test_directional_targets_are_made_of_the_turned_labels(points, monkeypatch) -> None:
    seen = []
    plain = points.targets
    monkeypatch.setattr(points, "directional", True)
    monkeypatch.setattr(points, "targets", lambda self, label: seen.append(1) or plain(self, label))
    for crop in (0, 32):
        config = DataConfig(
            task="points", crop=crop, image_size=32, synthetic_train=4, synthetic_val=2
        )
        data = load_data(config)
        seen.clear()
        _, target = next(iter(data.train_loader(2, seed=0)))
        assert len(seen) == 2
        assert target.shape == (2, 1, 32, 32)
        assert float(target.max()) == 1.0
