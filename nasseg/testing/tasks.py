"""What every task promises, as tests.

.. code-block:: python

    class TestPoints(TaskContract):
        @pytest.fixture
        def task(self):
            return get_task("points")
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from nasseg.errors import ConfigError
from nasseg.tasks import Task, TaskType, get_task
from nasseg.tasks.base import SCALES


@dataclass(frozen=True)
class ExampleData:
    """As much of loaded data as a task asks for."""

    kind: str
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]


class _Answer(nn.Module):
    """A network that gives its weights, whatever it is shown; one image after the other."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits[: len(image)]


class TaskContract:
    """Subclass it and give ``task``; ``label`` where squares on a background are not typical."""

    size = 32
    """Side in pixels of the examples."""
    images = 3
    """Examples."""
    classes: tuple[str, ...] = ("background", "one", "two")
    """Names of the classes, for tasks that have some."""
    several = False
    """True if an image has any number of classes."""

    @pytest.fixture
    def task(self) -> TaskType:
        raise NotImplementedError("give a fixture named 'task' that returns the task under test")

    @pytest.fixture
    def data(self, task: TaskType) -> ExampleData:
        named = task.per_image or task.labels == "classes"
        counts = tuple(range(1, len(self.classes) + 1)) if task.per_image else ()
        return ExampleData(task.name, self.classes if named else (), counts)

    @pytest.fixture
    def bound(self, task: TaskType, data: ExampleData) -> Task:
        return task.bind(data)

    def label(self, task: TaskType, row: int) -> npt.NDArray[Any]:
        """Label (H, W) of one example: two squares, as the task reads them."""
        label = np.zeros((self.size, self.size), dtype=np.int32)
        label[3 + row : 12 + row, 4:14] = 1
        label[16:28, 15 + row : 27 + row] = 1 if task.labels == "foreground" else 2
        return label

    def batches(self, task: TaskType) -> list[tuple[Tensor, Tensor]]:
        """Images and labels, as an evaluation is given them."""
        images = torch.zeros(self.images, 3, self.size, self.size)
        if task.per_image:
            numbers = torch.arange(self.images) % len(self.classes)
            labels = nn.functional.one_hot(numbers, len(self.classes)) if self.several else numbers
        else:
            rows = [self.label(task, row) for row in range(self.images)]
            labels = torch.from_numpy(np.stack(rows))[:, None]
        return [(images, labels)]

    def targets(self, task: TaskType) -> Tensor:
        """Targets of the examples, as training is given them."""
        ((_, labels),) = self.batches(task)
        if task.per_image:
            return labels.float() if self.several else labels
        made = [task.targets(label[0]) for label in labels.numpy()]
        return torch.from_numpy(np.stack(made)).float() / task.target_scale

    def logits(self, task: TaskType, bound: Task) -> Tensor:
        """Random answers of a network for the examples."""
        generator = torch.Generator().manual_seed(0)
        shape = [self.images, bound.out_channels]
        shape += [] if task.per_image else [self.size, self.size]
        return torch.randn(shape, generator=generator)

    @pytest.fixture
    def answers(self, task: TaskType, bound: Task) -> Iterator[npt.NDArray[Any]]:
        """Probabilities of random answers."""
        with torch.no_grad():
            yield task.probability(self.logits(task, bound)).numpy()

    # -- names ------------------------------------------------------------------------------

    def test_it_is_registered_under_its_name(self, task: TaskType) -> None:
        assert type(get_task(task.name)) is type(task)

    def test_metrics_have_titles_and_one_selects(self, task: TaskType, bound: Task) -> None:
        assert bound.monitor in task.metrics
        assert set(task.shown or ()) <= set(task.metrics)
        shown = [key for key, _ in task.titles(task.metrics)]
        assert bound.monitor in shown
        assert all(task.measures(key) for key in shown)
        assert task.lower_is_better <= set(task.metrics)
        assert bound.monitor not in task.lower_is_better

    def test_images_come_in_some_scale(self, task: TaskType) -> None:
        assert task.scales
        assert task.scales <= SCALES
        assert task.network == ("classification" if task.per_image else "segmentation")

    def test_a_finished_run_is_of_the_same_task(self, task: TaskType, data: ExampleData) -> None:
        assert task.of_run(task.facts(data)).name == task.name

    # -- training ---------------------------------------------------------------------------

    def test_targets_are_bytes_and_a_function_of_the_label(self, task: TaskType) -> None:
        if task.per_image:
            return
        label = self.label(task, 0)
        before = label.copy()
        first, second = task.targets(label), task.targets(label)
        np.testing.assert_array_equal(label, before)
        np.testing.assert_array_equal(first, second)
        assert first.dtype == np.uint8
        assert first.ndim == 3
        assert first.shape[1:] == label.shape
        empty = task.targets(np.zeros_like(label))
        assert empty.shape == first.shape

    def test_training_lowers_the_loss(self, task: TaskType, bound: Task) -> None:
        logits = nn.Parameter(self.logits(task, bound))
        target, loss_of = self.targets(task), bound.loss()
        optimizer = torch.optim.Adam([logits], 0.1)
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = loss_of(logits, target)
            assert loss.ndim == 0
            loss.backward()
            assert logits.grad is not None
            assert torch.isfinite(logits.grad).all()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0]

    def test_a_teacher_is_its_own_best_pupil(self, task: TaskType, bound: Task) -> None:
        logits = self.logits(task, bound)
        soft = bound.soft(logits)
        own = float(bound.soft_loss(logits, soft))
        assert np.isfinite(own)
        assert own < float(bound.soft_loss(-logits, soft))

    # -- scores -----------------------------------------------------------------------------

    def test_scores_are_finite_and_its_own(self, task: TaskType, bound: Task) -> None:
        net = _Answer(self.logits(task, bound)).eval()
        found = bound.evaluate(net, self.batches(task))
        assert bound.monitor in found
        assert all(task.measures(key) and np.isfinite(value) for key, value in found.items())
        assert found == bound.evaluate(net, self.batches(task))
        overall, images = bound.evaluate_images(net, self.batches(task))
        assert overall == found
        assert len(images) == (self.images if task.scores_images else 0)

    # -- decoding ---------------------------------------------------------------------------

    def test_probabilities_are_shares(
        self, task: TaskType, bound: Task, answers: npt.NDArray[Any]
    ) -> None:
        assert answers.shape == tuple(self.logits(task, bound).shape)
        assert answers.min() >= 0
        assert answers.max() <= 1

    def test_labels_are_whole_numbers(self, task: TaskType, answers: npt.NDArray[Any]) -> None:
        if task.per_image:
            labels = task.decode(answers)
            assert labels.shape[0] == len(answers)
            assert labels.max() < len(self.classes)
        else:
            labels = task.decode(answers[0])
            assert labels.shape == (self.size, self.size)
            count = task.count(labels)
            assert isinstance(count, int)
            assert count >= 0
        assert labels.dtype.kind in "iu"
        assert labels.min() >= 0

    def test_a_decoder_takes_its_own_parameters_alone(self, task: TaskType) -> None:
        defaults = dict(task.decoder)
        changed = task.with_decoder(defaults)
        assert changed.decoder == defaults
        assert changed.name == task.name
        assert set(task.decoder_choices) <= set(defaults)
        for name, values in task.decoder_choices.items():
            for value in values:
                assert task.with_decoder({name: value}).decoder == {**defaults, name: value}
            with pytest.raises(ConfigError, match=name):
                task.with_decoder({name: float("nan")})
        with pytest.raises(ConfigError, match="no_such_parameter"):
            task.with_decoder({"no_such_parameter": 1.0})
        assert task.decoder == defaults

    def test_a_decoder_is_fitted_to_its_own_parameters(self, task: TaskType, bound: Task) -> None:
        net = _Answer(self.logits(task, bound)).eval()
        fit = bound.fit_decoder(net, self.batches(task))
        assert set(fit.values) == set(task.decoder)
        assert fit == bound.fit_decoder(net, self.batches(task))
        assert task.of_run({"decoder": fit.values}).decoder == fit.values

    def test_uncertainty_is_of_one_probability_a_pixel(
        self, task: TaskType, answers: npt.NDArray[Any]
    ) -> None:
        if not task.per_image:
            assert task.certainty(answers[0]).shape == (self.size, self.size)

    def test_pictures_have_the_size_of_the_image(self, task: TaskType, bound: Task) -> None:
        if not task.per_image:
            picture = task.picture(self.logits(task, bound))
            assert tuple(picture.shape) == (self.images, self.size, self.size)
            label = task.label_picture(self.label(task, 0))
            assert label.shape == (self.size, self.size)
            assert label.dtype == np.uint8
