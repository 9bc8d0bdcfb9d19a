"""The supernet is its networks, and its noise is that of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.stripes import SPACE

from nasseg.analog.noise import NoiseSource
from nasseg.search.darts._shared import disturb
from nasseg.search.darts.supernet import Supernet, WeightNoise


def path_of(arch):
    return {h.name: h.choices.index(arch[h.name]) for h in SPACE.hyperparameters}


@pytest.mark.parametrize("seed", range(6))
def test_a_path_of_the_supernet_is_the_network_extracted_from_it(seed):
    rng = np.random.default_rng(seed)
    net = Supernet(2, 3)
    x = torch.randn(4, 2, 17, 23, generator=torch.Generator().manual_seed(seed))
    for arch in [SPACE.sample(rng) for _ in range(6)]:
        own = net.extract(SPACE, arch)
        assert own.arch == arch
        torch.testing.assert_close(net(x, path_of(arch)), own(x), rtol=1e-4, atol=1e-5)


def test_a_mixture_of_one_is_that_path_and_every_choice_gets_a_gradient():
    net = Supernet(1, 2)
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    path = path_of({**SPACE.default(), "width1": 8, "width2": 8})
    weights = {
        h.name: torch.nn.functional.one_hot(torch.tensor(path[h.name]), len(h.choices))
        .float()
        .requires_grad_()
        for h in SPACE.hyperparameters
    }
    mixed = net(x, path, weights)
    torch.testing.assert_close(mixed, net(x, path), rtol=1e-4, atol=1e-5)
    mixed.square().sum().backward()
    for name, weight in weights.items():
        # "none" adds nothing: its gradient is 0, against which "add" is weighed.
        free = weight.grad[1:] if name.startswith("skip") else weight.grad
        assert (free != 0).all(), name


def test_noise_is_relative_to_the_largest_weight_in_use():
    weight = torch.zeros(64, 64)
    weight[3, 2], weight[40, 2] = 1.0, 100.0
    drawn = WeightNoise(0.1, NoiseSource(0))(weight, rows=32, columns=8) - weight
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.05)
    drawn = WeightNoise(0.1, NoiseSource(0))(weight, rows=64, columns=64) - weight
    assert float(drawn.std()) == pytest.approx(10, rel=0.05)


def test_noise_changes_the_output_and_its_seed_repeats_it():
    net = Supernet(1, 2)
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    path = path_of(SPACE.default())
    plain = net(x, path)

    def noisy(seed):
        net.noise = WeightNoise(0.1, NoiseSource(seed))
        return net(x, path)

    assert not torch.allclose(noisy(0), plain)
    assert torch.equal(noisy(0), noisy(0))
    assert not torch.equal(noisy(0), noisy(1))
    own = SPACE.build(SPACE.default(), in_channels=1, out_channels=2)
    before = own.head.bias.clone()
    disturb(own, 0.1, NoiseSource(0))
    assert torch.equal(own.head.bias, before)
