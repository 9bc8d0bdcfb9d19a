"""Weights that a digital training keeps: never chosen by images that results are of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers.stripes import stripes
from torch import Tensor, nn

from nasseg.analog.state import named_tensors
from nasseg.config import TrainConfig
from nasseg.data import ClassificationData, Side
from nasseg.errors import RunError
from nasseg.tasks import task_for
from nasseg.training.checkpoint import load_checkpoint, save_checkpoint
from nasseg.training.loop import FitResult
from nasseg.training.recipe import initialise, kept_weights, train_digital

CONFIG = TrainConfig(epochs=6, batch_size=8, eval_every=1, lr=0.5, ema_decay=0.5)
"""Steps so large that the score jumps about, and with it the epoch of the best one."""


def net() -> nn.Module:
    return initialise(
        lambda seed: nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.Dropout(0.2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2),
        ),
        seed=0,
        device=torch.device("cpu"),
    )


def trained(
    data: ClassificationData, config: TrainConfig, checkpoint: Path | None = None
) -> tuple[FitResult, dict[str, Tensor]]:
    own = net()
    task = task_for(data, config)
    result = train_digital(own, data, task, config, seed=0, checkpoint=checkpoint)
    return result, dict(named_tensors(own))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def with_test_images(data: ClassificationData) -> ClassificationData:
    rows, ids = data.rows["val"], data.ids["val"]
    return dataclasses.replace(
        data,
        rows={**data.rows, "val": rows[:8], "test": rows[8:]},
        ids={**data.ids, "val": ids[:8], "test": ids[8:]},
    )


def with_other_validation_labels(data: ClassificationData) -> ClassificationData:
    labels = data.labels.clone()
    rows = torch.from_numpy(data.rows["val"])
    labels[rows] = 1 - labels[rows]
    return dataclasses.replace(data, labels=labels)


def best_epoch(result: FitResult) -> int:
    scores = [entry["val_accuracy"] for entry in result.history]
    return 1 + scores.index(max(scores))


def test_last_weights_do_not_depend_on_the_validation_images() -> None:
    data = stripes()
    result, weights = trained(data, CONFIG)
    other, same = trained(with_other_validation_labels(data), CONFIG)
    assert best_epoch(result) != best_epoch(other)
    assert result.metrics != other.metrics
    assert result.epoch == other.epoch == CONFIG.epochs
    assert equal(weights, same)


def test_last_weights_do_not_depend_on_how_often_is_evaluated() -> None:
    data = stripes()
    result, weights = trained(data, CONFIG)
    rarely, same = trained(data, dataclasses.replace(CONFIG, eval_every=4))
    assert [entry["epoch"] for entry in rarely.history if "val_accuracy" in entry] == [4, 6]
    assert result.metrics == rarely.metrics
    assert equal(weights, same)


def test_test_images_leave_the_choice_to_the_validation_images() -> None:
    data = with_test_images(stripes())
    last, of_last = trained(data, dataclasses.replace(CONFIG, keep="last"))
    assert best_epoch(last) < CONFIG.epochs
    auto, of_auto = trained(data, CONFIG)
    best, of_best = trained(data, dataclasses.replace(CONFIG, keep="best"))
    assert auto.epoch == best.epoch == best_epoch(last)
    assert equal(of_auto, of_best)
    assert not equal(of_auto, of_last)


@pytest.mark.parametrize(
    ("keep", "scored", "kept"),
    [
        ("auto", "val", "last"),
        ("auto", "test", "best"),
        ("last", "test", "last"),
        ("best", "val", "best"),
    ],
)
def test_which_weights_are_kept_follows_from_what_is_scored(
    keep: str, scored: Side, kept: str
) -> None:
    config = dataclasses.replace(CONFIG, keep=keep)  # type: ignore[arg-type]
    assert kept_weights(config, scored) == kept


def test_a_checkpoint_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    data, file = stripes(), tmp_path / "train.ckpt"
    best, last = (dataclasses.replace(CONFIG, keep=keep) for keep in ("best", "last"))
    whole, weights = trained(data, best)
    trained(data, best, file)
    with pytest.raises(RunError, match="is of another training"):
        trained(data, last, file)
    # Of a version whose checkpoints did not say which weights are kept.
    saved = load_checkpoint(file)
    del saved["identity"]["keep"]
    assert "keep" not in json.loads(saved["identity"]["config"])
    save_checkpoint(file, saved)
    result, same = trained(data, best, file)
    assert result.epoch == whole.epoch
    assert equal(weights, same)
