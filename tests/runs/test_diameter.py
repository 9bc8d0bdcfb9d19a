"""A run that brings images to nuclei of a common diameter does so wherever it labels images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import nasseg
from nasseg.records.folder import read_run_config
from nasseg.runs.aged import open_job
from nasseg.runs.panels import panels
from nasseg.tasks.metrics import InstanceMetrics

OLDER = Path(__file__).parent / "older" / "instances"


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished run whose settings have a diameter."""
    folder = tmp_path / "run"
    shutil.copytree(OLDER, folder)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["data"]["diameter"] = 30.0
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_predictions_panels_and_scores_are_of_the_same_scale(run):
    net, plain = nasseg.load(run), nasseg.load(OLDER)
    data = net._job.data
    found = net.evaluate()
    metrics = InstanceMetrics()
    for row, item in enumerate(data.images["val"]):
        prediction = net.predict(data.image("val", row))
        assert prediction.labels.shape == item.ids.shape
        metrics.update(prediction.labels, item.ids)
    assert metrics.compute()["ap"] == pytest.approx(found["ap"], abs=1e-3)
    image = data.image("val", 0)
    ours, theirs = net.predict(image), plain.predict(image)
    assert not np.array_equal(ours.probability, theirs.probability)
    job = open_job(run, read_run_config(run), None, False)
    kept, say = panels(data, job.task_type(), 4, torch.device("cpu"))
    side = kept["images"].shape[1]
    top, left = ((length - side) // 2 for length in image.shape[:2])
    middle = ours.probability[0, top : top + side, left : left + side]
    np.testing.assert_allclose(say(net.module)[0], middle, atol=1e-5)


def test_an_aged_chip_labels_an_image_alone_as_in_a_list(run):
    net = nasseg.load(run)
    images = [net._job.data.image("val", row) for row in range(2)]
    aged = net.age("1 day", chips=1)
    alone, together = aged.predict(images[1]), aged.predict(images)[1]
    assert np.array_equal(alone.probability, together.probability)
    assert np.array_equal(alone.probability, aged.predict(images[1]).probability)
