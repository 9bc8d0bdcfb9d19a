"""The segmentation network of the ``unet2`` space."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from nasseg.search_spaces.networks.blocks import conv_bn_relu, residual_stage
from nasseg.search_spaces.networks.nassegnet import DecoderLevel, EncoderDecoder


class ChipUNet(EncoderDecoder):
    """Encoder-decoder of one architecture of the ``unet2`` space.

    Build it with ``get_space("unet2").build(arch)``, which checks the architecture first.

    Args:
        arch: canonical architecture.
        widths: channels of its stages.
        levels: channels of the decoder at the resolution of each stage but the last.
        in_channels, out_channels: of image and logits.
    """

    def __init__(
        self,
        arch: Mapping[str, Any],
        widths: Sequence[int],
        levels: Sequence[int],
        in_channels: int,
        out_channels: int,
    ) -> None:
        stride = arch["stride0"]
        width = arch["out_channel0"]
        stem = _stem(in_channels, width, arch)
        encoder = []
        for i, wider in enumerate(widths, start=1):
            encoder.append(
                residual_stage(
                    width,
                    wider,
                    arch[f"convblock{i}"],
                    arch[f"B{i}"],
                    arch[f"R{i}"],
                    kernel=arch[f"kernel{i}"],
                )
            )
            width = wider
        decoder = []
        for i in range(len(levels), 0, -1):
            channels = levels[i - 1]
            decoder.append(
                DecoderLevel(
                    width,
                    channels,
                    arch[f"skip{i}"],
                    arch["upsample"],
                    arch["dec_kernel"],
                    arch["dec_depth"],
                    widths[i - 1],
                )
            )
            width = channels
        head = nn.Sequential(nn.Conv2d(width, out_channels * stride**2, 1))
        if stride > 1:
            head.append(nn.PixelShuffle(stride))
        factor = stride * 2 ** len(levels)
        super().__init__(in_channels, stem, encoder, decoder, head, factor)


def _stem(in_channels: int, width: int, arch: Mapping[str, Any]) -> nn.Sequential:
    stride = arch["stride0"]
    if arch["stem"] == "conv":
        return conv_bn_relu(in_channels, width, arch["kernel0"], stride)
    convolution = conv_bn_relu(in_channels * stride**2, width)
    # The convolution keeps the name that it has without the fold.
    return nn.Sequential(
        OrderedDict([("fold", nn.PixelUnshuffle(stride)), *convolution.named_children()])
    )
