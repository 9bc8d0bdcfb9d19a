"""Images with a class each, in memory, and the batches drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from nasseg.data._types import Side, evenly_spaced
from nasseg.data.classes.augment import STRENGTHS, ClassAugment
from nasseg.data.pixels.resized import RowLoader

AugmentSet = Literal["none", "light", "heavy"]


class ClassBatchLoader(RowLoader):
    """Batches of images and their classes.

    Yields image float32 (B, C, S, S), from -1 for black to 1 for white, and label: class numbers
    int64 (B,), or float32 (B, K) of 0 and 1 where an image may have several classes, or of shares
    where images are mixed (``heavy``).

    Args:
        images: uint8 (N, C, S, S).
        labels: int64 (N,), or uint8 (N, K) of 0 and 1.
        rows: the images to draw from, in order.
        batch_size: images a batch.
        classes: K.
        seed: of shuffling and augmentation.
        shuffle: another order every epoch.
        balanced: draw every class that has images equally often instead of every image once; an
            epoch is as long as otherwise. It implies another order every epoch.
        augment: random views (:mod:`nasseg.data.classes.augment`).
        drop_last: leave out a last partial batch, unless it is the only one.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        rows: npt.NDArray[np.intp],
        batch_size: int,
        *,
        classes: int,
        seed: int = 0,
        shuffle: bool = False,
        balanced: bool = False,
        augment: AugmentSet = "none",
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            images, labels, rows, batch_size, seed=seed, shuffle=shuffle, drop_last=drop_last
        )
        self.classes = classes
        self._members = _members(labels, rows, classes) if balanced else []
        self._augment = None if augment == "none" else ClassAugment(STRENGTHS[augment], classes)

    def _order(self, epoch: int) -> npt.NDArray[np.intp]:
        if not self._members:
            return super()._order(epoch)
        drawn = [
            _turns(rows, kind, len(self._members), self.count, epoch, self.seed)
            for kind, rows in enumerate(self._members)
        ]
        order = np.concatenate(drawn)
        np.random.default_rng([self.seed, epoch]).shuffle(order)
        return order

    def _shown(
        self, images: torch.Tensor, labels: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images = as_shown(images)
        if labels.ndim == 2:
            labels = labels.float()
        if self._augment is None:
            return images, labels
        self._augment.set_random_state(seed=seed)
        return self._augment(images, labels)


def as_shown(images: torch.Tensor) -> torch.Tensor:
    """uint8 images as a network is shown them: float32, -1 for black to 1 for white."""
    return images.float().div_(127.5).sub_(1.0)


def _members(
    labels: torch.Tensor, rows: npt.NDArray[np.intp], classes: int
) -> list[npt.NDArray[np.intp]]:
    """The rows of each class that has any; of several classes an image, also those of none."""
    own = labels[torch.from_numpy(rows)].numpy()
    if own.ndim == 1:
        found = [rows[own == number] for number in range(classes)]
    else:
        found = [rows[own[:, number] > 0] for number in range(classes)]
        found.append(rows[~own.any(axis=1)])
    return [member for member in found if len(member)]


def _turns(
    rows: npt.NDArray[np.intp], kind: int, kinds: int, count: int, epoch: int, seed: int
) -> npt.NDArray[np.intp]:
    """The images of one class in one epoch.

    A class's images stand in an endless row, permutation after permutation, and each epoch takes
    the next ones. So over any epochs together its images come equally often, give or take one, and
    of a class with more images than an epoch shows, other ones come every epoch.

    Args:
        rows: the class's images.
        kind: its number among those with images.
        kinds: how many there are.
        count: images an epoch, of all classes.
        epoch: from 0.
        seed: of the permutations.
    """
    # The floors of all classes add up to ``count`` an epoch, for (count * e + 0 ... kinds - 1) //
    # kinds add up to count * e.
    first, last = ((count * e + kind) // kinds for e in (epoch, epoch + 1))
    size = len(rows)
    drawn = [
        np.random.default_rng([seed, kind, lap]).permutation(rows)
        for lap in range(first // size, -(-last // size))
    ]
    start = first - first // size * size
    return np.concatenate(drawn)[start : start + last - first] if drawn else rows[:0]


@dataclass(frozen=True, eq=False)
class ClassificationData:
    """Images and classes of all sides, preprocessed, in memory."""

    source: str
    """What the data are, for people."""
    in_channels: int
    """Channels of the images."""
    classes: tuple[str, ...]
    """Names of the K classes, in the order of their numbers."""
    multilabel: bool
    """Whether an image may have several classes, or none."""
    ids: dict[Side, tuple[str, ...]]
    """Ids of the images of each side; no ``test`` where there is none."""
    fingerprint: str
    """Short hash of ids, images and labels of all sides as they are used."""
    images: torch.Tensor
    """uint8 (N, C, S, S) of all sides."""
    labels: torch.Tensor
    """int64 (N,), or uint8 (N, K) of 0 and 1."""
    rows: dict[Side, npt.NDArray[np.intp]]
    """Where each side's images are among all, in the order of its ids."""
    augment: AugmentSet = "light"
    """Random views of the training images."""

    @property
    def kind(self) -> str:
        """Name of the task that the data are for."""
        return "multilabel" if self.multilabel else "classification"

    @property
    def size(self) -> int:
        """Side in pixels of the images."""
        return int(self.images.shape[-1])

    @property
    def train_ids(self) -> tuple[str, ...]:
        """Ids of the training images."""
        return self.ids["train"]

    @property
    def val_ids(self) -> tuple[str, ...]:
        """Ids of the validation images."""
        return self.ids["val"]

    @property
    def report_side(self) -> Side:
        """The side that results are of: the test images, where there are any."""
        return "test" if "test" in self.ids else "val"

    @property
    def counts(self) -> dict[str, int]:
        """Images of each side."""
        return {side: len(ids) for side, ids in self.ids.items()}

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class, (K,)."""
        labels = self.labels[torch.from_numpy(self.rows["train"])]
        if self.multilabel:
            return tuple(int(n) for n in labels.long().sum(0))
        return tuple(int(n) for n in torch.bincount(labels, minlength=len(self.classes)))

    def train_loader(
        self, batch_size: int, seed: int, augment: bool = True, balanced: bool = False
    ) -> ClassBatchLoader:
        """Shuffled training batches; a last partial batch is left out unless it is the only one."""
        return ClassBatchLoader(
            self.images,
            self.labels,
            self.rows["train"],
            batch_size,
            classes=len(self.classes),
            seed=seed,
            shuffle=True,
            balanced=balanced,
            augment=self.augment if augment else "none",
            drop_last=True,
        )

    def loader(self, side: Side, batch_size: int) -> ClassBatchLoader:
        """Every image of a side once, in the order of its ids, unaugmented."""
        return self._in_order(self.rows[side], batch_size)

    def training_sample(self, most: int, batch_size: int) -> ClassBatchLoader:
        """At most so many training images, evenly spaced over their ids, unaugmented."""
        return self._in_order(evenly_spaced(self.rows["train"], most), batch_size)

    def _in_order(self, rows: npt.NDArray[np.intp], batch_size: int) -> ClassBatchLoader:
        return ClassBatchLoader(
            self.images, self.labels, rows, batch_size, classes=len(self.classes)
        )

    def val_loader(self, batch_size: int) -> ClassBatchLoader:
        """Every validation image once, in the order of ``val_ids``."""
        return self.loader("val", batch_size)

    def report_loader(self, batch_size: int) -> ClassBatchLoader:
        """Every image that results are of, once."""
        return self.loader(self.report_side, batch_size)

    def calibration_loader(self, batch_size: int) -> ClassBatchLoader:
        """Every training image once, in the order of ``train_ids``, unaugmented."""
        return self.loader("train", batch_size)

    def image(self, side: Side, index: int) -> npt.NDArray[np.uint8]:
        """One image for display: uint8 (S, S, C)."""
        pixels = self.images[int(self.rows[side][index])].permute(1, 2, 0).numpy()
        return np.ascontiguousarray(pixels)
