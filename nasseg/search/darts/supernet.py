"""All networks of the ``cells`` space in one, with shared weights.

Each block of a stage has weights of its own; a narrower stage uses the first channels of the
widest one (the masks of FBNetV2, Wan et al., CVPR 2020). Where one path is taken, the output is
exactly that of the network that :meth:`Supernet.extract` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasseg.analog.noise import NoiseSource
from nasseg.search_spaces import CellsSpace
from nasseg.search_spaces.cells import SKIPS, WIDTHS
from nasseg.search_spaces.constants import (
    CELL_BLOCKS,
    CELL_HEADS,
    CELL_STAGES,
    CELL_STEM_STRIDE,
    CELL_STEM_WIDTH,
    CELL_STRIDES,
)
from nasseg.search_spaces.networks.blocks import conv_bn, initialise
from nasseg.search_spaces.networks.cellnet import CellNet

Taken = Mapping[str, int]
"""Hyperparameter to the index of its choice, from 0."""
Weights = Mapping[str, Tensor]
"""Hyperparameter to the weight of each of its choices, (K,)."""

ADD = SKIPS.index("add")
FEATURES = tuple(CELL_HEADS.values())


class WeightNoise:
    """Gaussian noise on every weight matrix, drawn anew at each forward pass.

    Args:
        std: standard deviation as a fraction of the largest weight of the layer.
        source: where the numbers come from.
    """

    def __init__(self, std: float, source: NoiseSource) -> None:
        self.std = std
        self.source = source

    def __call__(self, weight: Tensor, rows: int, columns: int) -> Tensor:
        """``weight`` (out, in, ...) disturbed; its first ``columns`` outputs and ``rows`` inputs
        are in use and say which is the largest."""
        largest = weight[:columns, :rows].detach().abs().amax()
        return weight + self.std * largest * self.source.normal_like(weight)


class _Stage(nn.Module):
    """Every block, skip and width of one stage."""

    masks: Tensor
    """1 where a channel is in use, for each width: (widths, channels)."""

    def __init__(self, in_channels: int, stride: int) -> None:
        super().__init__()
        widest = max(WIDTHS)
        self.stride = stride
        self.blocks = nn.ModuleList()
        for kernels in CELL_BLOCKS.values():
            convs = nn.ModuleList()
            for k, kernel in enumerate(kernels):
                first = k == 0
                inputs = in_channels if first else widest
                convs.append(conv_bn(inputs, widest, kernel, stride if first else 1))
            self.blocks.append(convs)
        self.shortcut = conv_bn(in_channels, widest, 1, stride)
        masks = torch.stack([(torch.arange(widest) < width).float() for width in WIDTHS])
        self.register_buffer("masks", masks, persistent=False)


class Supernet(nn.Module):
    """(B, in_channels, H, W) and a path to logits (B, classes), H and W of 16 or more.

    Args:
        in_channels: of the images.
        out_channels: classes.

    Attributes:
        noise: what disturbs the weights; none = nothing.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.noise: WeightNoise | None = None
        self.stem = conv_bn(in_channels, CELL_STEM_WIDTH, 3, CELL_STEM_STRIDE)
        self.stages = nn.ModuleList()
        channels = CELL_STEM_WIDTH
        for stride in CELL_STRIDES:
            self.stages.append(_Stage(channels, stride))
            channels = max(WIDTHS)
        self.hidden = nn.Linear(channels, max(FEATURES))
        # One classifier for each number of features, so that none has to serve two.
        self.heads = nn.ModuleList(
            nn.Linear(features or channels, out_channels) for features in FEATURES
        )
        initialise(self)

    def forward(self, x: Tensor, path: Taken, weights: Weights | None = None) -> Tensor:
        """Logits of one path; with ``weights``, of the mixture that they say.

        Args:
            x: images (B, C, H, W).
            path: the choices taken.
            weights: of every choice, as a relaxation gives them. All blocks and heads are then
                computed, so that each weight gets its gradient.
        """
        x = F.relu(self._conv_bn(self.stem, x, self.in_channels, CELL_STEM_WIDTH))
        inputs = CELL_STEM_WIDTH
        for i, stage in zip(CELL_STAGES, self.stages, strict=True):
            outputs = WIDTHS[path[f"width{i}"]]
            x = self._stage(cast(_Stage, stage), i, x, inputs, outputs, path, weights)
            inputs = outputs
        pooled = x.mean((2, 3))
        return self._mixed("head", path, weights, lambda k: self._head(k, pooled, inputs))

    def _stage(
        self,
        stage: _Stage,
        i: int,
        x: Tensor,
        inputs: int,
        outputs: int,
        path: Taken,
        weights: Weights | None,
    ) -> Tensor:
        width = path[f"width{i}"]
        mask = stage.masks[width] if weights is None else weights[f"width{i}"] @ stage.masks
        mask = mask[:, None, None]

        def block(k: int) -> Tensor:
            y, rows = x, inputs
            convs = cast(nn.ModuleList, stage.blocks[k])
            for number, conv in enumerate(convs):
                if number:
                    y = F.relu(y) * mask
                y = self._conv_bn(cast(nn.Sequential, conv), y, rows, outputs)
                rows = outputs
            return y

        y = self._mixed(f"block{i}", path, weights, block)
        if weights is not None:
            y = y + weights[f"skip{i}"][ADD] * self._shortcut(stage, x, inputs, outputs)
        elif path[f"skip{i}"] == ADD:
            y = y + self._shortcut(stage, x, inputs, outputs)
        return F.relu(y) * mask

    def _shortcut(self, stage: _Stage, x: Tensor, inputs: int, outputs: int) -> Tensor:
        if stage.stride == 1 and inputs == outputs:
            return F.pad(x, (0, 0, 0, 0, 0, max(WIDTHS) - x.shape[1]))
        return self._conv_bn(stage.shortcut, x, inputs, outputs)

    def _head(self, k: int, pooled: Tensor, inputs: int) -> Tensor:
        features, rows = pooled, inputs
        if FEATURES[k]:
            rows = FEATURES[k]
            features = F.relu(self._linear(self.hidden, pooled, inputs, rows)[:, :rows])
        return self._linear(cast(nn.Linear, self.heads[k]), features, rows, self.out_channels)

    def _mixed(
        self, name: str, path: Taken, weights: Weights | None, option: Callable[[int], Tensor]
    ) -> Tensor:
        """The option taken, or the weighted sum of all."""
        if weights is None:
            return option(path[name])
        return torch.stack([w * option(k) for k, w in enumerate(weights[name])]).sum(0)

    def _conv_bn(self, layers: nn.Sequential, x: Tensor, rows: int, columns: int) -> Tensor:
        conv, norm = cast(nn.Conv2d, layers[0]), layers[1]
        weight = conv.weight if self.noise is None else self.noise(conv.weight, rows, columns)
        y: Tensor = norm(F.conv2d(x, weight, None, conv.stride, conv.padding))
        return y

    def _linear(self, layer: nn.Linear, x: Tensor, rows: int, columns: int) -> Tensor:
        weight = layer.weight
        if self.noise is not None:
            weight = self.noise(weight, rows, columns)
        return F.linear(x, weight, layer.bias)

    @torch.no_grad()
    def extract(self, space: CellsSpace, arch: Mapping[str, Any]) -> CellNet:
        """The network of an architecture, with the weights that it has in here.

        Its BatchNorm statistics are those of all paths together: estimate them anew
        (:func:`nasseg.analog.recalibrate_batch_norms`).
        """
        net = cast(CellNet, space.build(arch, self.in_channels, self.out_channels))
        net.to(next(self.parameters()).device)
        _copy(self.stem, net.stem)
        for i, stage, cell in zip(CELL_STAGES, self.stages, net.cells, strict=True):
            stage = cast(_Stage, stage)
            convs = stage.blocks[list(CELL_BLOCKS).index(arch[f"block{i}"])]
            for ours, theirs in zip(
                cast(nn.ModuleList, convs), cast(nn.Sequential, cell.convs), strict=True
            ):
                _copy(ours, theirs)
            if isinstance(cell.shortcut, nn.Sequential):
                _copy(stage.shortcut, cell.shortcut)
        if CELL_HEADS[arch["head"]]:
            _copy_layer(self.hidden, cast(nn.Sequential, net.hidden)[0])
        _copy_layer(self.heads[list(CELL_HEADS).index(arch["head"])], net.head)
        return net


def _copy(ours: nn.Module, theirs: nn.Module) -> None:
    """Convolution and BatchNorm; a ReLU after them has nothing to copy."""
    for a, b in zip(cast(nn.Sequential, ours), cast(nn.Sequential, theirs), strict=False):
        _copy_layer(a, b)


def _copy_layer(ours: nn.Module, theirs: nn.Module) -> None:
    source = ours.state_dict()
    for name, tensor in theirs.state_dict().items():
        # The first channels of the wider layer.
        tensor.copy_(source[name][tuple(slice(size) for size in tensor.shape)])
