"""The classification network of the ``cells`` space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nasseg.search_spaces.constants import (
    CELL_BLOCKS,
    CELL_HEADS,
    CELL_STAGES,
    CELL_STEM_STRIDE,
    CELL_STEM_WIDTH,
    CELL_STRIDES,
)
from nasseg.search_spaces.networks.blocks import check_input, conv_bn, conv_bn_relu, initialise


class Cell(nn.Module):
    """Convolutions one after another, perhaps the input added, then ReLU.

    (B, Cin, H, W) to (B, Cout, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels, out_channels: all convolutions after the first have as many of the latter.
        kernels: of the convolutions; the first one has the stride.
        skip: ``add`` or ``none``.
        stride: 1 or 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: Sequence[int],
        skip: str,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential()
        width = in_channels
        for k, kernel in enumerate(kernels):
            make = conv_bn if k == len(kernels) - 1 else conv_bn_relu
            self.convs.append(make(width, out_channels, kernel, stride if k == 0 else 1))
            width = out_channels
        self.shortcut: nn.Module | None = None
        if skip == "add":
            equal = stride == 1 and in_channels == out_channels
            self.shortcut = (
                nn.Identity() if equal else conv_bn(in_channels, out_channels, 1, stride)
            )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.convs(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        out: Tensor = self.activation(y)
        return out


class CellNet(nn.Module):
    """Stem, stages, global average, perhaps a hidden linear layer, linear classifier.

    (B, in_channels, H, W) to logits (B, classes), for any H, W >= 16. ``out_channels`` is the
    number of classes. Build it with ``get_space("cells").build(arch, out_channels=classes)``.

    Attributes:
        arch, arch_id, space: set by ``build``.
    """

    arch: dict[str, Any]
    arch_id: str
    space: str

    def __init__(self, arch: Mapping[str, Any], in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem = conv_bn_relu(in_channels, CELL_STEM_WIDTH, 3, CELL_STEM_STRIDE)
        self.cells = nn.Sequential()
        width = CELL_STEM_WIDTH
        for i, stride in zip(CELL_STAGES, CELL_STRIDES, strict=True):
            wider = int(arch[f"width{i}"])
            kernels = CELL_BLOCKS[arch[f"block{i}"]]
            self.cells.append(Cell(width, wider, kernels, arch[f"skip{i}"], stride))
            width = wider
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden: nn.Module = nn.Identity()
        features = CELL_HEADS[arch["head"]]
        if features:
            self.hidden = nn.Sequential(nn.Linear(width, features), nn.ReLU())
            width = features
        self.head = nn.Linear(width, out_channels)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, self.in_channels)
        x = self.cells(self.stem(x))
        logits: Tensor = self.head(self.hidden(self.pool(x).flatten(1)))
        return logits
