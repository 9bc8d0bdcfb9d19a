"""What an architecture costs: parameters, crossbars, multiply-accumulates.

Parameters come from the space's own formula, thousands of architectures a second. Crossbars and
multiply-accumulates are counted on the network, built on torch's meta device where weights take
no memory (about ten a second); torch is imported with the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ConfigError
from nasseg.evaluators.base import Arch, Evaluator, Matrix
from nasseg.evaluators.scores import Scores

if TYPE_CHECKING:
    from torch import nn

    from nasseg.search_spaces import SearchSpace

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Cost:
    """Counts of one network."""

    params: int
    """Trainable parameters."""
    tiles: int
    """Crossbars for all Conv2d and Linear weights, every layer beginning a crossbar of its own."""


class CostEvaluator(Evaluator):
    """Parameters, crossbars and multiply-accumulates of architectures of ``space``.

    What is counted on a network is remembered for its architecture. For bounds on whole
    populations call :meth:`params_matrix`, which builds none.

    Args:
        space: The search space.
        in_channels: Image channels of the networks.
        out_channels: Output channels of the networks.
        tile_shape: Rows and columns of a crossbar. A k x k convolution of C to D channels takes
            ``ceil(C k k / rows) * ceil(D / columns)`` of them; biases stay digital.

    Raises:
        ConfigError: a channel count or tile side is below 1.
    """

    def __init__(
        self,
        space: SearchSpace,
        in_channels: int = 3,
        out_channels: int = 1,
        tile_shape: tuple[int, int] = (512, 256),
    ) -> None:
        for key, value in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("tile_shape", min(tile_shape)),
        ):
            if value < 1:
                raise ConfigError(f"{key} is {value!r}; allowed: 1 or more")
        self.space = space
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.tile_shape = tile_shape
        self._costs: dict[bytes, Cost] = {}
        self._macs: dict[tuple[bytes, int, int], int] = {}

    def evaluate(self, archs: Sequence[Arch]) -> Scores:
        """Scores with ``params`` and ``tiles`` known."""
        return self.evaluate_matrix(self.space.encode(archs))

    def evaluate_matrix(self, X: Matrix) -> Scores:
        """Scores with ``params`` and ``tiles`` known, of float32 rows ``(n, F)``."""
        costs = self.costs_matrix(X)
        return Scores.of(
            len(costs), params=[c.params for c in costs], tiles=[c.tiles for c in costs]
        )

    def costs_matrix(self, X: Matrix) -> list[Cost]:
        """The :class:`Cost` of every row; equal rows are counted once."""
        keys = row_keys(X)
        new = _first_of_each(keys, self._costs)
        for key, arch in zip(new, self._decode(X, new.values()), strict=True):
            self._costs[key] = count_network(self._build(arch), self.tile_shape)
        return [self._costs[key] for key in keys]

    def params_matrix(self, X: Matrix) -> IntArray:
        """Number of parameters of every row, int64 ``(n,)``."""
        return self.space.count_params(X, self.in_channels, self.out_channels)

    def macs(self, archs: Sequence[Arch], input_size: tuple[int, int] = (64, 64)) -> IntArray:
        """Multiply-accumulates of Conv2d and Linear for one image of ``input_size`` (H, W)."""
        return self.macs_matrix(self.space.encode(archs), input_size)

    def macs_matrix(self, X: Matrix, input_size: tuple[int, int] = (64, 64)) -> IntArray:
        """As :meth:`macs`, of float32 rows ``(n, F)``."""
        height, width = input_size
        keys = row_keys(X)
        known = {key for key in keys if (key, height, width) in self._macs}
        new = _first_of_each(keys, known)
        for key, arch in zip(new, self._decode(X, new.values()), strict=True):
            shape = (1, self.in_channels, height, width)
            self._macs[key, height, width] = count_macs(self._build(arch), shape)
        return np.array([self._macs[key, height, width] for key in keys], dtype=np.int64)

    def _decode(self, X: Matrix, index: Any) -> list[dict[str, Any]]:
        rows = list(index)
        return self.space.decode(X[rows]) if rows else []

    def _build(self, arch: Arch) -> nn.Module:
        import torch

        def build() -> nn.Module:
            return self.space.build(
                arch, in_channels=self.in_channels, out_channels=self.out_channels
            )

        try:
            with torch.device("meta"):
                return build()
        except (RuntimeError, NotImplementedError):
            # An initialisation that reads values cannot run without them.
            return build().to("meta")


def count_network(net: nn.Module, tile_shape: tuple[int, int] = (512, 256)) -> Cost:
    """The :class:`Cost` of a network that is built, on any device."""
    from torch import nn

    rows, columns = tile_shape
    tiles = 0
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            outputs = module.weight.shape[0]
            inputs = module.weight.numel() // outputs
            tiles += math.ceil(inputs / rows) * math.ceil(outputs / columns)
    return Cost(sum(p.numel() for p in net.parameters() if p.requires_grad), tiles)


def count_macs(net: nn.Module, input_shape: tuple[int, int, int, int]) -> int:
    """Multiply-accumulates of all Conv2d and Linear layers in one forward pass.

    Args:
        net: A network on the meta device.
        input_shape: ``(B, C, H, W)``.
    """
    import torch

    from nasseg._macs import count_macs as layer_macs

    return input_shape[0] * sum(layer_macs(net, torch.empty(input_shape, device="meta")).values())


def row_keys(X: Matrix) -> list[bytes]:
    """The bytes of every row; equal architectures have equal keys."""
    # Adding zero turns -0.0 into 0.0, which is the same architecture but other bytes.
    rows = np.ascontiguousarray(X, dtype=np.float32) + np.float32(0)
    return [row.tobytes() for row in rows]


def _first_of_each(keys: Sequence[bytes], known: Any) -> dict[bytes, int]:
    """Keys not in ``known``, with the index at which each occurs first."""
    new: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        if key not in known:
            new.setdefault(key, i)
    return new
