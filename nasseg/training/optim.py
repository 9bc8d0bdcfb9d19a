"""The optimiser and the learning rate of every training, digital or analog."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from aihwkit.optim import AnalogOptimizer
from torch import nn

from nasseg.analog.fused import fused_layers

MOMENTUM = 0.95
"""Of :class:`Muon`, Nesterov's."""
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that makes a matrix nearly orthogonal, of Jordan et al."""
ITERATIONS = 5
"""Times that it is applied."""
STEP = 0.5
"""Root mean square of a step of :class:`Muon` over its learning rate. Liu et al.
(arXiv:2502.16982) take 0.2, that of AdamW; on nuclei of DSB2018 at native scale 0.5 is better (AP
at IoU 0.5 0.792 after 160 epochs, with 0.2 0.785), and one learning rate serves both optimisers."""


class Muon(torch.optim.AdamW):
    """Orthogonalised momentum for matrices and kernels of convolutions, AdamW for all else.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with decay, and steps of one
    size for matrices of any shape, as by Liu et al. 2025, arXiv:2502.16982. A kernel (outputs,
    inputs, k, k) is a matrix of so many rows. ``torch.optim.Muon`` takes no kernels, and
    orthogonalises in bfloat16, which takes three times as long as this on a CPU.

    Args:
        groups: of parameters; those of a group with ``matrices`` set are orthogonalised.
        lr: learning rate.
        weight_decay: decoupled weight decay.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; gradients of matrices are none afterwards."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            if group.get("matrices"):
                for parameter in group["params"]:
                    self._turn(parameter, group["lr"], group["weight_decay"])
        # It leaves parameters without a gradient as they are.
        super().step()
        return loss

    def _turn(self, parameter: torch.Tensor, lr: float, weight_decay: float) -> None:
        gradient = parameter.grad
        if gradient is None:
            return
        state = self.state[parameter]
        if not state:
            # AdamW asks for the step of every state that it loads.
            state["step"] = torch.tensor(0.0)
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        update = orthogonal(gradient.lerp(momentum, MOMENTUM).flatten(1))
        size = STEP * math.sqrt(max(update.shape))
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(update.view_as(parameter), alpha=-lr * size)
        parameter.grad = None


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return a matrix (N, M) with its singular values brought near to 1, 0.7 to 1.2."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    # The Frobenius norm is no less than the largest singular value.
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    turned: torch.Tensor = x.T if tall else x
    return turned


def make_optimizer(
    net: nn.Module,
    lr: float,
    weight_decay: float,
    slow: Sequence[nn.Parameter] = (),
    slow_factor: float = 1.0,
    name: str = "adamw",
) -> torch.optim.Optimizer:
    """AdamW or :class:`Muon`; on an analog network AdamW, wrapped by AIHWKit's, which clips and
    remaps the tiles.

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
        matrices = [p for p in trained if p.dim() >= 2]
        groups.append({"params": matrices, "matrices": True, **more})
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
    elif name == "muon":
        optimizer = Muon(groups, **settings)
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
