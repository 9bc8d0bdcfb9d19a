"""Single nuclei: targets, watershed, matching, average precision."""

import numpy as np
import pytest
import torch
from skimage.draw import disk
from skimage.measure import label as connected

from nasseg.tasks import get_task
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


def test_depth_falls_between_touching_nuclei_and_watershed_parts_them():
    ids = two_discs(17)
    assert connected(ids > 0).max() == 1
    depth = depth_map(ids)
    assert depth[24, 31:34].min() < 0.3
    found = split_instances((ids > 0).astype(np.float32), depth)
    assert found.max() == 2
    assert match_counts(found, ids, np.array([0.9])).tolist() == [[2, 0, 0]]


def test_a_part_without_a_core_is_one_instance_and_specks_are_dropped():
    foreground = np.zeros((32, 32), dtype=np.float32)
    foreground[4:12, 4:12] = 1
    foreground[20:22, 20:22] = 1
    found = split_instances(foreground, np.zeros_like(foreground))
    assert found.max() == 1
    assert (found > 0).sum() == 64
    assert split_instances(0 * foreground, foreground).max() == 0


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
