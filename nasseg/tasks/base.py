"""What a task is: one class that knows labels, loss, scores, decoding and titles.

Importing this module, or a module of a task, does not import torch: the settings ask tasks which
of them are allowed. Tasks import torch, and numpy, in the methods that need them.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

from nasseg._registry import Registry
from nasseg.errors import ConfigError, NassegError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

    Array = npt.NDArray[Any]

Batches: TypeAlias = "Iterable[tuple[Tensor, Tensor]]"
"""Images (B, C, H, W) and what they are compared with."""

LabelKind = Literal["foreground", "instances", "classes", "class"]
"""Of pixels: ``foreground`` (above 0), ``instances`` (numbered from 1), ``classes`` (numbers of
classes, background 0); ``class``: of whole images, one or several."""
Scale = Literal["resized", "native"]
"""Images resized to one square, or at their own scale, trained on in crops."""
SCALES: frozenset[Scale] = frozenset({"resized", "native"})
"""All of them."""
PIXEL_NOTE = "Dice and IoU are means over images, pooled IoU counts all pixels together."
"""Of the tasks of pixels, for reports."""
Found = TypeVar("Found")
"""What an evaluation gives."""
Network = Literal["segmentation", "classification"]
"""What a search space's networks give: a map of the image's size, or one row of numbers."""


class TaskData(Protocol):
    """What a task asks of loaded data."""

    @property
    def kind(self) -> str:
        """Name of the task that they are for."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where there are none."""

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class, (K,); empty where images have no class."""


class TrainOptions(Protocol):
    """Settings of a training that some tasks take."""

    @property
    def monitor(self) -> str:
        """Metric that selects weights, or ``auto``."""

    @property
    def class_weights(self) -> str:
        """``none`` or ``balanced``."""

    @property
    def label_smoothing(self) -> float:
        """Share of each target that is spread over all classes."""

    @property
    def tta(self) -> bool:
        """Mean over mirror images."""


@dataclass(frozen=True)
class DefaultOptions:
    """The defaults of :class:`TrainOptions`."""

    monitor: str = "auto"
    class_weights: str = "none"
    label_smoothing: float = 0.0
    tta: bool = False


@dataclass(frozen=True)
class TaskContext:
    """The data and the training that a task is bound to."""

    classes: tuple[str, ...] = ()
    """Names of the classes of the data."""
    class_counts: tuple[int, ...] = ()
    """Training images of each class."""
    diameter: float = 0.0
    """Diameter in pixels of a typical nucleus that images are brought to; 0: they keep their own
    scale."""
    train: TrainOptions = field(default_factory=DefaultOptions)
    """Settings of the training."""


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Scores of one image, and the labels that they are of."""

    scores: Mapping[str, float]
    """Metric to value."""
    prediction: npt.NDArray[Any]
    """Labels (H, W), as :meth:`TaskType.decode` makes them."""


@dataclass(frozen=True)
class DecoderFit:
    """Parameters of a decoder, and what they were chosen by."""

    values: Mapping[str, float]
    """All parameters of the decoder, by name."""
    images: int = 0
    """Number of images that they were chosen on; 0: they are the defaults."""
    score: float | None = None
    """Mean score of these images with them."""
    default_score: float | None = None
    """The same with the defaults."""


@dataclass(frozen=True)
class Task:
    """A task bound to data and settings, in terms that one training loop serves for all."""

    name: str
    monitor: str
    """The metric (higher is better) that selects checkpoints and labels architectures."""
    out_channels: int
    loss: Callable[[], nn.Module]
    """Makes the loss: (logits, target) -> scalar."""
    soft: Callable[[Tensor], Tensor]
    """Logits of a teacher -> the target that the same logits would be compared with."""
    soft_loss: Callable[[Tensor, Tensor], Tensor]
    """(logits, soft target) -> scalar, for distillation."""
    evaluate: Callable[[nn.Module, Batches], Mapping[str, float]]
    """(network in evaluation mode, loader) -> metrics by name."""
    evaluate_images: Callable[[nn.Module, Batches], tuple[Mapping[str, float], list[ImageScores]]]
    """The same, and the scores of each image; no images where the task scores none apart."""
    fit_decoder: Callable[[nn.Module, Batches], DecoderFit]
    """(network in evaluation mode, loader of training images) -> parameters of the decoder."""


class TaskType(ABC):
    """A kind of task. Subclass it and register the class with :func:`register_task`.

    A task of pixels needs :attr:`labels`, :attr:`metrics`, :attr:`monitor`, :meth:`loss` and
    :meth:`evaluate`; the rest has defaults that are right for one channel of foreground.
    """

    name: str = ""
    """Given by :func:`register_task`."""
    title: ClassVar[str] = ""
    """One line for help texts."""
    noun: ClassVar[str] = "instances"
    """Plural word for what :meth:`count` counts, in messages."""
    selectable: ClassVar[bool] = True
    """False: ``data.task`` does not take the name; the data or another setting choose the task."""
    native: ClassVar[str | None] = None
    """Name of the task that takes over where images keep their own scale; None: this one, if
    :attr:`scales` has ``native``."""
    scales: ClassVar[frozenset[Scale]] = frozenset({"resized"})
    """How images may come."""
    network: ClassVar[Network] = "segmentation"
    """Which search spaces serve it."""
    labels: ClassVar[LabelKind]
    """What it reads of a label."""
    metrics: ClassVar[Mapping[str, str]]
    """Keys of its metrics with their titles, in the order of tables."""
    note: ClassVar[str] = ""
    """A sentence on how the metrics are taken, below their table in a report."""
    shown: ClassVar[tuple[str, ...] | None] = None
    """Keys of the metrics that tables show; None: all."""
    monitor: ClassVar[str]
    ranking: ClassVar[str] = ""
    """Key of the metric, higher is better, that selects weights and architectures."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """Keys of the metrics that are errors; none of them selects."""
    channels: ClassVar[int | None] = 1
    """Output channels of the network; None: one for each class of the data."""
    settings: ClassVar[str] = ""
    """Another task whose own settings it takes too, such as weights of classes."""
    target_scale: ClassVar[float] = 1.0
    """Value of :meth:`targets` that is 1 in training."""
    directional: ClassVar[bool] = False
    """True if values of :meth:`targets` depend on directions in the image (offsets, rays): then
    they are made again from the label after each random flip or turn, instead of turned along."""

    decoder: Mapping[str, float] = {}
    """Parameters of :meth:`decode` by name, the defaults; a copy by :meth:`with_decoder` has
    others."""
    decoder_before: ClassVar[Mapping[str, float]] = {}
    """What those of these parameters were that a ``best.json`` of an older version may lack."""
    decoder_young: ClassVar[Mapping[str, float]] = {}
    """What those of these parameters are that ask for a network that is trained to the end, where
    networks are compared after a few epochs."""
    decoder_choices: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    """Values of these parameters that :meth:`fit_decoder` chooses from, in the order in which it
    does; parameters that are not among the keys keep their defaults."""

    # What is learned

    def out_channels(self, context: TaskContext) -> int:
        """Number of channels that the network gives."""
        return len(context.classes) if self.channels is None else self.channels

    @property
    def plain_targets(self) -> bool:
        """True if training sees the label itself."""
        return type(self).targets is TaskType.targets

    def targets(self, label: Array) -> npt.NDArray[np.uint8]:
        """The target of training of one label.

        Args:
            label: integers (H, W), as :attr:`labels` names them.

        Returns:
            uint8 (K, H, W); training sees it over :attr:`target_scale`.
        """
        return label[None].astype("uint8")

    @abstractmethod
    def loss(self, context: TaskContext) -> nn.Module:
        """Make the loss: logits (B, K, H, W) and targets float32 (B, K, H, W) to a scalar."""

    def soft(self, logits: Tensor) -> Tensor:
        """Logits of a teacher to the target that logits are compared with in distillation."""
        return logits.sigmoid()

    def soft_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits against what :meth:`soft` gives."""
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(logits, target)

    @abstractmethod
    def evaluate(self, net: nn.Module, loader: Batches, context: TaskContext) -> dict[str, float]:
        """Metrics of a network in evaluation mode.

        Args:
            net: on its device; images (B, C, H, W) to logits.
            loader: batches of images and labels (B, 1, H, W).
            context: what the task is bound to.
        """

    def evaluate_images(
        self, net: nn.Module, loader: Batches, context: TaskContext
    ) -> tuple[dict[str, float], list[ImageScores]]:
        """Metrics as :meth:`evaluate` gives them, and those of each image, in one pass.

        A task overrides it where scores of single images say something; then its
        :meth:`evaluate` gives the first of the two.

        Returns:
            Metrics, and scores of the images in the order of the loader; here of none.
        """
        return self.evaluate(net, loader, context), []

    @property
    def scores_images(self) -> bool:
        """True if :meth:`evaluate_images` scores every image."""
        return type(self).evaluate_images is not TaskType.evaluate_images

    def bind(self, data: TaskData | None = None, train: TrainOptions | None = None) -> Task:
        """The task for these data and this training; None: for none in particular.

        Raises:
            ConfigError: the training asks for what the data cannot have.
        """
        context = TaskContext(
            classes=() if data is None else data.classes,
            class_counts=() if data is None else data.class_counts,
            # Data of a plug-in may be of one scale, and know of no other.
            diameter=getattr(data, "diameter", 0.0),
            train=DefaultOptions() if train is None else train,
        )
        self.check(context)
        return Task(
            name=self.name,
            monitor=self.selected_by(context),
            out_channels=self.out_channels(context),
            loss=partial(self.loss, context),
            soft=self.soft,
            soft_loss=self.soft_loss,
            evaluate=partial(_without_gradients, self.evaluate, context),
            evaluate_images=partial(_without_gradients, self.evaluate_images, context),
            fit_decoder=partial(_without_gradients, self.fit_decoder, context),
        )

    def check(self, context: TaskContext) -> None:  # noqa: B027 (most have nothing to check)
        """Raise :class:`~nasseg.errors.ConfigError` where the training asks for the impossible."""

    def selected_by(self, context: TaskContext) -> str:
        """The metric that the training selects weights by."""
        return self.monitored(context.train.monitor)

    def monitored(self, name: str) -> str:
        """The metric that ``train.monitor`` names.

        Raises:
            ConfigError: the task has no such metric, or it is an error.
        """
        if name == "auto":
            return self.monitor
        allowed = [key for key in self.metrics if key not in self.lower_is_better]
        if name not in allowed:
            raise ConfigError(
                f"train.monitor is {name!r}; allowed for {self.name}: auto, {', '.join(allowed)}"
            )
        return name

    def facts(self, data: TaskData) -> dict[str, Any]:
        """What ``best.json`` keeps, so that predictions need no data."""
        return {"classes": tuple(data.classes)} if data.classes else {}

    def of_run(self, facts: Mapping[str, Any]) -> TaskType:
        """The task of a run by what its ``best.json`` holds: this one, or a variant.

        Raises:
            ConfigError: ``decoder`` holds what is no parameter of it.
        """
        stored = facts.get("decoder")
        return self.with_decoder({**self.decoder_before, **stored}) if stored else self

    def as_before(self) -> TaskType:
        """The task as in versions that stored no ``decoder`` in ``best.json``; here the same."""
        return self

    # What a network's answer means

    @property
    def per_image(self) -> bool:
        """True if the answer is one row of numbers an image, not a map."""
        return self.labels == "class"

    def probability(self, logits: Tensor) -> Tensor:
        """Logits (B, K, ...) to probabilities of the same shape."""
        return logits.sigmoid()

    def unscaled(self, logits: Tensor, factor: float) -> Tensor:
        """Logits of an image that was resized for its pass, as those of the image itself.

        A task whose network answers with lengths in pixels overrides it.

        Args:
            logits: (B, K, H, W) at the size of the image, of the pass over the resized one.
            factor: by which it was resized: 2 doubles a length.
        """
        return logits

    def certainty(self, probability: Array) -> Array:
        """The probability whose spread over chips is the uncertainty: (K, H, W) to (H, W). Of whole
        images it is that of the label, and this is not asked."""
        found: Array = probability[0]
        return found

    def decode(self, probability: Array) -> npt.NDArray[Any]:
        """Labels of probabilities (K, H, W): integers (H, W), 0 = background."""
        found: npt.NDArray[Any] = (probability[0] > 0.5).astype("int32")
        return found

    def with_decoder(self, values: Mapping[str, float]) -> TaskType:
        """Return a copy of the task that decodes with other parameters.

        Args:
            values: by name; those that are not given have their defaults.

        Raises:
            ConfigError: the decoder has no such parameter, or a value is no finite number.
        """
        defaults = type(self).decoder
        for name, value in values.items():
            if name not in defaults:
                raise ConfigError(
                    f"decoder.{name} is no parameter of {self.name}; allowed: "
                    f"{', '.join(defaults) or 'none'}"
                )
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ConfigError(f"decoder.{name} is {value!r}; allowed: a finite number")
        changed = copy.copy(self)
        changed.decoder = {**defaults, **values}
        return changed

    def fit_decoder(self, net: nn.Module, loader: Batches, context: TaskContext) -> DecoderFit:
        """Choose the parameters of the decoder for a trained network; here they are the defaults.

        Args:
            net: on its device, in evaluation mode.
            loader: batches of training images and labels (B, 1, H, W), whole and unaugmented.
            context: what the task is bound to.
        """
        return DecoderFit(dict(type(self).decoder))

    def count(self, labels: npt.NDArray[Any]) -> int:
        """How many things :meth:`decode` found."""
        return int(labels.max(initial=0))

    # What people see

    def picture(self, logits: Tensor) -> Tensor:
        """What panels of the report show of logits (B, K, H, W): (B, H, W), 0 to 1, or numbers of
        classes as uint8."""
        return logits[:, 0].sigmoid()

    def label_picture(self, label: Array) -> npt.NDArray[np.uint8]:
        """What panels show of a label (H, W): 0 and 1, or numbers of classes."""
        return (label > 0).astype("uint8")

    def titles(self, known: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Keys and titles of the metrics that tables show, in order; ``known`` were measured."""
        keys = self.shown if self.shown is not None else tuple(self.metrics)
        return tuple((key, self.metrics[key]) for key in keys)

    def measures(self, key: str) -> bool:
        """True if the metric is one of its own."""
        return key in self.metrics


def _without_gradients(
    evaluate: Callable[[nn.Module, Batches, TaskContext], Found],
    context: TaskContext,
    net: nn.Module,
    loader: Batches,
) -> Found:
    import torch

    with torch.no_grad():
        return evaluate(net, loader, context)


def _made(name: str, found: Any) -> TaskType:
    task: TaskType = found() if isinstance(found, type) else found
    if not task.name:
        task.name = name
    return task


TASKS: Registry[TaskType] = Registry("task", group="nasseg.tasks", base=TaskType, adopt=_made)
"""All tasks by name."""

Kind = TypeVar("Kind", bound=TaskType)


def register_task(name: str) -> Callable[[type[Kind]], type[Kind]]:
    """Add a class to the tasks, under a name.

    Example:
        .. code-block:: python

            @register_task("points")
            class Points(TaskType):
                labels = "instances"
                ...

    Raises:
        ValueError: the name is taken.
    """
    return TASKS.register(name)


def get_task(name: str) -> TaskType:
    """The task of that name.

    Raises:
        UnknownName: there is none; the message gives the nearest match.
    """
    return TASKS[name]


def task_for(data: TaskData, train: TrainOptions | None = None) -> Task:
    """The task that loaded data are for.

    Args:
        data: of any kind.
        train: weights of classes, and the metric that selects; None: defaults.

    Raises:
        ConfigError: the training asks for what the data cannot have.
    """
    return get_task(data.kind).bind(data, train)


def metrics_of(
    names: Iterable[str], first: str | None = None, task: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Metrics to show with their titles.

    Args:
        names: metrics that were measured, of which those that the task shows; all that it shows
            where there are none.
        first: the one that the run is scored by; None: the task's own.
        task: name of the task; None: the one that most of ``names`` are of. Where it is that of a
            plug-in that is not here, metrics are their own titles.
    """
    known = list(dict.fromkeys(names))
    found = known_task(known, task)
    titles = found.titles(known) if found else tuple((name, name) for name in known)
    # Folders of earlier versions lack the metrics that have come since.
    titles = tuple(entry for entry in titles if entry[0] in known) or titles
    return tuple(sorted(titles, key=lambda entry: entry[0] != first))


def known_task(names: Iterable[str], task: str | None = None) -> TaskType | None:
    """The task of a name, or without one that of the metrics; None: it is not here."""
    if task is None:
        return task_of_metrics(names)
    try:
        return get_task(task)
    except NassegError:
        return None


def task_of_metrics(names: Iterable[str]) -> TaskType:
    """The task that most of these metrics are of; the first of several."""
    known = set(names)
    return max(TASKS.values(), key=lambda task: sum(map(task.measures, known)))


def lower_is_better(key: str, task: str | None = None) -> bool:
    """Return True if a metric is an error.

    Args:
        key: the metric.
        task: name of the task; None: the one whose metric it is.
    """
    found = known_task([key], task)
    return found is not None and key in found.lower_is_better


def bad_chip(key: str, task: str | None = None) -> str:
    """Name of the percentile over chips that tells how bad a metric gets: ``p05`` or ``p95``.

    Arguments are those of :func:`lower_is_better`.
    """
    return "p95" if lower_is_better(key, task) else "p05"


def metric_title(key: str | None) -> str:
    """The title of a metric: ``Dice`` of ``dice``, the key itself where no task names it."""
    key = key or "dice"
    tasks = (*TASKS.values(), *TASKS.referenced())
    return next((task.metrics[key] for task in tasks if key in task.metrics), key)
