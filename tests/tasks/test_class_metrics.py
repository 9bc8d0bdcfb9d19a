"""Loss and metrics of classes, of images as of pixels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nasseg.config import DataConfig, TrainConfig
from nasseg.data import ClassificationData, load_data
from nasseg.errors import ConfigError
from nasseg.report._classes import calibration_error, confusion, reliability
from nasseg.tasks import get_task, task_for
from nasseg.tasks.base import DefaultOptions
from nasseg.tasks.class_metrics import (
    class_aucs,
    classification_metrics,
    predict_probabilities,
)
from nasseg.tasks.classification import balanced_weights


def test_metrics_of_a_worked_example():
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6], [0.7, 0.3]])
    labels = np.array([0, 0, 1, 0, 1])
    found = classification_metrics(probabilities, labels)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    # Of the six pairs of one of each class, the second is ahead in four.
    assert found["auc"] == pytest.approx(4 / 6)
    assert found["f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_without_images_has_no_auc_and_does_not_count():
    probabilities = np.eye(3)[[0, 1, 0, 1]]
    labels = np.array([0, 1, 0, 1])
    assert np.isnan(class_aucs(probabilities, labels)).tolist() == [False, False, True]
    assert classification_metrics(probabilities, labels) == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "auc": 1.0,
        "f1": 1.0,
    }


def bare_data(*classes: str, counts: tuple[int, ...] = ()) -> SimpleNamespace:
    """As much of loaded data as a task asks for."""
    return SimpleNamespace(kind="", classes=classes, class_counts=counts)


def test_several_classes_an_image_are_scored_each_by_itself():
    probabilities = np.array([[0.9, 0.1, 0.6], [0.2, 0.8, 0.4]])
    labels = np.array([[1, 0, 0], [0, 1, 0]])
    found = classification_metrics(probabilities, labels, multilabel=True)
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["auc"] == 1.0
    with pytest.raises(ConfigError, match=r"train\.class_weights"):
        get_task("multilabel").bind(bare_data("a", "b"), DefaultOptions(class_weights="balanced"))
    assert get_task("multilabel").bind(bare_data("a", "b")).monitor == "auc"


def test_balanced_weights_give_every_class_the_same_say():
    weights = balanced_weights([90, 10, 0])
    assert weights[0] * 90 == pytest.approx(weights[1] * 10)
    assert (weights[0] * 90 + weights[1] * 10) / 100 == pytest.approx(1.0)
    assert weights[2] == 0.0
    data = bare_data("a", "b", "c", counts=(90, 10, 0))
    loss = get_task("classification").bind(data, DefaultOptions(class_weights="balanced")).loss()
    assert loss.weight.tolist() == pytest.approx(weights)
    logits = torch.zeros(4, 3)
    assert torch.isfinite(loss(logits, torch.tensor([0, 0, 1, 1])))
    # Shares of classes, as mixup makes them, are a target too.
    assert torch.isfinite(loss(logits, torch.full((4, 3), 1 / 3)))


def test_mirror_images_are_averaged():
    class Corner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(4.0))

        def forward(self, x):
            return self.scale * x[:, :, 0, :2].flatten(1)

    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1.0
    loader = [(image, torch.tensor([0]))]
    plain, _ = predict_probabilities(Corner(), loader)
    mirrored, _ = predict_probabilities(Corner(), loader, tta=True)
    assert plain[0, 0] > 0.9
    assert mirrored[0, 0] == pytest.approx((plain[0, 0] + 3 * 0.5) / 4)


def test_pixels_of_classes_are_scored_class_by_class():
    task = get_task("semantic").bind(bare_data("background", "cytoplasm", "nucleus"))
    label = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    label[..., 1:3, :] = 1
    label[..., 1, 1] = 2

    class Says(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            wrong = label.clone()
            wrong[label == 2] = 1
            return torch.nn.functional.one_hot(wrong[:, 0], 3).permute(0, 3, 1, 2).float()

    found = task.evaluate(Says(), [(torch.zeros(1, 1, 4, 4), label)])
    assert found["dice_nucleus"] == 0.0
    assert found["dice_cytoplasm"] == pytest.approx(2 * 7 / 15)
    assert found["dice"] == pytest.approx(7 / 15)
    loss = task.loss()(torch.zeros(1, 3, 4, 4), label.float())
    assert torch.isfinite(loss)


def test_confidence_is_held_against_accuracy():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert confusion(labels, probabilities).tolist() == [[2, 0], [2, 0]]
    entries = reliability(labels, probabilities, bins=2)
    assert [entry["accuracy"] for entry in entries] == [0.0, 1.0]
    assert calibration_error(labels, probabilities, bins=2) == pytest.approx((0.6 + 0.1) / 2)


def test_the_task_is_made_from_the_data():
    data = load_data(
        DataConfig(task="classification", image_size=16, synthetic_train=16, synthetic_val=8)
    )
    assert isinstance(data, ClassificationData)
    task = task_for(data, TrainConfig(class_weights="balanced", monitor="auc"))
    assert (task.out_channels, task.monitor) == (len(data.classes), "auc")
