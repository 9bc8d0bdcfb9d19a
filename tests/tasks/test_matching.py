"""Matches of instances: panoptic quality, count errors, and the fate of every nucleus."""

import time
import tracemalloc

import numpy as np
import pytest
from skimage.measure import label as connected

from nasseg.tasks import matching
from nasseg.tasks.matching import (
    FALSE_POSITIVE,
    FATES,
    fates,
    match_counts,
    overlap_table,
    pair_iou,
)
from nasseg.tasks.metrics import InstanceMetrics, instance_scores, panoptic_quality


def boxes(*places, shape=(20, 40)):
    """Ids of rectangles (top, bottom, left, right), numbered from 1."""
    ids = np.zeros(shape, dtype=np.int32)
    for number, (top, bottom, left, right) in enumerate(places, 1):
        ids[top:bottom, left:right] = number
    return ids


def fate_of(prediction, label):
    found = fates(overlap_table(prediction, label))
    return [FATES[k] for k in found.label], found.false_positive.tolist()


NUCLEUS = (0, 10, 0, 10)


# --- panoptic quality and numbers ----------------------------------------------------------------


def test_panoptic_quality_of_hand_computed_matches():
    label = boxes(NUCLEUS, (0, 4, 12, 16), (0, 10, 20, 30))
    # IoU 70 / 100 and 80 / 100; the second is missed, and one is found where nothing is.
    prediction = boxes((0, 7, 0, 10), (0, 8, 20, 30), (12, 18, 12, 16))
    found = instance_scores(prediction, label)
    assert found["sq"] == pytest.approx(0.75)
    assert found["rq"] == pytest.approx(2 / (2 + 0.5 + 0.5))
    assert found["pq"] == pytest.approx(1.5 / 3)
    assert (found["count_error"], found["count_mae"]) == (0.0, 0.0)


def test_an_iou_of_a_half_is_no_match():
    found = instance_scores(boxes((0, 5, 0, 10)), boxes(NUCLEUS))
    assert (found["pq"], found["sq"], found["rq"], found["ap50"]) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("counts", "pq"),
    [((0, 0, 0), 1.0), ((0, 3, 0), 0.0), ((0, 0, 3), 0.0), ((2, 0, 0), 0.8), ((2, 2, 2), 0.4)],
)
def test_panoptic_quality_where_there_is_nothing_or_nothing_matches(counts, pq):
    found = panoptic_quality(0.8 * counts[0], *counts)
    assert found.pq == pytest.approx(pq)
    assert found.pq == pytest.approx(found.sq * found.rq)


def test_the_count_error_is_relative_to_the_true_number_and_the_difference_is_not():
    label = boxes(*((0, 4, 5 * k, 5 * k + 4) for k in range(4)))
    few, none = boxes((0, 4, 0, 4)), boxes()
    metrics = InstanceMetrics()
    metrics.update(few, label)  # 3 of 4 too few
    assert metrics.compute()["count_error"] == 0.75
    metrics.update(label, none)  # 4 where none is: over 1
    assert metrics.images[1]["count_error"] == 4.0
    found = metrics.compute()
    assert found["count_error"] == pytest.approx((0.75 + 4) / 2)
    assert found["count_mae"] == pytest.approx((3 + 4) / 2)


def brute_force(prediction, label):
    """PQ, SQ and RQ by loops over pairs of masks, in the form of the paper."""
    p = [prediction == k for k in range(1, prediction.max() + 1)]
    g = [label == k for k in range(1, label.max() + 1)]
    ious = [(a & b).sum() / (a | b).sum() for a in p for b in g]
    matches = [iou for iou in ious if iou > 0.5]
    if not p and not g:
        return 1.0, 1.0, 1.0
    fp, fn = len(p) - len(matches), len(g) - len(matches)
    below = len(matches) + fp / 2 + fn / 2
    sq = sum(matches) / len(matches) if matches else 0.0
    return sum(matches) / below, sq, len(matches) / below


def test_panoptic_quality_agrees_with_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    matched = 0
    for _ in range(20):
        blocks = rng.random((8, 8)) > 0.6
        label = connected(np.kron(blocks, np.ones((4, 4))), connectivity=1)
        noise = rng.random(label.shape) > 0.85
        prediction = connected((label > 0) & ~noise, connectivity=1)
        found = instance_scores(prediction.astype(np.int32), label.astype(np.int32))
        expected = brute_force(prediction, label)
        assert (found["pq"], found["sq"], found["rq"]) == pytest.approx(expected)
        matched += found["rq"] > 0
    assert matched > 10


# --- fates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "fate"),
    [
        (boxes((0, 8, 0, 10)), "matched"),
        (boxes(), "missed"),
        (boxes((0, 5, 0, 10)), "missed"),  # half of it
        (boxes((0, 5, 0, 10), (5, 10, 0, 10)), "split"),
        (boxes((0, 5, 0, 10), (5, 7, 0, 10)), "split"),
        (boxes((0, 6, 0, 10), (6, 10, 0, 10)), "matched"),  # the larger part is above half
        (boxes((0, 20, 0, 12)), "badly outlined"),  # 100 of 240
    ],
)
def test_the_fate_of_one_nucleus(prediction, fate):
    assert fate_of(prediction, boxes(NUCLEUS)) == ([fate], [False] * prediction.max())


def test_one_prediction_over_several_nuclei_merges_them_but_for_one_that_it_matches():
    alike = boxes((0, 10, 0, 10), (0, 10, 10, 20))
    assert fate_of(boxes((0, 10, 0, 20)), alike) == (["merged", "merged"], [False])
    unlike = boxes((0, 10, 0, 16), (0, 10, 16, 20))
    assert fate_of(boxes((0, 10, 0, 20)), unlike) == (["matched", "merged"], [False])


def test_a_false_positive_lies_where_no_nucleus_is():
    label = boxes(NUCLEUS)
    assert fate_of(boxes((0, 10, 0, 10), (12, 18, 0, 5)), label) == (["matched"], [False, True])
    # Mostly beside the nucleus of which it covers a corner; mostly on it.
    assert fate_of(boxes((8, 14, 0, 10)), label) == (["missed"], [True])
    assert fate_of(boxes((4, 8, 0, 10)), label) == (["missed"], [False])
    assert fate_of(boxes((0, 4, 0, 4)), boxes()) == ([], [True])
    assert fate_of(boxes(), boxes()) == ([], [])


def test_every_nucleus_has_one_fate_and_the_matched_are_the_true_positives():
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(60):
        label = connected(np.kron(rng.random((8, 8)) > 0.6, np.ones((4, 4))), connectivity=1)
        # Lines through them split, thick ones lose, closed gaps merge, and boxes come from nowhere.
        found = label > 0
        for line in rng.integers(0, 32, 6):
            found[line : line + rng.integers(1, 4)] = False
        found |= np.kron(rng.random((8, 8)) > 0.85, np.ones((4, 4))) > 0
        prediction = connected(found, connectivity=1).astype(np.int32)
        label = label.astype(np.int32)
        counts = fates(overlap_table(prediction, label)).counts()
        ((matched, wrong, _),) = match_counts(prediction, label, np.array([0.5]))
        assert sum(counts[name] for name in FATES) == label.max()
        assert counts["matched"] == matched
        assert counts[FALSE_POSITIVE] <= wrong
        seen |= {name for name, number in counts.items() if number}
    assert seen == {*FATES, FALSE_POSITIVE}


# --- many instances ------------------------------------------------------------------------------


@pytest.mark.parametrize("strip", [7, 1 << 17])
def test_sparse_overlaps_are_those_of_a_loop_over_masks(monkeypatch, strip):
    monkeypatch.setattr(matching, "_STRIP", strip)
    rng = np.random.default_rng(2)
    for shape in ((1, 1), (9, 13), (16, 5)):
        prediction = rng.integers(0, 5, shape).astype(np.int32)
        label = rng.integers(0, 4, shape).astype(np.int32)
        table = overlap_table(prediction, label)
        dense = [
            [((prediction == p) & (label == t)).sum() for t in range(label.max() + 1)]
            for p in range(prediction.max() + 1)
        ]
        assert table.toarray().tolist() == dense
        iou = pair_iou(table).toarray()
        for p, t in np.ndindex(*iou.shape):
            a, b = prediction == p + 1, label == t + 1
            assert iou[p, t] == ((a & b).sum() / (a | b).sum() if (a & b).any() else 0)


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="must be alike"):
        overlap_table(boxes(shape=(4, 4)), boxes(shape=(4, 5)))


def test_ten_thousand_nuclei_take_little_memory_and_time():
    label = np.zeros((1200, 1200), np.int32)
    for k in range(10_000):
        y, x = divmod(k, 100)
        label[12 * y + 1 : 12 * y + 10, 12 * x + 1 : 12 * x + 10] = k + 1
    prediction = np.roll(label, 1, axis=0)
    tracemalloc.start()
    begun = time.perf_counter()
    counts = match_counts(prediction, label, np.array([0.5, 0.95]))
    found = fates(overlap_table(prediction, label)).counts()
    took, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts.tolist() == [[10_000, 0, 0], [0, 10_000, 10_000]]
    assert found["matched"] == 10_000
    assert took < 2
    assert peak < 50e6
