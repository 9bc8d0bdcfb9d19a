"""One call from a path to data."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasseg.config import DataConfig
from nasseg.data._problems import SHOWN
from nasseg.data.classes.dataset import ClassificationData
from nasseg.data.classes.load import load_classification
from nasseg.data.pixels.native import NativeData
from nasseg.data.pixels.preprocess import Cache, NativeCache, preprocess, preprocess_native
from nasseg.data.pixels.resized import SegmentationData, Side
from nasseg.data.pixels.scenes import Trace, group_scenes, trace_image
from nasseg.data.pixels.split import split_groups
from nasseg.data.sources.base import Source, Split
from nasseg.data.sources.folder import is_folder_layout, open_folder
from nasseg.data.sources.kaggle import kaggle_root, open_kaggle
from nasseg.data.sources.semantic import class_names, open_semantic, read_names
from nasseg.data.sources.synthetic_cells import PIXEL_CLASSES, open_cell_pixels
from nasseg.data.sources.synthetic_nuclei import open_synthetic
from nasseg.errors import DataError
from nasseg.tasks import get_task

logger = logging.getLogger(__name__)

_LAYOUTS = (
    "expected images/ and labels/ with a file of the same name in each, or the raw Kaggle layout "
    "<id>/images/*.png and <id>/masks/*.png"
)
_SEMANTIC_LAYOUT = (
    "expected images/ and labels/ with a file of the same name in each, class numbers in the labels"
)


def load_data(config: DataConfig) -> SegmentationData | NativeData | ClassificationData:
    """Read, check, resize (unless ``config.crop`` is set), split and keep in memory.

    Three layouts are known: a folder with ``images/`` and ``labels/`` (PNG, TIFF, JPEG; instance
    or binary labels) and perhaps a ``splits.json``; the raw layout of the 2018 Data Science Bowl;
    and, without a path, synthetic nuclei. Without ``splits.json`` the split is drawn from
    ``config.seed`` with whole scenes on either side (:mod:`nasseg.data.pixels.scenes` says what is
    recognised as one scene). With ``semantic``, the values of the labels are classes of pixels, of
    a folder or of synthetic cells. Classification is :func:`load_classification`'s.

    Images without nuclei are legitimate and only warned of in the log, unless all are.

    Raises:
        DataError: the folder cannot be used; all its problems are in the message, with the names
            of the files. Also where the images would take more than ``config.max_cache_gb``.
    """
    if config.kind == "classification":
        return load_classification(config)
    source = open_source(config)
    if not source.items:
        source.problems.raise_if_any(source.name)
        raise DataError(f"{source.name} holds no images; {_LAYOUTS}")
    read = preprocess_native if config.crop else preprocess
    cache = read(source, config, trace_image)
    if get_task(config.kind).labels == "classes":
        _check_classes(source, cache)
    else:
        _check_labels(source, cache)
    source.problems.raise_if_any(source.name)
    traces = [trace for trace in cache.traces if isinstance(trace, Trace)]
    split = source.split
    if split is None:
        groups = group_scenes(cache.ids, traces)
        try:
            split = split_groups(cache.ids, groups, config.val_fraction, config.seed)
        except DataError as error:
            raise DataError(f"{source.name}: {error}") from None
    elif config.path is not None:
        _warn_of_leaks(source.name, cache.ids, traces, split)
    description = _describe(config, source.name, split)
    if isinstance(cache, NativeCache):
        return _assemble_native(cache, split, description, config)
    return _assemble(cache, split, description, config)


def open_source(config: DataConfig) -> Source:
    """The source that ``config.path`` holds, listed but not read."""
    semantic = config.kind == "semantic"
    if config.path is None:
        return open_cell_pixels(config) if semantic else open_synthetic(config)
    root = Path(config.path).expanduser()
    if not root.exists():
        raise DataError(f"no such folder: {root}")
    if not root.is_dir():
        raise DataError(f"{root} is a file; {_SEMANTIC_LAYOUT if semantic else _LAYOUTS}")
    try:
        if is_folder_layout(root):
            return (open_semantic if semantic else open_folder)(root, config.channels)
        raw = None if semantic else kaggle_root(root)
        if raw is not None:
            return open_kaggle(raw, config.channels)
        found = sorted(entry.name for entry in root.iterdir())
    except OSError as error:
        raise DataError(f"{root} cannot be listed: {error}") from None
    listing = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    layouts = _SEMANTIC_LAYOUT if semantic else _LAYOUTS
    raise DataError(f"{root} holds {listing or 'nothing'}; {layouts}")


def _check_classes(source: Source, cache: Cache | NativeCache) -> None:
    """Class numbers of pixels that only all labels together show to be wrong."""
    if isinstance(cache, Cache) and not source.problems and not int(cache.labels.max()):
        source.problems.add("no classes", f"all {len(cache.ids)} labels are background (0)")


def _pixel_classes(cache: Cache, split: Split, config: DataConfig) -> tuple[str, ...]:
    """Names of the classes; those that no training image shows are warned of."""
    given = PIXEL_CLASSES if config.path is None else read_names(Path(config.path).expanduser())
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
    binary, instances = by_kind.get("binary255", []), by_kind.get("instances", [])
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
                f"{name} is {words[id(fewer)]}",
            )


def _warn_of_leaks(name: str, ids: Sequence[str], traces: Sequence[Trace], split: Split) -> None:
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
            "%s: splits.json has %d equal images in both train and val: %s",
            name,
            len(leaks),
            ", ".join(leaks[:5]),
        )


def _describe(config: DataConfig, name: str, split: Split) -> str:
    train, val = len(split.train), len(split.val)
    what = "cells" if config.kind == "semantic" else "nuclei"
    if config.path is None:
        return (
            f"built-in synthetic {what} (no --data given): {train} train, {val} val, "
            f"seed {config.seed}"
        )
    if config.kind == "semantic":
        return f"{train + val} images with classes of pixels from {name} ({train} train, {val} val)"
    return f"{train + val} nuclei images from {name} ({train} train, {val} val)"


def _assemble(cache: Cache, split: Split, description: str, config: DataConfig) -> SegmentationData:
    row = {name: index for index, name in enumerate(cache.ids)}
    train, val = sorted(split.train), sorted(split.val)
    rows: dict[Side, npt.NDArray[np.intp]] = {
        "train": np.array([row[name] for name in train], dtype=np.intp),
        "val": np.array([row[name] for name in val], dtype=np.intp),
    }
    classes = _pixel_classes(cache, split, config) if config.kind == "semantic" else ()
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
        train_ids=tuple(train),
        val_ids=tuple(val),
        fingerprint=digest.hexdigest()[:16],
        images={
            "train": tuple(by_id[name] for name in train),
            "val": tuple(by_id[name] for name in val),
        },
        kind=config.kind,
    )
