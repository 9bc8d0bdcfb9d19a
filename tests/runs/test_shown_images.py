"""Scores of single images, and which of them a report shows."""

import numpy as np
import torch

from nasseg.data import NativeData
from nasseg.data.pixels.native import NativeImage
from nasseg.records.images import KINDS, ImageRow, ImageTable
from nasseg.runs.images import PICTURE_SIDE, ScoredImages, pick
from nasseg.tasks import ImageScores


def table(*rows):
    return ImageTable(
        tuple(
            ImageRow(f"{k}", kind, {"ap50": ap50}, {"matched": nuclei})
            for k, (kind, ap50, nuclei) in enumerate(rows)
        )
    )


def test_best_median_and_worst_and_one_of_every_other_kind():
    light, stained, grey = KINDS
    found = table(
        (light, 0.9, 5),
        (stained, 0.4, 5),
        (light, 0.1, 5),
        (stained, 0.6, 5),
        (light, 0.7, 5),
        (stained, 0.5, 5),
        (light, 0.8, 5),
        (grey, 0.75, 5),
        (light, 0.95, 5),
    )
    assert pick(found) == [(8, "best"), (7, "typical"), (4, "median"), (5, "typical"), (2, "worst")]


def test_of_images_that_score_the_same_the_fullest_are_shown():
    light = KINDS[0]
    found = table((light, 1.0, 2), (light, 1.0, 9), (light, 0.0, 1), (light, 0.0, 7))
    assert [entry for entry in pick(found) if entry[1] != "median"] == [(1, "best"), (3, "worst")]


def test_few_images_are_shown_once_each():
    assert pick(table()) == []
    assert pick(table((KINDS[1], 0.5, 3))) == [(0, "best")]
    assert pick(table((KINDS[1], 0.5, 3), (KINDS[1], 0.2, 3))) == [(0, "best"), (1, "worst")]


def native(ids):
    """Native images, bright where nuclei are, whose labels are ``ids``."""
    images = []
    for label in ids:
        pixels = torch.from_numpy(np.where(label > 0, 200, 5).astype(np.uint8))[None]
        images.append(NativeImage(pixels, pixels, label, pixels))
    names = tuple("abcdefgh"[: len(ids)])
    return NativeData("here", 1, 16, (), names, "0", {"val": images})


def test_scores_are_of_their_image_though_images_of_a_size_come_together():
    sizes = [(30, 20), (20, 30), (30, 20), (20, 400)]
    ids = [np.zeros(size, np.int32) for size in sizes]
    for count, label in enumerate(ids):  # as many nuclei as the number of the image
        for k in range(count):
            label[2:6, 4 * k : 4 * k + 3] = k + 1
    data = native(ids)
    loader = data.loader("val", 2)
    assert loader.order != sorted(loader.order)
    # The last nucleus of every image is not found.
    found = [
        ImageScores({"ap50": row / 10}, np.where(ids[row] == row, 0, ids[row]))
        for row in loader.order
    ]
    scored = ScoredImages(data, "val", loader, found)
    assert [row.id for row in scored.table] == ["a", "b", "c", "d"]
    assert [row.scores["ap50"] for row in scored.table] == [0, 0.1, 0.2, 0.3]
    assert [row.fates["matched"] for row in scored.table] == [0, 0, 1, 2]
    assert [row.fates["missed"] for row in scored.table] == [0, 1, 1, 1]
    assert {row.kind for row in scored.table} == {"fluorescence"}
    best, median, worst = scored.pictures()
    assert (best.id, best.role, median.id, worst.id) == ("d", "best", "b", "a")
    for picture in (best, median, worst):
        assert picture.image.shape == (20, 20, 1)
        assert picture.label.shape == picture.prediction.shape == (20, 20)
    assert PICTURE_SIDE > 20


def test_large_images_are_shown_by_their_middle():
    label = np.zeros((PICTURE_SIDE + 40, 500), np.int32)
    label[20:30, 90:100] = 1
    data = native([label])
    scores = [ImageScores({"ap50": 1.0}, label)]
    (picture,) = ScoredImages(data, "val", data.loader("val", 1), scores).pictures()
    assert picture.image.shape == (PICTURE_SIDE, PICTURE_SIDE, 1)
    assert picture.label[0, 0] == picture.prediction[0, 0] == 1
    assert (picture.label > 0).sum() == 100
