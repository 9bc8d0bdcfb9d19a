"""The segmentation networks of the ``unet`` space, and what others have in common with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasseg.search_spaces.constants import MIN_BOTTOM
from nasseg.search_spaces.networks.blocks import (
    Upsample,
    check_input,
    conv_bn,
    conv_bn_relu,
    initialise,
    residual_stage,
)


class DecoderLevel(nn.Module):
    """Upsample, join the encoder's map of that size, convolve.

    (B, Cin, H, W) and the skip (B, Cskip, 2H, 2W) to (B, C, 2H, 2W). Where the skip is added and
    Cskip is not C, it passes a 1x1 convolution with BatchNorm.

    Args:
        in_channels, channels: Cin and C.
        skip: "none", "add" or "concat".
        upsample: as in :class:`Upsample`.
        kernel, depth: size and number of the convolutions.
        skip_channels: Cskip; None: C.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        skip: str,
        upsample: str,
        kernel: int,
        depth: int,
        skip_channels: int | None = None,
    ) -> None:
        super().__init__()
        skip_channels = channels if skip_channels is None else skip_channels
        self.skip = skip
        self.up = Upsample(in_channels, channels, upsample)
        self.project: nn.Module = nn.Identity()
        if skip == "add" and skip_channels != channels:
            self.project = conv_bn(skip_channels, channels, 1)
        joined = channels + skip_channels if skip == "concat" else channels
        self.convs = nn.Sequential(
            *(conv_bn_relu(joined if k == 0 else channels, channels, kernel) for k in range(depth))
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        if self.skip == "concat":
            x = torch.cat([x, skip], dim=1)
        elif self.skip == "add":
            x = x + self.project(skip)
        out: Tensor = self.convs(x)
        return out


class EncoderDecoder(nn.Module):
    """Stem, levels of an encoder with pooling between them, levels of a decoder, head.

    (B, in_channels, H, W) to logits (B, out_channels, H, W), for any H, W >= 16. Where H or W does
    not divide by the total downsampling, the input is padded by reflection and the output cropped.

    Args:
        in_channels: of the image.
        stem: from the image to the finest map.
        encoder: a module for each resolution, the finest first.
        decoder: a :class:`DecoderLevel` for each halving, the deepest first.
        head: from the finest map to the logits of all pixels.
        factor: total downsampling of the deepest map.

    Attributes:
        arch, arch_id, space: set by ``build``.
    """

    arch: dict[str, Any]
    arch_id: str
    space: str

    def __init__(
        self,
        in_channels: int,
        stem: nn.Module,
        encoder: Sequence[nn.Module],
        decoder: Sequence[DecoderLevel],
        head: nn.Module,
        factor: int,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.factor = factor
        self.stem = stem
        self.encoder = nn.ModuleList(encoder)
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(decoder)
        self.head = head
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, self.in_channels)
        height, width = x.shape[-2:]
        top, bottom = _padding(height, self.factor)
        left, right = _padding(width, self.factor)
        if top or bottom or left or right:
            # A reflection is shorter than what it reflects.
            mode = "reflect" if bottom < height and right < width else "replicate"
            x = F.pad(x, (left, right, top, bottom), mode=mode)

        # Convolutions with few channels run up to twice as fast on a CPU with the channels side by
        # side, and no slower on CUDA; all that follows keeps the order.
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips: list[Tensor] = []
        for k, level in enumerate(self.encoder):
            if k:
                skips.append(x)
                x = self.pool(x)
            x = level(x)
        for level in self.decoder:
            x = level(x, skips.pop())
        logits: Tensor = self.head(x)
        return logits[..., top : top + height, left : left + width]


class NASSegNet(EncoderDecoder):
    """Encoder-decoder of one architecture of the ``unet`` space.

    Build it with ``get_space("unet").build(arch)``, which checks the architecture first.

    Args:
        arch: canonical architecture.
        widths: channels of its stages.
        in_channels, out_channels: of image and logits.
        stride: 1, or 2 or 4: by so much the stem divides the resolution, and the head gives
            stride^2 logits a position, which PixelShuffle spreads over the pixels.
    """

    def __init__(
        self,
        arch: Mapping[str, Any],
        widths: Sequence[int],
        in_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> None:
        stages = range(1, arch["M"] + 1)
        # Stages that share a resolution form a level; there is a pooling between levels.
        levels = (
            [[1], list(stages)[1:]] if arch["topology"] == "isotropic" else [[i] for i in stages]
        )
        width = arch["out_channel0"]
        stem = conv_bn_relu(in_channels, width, arch["kernel0"], stride)
        encoder = []
        for level in levels:
            parts = []
            for i in level:
                parts.append(
                    residual_stage(
                        width,
                        widths[i - 1],
                        arch[f"convblock{i}"],
                        arch[f"B{i}"],
                        arch[f"R{i}"],
                    )
                )
                width = widths[i - 1]
            encoder.append(nn.Sequential(*parts))
        decoder = []
        for level in reversed(levels[:-1]):
            channels = widths[level[-1] - 1]
            decoder.append(
                DecoderLevel(
                    width,
                    channels,
                    arch["skip"],
                    arch["upsample"],
                    arch["dec_kernel"],
                    arch["dec_depth"],
                )
            )
            width = channels
        head: nn.Module = nn.Conv2d(width, out_channels * stride**2, 1)
        if stride > 1:
            head = nn.Sequential(head, nn.PixelShuffle(stride))
        factor = stride * 2 ** (len(levels) - 1)
        super().__init__(in_channels, stem, encoder, decoder, head, factor)


def _padding(size: int, factor: int) -> tuple[int, int]:
    """Pixels to add on either side so that ``factor`` divides and the deepest map is not tiny."""
    target = max(-(-size // factor), MIN_BOTTOM) * factor
    missing = target - size
    return missing // 2, missing - missing // 2
