"""A trained network: image arrays in, labels out; digital, or on chips of any age.

:func:`nasseg.load` opens one; the commands that predict and evaluate are callers of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from nasseg._registry import allow
from nasseg.analog import Coverage, noise_source
from nasseg.config import RunConfig
from nasseg.data import Data, Side, load_labelled
from nasseg.data.classes.dataset import ClassBatchLoader
from nasseg.data.classes.preprocess import prepare
from nasseg.data.normalise import normalise
from nasseg.data.pixels.native import whole_image
from nasseg.data.read import as_pixels
from nasseg.errors import ConfigError, DataError, RunError
from nasseg.records.best import Best
from nasseg.records.folder import read_run_config
from nasseg.records.results import read_result
from nasseg.runs.aged import AgedChips, check_chips, check_trained, open_job
from nasseg.runs.scoring import Evaluation, score
from nasseg.tasks import TaskType
from nasseg.tasks.class_metrics import predict_probabilities
from nasseg.tasks.inference import predict_at_scale
from nasseg.tasks.scale import LEAST_SIDE
from nasseg.text import parse_time, time_name

if TYPE_CHECKING:
    from nasseg.data import Arrays
    from nasseg.evaluators import Estimate
    from nasseg.runs.job import Job

__all__ = ["AgedNetwork", "Network", "Prediction", "load"]

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

BLOCK = 64_000_000
"""Pixels of the images that are in work at a time, over which chips are compared."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Labels of one image, and the probabilities that they are decoded from."""

    labels: Array
    """Of pixels: integers (H, W), 0 for the background: numbers of instances, of classes where the
    network learned these, or 1 for the foreground. Of whole images: the number of the class, of
    shape (), or 0 and 1 (K,) where an image may have several."""
    probability: npt.NDArray[np.floating[Any]]
    """(K, H, W), or (K,) of a whole image; one channel for each of ``classes`` where there are
    any."""
    classes: tuple[str, ...]
    """Names of the classes; empty where a network tells one foreground from the background."""
    task: str
    """Name of the task."""
    count: int
    """Number of instances; of classes of pixels, of connected parts; of a whole image, of its
    classes."""
    uncertainty: npt.NDArray[np.floating[Any]] | None = None
    """Standard deviation over chips of the probability of foreground (H, W), or of the label, of
    shape (); None for the digital network and for a single chip."""
    pixels: Pixels = field(repr=False, default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    """The image as it was read: uint8 (H, W, C)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes that a whole image has; empty for labels of pixels."""
        if self.probability.ndim != 1:
            return ()
        numbers = np.flatnonzero(self.labels) if self.labels.ndim else [int(self.labels)]
        return tuple(self.classes[int(number)] for number in numbers)

    def overlay(self) -> Pixels:
        """Draw the labels onto the image.

        Returns:
            uint8 (H, W, 3): every instance, or part of a class, is outlined; a whole image has a
            line with its class below.
        """
        from nasseg.report import captioned, outlined

        if self.probability.ndim == 1:
            best = float(self.probability.max())
            return captioned(self.pixels, f"{', '.join(self.names) or 'none'} ({best:.0%})")
        return outlined(self.pixels, self.labels)


class _Predictor:
    """Prediction with one or several networks of the same run."""

    at: float | None = None
    """Seconds after programming; None: the digital network."""
    _count = 1
    """Number of networks."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def config(self) -> RunConfig:
        """Settings of the run."""
        return self._job.config

    @cached_property
    def task(self) -> TaskType:
        """What the network has learned."""
        return self._job.task_type()

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs; empty where it has none."""
        names = self._best.classes or ()
        if self.task.channels is None and not names:
            raise RunError(f"{self._job.folder / 'best.json'} does not name the classes")
        return names

    @property
    def monitor(self) -> str:
        """Metric that the run is scored by."""
        return self._best.monitor or self.task.monitor

    @property
    def _best(self) -> Best:
        return self._job.best

    def _networks(self) -> Generator[nn.Module, None, None]:
        """The networks whose answers are combined, the one that is shown first."""
        raise NotImplementedError

    @overload
    def predict(self, image: Array, *, tta: bool | None = None) -> Prediction: ...
    @overload
    def predict(self, image: Sequence[Array], *, tta: bool | None = None) -> list[Prediction]: ...
    def predict(
        self, image: Array | Sequence[Array], *, tta: bool | None = None
    ) -> Prediction | list[Prediction]:
        """Predict labels of one image or of several.

        Args:
            image: (H, W) or (H, W, C) of uint8, uint16 or float, or a list of such arrays; other
                types than uint8 are stretched from their 0.1 to their 99.9 percentile, as image
                files are. The last of 2 or 4 channels must be opaque throughout, unless the
                network takes 4. Large images are cut into overlapping windows. On chips, labels of
                pixels are the same for an image alone and in a list; whole images are classified
                in batches, whose output noise is drawn together.
            tta: classification: average over mirror images; None: as in the run.

        Returns:
            One prediction, or a list of as many as there are images.

        Raises:
            DataError: an image has another shape or type, is smaller than 16 x 16 pixels, or
                holds values that are not finite.
            RunError: the run has no network of this kind yet.
        """
        if isinstance(image, str | Path):
            raise DataError(
                f"image is {str(image)!r}; allowed: arrays (`nasseg predict` takes files)"
            )
        # Tensors and images of Pillow are one image too, not a list of rows.
        if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):
            return self._predict([np.asarray(image)], tta)[0]
        return self._predict(list(image), tta)

    def evaluate(
        self,
        data: str | Path | Arrays | None = None,
        *,
        split: Side | None = None,
        tta: bool | None = None,
        on_scores: Callable[[dict[str, float]], object] | None = None,
    ) -> Evaluation:
        """Score the network on labelled images.

        Args:
            data: folder or file as ``data.path`` takes it, or ``(images, labels)`` arrays, all of
                which are scored; None: the images of the run.
            split: of the run's images: ``val`` or ``test``; None: the one that its results are of.
            tta: classification: average over mirror images; None: as in the run.
            on_scores: called with the metrics of each network, one after another.

        Returns:
            Metrics with mean, deviation and 5th percentile over chips; ``found["dice"]`` is the
            mean of one.

        Raises:
            DataError: the images cannot be used.
            RunError: the images of the run have changed.
            ConfigError: there is no such split.
        """
        own = self._job.data if data is None else self._load(data)
        # Closed here, as the traceback of an error would keep the network on a chip.
        with closing(self._networks()) as networks:
            return score(
                networks,
                own,
                self.config.train,
                self._job.task_type(own.kind),
                side=split,
                at=self.at,
                tta=tta,
                on_scores=on_scores,
            )

    def _load(self, data: str | Path | Arrays) -> Data:
        return load_labelled(data, self.config.data, self.classes)

    def _predict(self, images: Sequence[Array], tta: bool | None) -> list[Prediction]:
        pixels = [self._as_pixels(image, index) for index, image in enumerate(images)]
        if not pixels:
            return []
        if self.task.per_image:
            return self._classify(pixels, tta)
        return [found for block in _blocks(pixels) for found in self._segment(block)]

    def _as_pixels(self, image: Array, index: int) -> Pixels:
        """One image as uint8 (H, W, C)."""
        try:
            pixels = as_pixels(np.asarray(image), self.config.data.channels)
            if min(pixels.shape[:2]) < LEAST_SIDE and not self.task.per_image:
                raise DataError(
                    f"is {pixels.shape[0]} x {pixels.shape[1]}; {LEAST_SIDE} x {LEAST_SIDE} is the "
                    "least"
                )
        except DataError as error:
            raise DataError(f"image {index}: {error}") from None
        return pixels

    # --- labels of pixels ---------------------------------------------------------------------

    def _segment(self, pixels: Sequence[Pixels]) -> list[Prediction]:
        shown: list[npt.NDArray[np.float32]] = []
        spread = _Spread()
        # Networks outside, images inside: a chip is programmed once for all of them.
        with closing(self._networks()) as networks:
            for number, net in enumerate(networks):
                fresh = self._noise(net)
                for row, image in enumerate(pixels):
                    fresh()
                    value = self._probability(net, self._network_input(image), image.shape[:2])
                    if self._count > 1:
                        spread.add(row, self.task.certainty(value))
                    if number == 0:
                        shown.append(value)
        return [
            self._decoded(image, value, uncertainty)
            for image, value, uncertainty in zip(
                pixels, shown, spread.deviations(len(pixels)), strict=True
            )
        ]

    def _noise(self, net: nn.Module) -> Callable[[], None]:
        """Return a function that starts the noise of each image where that of the first begins.

        An image then has the same labels alone and in a list.
        """
        if self.at is None:
            return lambda: None
        source = noise_source(net)
        return partial(source.load_state_dict, source.state_dict())

    def _network_input(self, pixels: Pixels) -> torch.Tensor:
        """An image (H, W, C) as the network takes it: float32 (1, C, h, w)."""
        image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)))
        if self.config.data.crop:
            return whole_image(image)
        size = (self.config.data.image_size,) * 2
        small = nn.functional.interpolate(image[None].float(), size, mode="nearest-exact")
        return normalise(small.div_(255.0))

    @torch.no_grad()
    def _probability(
        self, net: nn.Module, image: torch.Tensor, size: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """(K, H, W) at the size of the original image."""
        image = image.to(next(net.parameters()).device)
        logits = predict_at_scale(net.eval(), image, self.task, self.config.data.diameter)
        if tuple(logits.shape[2:]) != tuple(size):
            logits = nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        values: npt.NDArray[np.float32] = self.task.probability(logits)[0].cpu().numpy()
        return values

    def _decoded(
        self,
        pixels: Pixels,
        probability: npt.NDArray[np.float32],
        uncertainty: npt.NDArray[np.float32] | None,
    ) -> Prediction:
        labels = self.task.decode(probability)
        return Prediction(
            labels=labels,
            probability=probability,
            classes=self.classes,
            task=self.task.name,
            count=self.task.count(labels),
            uncertainty=uncertainty,
            pixels=pixels,
        )

    # --- classes of whole images --------------------------------------------------------------

    def _classify(self, pixels: Sequence[Pixels], tta: bool | None) -> list[Prediction]:
        found = self.predict_prepared(
            torch.stack([self.prepare(image) for image in pixels]), tta=tta
        )
        return [
            dataclasses.replace(prediction, pixels=image)
            for prediction, image in zip(found, pixels, strict=True)
        ]

    def prepare(self, pixels: Pixels) -> torch.Tensor:
        """Crop and resize an image of uint8 (H, W, C) for classification: uint8 (C, S, S).

        Raises:
            DataError: it is smaller than ``data.centre_crop``.
        """
        return prepare(pixels[None], self.config.data)[0]

    def predict_prepared(
        self, images: torch.Tensor, *, tta: bool | None = None
    ) -> list[Prediction]:
        """Classify images that :meth:`prepare` has made small, so that many fit into memory.

        Args:
            images: uint8 (N, C, S, S).
            tta: average over mirror images; None: as in the run.
        """
        loader = ClassBatchLoader(
            images,
            torch.zeros(len(images), dtype=torch.int64),
            np.arange(len(images)),
            self.config.train.batch_size,
            classes=len(self.classes),
        )
        mirrored = self.config.train.tta if tta is None else tta
        several = bool(self._best.multilabel)
        # Closed here, as the traceback of an error would keep the network on a chip.
        with closing(self._networks()) as networks:
            answers = np.stack(
                [
                    predict_probabilities(net.eval(), loader, multilabel=several, tta=mirrored)[0]
                    for net in networks
                ]
            )
        shown = answers[0]
        labels = self.task.decode(shown)
        spread = answers.std(axis=0, ddof=1) if len(answers) > 1 else None
        return [
            Prediction(
                labels=labels[row],
                probability=shown[row],
                classes=self.classes,
                task=self.task.name,
                count=int(np.count_nonzero(labels[row])) if several else 1,
                uncertainty=None
                if spread is None
                else np.asarray(spread[row, shown[row].argmax()]),
            )
            for row in range(len(images))
        ]


class _Spread:
    """Standard deviation over networks of a map for each image, from running sums."""

    def __init__(self) -> None:
        self._sums: dict[int, npt.NDArray[np.float64]] = {}
        self._squares: dict[int, npt.NDArray[np.float64]] = {}
        self._counts: dict[int, int] = {}

    def add(self, row: int, value: Array) -> None:
        """Add what one network gives for an image."""
        exact = value.astype(np.float64)
        if row not in self._sums:
            self._sums[row], self._squares[row], self._counts[row] = exact, exact**2, 1
        else:
            self._sums[row] += value
            self._squares[row] += exact**2
            self._counts[row] += 1

    def deviations(self, images: int) -> list[npt.NDArray[np.float32] | None]:
        """Sample deviation for each image; None where nothing was added for it."""
        found: list[npt.NDArray[np.float32] | None] = []
        for row in range(images):
            if row not in self._counts:
                found.append(None)
                continue
            n, total, squares = self._counts[row], self._sums[row], self._squares[row]
            spread = np.maximum(squares - total**2 / n, 0) / (n - 1)
            found.append(np.sqrt(spread).astype(np.float32))
        return found


def _blocks(pixels: Sequence[Pixels]) -> Iterator[list[Pixels]]:
    """Images in lists of some :data:`BLOCK` pixels, to bound the memory that they take."""
    block: list[Pixels] = []
    for image in pixels:
        block.append(image)
        if sum(image.shape[0] * image.shape[1] for image in block) >= BLOCK:
            yield block
            block = []
    if block:
        yield block


class Network(_Predictor):
    """A trained network of a run folder: arrays in, arrays out.

    Made by :func:`nasseg.load`; weights are read when they are first needed.

    Example:
        >>> net = nasseg.load("runs/nuclei")            # doctest: +SKIP
        >>> net.predict(image).labels                   # doctest: +SKIP
        >>> net.age("1 year").predict(image).uncertainty  # doctest: +SKIP
    """

    def __repr__(self) -> str:
        best = self._best
        return f"Network({str(self.folder)!r}: {best.space}/{best.arch_id}, {self.task.name})"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._job.folder.path

    @property
    def module(self) -> nn.Module:
        """The digital network, in evaluation mode; images (B, C, H, W) to logits (B, K, ...)."""
        return self._job.digital

    @property
    def arch(self) -> dict[str, Any]:
        """The architecture."""
        return self._best.require_arch()

    @property
    def summary(self) -> dict[str, Any]:
        """Content of ``summary.json``: scores of the digital and the aged network."""
        return _record(self.folder / "summary.json", "nasseg report")

    @property
    def coverage(self) -> Coverage:
        """Layers on analog tiles and digital ones, with their weights and MACs.

        Raises:
            RunError: the run has no analog network yet.
        """
        path = self.folder / "coverage.json"
        try:
            return Coverage.from_dict(_record(path, "nasseg analog"))
        except (KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be read: {error}") from None

    def _networks(self) -> Generator[nn.Module, None, None]:
        yield self.module

    def age(
        self, age: str | float, *, chips: int = 8, seed: int = 0, recalibrate: bool = True
    ) -> AgedNetwork:
        """The same network on programmed chips of that age.

        Args:
            age: time after programming: ``"1 day"``, ``"30 days"``, ``"1 year"``, or seconds.
            chips: number of chips; predictions show the first, their uncertainty is over all.
            seed: number of the first chip, as in ``drift.csv``.
            recalibrate: re-estimate BatchNorm statistics on each drifted chip, with the run's
                training images or, where these are not at hand, those that the folder keeps.

        Raises:
            ConfigError: a value is not allowed.
            RunError: the run has no analog network yet.
        """
        check_chips(chips, seed)
        at = parse_time(age if isinstance(age, str) else repr(float(age)), "age")
        check_trained(self.folder, at)
        return AgedNetwork(self._job, at, chips=chips, seed=seed, recalibrate=recalibrate)

    def cost(self, chip: str = "hermes", size: int | tuple[int, int] = 256) -> Estimate:
        """Estimate energy and time of one image on a crossbar chip.

        Layers that the run keeps digital (``analog.digital_layers``) are not on crossbars.

        Args:
            chip: name of a chip, or a YAML file (``nasseg cost --help`` lists the names).
            size: height and width of the image in pixels.

        Returns:
            Arrays of one element: ``energy_uj``, ``latency_us``, ``tiles``, ``macs``, ...

        Raises:
            ConfigError: no such chip, or a size below 16.
        """
        from nasseg.evaluators import CostEvaluator, Hardware

        sides = (size, size) if isinstance(size, int | np.integer) else size
        if min(sides) < LEAST_SIDE:
            raise ConfigError(f"size is {size!r}; allowed: {LEAST_SIDE} or more pixels")
        return CostEvaluator(
            self._job.space,
            in_channels=self.config.data.channels,
            out_channels=self._job.out_channels,
            hardware=Hardware.load(chip),
            input_size=sides,
            digital_layers=self._job.folder.digital_layers,
        ).estimate([self.arch])


class AgedNetwork(_Predictor):
    """A network on programmed chips of one age; made by :meth:`Network.age`."""

    at: float

    def __init__(
        self, job: Job, at: float, *, chips: int, seed: int, recalibrate: bool = True
    ) -> None:
        super().__init__(job)
        self.at = at
        self.progress = False
        """True: show a bar over the chips."""
        self.chips = self._count = chips
        self.seed = seed
        self._chips = AgedChips(job, at, first=seed, count=chips, recalibrate=recalibrate)

    def __repr__(self) -> str:
        best, last = self._best, self.seed + self.chips - 1
        return (
            f"AgedNetwork({best.space}/{best.arch_id}, {self.task.name}, "
            f"{time_name(self.at)} old, chips {self.seed} to {last})"
        )

    def _networks(self) -> Generator[nn.Module, None, None]:
        bar = tqdm(
            self._chips, total=self.chips, desc="chips", unit="chip", disable=not self.progress
        )
        for _, net in bar:
            yield net


def load(run: str | Path, *, device: str = "auto", plugins: Sequence[str] = ()) -> Network:
    """Open the trained network of a run folder.

    Args:
        run: run folder.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` of several.
        plugins: modules that the run names as ``module:Name`` and that may be imported; entry
            points of installed packages need no mention.

    Raises:
        RunError: the folder holds no trained run.
        ConfigError: the device is not there, or the run used a plug-in that is not installed.
    """
    for name in plugins:
        allow(name)
    job = open_job(run, read_run_config(run, device=device), None, False)
    _ = job.device  # refused now if it is not there
    return Network(job)


def open_network(
    run: str | Path,
    at: float | None,
    *,
    chips: int = 8,
    seed: int = 0,
    recalibrate: bool = True,
    device: str = "auto",
) -> Network | AgedNetwork:
    """Open the network of a run folder: digital without ``at``, else on chips of that age.

    Arguments and errors are those of :func:`load` and :meth:`Network.age`.
    """
    check_chips(chips, seed)
    job = open_job(run, read_run_config(run, device=device), at, False)
    if at is None:
        return Network(job)
    return AgedNetwork(job, at, chips=chips, seed=seed, recalibrate=recalibrate)


def _record(path: Path, command: str) -> dict[str, Any]:
    try:
        return read_result(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing; `{command} --out {path.parent}` makes it") from None
