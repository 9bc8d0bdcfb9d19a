"""What all kinds of loaded data have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

Side = Literal["train", "val", "test"]

HELD_OUT = "held out of the training images"
"""What a description calls validation images of ``data.holdout``."""


def evenly_spaced(rows: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    """At most so many of rows, evenly spaced, with the first and the last."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    chosen: npt.NDArray[np.intp] = rows[np.unique(places)]
    return chosen


class Loader(Protocol):
    """Batches of images (B, C, H, W) and labels; iterate it as often as you like."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def __len__(self) -> int: ...


class EpochLoader(Loader, Protocol):
    """Batches whose order and augmentation are a function of the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""


class Data(Protocol):
    """Images of all splits with their labels, preprocessed, in memory.

    Resized images (:class:`~nasseg.data.SegmentationData`), images at their own scale
    (:class:`~nasseg.data.NativeData`) and images of classes
    (:class:`~nasseg.data.ClassificationData`) are such; so is what another package loads itself.
    """

    @property
    def source(self) -> str:
        """Description for people."""

    @property
    def kind(self) -> str:
        """Name of the task that the data are for."""

    @property
    def in_channels(self) -> int:
        """Channels of the images."""

    @property
    def size(self) -> int:
        """Side in pixels of what the network is trained on."""

    @property
    def fingerprint(self) -> str:
        """Short hash of ids, images and labels as they are used."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, of pixels or of images; empty where there are none."""

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class, (K,); empty where images have no class."""

    @property
    def multilabel(self) -> bool:
        """True if an image may have several classes, or none."""

    @property
    def ids(self) -> dict[Side, tuple[str, ...]]:
        """Ids of the images of each split that there is."""

    @property
    def train_ids(self) -> tuple[str, ...]:
        """Ids of the training images."""

    @property
    def val_ids(self) -> tuple[str, ...]:
        """Ids of the validation images."""

    @property
    def counts(self) -> dict[str, int]:
        """Images of each split."""

    @property
    def report_side(self) -> Side:
        """The split that results are of."""

    def train_loader(
        self, batch_size: int, seed: int, augment: bool = True, balanced: bool = False
    ) -> EpochLoader:
        """Shuffled training batches; ``balanced`` draws every class equally often."""

    def loader(self, side: Side, batch_size: int) -> Loader:
        """Every image of a split once, unaugmented, with what the task is scored on."""

    def val_loader(self, batch_size: int) -> Loader:
        """Every validation image once."""

    def report_loader(self, batch_size: int) -> Loader:
        """Every image that results are of, once."""

    def calibration_loader(self, batch_size: int) -> Loader:
        """Unaugmented training images, the same ones every time."""

    def training_sample(self, most: int, batch_size: int) -> Loader:
        """At most so many training images, evenly spaced over their ids, unaugmented, each with
        what the task is scored on."""

    def image(self, side: Side, index: int) -> npt.NDArray[np.uint8]:
        """One image for display: uint8 (H, W, C)."""
