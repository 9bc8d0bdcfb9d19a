"""Heads of single nuclei: targets, losses and decoders that fit each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.draw import disk, ellipse
from skimage.segmentation import relabel_sequential

from nasseg.config import DataConfig
from nasseg.data.load import load_data
from nasseg.data.pixels.targets import retarget
from nasseg.errors import ConfigError
from nasseg.tasks import InstanceTask, TaskType, get_task, offset
from nasseg.tasks.matching import match_counts
from nasseg.tasks.star import RAYS, REACH, border_distances, ray_steps
from nasseg.tasks.watershed import instance_centres
from nasseg.testing.tasks import TaskContract

HEADS = ["instances_boundary", "instances_gradient", "instances_offset", "instances_star"]


class TestBoundary(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("instances_boundary")


class TestGradient(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("instances_gradient")


class TestOffset(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("instances_offset")


class TestStar(TaskContract):
    @pytest.fixture
    def task(self) -> TaskType:
        return get_task("instances_star")


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> InstanceTask:
    task = get_task(request.param)
    assert isinstance(task, InstanceTask)
    return task


def nuclei() -> np.ndarray:
    """Two discs that touch, an elongated one that touches both, and a small one at the border."""
    ids = np.zeros((64, 80), dtype=np.int32)
    ids[disk((22, 20), 10, shape=ids.shape)] = 1
    ids[disk((22, 39), 10, shape=ids.shape)] = 2
    rows, columns = ellipse(39, 30, 8, 20, shape=ids.shape)
    free = ids[rows, columns] == 0
    ids[rows[free], columns[free]] = 3
    ids[30:36, 76:80] = 5  # the number 4 is not there
    return ids


def assert_same(found: np.ndarray, ids: np.ndarray) -> None:
    """Every instance is found, with an IoU above 0.75, and no other."""
    numbered = relabel_sequential(ids)[0]
    assert match_counts(found, numbered, np.array([0.75])).tolist() == [[4, 0, 0]]


def probabilities(task: TaskType, ids: np.ndarray) -> np.ndarray:
    """Answers of a network without error (K, H, W)."""
    made = task.targets(ids).astype(np.float32) / task.target_scale
    if task.name == "instances_boundary":
        made[0] = 1 - made[0]  # background to foreground
    return made


def logits_of(task: TaskType, target: torch.Tensor) -> torch.Tensor:
    """Logits (B, K, H, W) whose :meth:`TaskType.soft` is nearly the target."""
    if task.name == "instances_boundary":
        return target.clamp(0.001, 0.999).log()
    logits = torch.logit(target, eps=0.001)
    if task.name == "instances_offset":
        logits[:, 1:] = (2 * target[:, 1:] - 1) * (offset.REACH / offset.UNIT)
    if task.name == "instances_star":
        logits[:, 2:] = torch.special.expm1((target[:, 2:] * REACH / 8).clamp(min=1e-3)).log()
    return logits


def test_targets_decode_to_the_instances_that_they_are_of(head):
    ids = nuclei()
    found = head.with_decoder({"min_pixels": 15}).decode(probabilities(head, ids))
    assert found.dtype == np.int32
    assert found.max() == 4
    assert_same(found, ids)


def test_logits_become_the_probabilities_that_are_decoded(head):
    ids = nuclei()
    target = torch.from_numpy(head.targets(ids))[None].float() / head.target_scale
    with torch.no_grad():
        found = head.probability(logits_of(head, target))[0].numpy()
    np.testing.assert_allclose(found, probabilities(head, ids), atol=0.01)


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("name", ["instances", *HEADS])
def test_answers_of_a_resized_image_decode_to_the_instances_of_the_image(name, factor):
    task = get_task(name)
    ids = np.kron(nuclei(), np.ones((2, 2), np.int32))
    seen = ids[::2, ::2] if factor < 1 else np.kron(ids, np.ones((2, 2), np.int32))
    target = torch.from_numpy(task.targets(seen))[None].float() / task.target_scale
    logits = torch.nn.functional.interpolate(
        logits_of(task, target), ids.shape, mode="bilinear", align_corners=False
    )
    found = task.probability(task.unscaled(logits, factor))[0].numpy()
    assert_same(task.decode(found), ids)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (16, 16)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_any_answer_is_decoded(head, shape, value):
    flat = np.full((head.channels, *shape), value, np.float32)
    assert head.decode(flat).shape == shape
    noise = np.random.default_rng(0).random(flat.shape, dtype=np.float32)
    for confidence in (0.0, 0.75):
        found = head.with_decoder({"confidence": confidence}).decode(noise)
        assert found.shape == shape
        assert len(np.unique(found[found > 0])) == found.max(initial=0)


def test_an_image_without_nuclei_has_none(head):
    assert head.decode(probabilities(head, np.zeros((20, 30), np.int32))).max() == 0


def test_centres_of_numbers_that_are_not_there_are_zero():
    found = instance_centres(nuclei())
    np.testing.assert_allclose(found[[1, 2, 4, 5]], [[22, 20], [22, 39], [0, 0], [32.5, 77.5]])


def test_offsets_point_at_the_centre():
    ids = nuclei()
    offsets = (get_task("instances_offset").targets(ids)[1:] / 255 * 2 - 1) * offset.REACH
    np.testing.assert_allclose(offsets[:, 14, 20], [8, 0], atol=0.3)
    np.testing.assert_allclose(offsets[:, 22, 45], [0, -6], atol=0.3)
    np.testing.assert_allclose(offsets[:, ids == 0], 0, atol=0.3)


def test_coordinates_rise_through_each_nucleus_and_fall_between_two():
    ids = nuclei()
    vertical, horizontal = get_task("instances_gradient").targets(ids)[1:].astype(int)
    assert horizontal[22, 11] == vertical[13, 20] == 0
    assert horizontal[22, 48] == 255
    assert (np.diff(horizontal[22, 11:30]) > 0).all()
    between = np.flatnonzero(np.diff(ids[22, 11:49])) + 11
    assert len(between) == 1
    assert horizontal[22, between[0] + 1] - horizontal[22, between[0]] < -200
    assert set(vertical[ids == 0]) == {128}


def test_boundary_classes_exclude_each_other():
    ids = nuclei()
    background, inside, border = get_task("instances_boundary").targets(ids) == 255
    assert (background.astype(int) + inside + border == 1).all()
    np.testing.assert_array_equal(background, ids == 0)
    assert border[22, 29]
    assert border[22, 30]
    assert inside[22, 20]


def test_rays_agree_with_a_walk_from_each_pixel():
    ids = nuclei()
    found = border_distances(ids)
    assert found.shape == (RAYS, *ids.shape)
    assert (found[:, ids == 0] == 0).all()
    for row, column in np.argwhere(ids)[::37]:
        for ray, (down, right) in enumerate(ray_steps()):
            step = 0
            while True:
                step += 1
                at = round(row + step * down), round(column + step * right)
                inside = all(0 <= i < n for i, n in zip(at, ids.shape, strict=True))
                if not inside or ids[at] != ids[row, column]:
                    break
            assert found[ray, row, column] == step


def test_rays_are_cut_at_their_reach():
    found = border_distances(np.ones((4, 140), np.int32))
    assert found.max() == np.float32(REACH)
    assert found[0, 0, 139] == 1


def test_polygons_of_far_more_peaks_than_nuclei_do_not_overlap():
    star = get_task("instances_star").with_decoder({"confidence": 0.0})
    noise = np.random.default_rng(0).random((18, 160, 160), dtype=np.float32)
    noise[0] = 1.0
    found = star.decode(noise)
    assert found.max() > 0
    assert np.bincount(found.ravel())[1:].min() >= star.decoder["min_pixels"]


@pytest.mark.parametrize("name", HEADS[1:])
def test_targets_of_directions_are_made_again_after_a_turn(name):
    task, ids = get_task(name), nuclei()
    turned = np.rot90(ids).copy()
    labels = torch.from_numpy(np.stack([turned])[:, None].astype(np.float32))
    made = retarget(task)(labels)[0].numpy()
    found = task.with_decoder({"min_pixels": 15}).decode(made)
    assert_same(found, turned)
    wrong = np.rot90(task.targets(ids), axes=(1, 2)) / 255
    assert np.abs(made - wrong).max() > 0.1


def test_parts_of_a_mirrored_nucleus_have_centres_of_their_own():
    ids = np.zeros((20, 40), np.float32)
    ids[5:15, 2:12] = ids[5:15, 28:38] = 7
    made = retarget(get_task("instances_offset"))(torch.from_numpy(ids)[None, None])[0]
    np.testing.assert_allclose((2 * made[2, 9, [2, 28]] - 1) * offset.REACH, [4.5, 4.5], atol=0.3)


def test_losses_fall_towards_the_target_and_reach_every_channel(head):
    loss = head.bind().loss()
    target = torch.from_numpy(head.targets(nuclei()))[None].float() / head.target_scale
    right = logits_of(head, target)
    start = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    values = [float(loss(start + share * (right - start), target)) for share in (0.0, 0.5, 1.0)]
    assert values[0] > values[1] > values[2]
    start.requires_grad_()
    loss(start, target).backward()
    assert (start.grad.abs().amax((0, 2, 3)) > 0).all()


def test_a_teacher_has_the_lowest_loss_among_neighbours(head):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, head.channels, 24, 24, generator=generator)
    soft = head.soft(logits)
    own = float(head.soft_loss(logits, soft))
    for size in (0.03, 0.3, 3.0):
        for _ in range(5):
            other = logits + size * torch.randn(logits.shape, generator=generator)
            assert float(head.soft_loss(other, soft)) > own


def test_crops_have_the_targets_of_the_head(head):
    config = DataConfig(task=head.name, crop=32, synthetic_train=2, synthetic_val=1)
    data = load_data(config)
    assert data.kind == head.name
    _, target = next(iter(data.train_loader(2, seed=0)))
    assert target.shape == (2, head.channels, 32, 32)
    assert float(target.min()) >= 0
    assert float(target.max()) <= 1
    # Where targets are made of each crop, whole ones would only take memory.
    assert data.images["train"][0].target.shape[0] == (0 if head.directional else head.channels)


def test_heads_need_images_at_their_own_scale(head):
    with pytest.raises(ConfigError, match=r"data\.crop is 0; allowed: 32 to 4096 pixels"):
        DataConfig(task=head.name)


def test_the_head_of_segmentation_has_a_name_of_its_own():
    assert DataConfig(task="instances", crop=32).kind == "instances"
    assert DataConfig(task="segmentation", crop=32).kind == "instances"
