"""The ``basicunet`` space: MONAI's BasicUNet by its width, the U-Net to hold others against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nasseg.search_spaces.base import Columns, SearchSpace
from nasseg.search_spaces.hyperparameters import Hyperparameter
from nasseg.search_spaces.layers import INTERPOLATION_OPERATIONS, Layers, LayerTable

if TYPE_CHECKING:
    from torch import nn

WIDTHS = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
PREFIX = "basicunet-"
"""Before the width in the name that stands for an architecture."""
BASIC_UNETS = tuple(f"{PREFIX}{width}" for width in WIDTHS)
"""Every such name."""


def features(width: int) -> tuple[int, ...]:
    """Channels of the five levels and of the last map, as MONAI takes them."""
    return (width, width, 2 * width, 4 * width, 8 * width, width)


class BasicUNetSpace(SearchSpace):
    """MONAI's BasicUNet, after the U-Net of Falk et al. (Nature Methods 16, 67-70, 2019).

    Five levels of two 3x3 convolutions; ``width`` is the number of channels of the first two, which
    doubles at each of the others (32 is MONAI's default). What analog tiles and plain digital units
    can do takes the place of MONAI's defaults: BatchNorm for InstanceNorm, ReLU for leaky ReLU, and
    bilinear interpolation, after a 1x1 convolution where channels are halved, for the transposed
    convolution.

    ``basicunet-16`` stands for the one of width 16 wherever an architecture is taken.
    """

    base_name = "basicunet"
    version = 1
    base_hyperparameters = (Hyperparameter("width", WIDTHS, "width", default=16),)

    def _network(self, arch: dict[str, Any], in_channels: int, out_channels: int) -> nn.Module:
        from nasseg.search_spaces.networks.reference import ReferenceUNet

        return ReferenceUNet(features(arch["width"]), in_channels, out_channels)

    def _layers(
        self, columns: Columns, in_channels: int, out_channels: int, input_size: tuple[int, int]
    ) -> LayerTable:
        width = columns["width"].astype(np.int64)
        channels = [factor * width for factor in features(1)]
        # Poolings leave out an odd last row or column; the way up repeats it.
        areas = [(input_size[0] >> level) * (input_size[1] >> level) for level in range(5)]
        layers = Layers(len(width))

        def two(name: str, before: Any, after: Any, area: int, then: Any = 0) -> None:
            """Two 3x3 convolutions, and the digital operations that follow them."""
            layers.conv_bn(f"{name}.0", 9 * before, after, area, 1, before * area)
            layers.conv_bn(f"{name}.1", 9 * after, after, area, 1, after * area, then)

        before: Any = np.full_like(width, in_channels)
        for level in range(5):
            # Four numbers are compared for one of the next level.
            pooled = 4 * channels[level] * areas[level + 1] if level < 4 else 0
            two(f"stage{level + 1}", before, channels[level], areas[level], pooled)
            before = channels[level]
        interpolated = 4 * INTERPOLATION_OPERATIONS
        for level in (3, 2, 1):
            up, low = before // 2, areas[level + 1]
            layers.add(
                f"up{level + 2}",
                before,
                up,
                low,
                1,
                other=up,
                inputs=before * low,
                operations=interpolated * up * low,
            )
            before = channels[level]
            # The last way up has no convolution of its own.
            last = interpolated * before * areas[1] if level == 1 else 0
            two(f"decoder{level + 2}", before + up, before, areas[level], last)
        two("decoder2", channels[0] + before, channels[5], areas[0])
        layers.add(
            "head",
            channels[5],
            out_channels,
            areas[0],
            1,
            other=out_channels,
            inputs=channels[5] * areas[0],
        )
        return layers.table()
