"""One training step of a network, and the switch for many of them."""

from __future__ import annotations

import os

import torch

FULL = os.environ.get("NASSEG_FULL") == "1"
"""NASSEG_FULL=1 trains hundreds of networks of each space instead of 25 small ones (minutes)."""


def train_one_step(space, arch) -> None:
    x = torch.randn(2, 3, 33, 47, generator=torch.Generator().manual_seed(1))
    network = space.build(arch, in_channels=3, out_channels=2)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    y = network(x)
    assert y.shape == ((2, 2, 33, 47) if space.task == "segmentation" else (2, 2))
    (y - 1).square().mean().backward()
    for name, p in network.named_parameters():
        label = f"{space.arch_id(arch)}: {name}"
        assert p.grad is not None, label
        assert torch.isfinite(p.grad).all(), label
        assert p.grad.any(), label
    optimiser.step()
    # At float32 a small gradient may vanish in a large weight, but never in all the weights.
    assert all(not torch.equal(p, before[name]) for name, p in network.named_parameters())
