"""The loaded data and the batches drawn from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nasseg.data._types import Side, evenly_spaced
from nasseg.data.normalise import normalise
from nasseg.data.pixels.augment import Augment
from nasseg.data.pixels.targets import Retarget, retarget
from nasseg.tasks import get_task


class RowLoader(ABC):
    """Batches of images in memory; iterate it as often as you like.

    What comes is a function of (seed, epoch) and nothing else, so a training that is resumed needs
    no state of its data: :meth:`set_epoch` is all. Nothing is drawn from, or changed in, a global
    generator. The tensors are shared, not copied.

    Args:
        images: uint8 (N, C, H, W).
        labels: of them, (N, ...).
        rows: the images to draw from, in order.
        batch_size: images a batch.
        seed: of shuffling and augmentation.
        shuffle: another order every epoch.
        drop_last: leave out a last partial batch, unless it is the only one.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        rows: npt.NDArray[np.intp],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; 1 or more is allowed")
        self._images = images
        self._labels = labels
        self._rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._shuffle = shuffle
        self._drop_last = drop_last

    @property
    def count(self) -> int:
        """Images an epoch draws from."""
        return len(self._rows)

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffling and the augmentation of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(self.count, self.batch_size)
        # A training batch cut short weighs its images more and unsettles BatchNorm; but a set
        # smaller than one batch must train too.
        return full if full and (self._drop_last or not rest) else full + 1

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, size = self.epoch, self.batch_size
        order = self._order(epoch)
        for batch in range(len(self)):
            index = torch.from_numpy(order[batch * size : (batch + 1) * size])
            state = np.random.SeedSequence([self.seed, epoch, batch]).generate_state(1)
            yield self._shown(self._images[index], self._labels[index], int(state[0]))

    def _order(self, epoch: int) -> npt.NDArray[np.intp]:
        """The images of an epoch."""
        order = self._rows.copy()
        if self._shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        return order

    @abstractmethod
    def _shown(
        self, images: torch.Tensor, labels: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch as the network sees it; ``seed`` is of its random views."""


class BatchLoader(RowLoader):
    """Batches of images and the labels of their pixels, or targets made of these.

    Yields image float32 (B, C, H, W), normalised, and label (B, K, H, W): float32 of 0 to 1 or of
    class numbers, or int32 instance ids as they are.

    Args:
        images: uint8 (N, C, H, W).
        labels: uint8 (N, K, H, W), or int32 (N, 1, H, W) of instance ids.
        rows: as in :class:`RowLoader`, as are the others.
        batch_size: images a batch.
        seed: of shuffling and augmentation.
        shuffle: another order every epoch.
        augment: random views (:mod:`nasseg.data.pixels.augment`).
        drop_last: leave out a last partial batch, unless it is the only one.
        scale: value of the labels that is shown as 1.
        retarget: makes targets of the labels after the random views; None: they are targets.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        rows: npt.NDArray[np.intp],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augment: bool = False,
        drop_last: bool = False,
        scale: float = 1.0,
        retarget: Retarget | None = None,
    ) -> None:
        super().__init__(
            images, labels, rows, batch_size, seed=seed, shuffle=shuffle, drop_last=drop_last
        )
        self._augment = Augment(images.shape[-1]) if augment else None
        self._scale = scale
        self._retarget = retarget

    def _shown(
        self, images: torch.Tensor, labels: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images = images.float().div_(255.0)
        if labels.dtype == torch.uint8 or self._augment is not None:
            labels = labels.float()
        if self._scale != 1:
            labels = labels.div(self._scale)
        if self._augment is None:
            images = normalise(images)
        else:
            self._augment.seed(seed)
            images, labels = self._augment(images, labels)
        return images, labels if self._retarget is None else self._retarget(labels)


class ValidationSide:
    """What data without test images have in common: results are of the validation images."""

    train_ids: tuple[str, ...]
    val_ids: tuple[str, ...]
    multilabel = False

    @property
    def class_counts(self) -> tuple[int, ...]:
        """None: no image has a class."""
        return ()

    @property
    def ids(self) -> dict[Side, tuple[str, ...]]:
        """Ids of the images of each side."""
        return {"train": self.train_ids, "val": self.val_ids}

    @property
    def report_side(self) -> Side:
        """The side that results are of."""
        return "val"

    @property
    def counts(self) -> dict[str, int]:
        """Images of each side."""
        return {"train": len(self.train_ids), "val": len(self.val_ids)}


@dataclass(frozen=True, eq=False)
class SegmentationData(ValidationSide):
    """Images and labels of both sides, preprocessed, in memory."""

    source: str
    """What the data are, for people."""
    in_channels: int
    """Channels of the images."""
    train_ids: tuple[str, ...]
    """Ids of the training images, sorted."""
    val_ids: tuple[str, ...]
    """Ids of the validation images, sorted."""
    fingerprint: str
    """Short hash of ids, images and labels of both sides as they are used."""
    images: torch.Tensor
    """uint8 (N, C, H, W) of both sides, before normalisation."""
    labels: torch.Tensor
    """(N, 1, H, W) of both sides: uint8 of 0 and 1 or of class numbers, or int32 instance ids."""
    rows: dict[Side, npt.NDArray[np.intp]]
    """Where each side's images are among all, in the order of its ids."""
    kind: str = "segmentation"
    """Name of the task that the data are for."""
    classes: tuple[str, ...] = ()
    """Names of the classes of pixels, background first; empty: foreground and background."""
    targets: torch.Tensor | None = None
    """uint8 (N, K, H, W) that training sees; None: the labels."""

    def report_loader(self, batch_size: int) -> BatchLoader:
        """Every image that results are of, once."""
        return self.val_loader(batch_size)

    @property
    def size(self) -> int:
        """Side in pixels of what the network is trained on."""
        return int(self.images.shape[-1])

    def train_loader(
        self, batch_size: int, seed: int, augment: bool = True, balanced: bool = False
    ) -> BatchLoader:
        """Shuffled training batches; a last partial batch is left out unless it is the only one.

        ``balanced`` means nothing here: no image has a class.
        """
        task = get_task(self.kind)
        turned = retarget(task)
        return BatchLoader(
            self.images,
            self.labels if self.targets is None else self.targets,
            self.rows["train"],
            batch_size,
            seed=seed,
            shuffle=True,
            augment=augment,
            drop_last=True,
            scale=1.0 if turned is not None else task.target_scale,
            retarget=turned,
        )

    def loader(self, side: Side, batch_size: int) -> BatchLoader:
        """Every image of a split once, in the order of its ids, unaugmented, with its label."""
        return BatchLoader(self.images, self.labels, self.rows[side], batch_size)

    def training_sample(self, most: int, batch_size: int) -> BatchLoader:
        """At most so many training images, evenly spaced over their ids, unaugmented."""
        return BatchLoader(
            self.images, self.labels, evenly_spaced(self.rows["train"], most), batch_size
        )

    def val_loader(self, batch_size: int) -> BatchLoader:
        """Every validation image once, in the order of ``val_ids``."""
        return self.loader("val", batch_size)

    def calibration_loader(self, batch_size: int) -> BatchLoader:
        """Every training image once, in the order of ``train_ids``, unaugmented."""
        return self.loader("train", batch_size)

    def image(self, side: Side, index: int) -> npt.NDArray[np.uint8]:
        """One image for display: uint8 (H, W, C), resized, unaugmented, not normalised."""
        pixels: npt.NDArray[np.uint8] = self.images[self.rows[side][index]].permute(1, 2, 0).numpy()
        return np.ascontiguousarray(pixels)

    def label(self, split: Side, index: int) -> npt.NDArray[np.uint8]:
        """The label of one image for display: uint8 (H, W), 0 and 1, or class numbers."""
        return get_task(self.kind).label_picture(
            self.labels[int(self.rows[split][index]), 0].numpy()
        )

    def shown(self, split: Side, index: int) -> torch.Tensor:
        """One image as the network is shown it: float32 (1, C, H, W)."""
        row = int(self.rows[split][index])
        return normalise(self.images[row : row + 1].float().div_(255.0))
