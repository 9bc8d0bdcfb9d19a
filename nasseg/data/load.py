"""One call from a path to data."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data._types import HELD_OUT, Data, Side
from nasseg.data.classes.load import assemble_classes, assemble_whole
from nasseg.data.pixels.native import NativeData
from nasseg.data.pixels.preprocess import Cache, NativeCache, preprocess, preprocess_native
from nasseg.data.pixels.rescale import with_rescaled
from nasseg.data.pixels.resized import SegmentationData
from nasseg.data.pixels.scenes import Trace, group_scenes, trace_image
from nasseg.data.pixels.split import split_groups
from nasseg.data.problems import SHOWN
from nasseg.data.sources.arrays import Arrays, open_arrays
from nasseg.data.sources.base import Source, Split
from nasseg.data.sources.class_base import ClassSource
from nasseg.data.sources.find import layouts, open_source
from nasseg.data.sources.semantic import class_names
from nasseg.errors import DataError
from nasseg.tasks import get_task

logger = logging.getLogger(__name__)


def load_data(config: DataConfig) -> Data:
    """Read, check, resize (unless ``config.crop`` is set), split and keep in memory.

    What is read is what the first kind of source finds that recognises ``config.path``, or the one
    that ``config.source`` names (:mod:`nasseg.data.sources.shipped` lists them): for pixels a
    folder with ``images/`` and ``labels/`` (instance or binary labels, or classes) and perhaps a
    ``splits.json``, the raw layout of the 2018 Data Science Bowl, and without a path
    synthetic images. Without ``splits.json`` the split is drawn from ``config.seed`` with whole
    scenes on either side (:mod:`nasseg.data.pixels.scenes` says what is recognised as one scene).
    With ``config.holdout``, scenes of the training images stand in for the validation images.
    Whole images are :func:`~nasseg.data.classes.load.assemble_classes`'s.

    Images without nuclei are legitimate and only warned of in the log, unless all are.

    Raises:
        DataError: the data cannot be used; all their problems are in the message, with the names
            of the files. Also where the images would take more than ``config.max_cache_gb``.
        UnknownName: no source is called ``config.source``.
        ConfigError: that source does not have what the task needs.
    """
    return _load(open_source(config), config)


def load_arrays(arrays: Arrays, config: DataConfig) -> Data:
    """Data from arrays in memory; they go the way that files of the same values go.

    Args:
        arrays: images and labels, or a mapping of splits (``train``, ``val``) to these. Images are
            (N, H, W) or (N, H, W, C) of uint8, uint16 or float, or a list of arrays of any size;
            labels of pixels (N, H, W) or a list of (H, W); of whole images (N,) or (N, K).
        config: the task, sizes, and how what is not split is split.

    Raises:
        DataError: they cannot be used; all problems are in the message.
    """
    return _load(open_arrays(arrays, config), config)


def load_labelled(
    source: str | Path | Arrays, config: DataConfig, classes: tuple[str, ...] = ()
) -> Data:
    """Load every image of a source as its validation images, to score a trained network on.

    Args:
        source: folder or file as ``data.path`` takes it, or arrays as :func:`load_arrays` does.
        config: settings of the run that the network is of; their path and split do not count.
        classes: names of the network's classes, in the order of its outputs.

    Raises:
        DataError: the images cannot be used, or have classes that the network does not know.
    """
    config = dataclasses.replace(config, folds=0, fold=0, test_fraction=0.0, holdout=0.0)
    if isinstance(source, str | Path):
        config = dataclasses.replace(config, path=str(source), source="auto")
        opened = open_source(config)
    else:
        opened = open_arrays(source, config)
    if isinstance(opened, ClassSource):
        return assemble_whole(opened, config, classes)
    return _load(dataclasses.replace(opened, classes=classes), config, whole=True)


def _load(source: Source | ClassSource, config: DataConfig, whole: bool = False) -> Data:
    if isinstance(source, ClassSource):
        return assemble_classes(source, config)
    if not source.items:
        source.problems.raise_if_any(source.name)
        raise DataError(f"{source.name} holds no images; {layouts(config)}")
    if config.holdout and source.split is not None:
        source = _without_validation(source, source.split.train)
    read = preprocess_native if config.crop else preprocess
    cache: Cache | NativeCache = read(source, config, trace_image)
    if get_task(config.kind).labels == "classes":
        _check_classes(source, cache)
    else:
        _check_labels(source, cache)
    source.problems.raise_if_any(source.name)
    traces = [trace for trace in cache.traces if isinstance(trace, Trace)]
    split = Split(cache.ids, cache.ids) if whole else source.split
    if split is None:
        groups = group_scenes(cache.ids, traces)
        try:
            split = split_groups(cache.ids, groups, config.val_fraction, config.seed)
        except DataError as error:
            raise DataError(f"{source.name}: {error}") from None
        if config.holdout:
            cache = cache.only(set(split.train))
    elif not source.builtin and not whole:
        _warn_of_leaks(source, cache.ids, traces, split)
    if config.holdout:
        split = _hold_out(source, cache, config)
    description = _describe(source, split, config)
    if isinstance(cache, NativeCache):
        data = _assemble_native(cache, split, description, config)
        # Of images that are all scored, none is trained on.
        return data if whole else with_rescaled(data, config.max_cache_gb)
    return _assemble(cache, split, description, config, source.classes)


def _without_validation(source: Source, train: Sequence[str]) -> Source:
    """Return a source of its training images alone; the others are not even read."""
    known = set(train)
    items = [item for item in source.items if item.id in known]
    if not items:
        raise DataError(f"{source.name} has no training images")
    return dataclasses.replace(source, items=items, split=Split(train, ()))


def _hold_out(source: Source, cache: Cache | NativeCache, config: DataConfig) -> Split:
    """Divide the training images, which the cache is of; scenes stay whole.

    Raises:
        DataError: they are of one scene.
    """
    traces = [trace for trace in cache.traces if isinstance(trace, Trace)]
    try:
        return split_groups(cache.ids, group_scenes(cache.ids, traces), config.holdout, config.seed)
    except DataError:
        raise DataError(
            f"{source.name}: data.holdout is {config.holdout:g}, but the training images "
            f"({len(cache.ids)}) cannot be divided without a leak: they are all the same or of one "
            "scene (equal pixels, adjoining borders, or names like scene_r0_c1); add training "
            "images of other scenes, or set data.holdout to 0"
        ) from None


def _check_classes(source: Source, cache: Cache | NativeCache) -> None:
    """Class numbers of pixels that only all labels together show to be wrong."""
    if isinstance(cache, Cache) and not source.problems and not int(cache.labels.max()):
        source.problems.add("no classes", f"all {len(cache.ids)} labels are background (0)")


def _pixel_classes(cache: Cache, split: Split, given: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes; those that no training image shows are warned of."""
    names = class_names(given, int(cache.labels.max()))
    row = {name: index for index, name in enumerate(cache.ids)}
    shown = set(np.unique(cache.labels[[row[name] for name in split.train]].numpy()).tolist())
    missing = [name for number, name in enumerate(names) if number not in shown]
    if missing:
        logger.warning("no training image shows a pixel of %s", ", ".join(map(repr, missing)))
    return names


def _check_labels(source: Source, cache: Cache | NativeCache) -> None:
    """Problems and warnings that only all labels together show."""
    by_kind: dict[str, list[str]] = {}
    for item, kind in zip(source.items, cache.kinds, strict=True):
        by_kind.setdefault(kind, []).append(item.label_name)
    empty = by_kind.get("empty", [])
    if len(empty) == len(cache.ids):
        source.problems.add("no nuclei", f"all {len(empty)} labels are empty (0 everywhere)")
    elif empty:
        more = f", ... and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
        logger.warning(
            "%s: %d of %d labels are empty (0 everywhere): %s%s",
            source.name,
            len(empty),
            len(cache.ids),
            ", ".join(empty[:SHOWN]),
            more,
        )
    soft = by_kind.get("soft", [])
    if soft:
        more = f", ... and {len(soft) - SHOWN} more" if len(soft) > SHOWN else ""
        logger.warning(
            "%s: %d of %d labels are masks with soft edges or impure black and white; what is "
            "brighter than half of the brightest pixel is nucleus: %s%s",
            source.name,
            len(soft),
            len(cache.ids),
            ", ".join(soft[:SHOWN]),
            more,
        )
    binary, instances = soft + by_kind.get("binary255", []), by_kind.get("instances", [])
    if binary and instances:
        # Either kind alone is fine. Both in one folder come from two exports, and then a 255 may
        # mean "ignore" or "foreground", or ids may have been saved as grey levels.
        fewer, many = sorted((binary, instances), key=len)
        words = {
            id(binary): "binary (0 and 255 only)",
            id(instances): "instance ids (several values above 0)",
        }
        for name in fewer:
            source.problems.add(
                f"labels of two kinds; {len(many)} others are {words[id(many)]}",
                f"{name} is {words[id(fewer)]}; allowed: all of one kind (convert it, or move it "
                "and its image out of the folder)",
            )


def _warn_of_leaks(
    source: Source, ids: Sequence[str], traces: Sequence[Trace], split: Split
) -> None:
    """A prescribed split is kept, but equal images on both sides are worth a word."""
    train, val = set(split.train), set(split.val)
    seen: dict[bytes, str] = {}
    leaks = []
    for image, trace in zip(ids, traces, strict=True):
        other = seen.setdefault(trace.digest, image)
        if (image in val and other in train) or (image in train and other in val):
            leaks.append(f"{other} = {image}")
    if leaks:
        logger.warning(
            "%s: %s has %d equal images in both train and val: %s",
            source.name,
            source.split_by,
            len(leaks),
            ", ".join(leaks[:5]),
        )


def _describe(source: Source, split: Split, config: DataConfig) -> str:
    train, val = len(split.train), len(split.val)
    sizes = f"{train} train, {val} {HELD_OUT if config.holdout else 'val'}"
    if source.builtin:
        return f"built-in {source.builtin} (no --data given): {sizes}, seed {config.seed}"
    counts = f"from {source.name} ({sizes})"
    task = get_task(config.kind)
    if task.labels == "classes":
        return f"{train + val} images with classes of pixels {counts}"
    return f"{train + val} {task.noun} images {counts}"


def _assemble(
    cache: Cache, split: Split, description: str, config: DataConfig, given: tuple[str, ...]
) -> SegmentationData:
    row = {name: index for index, name in enumerate(cache.ids)}
    train, val = sorted(split.train), sorted(split.val)
    rows: dict[Side, npt.NDArray[np.intp]] = {
        "train": np.array([row[name] for name in train], dtype=np.intp),
        "val": np.array([row[name] for name in val], dtype=np.intp),
    }
    pixels = get_task(config.kind).labels == "classes"
    classes = _pixel_classes(cache, split, given) if pixels else ()
    # The shape holds size and channels, the ids hold the split: all that the settings change.
    head = (train, val, tuple(cache.images.shape[1:]), *((classes,) if classes else ()))
    digest = hashlib.sha256(repr(head).encode())
    for index in (*rows["train"], *rows["val"]):
        digest.update(cache.images[index].numpy().tobytes())
        digest.update(cache.labels[index].numpy().tobytes())
        if cache.targets is not None:
            digest.update(cache.targets[index].numpy().tobytes())
    return SegmentationData(
        source=description,
        in_channels=config.channels,
        train_ids=tuple(train),
        val_ids=tuple(val),
        fingerprint=digest.hexdigest()[:16],
        images=cache.images,
        labels=cache.labels,
        rows=rows,
        kind=config.kind,
        classes=classes,
        targets=cache.targets,
    )


def _assemble_native(
    cache: NativeCache, split: Split, description: str, config: DataConfig
) -> NativeData:
    by_id = dict(zip(cache.ids, cache.images, strict=True))
    train, val = sorted(split.train), sorted(split.val)
    digest = hashlib.sha256(repr((train, val, "native", config.channels)).encode())
    for name in (*train, *val):
        item = by_id[name]
        digest.update(repr(item.size).encode())
        digest.update(item.image.numpy().tobytes())
        digest.update(item.ids.tobytes())
    return NativeData(
        source=f"{description}, at their own scale",
        in_channels=config.channels,
        crop=config.crop,
        zoom=config.zoom,
        diameter=config.diameter,
        rare_kinds=config.rare_kinds,
        train_ids=tuple(train),
        val_ids=tuple(val),
        fingerprint=digest.hexdigest()[:16],
        images={
            "train": tuple(by_id[name] for name in train),
            "val": tuple(by_id[name] for name in val),
        },
        kind=config.kind,
    )
