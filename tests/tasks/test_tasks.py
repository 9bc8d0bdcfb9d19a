"""The registry of tasks, and what each task knows of itself."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nasseg.config import DataConfig
from nasseg.data import load_data
from nasseg.errors import ConfigError, UnknownName
from nasseg.tasks import TASKS, get_task, metric_title, metrics_of, task_for
from nasseg.tasks.base import DefaultOptions

NAMES = ["segmentation", "instances", "semantic", "classification", "multilabel"]


@pytest.mark.parametrize("name", NAMES)
def test_every_task_is_found_by_its_name(name: str) -> None:
    assert get_task(name).name == name
    data = SimpleNamespace(kind=name, classes=("a", "b", "c"), class_counts=(3, 2, 1))
    task = get_task(name).bind(data)
    assert task.name == name
    assert task.out_channels == {"segmentation": 1, "instances": 2}.get(name, 3)
    assert task_for(data).monitor == task.monitor
    assert isinstance(task.loss(), torch.nn.Module)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'classification'"):
        get_task("clasification")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (DataConfig(synthetic_train=8, synthetic_val=4), "segmentation"),
        (DataConfig(synthetic_train=8, synthetic_val=4, crop=64), "instances"),
        (DataConfig(task="semantic", synthetic_train=8, synthetic_val=4), "semantic"),
        (DataConfig(task="classification", synthetic_train=24, synthetic_val=8), "classification"),
    ],
)
def test_loaded_data_name_their_task(config: DataConfig, kind: str) -> None:
    data = load_data(config)
    assert config.kind == data.kind == kind
    assert task_for(data).name == kind


def test_classes_are_weighted_as_their_images_are_rare() -> None:
    data = SimpleNamespace(kind="classification", classes=("a", "b"), class_counts=(3, 1))
    loss = task_for(data, DefaultOptions(class_weights="balanced")).loss()
    assert loss.weight.tolist() == pytest.approx([2 / 3, 2.0])


@pytest.mark.parametrize("task", ["multilabel", "nonsense"])
def test_a_task_that_data_or_settings_decide_is_not_chosen_by_name(task: str) -> None:
    allowed = r"allowed: segmentation, instances, .*semantic, classification, "
    with pytest.raises(ConfigError, match=allowed):
        DataConfig(task=task)


def test_a_task_of_a_module_is_not_imported_for_a_setting_alone() -> None:
    with pytest.raises(ConfigError, match="NASSEG_PLUGINS=some_package"):
        DataConfig(task="some_package.tasks:Points")


@pytest.mark.parametrize(
    ("names", "titles"),
    [
        ((), ["Dice", "IoU", "pooled IoU"]),
        (("dice", "iou", "iou_pooled"), ["Dice", "IoU", "pooled IoU"]),
        (("dice", "iou", "iou_pooled", "ap50", "ap"), ["Dice", "AP at IoU 0.5", "AP 0.5 to 0.95"]),
        (("dice", "iou", "dice_b", "dice_a"), ["Dice", "IoU", "Dice a", "Dice b"]),
        (("accuracy", "auc", "f1"), ["accuracy", "AUC", "F1"]),
    ],
)
def test_metrics_are_titled_by_the_task_that_knows_them(names, titles) -> None:
    assert [title for _, title in metrics_of(names)] == titles


def test_the_metric_that_a_run_is_scored_by_comes_first() -> None:
    assert metrics_of(["accuracy", "auc"], first="auc")[0] == ("auc", "AUC")
    assert metric_title("ap50") == "AP at IoU 0.5"
    assert metric_title(None) == "Dice"
    assert metric_title("something") == "something"


def test_classes_of_pixels_are_decoded_with_the_background_last() -> None:
    semantic = get_task("semantic")
    probability = np.zeros((3, 1, 4), dtype=np.float32)
    probability[:, 0, 0] = [0.8, 0.1, 0.1]
    probability[:, 0, 1] = [0.1, 0.8, 0.1]
    probability[:, 0, 2] = [0.1, 0.1, 0.8]
    probability[:, 0, 3] = [0.4, 0.4, 0.2]
    labels = semantic.decode(probability)
    assert labels.tolist() == [[0, 1, 2, 1]]
    assert semantic.count(labels) == 3
    np.testing.assert_allclose(semantic.certainty(probability)[0], [0.2, 0.9, 0.9, 0.6], rtol=1e-6)


def test_a_finished_run_with_several_classes_an_image_is_of_that_variant() -> None:
    task = get_task("classification")
    assert task.of_run({"classes": ["a", "b"], "multilabel": True}).name == "multilabel"
    assert task.of_run({"classes": ["a", "b"], "multilabel": False}).name == "classification"
    assert get_task("segmentation").of_run({}).name == "segmentation"


def test_importing_the_tasks_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, nasseg.tasks; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_task_has_titles_for_what_it_is_selected_by() -> None:
    for task in TASKS.values():
        assert task.monitor in task.metrics
        assert set(task.shown or ()) <= set(task.metrics)
