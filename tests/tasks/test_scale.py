"""Images are brought to nuclei of a common diameter, by a first pass of the same network."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasseg.tasks import get_task
from nasseg.tasks.inference import (
    FIRST_PASS,
    mean_passes,
    predict_at_scale,
    predict_whole,
    scale_factors,
)
from nasseg.tasks.matching import match_counts
from nasseg.tasks.scale import (
    LEAST_FACTOR,
    LEAST_SIDE,
    MOST_FACTOR,
    median_diameter,
    scale_factor,
    scaled_size,
)

TASK = get_task("instances")
CENTRES = [(25, 30), (30, 80), (28, 108), (70, 50), (90, 100)]
RADIUS = 10.0


def picture(zoom: float) -> tuple[torch.Tensor, np.ndarray]:
    """An image (1, 1, H, W) of domes of 20 x ``zoom`` pixels, 0 to 1, and their ids (H, W)."""
    side = round(120 * zoom)
    rows, columns = (np.mgrid[:side, :side] + 0.5) / zoom
    image = np.zeros((side, side), np.float32)
    ids = np.zeros((side, side), np.int32)
    for number, (row, column) in enumerate(CENTRES, 1):
        dome = 1 - ((rows - row) ** 2 + (columns - column) ** 2) / RADIUS**2
        ids[dome > 0] = number
        image = np.maximum(image, dome.astype(np.float32))
    return torch.from_numpy(image)[None, None], ids


class Threshold(torch.nn.Module):
    """A network that gives the brightness of domes as foreground and as depth, and notes sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape))
        return torch.cat([(image - 0.05) * 40, torch.logit(image, eps=1e-3)], dim=1)


def squares(*sides: int) -> np.ndarray:
    """Ids of squares side by side."""
    ids = np.zeros((40, 50 * len(sides)), np.int32)
    for number, side in enumerate(sides, 1):
        ids[:side, 50 * number - 50 : 50 * number - 50 + side] = number
    return ids


def test_the_diameter_is_the_median_over_nuclei_by_area():
    assert median_diameter(squares(10)) == pytest.approx(2 * math.sqrt(100 / math.pi))
    # Of 100 + 100 + 100 + 400 pixels, the half is reached by the largest.
    assert median_diameter(squares(10, 20, 10, 10)) == pytest.approx(2 * math.sqrt(400 / math.pi))
    # Of 100 + 144 + 225 pixels, by the second.
    assert median_diameter(squares(15, 10, 12)) == pytest.approx(2 * math.sqrt(144 / math.pi))


def test_specks_do_not_count_and_an_image_without_nuclei_has_no_diameter():
    assert median_diameter(squares(4, 4, 4, 5)) == pytest.approx(2 * math.sqrt(25 / math.pi))
    assert median_diameter(squares(4, 4)) == 0
    assert median_diameter(np.zeros((8, 8), np.int32)) == 0


def test_factors_are_bounded_and_images_without_nuclei_stay():
    assert scale_factor(20, 40) == 0.5
    assert scale_factor(20, 0) == 1
    assert scale_factor(20, 200) == LEAST_FACTOR
    assert scale_factor(200, 10) == MOST_FACTOR
    assert scaled_size((100, 61), 0.5) == (50, 30)
    assert scaled_size((20, 90), 1 / 3) == (LEAST_SIDE, 30)


@pytest.mark.parametrize("zoom", [1.0, 1.6, 3.0])
def test_the_same_nuclei_are_found_at_any_zoom(zoom: float):
    image, ids = picture(zoom)
    net = Threshold()
    logits = predict_at_scale(net, image, TASK, 25.0)
    assert logits.shape == (1, 2, *ids.shape)
    first, second = net.seen
    assert first[2:] == scaled_size(ids.shape, FIRST_PASS)
    assert second[2] == second[3] == pytest.approx(120 * 25 / 20, rel=0.08)
    found = TASK.decode(TASK.probability(logits)[0].numpy())
    assert match_counts(found, ids, np.array([0.7])).tolist() == [[len(CENTRES), 0, 0]]


def test_every_image_of_a_batch_has_a_scale_of_its_own():
    near, far = picture(2.0)[0], torch.zeros(1, 1, 240, 240)
    far[:, :, :120, :120] = picture(1.0)[0]
    net = Threshold()
    together = predict_at_scale(net, torch.cat([near, far]), TASK, 30.0)
    assert len(net.seen) == 3
    assert net.seen[1][2] == pytest.approx(180, rel=0.08)
    assert net.seen[2][2] == pytest.approx(360, rel=0.08)
    for row, image in enumerate((near, far)):
        assert torch.equal(together[row : row + 1], predict_at_scale(net, image, TASK, 30.0))
    factors = scale_factors(net, torch.cat([near, far]), TASK, 30.0)
    assert factors == pytest.approx([0.75, 1.5], rel=0.08)
    batches = [(near, None), (far, None)]
    passes = FIRST_PASS**2 + (factors[0] ** 2 + factors[1] ** 2) / 2
    assert mean_passes(net, batches, TASK, 30.0) == pytest.approx(passes)


def test_an_image_without_nuclei_is_seen_at_its_own_scale():
    net, image = Threshold(), torch.zeros(1, 1, 60, 44)
    logits = predict_at_scale(net, image, TASK, 30.0)
    assert [shape[2:] for shape in net.seen] == [(30, 22), (60, 44)]
    assert torch.equal(logits, predict_whole(net, image))


def test_without_a_diameter_there_is_one_pass_as_ever():
    net, (image, _) = Threshold(), picture(1.0)
    logits = predict_at_scale(net, image, TASK, 0.0)
    assert net.seen == [(1, 1, 120, 120)]
    assert torch.equal(logits, predict_whole(net, image))


class _Data:
    """Data of nuclei that are brought to 25 pixels."""

    kind = "instances"
    classes = class_counts = ()
    diameter = 25.0


def test_scores_and_the_fit_of_the_decoder_are_at_the_scale_of_the_data():
    image, ids = picture(2.0)
    loader = [(image, torch.from_numpy(ids)[None, None])]
    net, bound = Threshold(), TASK.bind(_Data())
    assert bound.evaluate(net, loader)["ap50"] == 1
    assert net.seen[1][2] == pytest.approx(150, rel=0.08)
    seen = net.seen
    net.seen = []
    assert bound.fit_decoder(net, loader).images == 1
    assert net.seen == seen
    # Data that know nothing of scales keep their own.
    net.seen = []
    TASK.bind().evaluate(net, loader)
    assert net.seen == [tuple(image.shape)]


def test_logits_at_scale_are_those_of_the_resized_image():
    image, ids = picture(2.0)
    net = Threshold()
    logits = predict_at_scale(net, image, TASK, 25.0)
    small = functional.interpolate(
        image, net.seen[1][2:], mode="bilinear", align_corners=False, antialias=True
    )
    back = functional.interpolate(net(small), ids.shape, mode="bilinear", align_corners=False)
    assert torch.equal(logits, back)


def test_nuclei_that_are_small_at_half_scale_are_still_measured():
    """A nucleus of 8 pixels has 13 at half scale, fewer than the least of a prediction."""
    image, ids = picture(0.4)
    net = Threshold()
    predict_at_scale(net, image, TASK, 20.0)
    assert median_diameter(ids) < 9
    assert net.seen[1][2] == pytest.approx(image.shape[2] * 20.0 / median_diameter(ids), rel=0.2)


def test_the_least_size_of_a_nucleus_is_an_argument():
    assert median_diameter(squares(4), 25) == 0.0
    assert median_diameter(squares(4), 6) == pytest.approx(2 * math.sqrt(16 / math.pi))
