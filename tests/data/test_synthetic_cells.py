"""Synthetic cells, of one class an image or of a class for each pixel."""

from __future__ import annotations

import numpy as np
from helpers.class_images import load

from nasseg.data.sources.synthetic_cells import CELL_CLASSES, draw_cell


def test_synthetic_cells_are_the_default() -> None:
    data = load(None, synthetic_train=9, synthetic_val=4)
    assert data.source == (
        "built-in synthetic cells (no --data given): 9 train, 4 val, 4 test, seed 0"
    )
    assert data.classes == CELL_CLASSES
    assert data.class_counts == (3, 2, 2, 2)
    more = load(None, synthetic_train=10, synthetic_val=4)
    np.testing.assert_array_equal(more.image("train", 8), data.image("train", 8))
    assert more.fingerprint != data.fingerprint


def test_cells_have_their_classes_of_pixels() -> None:
    for kind in range(4):
        image, label = draw_cell(np.random.default_rng(kind), 96, kind)
        assert image.shape == (96, 96, 3)
        shares = np.bincount(label.ravel(), minlength=3) / label.size
        assert (shares > 0.02).all()
        assert image[label == 2].mean() < image[label == 1].mean() < image[label == 0].mean() + 30


def test_synthetic_cells_have_classes_of_pixels() -> None:
    data = load(None, "semantic", 32, synthetic_train=5, synthetic_val=2)
    assert data.classes == ("background", "cytoplasm", "nucleus")
    assert data.source == "built-in synthetic cells (no --data given): 5 train, 2 val, seed 0"
    assert set(data.labels.unique().tolist()) == {0, 1, 2}
