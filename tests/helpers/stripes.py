"""A small set of two classes, and short one-shot searches on it."""

from __future__ import annotations

import numpy as np
import torch

from nasseg.config import SearchConfig, TrainConfig
from nasseg.data import ClassificationData
from nasseg.search_spaces import get_space

SPACE = get_space("cells")
TRAIN = TrainConfig(batch_size=16, lr=5e-3)
SHORT = SearchConfig(darts_epochs=4, darts_warmup=0.25, darts_candidates=4)


def in_memory(images: np.ndarray, labels: np.ndarray, val: int) -> ClassificationData:
    n = len(labels)
    rows = {"train": np.arange(n - val), "val": np.arange(n - val, n)}
    return ClassificationData(
        source="drawn",
        in_channels=images.shape[1],
        classes=tuple(f"class {k}" for k in range(int(labels.max()) + 1)),
        multilabel=False,
        ids={side: tuple(map(str, own)) for side, own in rows.items()},
        fingerprint="drawn",
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        rows=rows,
        augment="none",
    )


def stripes(n: int = 64, val: int = 16, size: int = 16) -> ClassificationData:
    """Stripes that lie or stand: any network learns it."""
    rng = np.random.default_rng(0)
    labels = np.arange(n, dtype=np.int64) % 2
    images = rng.integers(0, 120, (n, 1, size, size)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        bright = (np.arange(size) + rng.integers(4)) % 4 < 2
        image[0] += 100 * (bright[:, None] if label else bright[None]).astype(np.uint8)
    return in_memory(images, labels, val)
