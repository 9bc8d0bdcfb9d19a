"""The ``unet`` space: an AnalogNAS encoder and a decoder, for segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.search_spaces.base import Columns, SearchSpace
from nasseg.search_spaces.constants import MIN_BOTTOM
from nasseg.search_spaces.diagram import Diagram, Stage
from nasseg.search_spaces.hyperparameters import Condition, Hyperparameter, at_least
from nasseg.search_spaces.layers import (
    GROUP_NORM_OPERATIONS,
    Counts,
    Layers,
    LayerTable,
    decoder_level,
    residual_stage,
    stage_sequence,
)

if TYPE_CHECKING:
    from torch import nn

STAGES = (1, 2, 3, 4, 5)
DEPTHS = (2, 3, 4, 5)
MAX_WIDTH = 160
"""Channels of a stage are capped here, so that five widening stages stay trainable."""
BLOCKS = {1: "basic", 2: "bottleneck"}
UPSAMPLING = {"transposed": "1x1 + pixel shuffle", "bilinear": "1x1 + bilinear"}


def _hyperparameters() -> tuple[Hyperparameter, ...]:
    pyramidal = Condition("topology", ("pyramidal",))
    stage = {i: () if i <= min(DEPTHS) else (at_least("M", i, DEPTHS),) for i in STAGES}
    found = [
        Hyperparameter("out_channel0", (8, 12, 16, 24, 32), "width", default=16),
        Hyperparameter("M", DEPTHS, "depth", default=4),
        Hyperparameter("topology", ("pyramidal", "isotropic"), default="pyramidal"),
    ]
    found += [Hyperparameter(f"R{i}", (1, 2, 3), "depth", stage[i], default=1) for i in STAGES]
    for i in STAGES:
        # From stage 2 on a pyramid always widens: a factor of 1 is the isotropic topology.
        factors = (1.0, 1.25, 1.5) if i == 1 else (1.25, 1.5, 1.75, 2.0)
        found += [
            Hyperparameter(f"convblock{i}", (1, 2), conditions=stage[i], default=1),
            Hyperparameter(
                f"widenfact{i}",
                factors,
                "width",
                stage[i] if i == 1 else (*stage[i], pyramidal),
                default=1.0 if i == 1 else 2.0,
            ),
            Hyperparameter(f"B{i}", (1, 2, 3), conditions=stage[i], default=1),
        ]
    found += [
        Hyperparameter("kernel0", (3, 5, 7), default=3),
        Hyperparameter("skip", ("none", "add", "concat"), default="concat"),
        Hyperparameter("upsample", ("bilinear", "transposed"), default="transposed"),
        Hyperparameter("dec_kernel", (1, 3, 5), default=3),
        Hyperparameter("dec_depth", (1, 2), default=2),
    ]
    return tuple(found)


class UNetSpace(SearchSpace):
    """Encoder-decoder networks, 2 to 5 encoder stages.

    Encoder, named as in AnalogNAS (Benmeziane et al. 2023, arXiv:2305.10459):

    - ``out_channel0``: channels of the stem, a ``kernel0`` x ``kernel0`` convolution of stride 1.
    - ``M``: stages. ``R<i>``: residual blocks of stage i. ``convblock<i>``: 1 basic (two 3x3
      convolutions), 2 bottleneck (1x1, 3x3, 1x1 with half the channels inside).
    - ``widenfact<i>``: channels of stage i over those of the stage before.
    - ``B<i>``: parallel branches of each block, summed.
    - ``topology``: "pyramidal" halves the resolution and widens at every stage; "isotropic" halves
      it once, after stage 1, and keeps the channels (``widenfact2`` ... are inactive).
      arXiv:2403.08796 finds isotropic networks lose less on analog hardware.

    Decoder, one level for each halving:

    - ``upsample``: "transposed" is a 1x1 convolution to 4C channels and PixelShuffle(2), which is a
      2x2 transposed convolution of stride 2 that analog tiles can hold; "bilinear" is a 1x1
      convolution and interpolation.
    - ``skip``: how the encoder's map of the same size joins: "none", "add", "concat".
    - ``dec_kernel``, ``dec_depth``: kernel size and number of convolutions after it.

    The default architecture is a plain U-Net of widths 16, 32, 64, 128 with residual blocks.
    """

    base_name = "unet"
    version = 1
    base_hyperparameters = _hyperparameters()
    signed = frozenset(h.name for h in base_hyperparameters)
    stride = 1
    """Of the stem: 2 works at half the resolution of the image, 4 at a quarter."""
    norm_operations = 0
    """Digital operations an element of the normalisation: none where scales are fixed."""

    def diagram(self, arch: Mapping[str, Any]) -> Diagram:
        """Stem and stages of the encoder, and a level of the decoder for each halving."""
        widths = stage_widths(arch)
        pyramidal = arch["topology"] == "pyramidal"
        levels = [i if pyramidal else min(i, 1) for i in range(len(widths))]
        kernel = arch["kernel0"]
        encoder = [Stage("stem", (f"{kernel}x{kernel}",), int(arch["out_channel0"]), 0)]
        for i, (width, level) in enumerate(zip(widths, levels, strict=True), start=1):
            count, branches = int(arch[f"R{i}"]), int(arch[f"B{i}"])
            lines = [f"{count} x {BLOCKS.get(int(arch[f'convblock{i}']), '?')}"]
            if branches > 1:
                lines.append(f"{branches} branches")
            encoder.append(Stage(f"stage {i}", tuple(lines), width, level))
        size = arch["dec_kernel"]
        lines = [f"{arch['dec_depth']} x {size}x{size}"]
        decoder = []
        for level in range(levels[-1] - 1, -1, -1):
            width = widths[max(k for k, at in enumerate(levels) if at == level)]
            decoder.append(
                Stage("decoder", (f"{arch['dec_depth']} x {size}x{size}",), width, level)
            )
        upsample = UPSAMPLING.get(arch["upsample"], arch["upsample"])
        return Diagram(
            tuple(encoder),
            tuple(decoder),
            stride=self.stride,
            skip=None if arch["skip"] == "none" else str(arch["skip"]),
            caption=f"{arch['topology']}    skip: {arch['skip']}    upsampling: {upsample}",
        )

    def _network(self, arch: dict[str, Any], in_channels: int, out_channels: int) -> nn.Module:
        from nasseg.search_spaces.networks.nassegnet import NASSegNet

        return NASSegNet(arch, stage_widths(arch), in_channels, out_channels, self.stride)

    def _layers(
        self, columns: Columns, in_channels: int, out_channels: int, input_size: tuple[int, int]
    ) -> LayerTable:
        widths, stages = encoder_widths(columns), columns["M"]
        isotropic = columns["topology"] == "isotropic"
        areas = map_areas(np.where(isotropic, 2, stages), self.stride, input_size)
        before = columns["out_channel0"]
        layers = Layers(len(stages), self.norm_operations)
        pixels = areas[0] * self.stride**2
        layers.conv_bn(
            "stem", in_channels * columns["kernel0"] ** 2, before, areas[0], 1, in_channels * pixels
        )
        for i, width in zip(STAGES, widths, strict=True):
            # Isotropic stages after the first share the second's resolution.
            area = areas[0] if i == 1 else np.where(isotropic, areas[1], areas[i - 1])
            block, branches, blocks = (columns[f"{key}{i}"] for key in ("convblock", "B", "R"))
            residual_stage(
                layers,
                f"stage{i}",
                before,
                width,
                block,
                branches,
                blocks,
                area,
            )
            before = width
        for i in STAGES[1:]:
            decoder_level(
                layers,
                i,
                widths[i - 1],
                widths[i - 2],
                columns["skip"],
                columns["upsample"],
                columns["dec_kernel"],
                columns["dec_depth"],
                areas[i - 1],
                areas[i - 2],
                (i <= stages) & ~(isotropic & (i > 2)),
            )
        logits = out_channels * self.stride**2
        layers.add(
            "head", widths[0], logits, areas[0], 1, other=logits, inputs=widths[0] * areas[0]
        )
        return layers.table()

    def _network_signature(self, columns: Columns) -> list[NDArray[Any]]:
        isotropic = columns["topology"] == "isotropic"
        halves = [(i > 1) & ~(isotropic & (i > 2)) for i in STAGES]
        words = [
            columns["skip"] == "add",
            columns["skip"] == "concat",
            columns["upsample"] == "transposed",
        ]
        numbers = [columns[k] for k in ("out_channel0", "kernel0", "dec_kernel", "dec_depth")]
        return [*numbers, *words, *stage_sequence(columns, encoder_widths(columns), halves)]

    def _describe(self, columns: Columns) -> Columns:
        """Blocks, branches and convolutions one after another of the encoder, widths of its first
        and last stage, field of view of the deepest map in pixels, halvings; and what decides how
        soon the network learns:

        - ``unskipped``: halvings that no skip connection leads around.
        - ``narrowest``: binary logarithm of the numbers in the narrowest of the encoder's maps
          that everything passes, for each position of the stem's; ``bottom``: in the deepest map.
        - ``unresidual``: convolutions between image and logits on the shortest way through
          shortcuts and skip connections.
        - ``decoder_view``, ``fine_view``: field of view, in pixels, of the convolutions of the last
          decoder level, and of all at the stem's resolution.
        """
        widths, stages = encoder_widths(columns), columns["M"]
        isotropic = columns["topology"] == "isotropic"
        halvings = np.where(isotropic, 1, stages - 1)
        alone = columns["skip"] == "none"
        before = columns["out_channel0"]
        narrowest = np.log2(before)
        projected = 0 * stages
        for i, width in zip(STAGES, widths, strict=True):
            there = i <= stages
            # A stage begins with the pooled map of the one before; then it widens.
            passed = np.log2(before) - 2 * np.minimum(i - 1, halvings)
            narrowest = np.where(there & alone, np.minimum(narrowest, passed), narrowest)
            # The shortcut around a block that widens is a convolution itself.
            way = there & (alone | (i == 1)) & (width != before)
            projected = projected + way
            before = width
        depth = columns["dec_depth"]
        decoder_view = 1 + self.stride * depth * (columns["dec_kernel"] - 1)
        first = (
            columns["kernel0"]
            - 1
            + self.stride * columns["R1"] * np.where(columns["convblock1"] == 1, 4, 2)
        )
        return {
            **describe_encoder(columns, widths, halvings, self.stride, columns["kernel0"]),
            "halvings": halvings,
            "unskipped": np.where(alone, halvings, 0),
            "narrowest": narrowest,
            "bottom": np.log2(widths[-1]) - 2 * halvings,
            # The stem, the head and the last level; without skips all levels, and the ways up.
            "unresidual": 2 + projected + np.where(alone, halvings * (1 + depth), depth),
            "decoder_view": decoder_view,
            "fine_view": first + decoder_view,
        }


class HalfUNetSpace(UNetSpace):
    """The ``unet`` space at half the resolution inside, for images at their own scale.

    The stem has stride 2; the head gives the logits of 2 x 2 pixels at each position, which
    PixelShuffle spreads. A quarter of the multiply-accumulates buys twice the width, which averages
    the noise of more devices, and twice the field of view.
    """

    base_name = "unet_half"
    stride = 2


class QuarterUNetSpace(UNetSpace):
    """The ``unet`` space at a quarter of the resolution inside, as ``unet_half`` is at half of it.

    Products with a crossbar are what costs energy, and their number goes with the positions of a
    map: a stem of 7 x 7 pixels and few wide stages suit it.
    """

    base_name = "unet_quarter"
    stride = 4


class GroupNormUNetSpace(UNetSpace):
    """The ``unet`` space with GroupNorm (Wu and He, ECCV 2018), which needs no recalibration.

    Statistics are those of each image, so they follow the drift by themselves; in exchange they
    must be computed for every image.
    """

    base_name = "unet_group"
    norm_operations = GROUP_NORM_OPERATIONS

    def _network(self, arch: dict[str, Any], in_channels: int, out_channels: int) -> nn.Module:
        from nasseg.search_spaces.networks.blocks import group_norms

        return group_norms(super()._network(arch, in_channels, out_channels))


class HalfGroupNormUNetSpace(GroupNormUNetSpace):
    """``unet_half`` with the GroupNorm of ``unet_group``."""

    base_name = "unet_half_group"
    stride = 2


def stage_widths(arch: Mapping[str, Any]) -> list[int]:
    """Channels of the M encoder stages: multiples of 4, rounded up, at most ``MAX_WIDTH``."""
    columns = {name: np.array([value]) for name, value in arch.items()}
    return [int(w[0]) for w in encoder_widths(columns)[: arch["M"]]]


def describe_encoder(
    columns: Columns,
    widths: Sequence[Counts],
    halvings: Counts,
    stride: Counts | int,
    stem: Counts,
    kernels: Sequence[Counts | int] = (3,) * len(STAGES),
) -> Columns:
    """Features of residual stages, (n,) each: blocks, branches, convolutions one after another,
    widths, and the logarithm of the field of view of the deepest map in pixels.

    Args:
        columns: ``M``, the number of stages, and ``convblock<i>``, ``B<i>`` and ``R<i>`` of each.
        widths: Channels of each stage, (n,) each.
        halvings: Number of poolings; stage i + 1 begins with the i-th.
        stride: Pixels of the image a position of the finest map.
        stem: Field of view of the stem in pixels.
        kernels: Size of the convolutions of each stage that are not 1x1.
    """
    stages = columns["M"]
    blocks = branches = convolutions = 0 * stages
    view = 1.0 * stem
    total_width = np.zeros(len(stages))
    for i, width, kernel in zip(STAGES, widths, kernels, strict=True):
        there = i <= stages
        # Pixels of the image between neighbours of the stage's map.
        jump = stride * 2.0 ** np.minimum(i - 1, halvings)
        basic = columns[f"convblock{i}"] == 1
        repeats = np.where(there, columns[f"R{i}"], 0)
        pooled = there & (i > 1) & (i - 1 <= halvings)
        view = view + np.where(pooled, jump / 2, 0.0)
        view = view + repeats * np.where(basic, 2, 1) * (kernel - 1) * jump
        blocks = blocks + repeats
        branches = branches + repeats * columns[f"B{i}"]
        convolutions = convolutions + repeats * np.where(basic, 2, 3)
        total_width = total_width + repeats * width
    return {
        "blocks": blocks,
        "branches": branches / blocks,
        "convolutions": convolutions,
        "width_first": widths[0],
        "width_last": widths[-1],
        "width_mean": total_width / blocks,
        "field_of_view": np.log(view),
    }


def map_areas(
    levels: Counts, stride: Counts | int, input_size: tuple[int, int]
) -> list[NDArray[np.int64]]:
    """Positions of the map of every level, (n,) each, with the padding of the network.

    Args:
        levels: Resolutions of the encoder, (n,).
        stride: Pixels of the image a position of the finest map.
        input_size: Height and width of the image in pixels.
    """
    factor = stride * 2 ** (levels - 1)
    inside = np.ones_like(levels)
    for size in input_size:
        inside = inside * np.maximum(-(-size // factor), MIN_BOTTOM) * factor // stride
    return [inside >> (2 * level) for level in range(len(STAGES))]


def encoder_widths(
    columns: Columns, multiple: int = 4, most: int = MAX_WIDTH
) -> list[NDArray[np.int64]]:
    """Channels of every stage, (n,) each; of stages that are not there, those of the last one.

    Rounded up to a ``multiple``, at most ``most``.
    """
    widths: list[NDArray[np.int64]] = []
    exact = columns["out_channel0"].astype(np.float64)
    for i in STAGES:
        factor = columns[f"widenfact{i}"].astype(np.float64)
        exact = exact * np.where(factor > 0, factor, 1.0)
        widths.append(np.minimum(most, multiple * np.ceil(exact / multiple)).astype(np.int64))
    return widths
