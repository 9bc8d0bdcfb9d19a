"""Single nuclei: targets, watershed, matching, average precision."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.draw import disk
from skimage.measure import label as connected
from skimage.morphology import h_maxima

from nasseg.tasks import decoder, get_task
from nasseg.tasks.decoder import descend
from nasseg.tasks.matching import match_counts
from nasseg.tasks.metrics import IOU_THRESHOLDS, InstanceMetrics
from nasseg.tasks.watershed import depth_map, split_instances


def two_discs(distance: int, radius: int = 9) -> np.ndarray:
    ids = np.zeros((48, 72), dtype=np.int32)
    for number, column in enumerate((24, 24 + distance), 1):
        ids[disk((24, column), radius, shape=ids.shape)] = number
    return ids


def test_depth_is_one_in_every_core_and_zero_outside():
    ids = two_discs(30)
    ids[2:4, 2:4] = 3  # four pixels, all of them border
    depth = depth_map(ids)
    assert depth.dtype == np.float32
    assert (depth[ids == 0] == 0).all()
    for number in (1, 2, 3):
        assert depth[ids == number].max() == pytest.approx(1.0)
        assert (depth[ids == number] > 0).all()


def test_depth_of_a_large_nucleus_is_full_eight_pixels_from_its_border():
    ids = np.zeros((64, 64), dtype=np.int32)
    ids[2:62, 2:62] = 1
    depth = depth_map(ids)
    assert depth[32, 11] == 1.0
    assert depth[32, 32] == 1.0
    assert depth[32, 4] < 0.5


@pytest.mark.parametrize("rise", [0.0, 0.1])
def test_depth_falls_between_touching_nuclei_and_watershed_parts_them(rise):
    ids = two_discs(17)
    assert connected(ids > 0).max() == 1
    depth = depth_map(ids)
    assert depth[24, 31:34].min() < 0.3
    found = split_instances((ids > 0).astype(np.float32), depth, threshold=0.5, rise=rise)
    assert found.max() == 2
    assert match_counts(found, ids, np.array([0.9])).tolist() == [[2, 0, 0]]


@pytest.mark.parametrize("rise", [0.0, 0.1])
def test_a_part_without_a_seed_is_one_instance_and_specks_are_dropped(rise):
    foreground = np.zeros((32, 32), dtype=np.float32)
    foreground[4:12, 4:12] = 1
    foreground[20:22, 20:22] = 1
    found = split_instances(foreground, np.zeros_like(foreground), threshold=0.5, rise=rise)
    assert found.max() == 1
    assert (found > 0).sum() == 64
    assert split_instances(0 * foreground, foreground, threshold=0.5, rise=rise).max() == 0


def test_seeds_are_the_maxima_that_morphological_reconstruction_finds():
    rng = np.random.default_rng(0)
    cross = ndimage.generate_binary_structure(2, 1)
    for _ in range(5):
        depth = ndimage.gaussian_filter(rng.random((60, 80)), 2)
        depth = (depth - depth.min()) / np.ptp(depth)
        foreground = (ndimage.gaussian_filter(rng.random((60, 80)), 4) > 0.49).astype(np.float64)
        for rise in (0.05, 0.1, 0.3):
            found = split_instances(
                foreground, depth, threshold=0.5, rise=rise, smooth=0, min_pixels=0
            )
            mask = foreground > 0.5
            seeds, count = ndimage.label(
                h_maxima(np.where(mask, depth, -1.0), rise, footprint=cross) * mask
            )
            assert found.max() == count > 1
            # One seed an instance.
            assert sorted(found[seeds > 0][np.unique(seeds[seeds > 0], return_index=True)[1]]) == [
                *range(1, count + 1)
            ]
            assert ((found > 0) == mask).all()


def test_a_shallow_saddle_between_equal_maxima_parts_nothing():
    depth = np.zeros((9, 15), dtype=np.float32)
    depth[2:7, 2:13] = 0.5
    depth[4, 4] = depth[4, 10] = 0.55
    found = split_instances(1.0 * (depth > 0), depth, threshold=0.5, rise=0.1, smooth=0)
    assert found.max() == 1
    found = split_instances(1.0 * (depth > 0), depth, threshold=0.5, rise=0.04, smooth=0)
    assert found.max() == 2


def test_two_maxima_are_one_instance_where_their_shape_is_that_of_one():
    rows, columns = np.mgrid[:48, :64]
    # Two maxima, 20 pixels apart, 0.2 above the saddle between them.
    away = np.minimum(*(np.hypot(rows - 24, columns - column) for column in (22, 42)))
    depth = 0.8 - 0.02 * away
    ellipse = ((rows - 24) / 12) ** 2 + ((columns - 32) / 20) ** 2 < 1
    waist = away < 11
    settings = {"threshold": 0.5, "smooth": 0.0, "min_pixels": 0}
    for mask, parts in ((ellipse, 1), (waist, 2)):
        for rise, convexity, count in ((0.1, 0.0, 2), (0.1, 0.93, parts), (0.06, 0.93, 2)):
            found = split_instances(1.0 * mask, depth, rise=rise, convexity=convexity, **settings)
            assert found.max() == count
            assert ((found > 0) == mask).all()


def test_instances_of_low_mean_probability_are_dropped():
    ids = two_discs(30)
    foreground = np.where(ids == 1, 0.9, np.where(ids == 2, 0.6, 0.0))
    kept = split_instances(foreground, depth_map(ids), threshold=0.5, rise=0.1, confidence=0.7)
    assert kept.max() == 1
    np.testing.assert_array_equal(kept > 0, ids == 1)


def test_dice_is_of_the_pixels_of_instances():
    ids = two_discs(30)
    target = np.stack([ids > 0, depth_map(ids)]).astype(np.float32)
    logits = torch.logit(torch.from_numpy(target)[None], eps=1e-4)
    logits[:, :, 2:4, 2:4] = 9  # a speck, which is no instance
    loader = [(torch.zeros(1, 3, *ids.shape), torch.from_numpy(ids)[None, None])]
    task = get_task("instances")
    assert task.bind().evaluate(Oracle(logits), loader)["dice"] == 1.0
    older = task.as_before()
    assert older.decoder["rise"] == 0
    assert older.bind().evaluate(Oracle(logits), loader)["dice"] < 1.0


def test_a_decoder_is_fitted_where_its_defaults_are_not_the_best():
    task, ids = get_task("instances"), two_discs(30)
    target = np.stack([ids > 0, depth_map(ids)]).astype(np.float32)
    # So unsure of the second nucleus that the defaults drop it.
    target[0, ids == 2] = 0.65
    logits = torch.logit(torch.from_numpy(target)[None], eps=1e-4)
    loader = [(torch.zeros(1, 3, *ids.shape), torch.from_numpy(ids)[None, None])]
    fit = task.bind().fit_decoder(Oracle(logits), loader)
    assert fit.values == {**task.decoder, "confidence": 0.0}
    assert fit.images == 1
    assert fit.score > fit.default_score
    assert task.with_decoder(fit.values).decode(target).max() == 2
    assert task.decode(target).max() == 1


def test_descent_prefers_the_defaults_and_asks_for_nothing_twice():
    asked = []

    def score(values):
        asked.append(tuple(values.values()))
        return np.array([-abs(values["a"] + values["b"] - 5)])

    choices = {"a": (0.0, 1.0, 2.0, 3.0), "b": (1.0, 2.0, 3.0), "c": (0.0, 1.0)}
    values = descend(score, {"a": 1.0, "b": 1.0, "c": 1.0}, choices)
    assert values == {"a": 3.0, "b": 2.0, "c": 1.0}
    assert len(asked) == len(set(asked))


def test_a_default_stays_where_another_value_is_better_by_chance():
    def score(values):
        return np.array([0.5, 0.5, 0.5, 0.5]) + values["a"] * noise

    choices = {"a": (0.0, 1.0)}
    noise = np.array([0.3, -0.2, 0.1, -0.1])
    assert descend(score, {"a": 0.0}, choices) == {"a": 0.0}
    noise = np.array([0.3, 0.2, 0.1, 0.1])
    assert descend(score, {"a": 0.0}, choices) == {"a": 1.0}


def test_large_images_are_fitted_on_by_their_middle(monkeypatch):
    monkeypatch.setattr(decoder, "SIDE", 24)
    ids = two_discs(30)
    found = decoder._examples(
        get_task("instances"),
        torch.nn.Conv2d(3, 2, 1).eval(),
        [(torch.zeros(1, 3, *ids.shape), torch.from_numpy(ids)[None, None])],
        0.0,
    )
    (probability, own), middle = found[0], ids[12:36, 24:48]
    assert probability.shape == (2, 24, 24)
    assert probability.dtype == np.float16
    np.testing.assert_array_equal(own > 0, middle > 0)
    assert own.max() == len(np.unique(middle)) - 1


def test_precision_of_hand_computed_matches():
    label = np.zeros((10, 20), dtype=np.int32)
    label[0:10, 0:10] = 1
    label[0:4, 12:16] = 2
    said = np.zeros_like(label)
    said[0:7, 0:10] = 1  # 70 of 100: found up to 0.65
    said[6:9, 12:16] = 2  # nothing there
    counts = match_counts(said, label, IOU_THRESHOLDS)
    assert counts[0].tolist() == [1, 1, 1]
    assert counts[:, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    metrics = InstanceMetrics()
    metrics.update(said, label)
    found = metrics.compute()
    assert (found["ap50"], found["ap"]) == pytest.approx((1 / 3, 4 / 30))


def test_an_empty_image_scores_one_where_nothing_is_found_and_zero_otherwise():
    empty = np.zeros((8, 8), dtype=np.int32)
    metrics = InstanceMetrics()
    metrics.update(empty, empty)
    errors = {"count_error": 0.0, "count_mae": 0.0}
    assert metrics.compute() == {**dict.fromkeys(("ap50", "ap", "pq", "sq", "rq"), 1.0), **errors}
    metrics.update(np.ones_like(empty), empty)
    errors = {"count_error": 0.5, "count_mae": 0.5}
    assert metrics.compute() == {**dict.fromkeys(("ap50", "ap", "pq", "sq", "rq"), 0.5), **errors}
    with pytest.raises(ValueError, match="no image"):
        InstanceMetrics().compute()


def test_matching_agrees_with_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = (
            connected(np.kron(rng.random((8, 8)) > 0.6, np.ones((4, 4))), connectivity=1)
            for _ in range(2)
        )
        found = 0
        for i in range(1, a.max() + 1):
            for j in range(1, b.max() + 1):
                both, either = ((a == i) & (b == j)).sum(), ((a == i) | (b == j)).sum()
                found += both / either > 0.5
        counts = match_counts(a.astype(np.int32), b.astype(np.int32), np.array([0.5]))
        assert counts.tolist() == [[found, a.max() - found, b.max() - found]]


class Oracle(torch.nn.Module):
    """Gives the logits of a perfect answer, which it is told."""

    def __init__(self, logits):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.logits = logits

    def forward(self, x):
        return self.logits


def test_the_task_scores_a_perfect_answer_with_one_everywhere():
    ids = two_discs(17)
    target = np.stack([ids > 0, depth_map(ids)]).astype(np.float32)
    logits = torch.logit(torch.from_numpy(target)[None], eps=1e-4)
    loader = [(torch.zeros(1, 3, *ids.shape), torch.from_numpy(ids)[None, None])]
    scores = get_task("instances").bind().evaluate(Oracle(logits), loader)
    assert scores["dice"] == scores["iou_pooled"] == scores["ap50"] == scores["rq"] == 1.0
    assert scores["count_error"] == scores["count_mae"] == 0.0
    assert scores["ap"] > 0.9


def test_scores_of_images_are_those_whose_mean_the_metrics_are():
    task, nuclei = get_task("instances").bind(), [two_discs(17), two_discs(30), 0 * two_discs(17)]
    target = np.stack([[ids > 0, depth_map(ids)] for ids in nuclei]).astype(np.float32)
    logits = torch.logit(torch.from_numpy(target), eps=1e-4)
    logits[1, 0, :, 36:] = -9  # the second nucleus of the second image is not found
    net, ids = Oracle(logits), torch.from_numpy(np.stack(nuclei))[:, None]
    metrics, images = task.evaluate_images(net, [(torch.zeros(3, 3, *ids.shape[2:]), ids)])
    assert metrics == task.evaluate(net, [(torch.zeros(3, 3, *ids.shape[2:]), ids)])
    assert [int(image.prediction.max()) for image in images] == [2, 1, 0]
    assert [image.scores["ap50"] for image in images] == [1.0, 0.5, 1.0]
    assert [image.scores["count_error"] for image in images] == [0.0, 0.5, 0.0]
    for name in set(metrics) - {"iou_pooled"}:
        assert np.mean([image.scores[name] for image in images]) == pytest.approx(metrics[name])


def test_large_images_are_seen_in_windows_that_agree_with_the_whole(monkeypatch):
    from nasseg.tasks import inference

    net = torch.nn.Conv2d(3, 2, 3, padding=1).eval()
    image = torch.rand(1, 3, 70, 90)
    whole = net(image)
    monkeypatch.setattr(inference, "WINDOW", 48)
    with torch.no_grad():
        windows = inference.predict_whole(net, image)
    assert windows.shape == whole.shape
    inside = (slice(None), slice(None), slice(4, 20), slice(4, 20))
    torch.testing.assert_close(windows[inside], whole[inside], atol=1e-3, rtol=1e-3)
