"""The ``cells`` space: the contract of all spaces, and that its formulas are its networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from nasseg.analog import AnalogSpec, convert
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.search_spaces.cells import SKIPS, WIDTHS
from nasseg.search_spaces.constants import CELL_BLOCKS, CELL_HEADS
from nasseg.testing.spaces import SearchSpaceContract


class TestCellsSpace(SearchSpaceContract):
    networks_checked = 4

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("cells")

    def output_shape(self, batch: int, channels: int, height: int, width: int) -> tuple[int, ...]:
        return (batch, channels)


def test_enumeration_is_the_product_of_the_choices_and_each_is_there_once():
    space = get_space("cells")
    archs = list(space.enumerate())
    assert len(archs) == space.size() == (len(CELL_BLOCKS) * 2 * len(WIDTHS)) ** 2 * 2 == 1800
    stage = (tuple(CELL_BLOCKS), SKIPS, WIDTHS)
    expected = itertools.product(*stage, *stage, CELL_HEADS)
    assert [tuple(arch.values()) for arch in archs] == list(expected)
    for arch in archs[::97]:
        space.validate(arch)


def test_enumeration_of_a_conditional_space_is_lazy_and_canonical():
    space = get_space("resnet")  # 10^16 members: the first ones come at once
    first = list(itertools.islice(space.enumerate(), 50))
    for arch in first:
        space.validate(arch)
    assert len({space.arch_id(arch) for arch in first}) == 50


def test_no_architecture_is_large():
    space = get_space("cells")
    X = space.encode(list(space.enumerate()))
    assert space.count_params(X, 3, 10).max() < 100_000
    assert space.count_macs_per_pixel(X, 3, 10).max() < 30_000


@pytest.mark.parametrize("block", list(CELL_BLOCKS))
@pytest.mark.parametrize("head", CELL_HEADS)
def test_every_multiply_accumulate_runs_on_tiles(block, head):
    space = get_space("cells")
    arch = {**space.default(), "block1": block, "block2": block, "head": head, "skip2": "add"}
    net = space.build(arch, in_channels=1, out_channels=3)
    analog, coverage = convert(
        net, AnalogSpec.preset("pcm"), example=torch.zeros(1, 1, 28, 28), seed=0
    )
    assert coverage.mac_fraction == 1.0
    table = space.layer_table(space.encode([arch]), 1, 3, (28, 28))
    assert coverage.macs == table.macs()[0]
    with torch.no_grad():
        assert analog.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 3)


def test_a_batch_norm_follows_every_convolution_and_a_skip_is_projected_where_it_must_be():
    space = get_space("cells")
    arch = {**space.default(), "width1": 16, "skip1": "add", "skip2": "add"}
    net = space.build(arch, in_channels=1, out_channels=2)
    kinds = [type(m) for m in net.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d] * (len(kinds) // 2)
    assert isinstance(net.cells[0].shortcut, nn.Identity)
    assert isinstance(net.cells[1].shortcut, nn.Sequential)
    other = space.build({**arch, "width1": 8, "skip2": "none"}, in_channels=1, out_channels=2)
    assert isinstance(other.cells[0].shortcut, nn.Sequential)
    assert other.cells[1].shortcut is None


@pytest.mark.parametrize("block", list(CELL_BLOCKS))
def test_field_of_view_is_what_a_pixel_reaches(block):
    """One position of the last map depends on exactly that many columns of the image."""
    space = get_space("cells")
    arch = {**space.default(), "block1": block, "block2": "c5", "skip1": "none", "skip2": "none"}
    said = space.describe_matrix(space.encode([arch]), 1, 2)["field_of_view"][0]
    net = space.build(arch, in_channels=1, out_channels=2).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)  # nothing cancels, no ReLU is dead
    x = torch.full((1, 1, 128, 128), 1e-3, requires_grad=True)
    middle = net.cells(net.stem(x))[0, 0, 16, 16]
    middle.backward()
    columns = np.flatnonzero(x.grad[0, 0].abs().sum(0).numpy())
    assert columns[-1] - columns[0] + 1 == said
