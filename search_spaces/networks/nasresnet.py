"""The classification network of the ``resnet`` space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nasseg.search_spaces.constants import HALVING_GROUPS
from nasseg.search_spaces.networks.blocks import (
    check_input,
    conv_bn_relu,
    initialise,
    residual_stage,
)


class NASResNet(nn.Module):
    """ResNet-like network: stem, M groups of residual blocks, global average, linear classifier.

    (B, in_channels, H, W) to logits (B, classes), for any H, W >= 16. ``out_channels`` is the
    number of classes. Build it with ``get_space("resnet").build(arch, out_channels=classes)``.

    Attributes:
        arch, arch_id, space: set by ``build``.
    """

    arch: dict[str, Any]
    arch_id: str
    space: str

    def __init__(
        self, arch: Mapping[str, Any], widths: Sequence[int], in_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        width = arch["out_channel0"]
        self.stem = conv_bn_relu(in_channels, width, 7)
        self.groups = nn.Sequential()
        for i in range(1, arch["M"] + 1):
            self.groups.append(
                residual_stage(
                    width,
                    widths[i - 1],
                    arch[f"convblock{i}"],
                    arch[f"B{i}"],
                    arch[f"R{i}"],
                    stride=2 if i in HALVING_GROUPS else 1,
                )
            )
            width = widths[i - 1]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, out_channels)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, self.in_channels)
        x = self.groups(self.stem(x))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits
