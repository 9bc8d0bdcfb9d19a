"""The networks themselves: training, sizes, the plain U-Net within the space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import FULL, train_one_step

from nasseg.search_spaces import get_space
from nasseg.search_spaces.networks.blocks import Upsample
from nasseg.search_spaces.networks.nassegnet import _padding
from nasseg.search_spaces.resnet import group_widths
from nasseg.search_spaces.unet import MAX_WIDTH, stage_widths


def parameters(space, arch, **channels) -> int:
    return sum(p.numel() for p in space.build(arch, **channels).parameters())


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("name", ["unet", "resnet", "unet_half_group"])
def test_random_architectures_train_one_step(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(2)
    if FULL:
        archs = space.sample_matrix(200, rng)
    else:
        X = space.sample_matrix(100, rng)
        # A rough cost, with each stage at a quarter of the pixels of the one before it, picks
        # architectures that train in a moment.
        widths = group_widths if name == "resnet" else stage_widths
        cost = [
            sum(a[f"R{i}"] * a[f"B{i}"] * w * w / 4**i for i, w in enumerate(widths(a), start=1))
            for a in space.decode(X)
        ]
        archs = X[np.argsort(cost, kind="stable")[:25]]
    for arch in space.decode(archs):
        train_one_step(space, arch)


def test_default_is_the_plain_u_net_in_size() -> None:
    space = get_space("unet")
    assert stage_widths(space.default()) == [16, 32, 64, 128]
    assert parameters(space, space.default()) == pytest.approx(483_000, rel=0.1)


def test_sizes_span_the_useful_range() -> None:
    space = get_space("unet")
    sizes = space.count_params(space.sample_matrix(5000, np.random.default_rng(0)))
    low, middle, high = np.percentile(sizes, [5, 50, 95])
    assert 1e4 < low < 3e4
    assert 1e5 < middle < 4e5
    assert 1e6 < high < 5e6
    assert np.mean((sizes > 1e5) & (sizes < 1e6)) > 0.4


@pytest.mark.parametrize("skip", ["none", "add", "concat"])
@pytest.mark.parametrize("upsample", ["bilinear", "transposed"])
@pytest.mark.parametrize("topology", ["pyramidal", "isotropic"])
def test_every_decoder_option_keeps_the_size(skip: str, upsample: str, topology: str) -> None:
    space = get_space("unet")
    arch = {**space.default(), "skip": skip, "upsample": upsample, "topology": topology, "M": 5}
    arch |= {"R5": 1, "convblock5": 2, "widenfact5": 1.25, "B5": 2}
    network = space.build(arch, in_channels=4, out_channels=3).eval()
    with torch.no_grad():
        for height, width in [(16, 16), (17, 31), (33, 47), (64, 64)]:
            assert network(torch.zeros(1, 4, height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize("size", range(16, 70))
@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_padding_divides_and_can_be_reflected(size: int, factor: int) -> None:
    before, after = _padding(size, factor)
    padded = before + size + after
    assert padded % factor == 0
    assert padded // factor >= 2
    assert 0 <= before <= after < size


def test_one_image_of_the_smallest_size_trains() -> None:
    space = get_space("unet")
    arch = {**space.default(), "M": 5, "R5": 1, "convblock5": 1, "widenfact5": 2.0, "B5": 1}
    space.build(arch)(torch.randn(1, 3, 16, 16)).mean().backward()


def test_padding_is_cropped_from_where_it_was_added() -> None:
    space = get_space("unet")
    network = space.build({**space.default(), "skip": "none"}, in_channels=1).eval()
    seen = []
    network.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network.stem.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(1, 1, 33, 47)
    with torch.no_grad():
        y = network(x)
    top, left = (p[0] for p in (_padding(33, 8), _padding(47, 8)))
    window = (..., slice(top, top + 33), slice(left, left + 47))
    assert torch.equal(seen[0][window], x)
    assert torch.equal(network.head(seen[1])[window], y)


def test_transposed_upsampling_is_a_transposed_convolution() -> None:
    up = Upsample(6, 5, "transposed").eval()
    x = torch.randn(2, 6, 7, 9)
    # PixelShuffle takes channel 4 c + 2 i + j to pixel (i, j) of channel c.
    kernel = up.conv.weight.detach().reshape(5, 2, 2, 6).permute(3, 0, 1, 2)
    expected = torch.nn.functional.conv_transpose2d(x, kernel, stride=2)
    with torch.no_grad():
        got = up.resize(up.conv(x))
    torch.testing.assert_close(got, expected)


def test_isotropic_keeps_width_and_halves_once() -> None:
    space = get_space("unet")
    arch = space.canonical({**space.default(), "topology": "isotropic"})
    assert arch["widenfact3"] == 0
    assert stage_widths(arch) == [16] * 4
    assert space.build(arch).factor == 2


def test_widths_are_capped() -> None:
    space, rng = get_space("unet"), np.random.default_rng(0)
    widths = [w for arch in space.sample_lhs(500, rng) for w in stage_widths(arch)]
    assert max(widths) == MAX_WIDTH
    assert all(w % 4 == 0 for w in widths)


def test_more_branches_and_blocks_mean_more_parameters() -> None:
    space = get_space("unet")
    base = space.default()
    for key, value in [("B2", 2), ("R2", 2), ("out_channel0", 24), ("dec_kernel", 5)]:
        assert parameters(space, {**base, key: value}) > parameters(space, base)
    assert parameters(space, {**base, "convblock3": 2}) < parameters(space, base)


@pytest.mark.parametrize("upsample", ["bilinear", "transposed"])
def test_a_small_network_learns_a_disc(upsample: str) -> None:
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    centres = torch.randint(8, 24, (16, 2), generator=generator)
    label = torch.stack([((y - a) ** 2 + (x - b) ** 2 < 30).float() for a, b in centres])[:, None]
    image = label + 0.5 * torch.randn(16, 1, 32, 32, generator=generator)
    space = get_space("unet")
    arch = space.canonical({**space.default(), "out_channel0": 8, "M": 3, "upsample": upsample})
    network = space.build(arch, in_channels=1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(25):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(network(image), label).backward()
        optimiser.step()
    hit = (network(image) > 0).float()
    dice = 2 * (hit * label).sum() / (hit.sum() + label.sum())
    assert dice > 0.9


@pytest.mark.parametrize("size", [(16, 16), (18, 40), (21, 17)])
@pytest.mark.parametrize("name", ["unet_half", "unet_quarter"])
def test_the_deepest_network_at_low_resolution_takes_the_smallest_images(name, size) -> None:
    space = get_space(name)
    deep = {"M": 5, "R5": 1, "convblock5": 1, "widenfact5": 1.25, "B5": 1, "out_channel0": 8}
    net = space.build({**space.default(), **deep}, in_channels=1, out_channels=2).eval()
    assert net(torch.randn(1, 1, *size)).shape == (1, 2, *size)
