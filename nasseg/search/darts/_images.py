"""Which images of a data set a one-shot search trains, ranks and estimates statistics on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasseg.data import ClassificationData
from nasseg.errors import ConfigError

Batch = tuple[Tensor, Tensor]


def halved(data: ClassificationData, seed: int) -> tuple[ClassificationData, ClassificationData]:
    """Data with one half of the training images each, every class divided as evenly as can be.

    Raises:
        ConfigError: fewer than two training images.
    """
    rows = data.rows["train"]
    if len(rows) < 2:
        raise ConfigError(
            f"search.strategy is 'darts', which halves the training images, but there is "
            f"{len(rows)}; allowed: 2 or more"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    labels = data.labels[torch.from_numpy(rows)].numpy()
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    # In no order of classes again, so that the first images of a half stand for all.
    halves = [rng.permutation(order[k::2]) for k in (0, 1)]
    ids = np.array(data.ids["train"], dtype=object)
    first, second = (
        dataclasses.replace(
            data,
            rows={**data.rows, "train": rows[half]},
            ids={**data.ids, "train": tuple(ids[half])},
        )
        for half in halves
    )
    return first, second


def shuffled(data: ClassificationData, seed: int) -> ClassificationData:
    """The data with their validation images in another order: sources list class after class, and
    the first images shall stand for all."""
    order = np.random.default_rng(seed).permutation(len(data.ids["val"]))
    ids = {**data.ids, "val": tuple(data.ids["val"][int(i)] for i in order)}
    rows = {**data.rows, "val": data.rows["val"][order]}
    return dataclasses.replace(data, ids=ids, rows=rows)


def first_images(batches: Any, images: int) -> list[Batch]:
    """Batches with that many images at most, in memory."""
    found: list[Batch] = []
    for image, label in batches:
        found.append((image[:images], label[:images]))
        images -= len(image)
        if images <= 0:
            break
    return found
