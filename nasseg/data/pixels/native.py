"""Images at their own scale: random crops to train on, whole images to evaluate on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from nasseg.data._types import Side, evenly_spaced
from nasseg.data.normalise import normalise
from nasseg.data.pixels.augment import Augment
from nasseg.data.pixels.kinds import image_kind
from nasseg.data.pixels.resized import ValidationSide
from nasseg.data.pixels.targets import Retarget, retarget
from nasseg.tasks import TaskType, get_task
from nasseg.tasks.watershed import Ids

REFERENCE = 64
"""Side of the grid of points of an image whose percentiles its normalisation takes."""
ZOOM_SHARE = 0.5
"""Share of the training crops whose size is changed."""


@dataclass(frozen=True, eq=False)
class NativeImage:
    """One image with what is learned from it, at its own size."""

    image: torch.Tensor
    """uint8 (C, H, W)."""
    target: torch.Tensor
    """uint8 (K, H, W), as the task makes it; K is 0 where targets are made of each view."""
    ids: Ids
    """The label (H, W): instances, or as the task reads it."""
    reference: torch.Tensor
    """uint8 (C, REFERENCE, REFERENCE): points of the image on a grid."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[1], self.image.shape[2]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.image.numel() + self.target.numel() + self.ids.nbytes + self.reference.numel()


def native_image(
    image: torch.Tensor, ids: Ids, task: TaskType, reference: torch.Tensor | None = None
) -> NativeImage:
    """An image with the targets that a task makes of its label.

    Args:
        image: uint8 (C, H, W).
        ids: label (H, W).
        task: that it is for.
        reference: points that its normalisation takes; None: its own.
    """
    if task.directional:
        # Made of each view by the loader.
        target = torch.empty((0, *ids.shape), dtype=torch.uint8)
    else:
        target = torch.from_numpy(task.targets(ids))
    return NativeImage(image, target, ids, grid_points(image) if reference is None else reference)


def grid_points(image: torch.Tensor) -> torch.Tensor:
    """(C, H, W) to (C, REFERENCE, REFERENCE): the pixels nearest to a regular grid."""
    rows, columns = (
        ((torch.arange(REFERENCE) + 0.5) * side / REFERENCE).long() for side in image.shape[1:]
    )
    return image[:, rows][:, :, columns]


def whole_image(image: torch.Tensor) -> torch.Tensor:
    """uint8 (C, H, W) to the normalised float32 (1, C, H, W) that a network is shown."""
    reference = grid_points(image)[None].float().div_(255.0)
    return normalise(image[None].float().div_(255.0), reference)


class CropLoader:
    """Random crops, as many an epoch as there are images; a function of (seed, epoch).

    How often an image is drawn goes with its side (the square root of its area): large images
    show more, but a score that is a mean over images counts each once. Images of rare kinds may be
    drawn more often. Without ``augment`` every image is drawn once.

    Yields image float32 (B, C, S, S), normalised as its whole image is, and target float32
    (B, K, S, S) as the task makes it; of nuclei foreground and relative depth, 0 to 1.

    Args:
        images: what to crop.
        crop: side S in pixels.
        batch_size: crops a batch.
        seed: of order, places and augmentation.
        augment: change sizes and colours, turn and flip (:mod:`nasseg.data.pixels.augment`).
        zoom: half of the crops are shown between 1 / ``zoom`` and ``zoom`` times as large.
        rare_kinds: how often an image is drawn goes with the share of its kind (fluorescence,
            stained, grey bright field) to the power of minus this; 0 = regardless of kinds.
        scale: value of the targets that is shown as 1.
        retarget: makes targets of the labels of each crop; None: those of the images are cut.
    """

    def __init__(
        self,
        images: Sequence[NativeImage],
        crop: int,
        batch_size: int,
        *,
        seed: int = 0,
        augment: bool = True,
        zoom: float = 1.4,
        rare_kinds: float = 0.0,
        scale: float = 255.0,
        retarget: Retarget | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; 1 or more is allowed")
        self._images = images
        self._crop = crop
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._augment = Augment(crop) if augment else None
        self._scale = scale
        self._retarget = retarget
        self._zoom = zoom
        weights = np.array([np.sqrt(item.size[0] * item.size[1]) for item in images])
        if rare_kinds:
            kinds = [image_kind(item.image.permute(1, 2, 0).numpy()) for item in images]
            counts = Counter(kinds)
            weights *= np.array([counts[kind] for kind in kinds]) ** -rare_kinds
        self._shares = np.cumsum(weights / weights.sum())

    @property
    def count(self) -> int:
        """Crops an epoch."""
        return len(self._images)

    def set_epoch(self, epoch: int) -> None:
        """Choose the crops of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch; a last partial batch is left out unless it is the only one."""
        return max(1, self.count // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch = self.epoch
        rng = np.random.default_rng([self.seed, epoch])
        order = np.arange(self.count)
        if self._augment is not None:
            # Systematic sampling: every image as often as its share says, give or take one.
            points = (order + rng.random()) / self.count
            order = np.minimum(np.searchsorted(self._shares, points), self.count - 1)
        order = rng.permutation(order)
        for batch in range(len(self)):
            rng = np.random.default_rng([self.seed, epoch, batch])
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            pairs = [self._cut(self._images[row], rng) for row in rows]
            images = torch.stack([image for image, _ in pairs])
            targets = torch.stack([target for _, target in pairs])
            reference = torch.stack([self._images[row].reference for row in rows])
            reference = reference.float().div_(255.0)
            if self._augment is None:
                images = normalise(images, reference)
            else:
                self._augment.seed(int(rng.integers(2**31)))
                images, targets = self._augment(images, targets, reference)
            yield images, targets if self._retarget is None else self._retarget(targets)

    def _cut(
        self, item: NativeImage, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        side = self._crop
        if self._augment is not None and rng.random() < ZOOM_SHARE:
            side = max(2, round(side * float(np.exp(rng.uniform(-1, 1) * np.log(self._zoom)))))
        height, width = item.size
        top = int(rng.integers(max(0, height - side) + 1))
        left = int(rng.integers(max(0, width - side) + 1))
        area = (slice(None), slice(top, top + side), slice(left, left + side))
        # Together, so that what is resized or padded stays in place.
        image = item.image[area].float().div_(255.0)
        if self._retarget is None:
            target = item.target[area].float().div_(self._scale)
        else:
            target = torch.from_numpy(item.ids[None][area]).float()
        image, target = _filled(image, side), _filled(target, side)
        if side != self._crop:
            size = (self._crop, self._crop)
            image = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
            target = F.interpolate(target[None], size, mode="nearest-exact")[0]
        return image, target


def _filled(part: torch.Tensor, side: int) -> torch.Tensor:
    """(C, h, w) mirrored at its right and lower border up to (C, side, side)."""
    height, width = part.shape[1:]
    if (height, width) == (side, side):
        return part
    missing = ((0, 0), (0, side - height), (0, side - width))
    return torch.from_numpy(np.pad(part.numpy(), missing, mode="symmetric"))


class WholeLoader:
    """Whole images, those of one size together.

    Yields image float32 (B, C, H, W), normalised, and instance ids int32 (B, 1, H, W).

    Args:
        images: what to show.
        pixels: of all images of a batch together, at most, unless one alone has more.
    """

    def __init__(self, images: Sequence[NativeImage], pixels: int) -> None:
        by_size: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for row, item in enumerate(images):
            by_size[item.size].append(row)
        self._images = images
        self.batches: list[list[int]] = []
        """Rows of the images of each batch."""
        for (height, width), rows in sorted(by_size.items()):
            step = max(1, pixels // (height * width))
            self.batches += [rows[i : i + step] for i in range(0, len(rows), step)]

    @property
    def order(self) -> list[int]:
        """Rows of the images in the order in which they come."""
        return [row for batch in self.batches for row in batch]

    def __len__(self) -> int:
        """Batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in self.batches:
            images = torch.cat([whole_image(self._images[row].image) for row in rows])
            ids = np.stack([self._images[row].ids for row in rows])
            yield images, torch.from_numpy(ids)[:, None]


@dataclass(frozen=True, eq=False)
class NativeData(ValidationSide):
    """Images of both sides at their own scale, in memory."""

    source: str
    """What the data are, for people."""
    in_channels: int
    """Channels of the images."""
    crop: int
    """Side in pixels of training crops."""
    train_ids: tuple[str, ...]
    """Ids of the training images, sorted."""
    val_ids: tuple[str, ...]
    """Ids of the validation images, sorted."""
    fingerprint: str
    """Short hash of ids, images and labels of both sides."""
    images: dict[Side, Sequence[NativeImage]]
    """Images of each side, in the order of its ids."""
    kind: str = "instances"
    """Name of the task that the data are for."""
    diameter: float = 0.0
    """Diameter in pixels of a typical nucleus that images are brought to; 0: none."""
    rescaled: Sequence[NativeImage] = ()
    """Training images brought to it, of which crops are; empty: crops are of ``images``."""
    zoom: float = 1.4
    """Half of the training crops are shown between 1 / ``zoom`` and ``zoom`` times as large."""
    rare_kinds: float = 0.0
    """How much more often images of rare kinds are drawn: see :class:`CropLoader`."""
    classes: tuple[str, ...] = ()
    """Names of the classes of pixels, background first; empty: foreground and background."""

    def report_loader(self, batch_size: int) -> WholeLoader:
        """Every image that results are of, once."""
        return self.val_loader(batch_size)

    @property
    def size(self) -> int:
        """Side in pixels of what the network is trained on."""
        return self.crop

    def train_loader(
        self, batch_size: int, seed: int, augment: bool = True, balanced: bool = False
    ) -> CropLoader:
        """As many random crops of training images an epoch as there are images.

        ``balanced`` means nothing here: no image has a class.
        """
        task = get_task(self.kind)
        return CropLoader(
            self.rescaled or self.images["train"],
            self.crop,
            batch_size,
            seed=seed,
            augment=augment,
            zoom=self.zoom,
            rare_kinds=self.rare_kinds,
            scale=task.target_scale,
            retarget=retarget(task),
        )

    def loader(self, side: Side, batch_size: int) -> WholeLoader:
        """Every image of a split once, whole, with its label."""
        return WholeLoader(self.images[side], batch_size * self.crop**2)

    def val_loader(self, batch_size: int) -> WholeLoader:
        """Every validation image once, whole."""
        return self.loader("val", batch_size)

    def training_sample(self, most: int, batch_size: int) -> WholeLoader:
        """At most so many training images, evenly spaced over their ids, whole and unaugmented."""
        images = self.images["train"]
        rows = evenly_spaced(np.arange(len(images)), most)
        return WholeLoader([images[row] for row in rows], batch_size * self.crop**2)

    def calibration_loader(self, batch_size: int) -> CropLoader:
        """One crop of nearly every training image (a last partial batch is left out), unaugmented,
        the same ones every time."""
        images = self.rescaled or self.images["train"]
        return CropLoader(images, self.crop, batch_size, augment=False)

    def image(self, side: Side, index: int) -> npt.NDArray[np.uint8]:
        """One image for display: uint8 (H, W, C)."""
        pixels: npt.NDArray[np.uint8] = self.images[side][index].image.permute(1, 2, 0).numpy()
        return np.ascontiguousarray(pixels)

    def label(self, split: Side, index: int) -> npt.NDArray[np.uint8]:
        """The label of one image for display: uint8 (H, W), 0 and 1, or class numbers."""
        return get_task(self.kind).label_picture(self.images[split][index].ids)

    def shown(self, split: Side, index: int) -> torch.Tensor:
        """One image as the network is shown it: float32 (1, C, H, W)."""
        return whole_image(self.images[split][index].image)
