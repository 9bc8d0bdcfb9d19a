"""Images of classes: MedMNIST and other .npz, folders by class, CSV files, synthetic cells."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from nasseg.config import DataConfig
from nasseg.data._types import HELD_OUT, Side
from nasseg.data.classes.dataset import ClassificationData
from nasseg.data.classes.preprocess import ClassCache, preprocess_classes
from nasseg.data.classes.split import draw_sides, hold_out, join_units, strata_of
from nasseg.data.sources.class_base import ClassSource, same_name, shortened
from nasseg.data.sources.find import layouts
from nasseg.errors import DataError

logger = logging.getLogger(__name__)

SIDES: tuple[Side, ...] = ("train", "val", "test")


def assemble_classes(source: ClassSource, config: DataConfig) -> ClassificationData:
    """Read, check, crop, resize, split and keep in memory.

    A split of the source is honoured; otherwise it is drawn from ``config.seed``, classes in their
    shares, equal images and groups on one side. With ``config.holdout``, training images stand in
    for the validation images, and there are no test images.

    Images that are the same on two sides of a given split, groups on both, and equal images of
    different classes are warned of in the log; a class that cannot be divided is left out with a
    warning.

    Raises:
        DataError: the data cannot be used; all problems are in the message. Also where the images
            would take more than ``config.max_cache_gb``.
    """
    if not len(source.ids):
        source.problems.raise_if_any(source.name)
        raise DataError(f"{source.name} holds no images; {layouts(config)}")
    cache = preprocess_classes(source, config)
    source.problems.raise_if_any(source.name)
    units = join_units(cache.digests, source.groups)
    _report_duplicates(source, cache, config)
    rows, labels, classes = _divide(source, units, config)
    if config.holdout:
        rows = _hold_out_training(rows["train"], source, cache, labels, config)
    _check_classes(source, labels, classes, rows)
    return _assemble(source, cache, labels, classes, rows, config)


def assemble_whole(
    source: ClassSource, config: DataConfig, classes: tuple[str, ...]
) -> ClassificationData:
    """Read all images as validation images of a network that knows ``classes``.

    Raises:
        DataError: the images cannot be used, or have a class that the network does not know.
    """
    known = {same_name(name): number for number, name in enumerate(classes)}
    unknown = sorted(name for name in source.classes if same_name(name) not in known)
    if unknown:
        raise DataError(
            f"{source.name} has the class {unknown[0]!r}, which the network does not know; its "
            f"classes: {', '.join(classes)}"
        )
    cache = preprocess_classes(source, config)
    source.problems.raise_if_any(source.name)
    columns = np.array([known[same_name(name)] for name in source.classes], dtype=np.int64)
    if source.multilabel:
        labels = np.zeros((len(source.ids), len(classes)), dtype=np.int64)
        labels[:, columns] = source.labels
    else:
        labels = columns[source.labels]
    everything = np.arange(len(source.ids))
    return _assemble(
        source, cache, labels, classes, {"train": everything, "val": everything}, config
    )


def _report_duplicates(source: ClassSource, cache: ClassCache, config: DataConfig) -> None:
    """Warn of equal images that differ in class, and of what a given split divides."""
    given = None if config.folds else source.sides
    if config.folds and source.sides is not None:
        logger.warning(
            "%s: its own split is not used, as data.folds is %d", source.name, config.folds
        )
    by_digest: defaultdict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(cache.digests):
        by_digest[digest].append(row)
    copies = [rows for rows in by_digest.values() if len(rows) > 1]
    conflicts = [r for r in copies if (source.labels[r] != source.labels[r[0]]).any()]
    _warn_of_copies(source, conflicts, "equal images have different classes")
    if given is not None:
        leaks = [rows for rows in copies if len({given[row] for row in rows}) > 1]
        _warn_of_copies(source, leaks, "equal images are on two sides of the given split")
    elif copies:
        extra = sum(len(rows) - 1 for rows in copies)
        logger.info("%s: %d images are copies of others; kept together", source.name, extra)
    if given is not None and source.groups is not None:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for group, side in zip(source.groups, given, strict=True):
            found[group].add(side)
        divided = [group for group, sides in found.items() if len(sides) > 1]
        if divided:
            logger.warning(
                "%s: %d groups are on two sides of the given split: %s",
                source.name,
                len(divided),
                shortened(divided),
            )


def _warn_of_copies(source: ClassSource, copies: Sequence[Sequence[int]], what: str) -> None:
    if copies:
        texts = [" = ".join(source.ids[row] for row in rows[:3]) for rows in copies]
        count = sum(map(len, copies))
        logger.warning("%s: %d %s: %s", source.name, count, what, shortened(texts))


def _divide(
    source: ClassSource, units: npt.NDArray[np.int64], config: DataConfig
) -> tuple[dict[Side, npt.NDArray[np.intp]], npt.NDArray[np.int64], tuple[str, ...]]:
    """Rows of each side, and labels and classes without those that cannot be divided."""
    labels, classes = source.labels, source.classes
    keep = np.arange(len(labels))
    drawn = config.folds or source.sides is None
    if drawn and not source.multilabel:
        keep, labels, classes = _without_single(source, units)
    sides = None if source.sides is None else [source.sides[row] for row in keep.tolist()]
    if sides is not None and not config.folds and "train" not in sides:
        raise DataError(f"{source.name} has no training images, only {', '.join(set(sides))}")
    try:
        found = draw_sides(
            strata_of(labels[keep]), units[keep], source.groups is not None, sides, config
        )
    except DataError as error:
        raise DataError(f"{source.name}: {error}") from None
    rows = {
        side: keep[[i for i, own in enumerate(found) if own == side]]
        for side in SIDES
        if side in found
    }
    return rows, labels, classes


def _hold_out_training(
    training: npt.NDArray[np.intp],
    source: ClassSource,
    cache: ClassCache,
    labels: npt.NDArray[np.int64],
    config: DataConfig,
) -> dict[Side, npt.NDArray[np.intp]]:
    """Divide the rows of the training images; no other image matters.

    Raises:
        DataError: they are one unit, or a class would lose its last training image.
    """
    groups = None if source.groups is None else [source.groups[row] for row in training]
    units = join_units([cache.digests[row] for row in training], groups)
    try:
        chosen = hold_out(strata_of(labels[training]), units, groups is not None, config)
    except DataError as error:
        raise DataError(
            f"{source.name}: data.holdout is {config.holdout:g}, but the training images "
            f"cannot be divided: {error}"
        ) from None
    held = np.isin(np.arange(len(training)), chosen)
    return {"train": training[~held], "val": training[held]}


def _without_single(
    source: ClassSource, units: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], tuple[str, ...]]:
    """Rows, labels and names of the classes that have two units or more."""
    labels = source.labels
    several = []
    for number, name in enumerate(source.classes):
        own = units[labels == number]
        if len(np.unique(own)) > 1:
            several.append(number)
        elif len(own):
            what = "images of one group" if source.groups is not None else "images, all equal"
            logger.warning(
                "%s: class %r has only %s, which cannot be both trained on and held out; it is "
                "left out",
                source.name,
                name,
                "1 image" if len(own) == 1 else f"{len(own)} {what}",
            )
        else:
            several.append(number)  # an error, later
    new = np.full(len(source.classes), -1, dtype=np.int64)
    new[several] = np.arange(len(several))
    numbers = new[labels]
    keep = np.flatnonzero(numbers >= 0)
    if len(several) < 2 <= len(source.classes):
        raise DataError(
            f"{source.name} has {len(several)} classes of two or more different images; two "
            "classes are the least"
        )
    return keep, np.maximum(numbers, 0), tuple(source.classes[number] for number in several)


def _check_classes(
    source: ClassSource,
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    rows: dict[Side, npt.NDArray[np.intp]],
) -> None:
    """Every class needs a training image; where another side lacks it, that is warned of."""
    problems = source.problems
    if len(classes) < 2 and not source.multilabel:
        problems.add("too few classes", f"only {classes[0]!r}; two are the least")
    for side, own in rows.items():
        if source.multilabel:
            counts = labels[own].sum(axis=0)
        else:
            counts = np.bincount(labels[own], minlength=len(classes))
        missing = [name for name, count in zip(classes, counts, strict=True) if not count]
        if side == "train":
            for name in missing:
                problems.add("class without training images", repr(name))
        elif missing:
            logger.warning(
                "%s: no %s image of %s", source.name, side, shortened([repr(n) for n in missing])
            )
    problems.raise_if_any(source.name)


def _assemble(
    source: ClassSource,
    cache: ClassCache,
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    rows: dict[Side, npt.NDArray[np.intp]],
    config: DataConfig,
) -> ClassificationData:
    ids = {side: tuple(source.ids[row] for row in own) for side, own in rows.items()}
    images = cache.images
    tensor = torch.from_numpy(labels.astype(np.uint8) if source.multilabel else labels)
    digest = hashlib.sha256(repr((ids, classes, tuple(images.shape[1:]))).encode())
    for own in rows.values():
        for row in own:
            digest.update(images[row].numpy().tobytes())
        digest.update(labels[own].tobytes())
    named = {"val": HELD_OUT} if config.holdout else {}
    counts = ", ".join(f"{len(own)} {named.get(side, side)}" for side, own in rows.items())
    if source.builtin:
        what = f"built-in {source.builtin} (no --data given): {counts}, seed {config.seed}"
    else:
        total = sum(map(len, rows.values()))
        what = f"{total} images of {len(classes)} classes from {source.name} ({counts})"
    if config.folds:
        what += f", fold {config.fold} of {config.folds}"
    return ClassificationData(
        source=what,
        in_channels=config.channels,
        classes=classes,
        multilabel=source.multilabel,
        ids=ids,
        fingerprint=digest.hexdigest()[:16],
        images=images,
        labels=tensor,
        rows=rows,
        augment=config.augment,
    )
