"""The optimiser and the learning rate of every training, digital or analog."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from aihwkit.optim import AnalogOptimizer
from torch import nn

from nasseg.analog.fused import fused_layers


def make_optimizer(
    net: nn.Module,
    lr: float,
    weight_decay: float,
    slow: Sequence[nn.Parameter] = (),
    slow_factor: float = 1.0,
) -> torch.optim.Optimizer:
    """AdamW; on an analog network wrapped by AIHWKit's, which clips and remaps the tiles.

    Biases, BatchNorm and other vectors are not decayed. Groups of the parameters in ``slow`` have
    ``slow_factor`` under ``lr_factor``, by which whoever sets learning rates multiplies theirs.
    """
    late = {id(p) for p in slow}
    groups: list[dict[str, Any]] = []
    for own, more in (
        ([p for p in net.parameters() if id(p) not in late], {}),
        (slow, {"lr_factor": slow_factor}),
    ):
        # AIHWKit's contexts are among them although they hold no value: through them the wrapped
        # optimiser finds the tiles whose weights it clips and remaps after each step.
        trained = [p for p in own if p.requires_grad]
        groups.append({"params": [p for p in trained if p.dim() >= 2], **more})
        plain = [p for p in trained if p.dim() < 2]
        groups.append({"params": plain, "weight_decay": 0.0, **more})
    groups = [group for group in groups if group["params"]]
    # One pass over memory a step; for weights beyond the caches that is what a step costs. Its
    # kernel takes the layout of parameter and gradient for the same. On a GPU, torch's own choice;
    # a training that is continued keeps what it began with.
    plain_cpu = all(p.device.type == "cpu" and p.is_contiguous() for p in net.parameters())
    fused = True if plain_cpu else None
    settings: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "fused": fused}
    if any(True for _ in fused_layers(net)):
        optimizer = AnalogOptimizer(torch.optim.AdamW, groups, **settings)
        optimizer.regroup_param_groups(net)
    else:
        optimizer = torch.optim.AdamW(groups, **settings)
    result: torch.optim.Optimizer = optimizer
    return result


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Factor on the peak learning rate at ``step`` of ``total``: linear rise, then a cosine to 0.

    Goyal et al., arXiv 1706.02677 (warm-up); Loshchilov and Hutter, ICLR 2017 (cosine).
    """
    rise = round(total * warmup)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


class WeightAverage:
    """Exponential moving average of parameters and buffers, with a short memory at the start.

    The decay is ``min(decay, (1 + n) / (10 + n))`` after ``n`` steps, so that the average of a
    short training is not held back by where it began.
    """

    def __init__(self, tensors: dict[str, torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.tensors = {name: tensor.clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: dict[str, torch.Tensor]) -> None:
        """Move towards ``tensors``; what is not floating point is copied."""
        self.steps += 1
        weight = 1.0 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        ours: list[torch.Tensor] = []
        theirs: list[torch.Tensor] = []
        for name, tensor in tensors.items():
            average = self.tensors[name]
            if tensor.is_floating_point():
                ours.append(average)
                theirs.append(tensor)
            else:
                average.copy_(tensor)
        torch._foreach_lerp_(ours, theirs, weight)
