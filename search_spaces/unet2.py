"""The ``unet2`` space: version 2 of the ``unet`` space, for chips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.search_spaces.base import Columns, SearchSpace
from nasseg.search_spaces.diagram import Diagram, Stage
from nasseg.search_spaces.hyperparameters import Condition, Hyperparameter, at_least
from nasseg.search_spaces.layers import (
    GROUP_NORM_OPERATIONS,
    Counts,
    Layers,
    LayerTable,
    decoder_level,
    residual_stage,
)
from nasseg.search_spaces.unet import (
    BLOCKS,
    DEPTHS,
    STAGES,
    UPSAMPLING,
    describe_encoder,
    encoder_widths,
    map_areas,
)

if TYPE_CHECKING:
    from torch import nn

LEVELS = STAGES[:-1]
"""Levels of the decoder, each at the resolution of the stage of its number."""
MULTIPLE = 8
"""Channels are rounded up to a multiple of this."""
MAX_WIDTH = 192
"""Channels of a stage are capped here."""
FOLD_KERNEL = 3
"""Size of the convolution after the fold of a stem."""


def _hyperparameters() -> tuple[Hyperparameter, ...]:
    def of(i: int) -> tuple[Condition, ...]:
        return () if i <= min(DEPTHS) else (at_least("M", i, DEPTHS),)

    found = [
        Hyperparameter("out_channel0", (16, 24, 32, 48, 64), "width", default=32),
        Hyperparameter("M", DEPTHS, "depth", default=3),
        Hyperparameter("stride0", (1, 2, 4), default=4),
        Hyperparameter("stem", ("conv", "fold"), default="conv"),
        Hyperparameter("kernel0", (3, 5, 7), conditions=(Condition("stem", ("conv",)),), default=7),
        Hyperparameter("norm", ("batch", "group"), default="batch"),
    ]
    found += [Hyperparameter(f"R{i}", (1, 2, 3), "depth", of(i), default=1) for i in STAGES]
    for i in STAGES:
        wider = 1.0 if i == 1 else 2.0
        found += [
            Hyperparameter(f"convblock{i}", (1, 2), conditions=of(i), default=1),
            Hyperparameter(f"widenfact{i}", (1.0, 1.5, 2.0), "width", of(i), default=wider),
            Hyperparameter(f"B{i}", (1, 2), conditions=of(i), default=1),
            Hyperparameter(f"kernel{i}", (3, 5, 7), conditions=of(i), default=3),
        ]
    found += [
        Hyperparameter("upsample", ("bilinear", "transposed"), default="transposed"),
        Hyperparameter("dec_width", (0.5, 0.75, 1.0), "width", default=1.0),
        Hyperparameter("dec_kernel", (1, 3, 5), default=3),
        Hyperparameter("dec_depth", (1, 2), default=2),
    ]
    for i in LEVELS:
        # Without the finest skip, all information passes the low resolution of stage 2.
        joins = ("add", "concat") if i == 1 else ("none", "add", "concat")
        found.append(Hyperparameter(f"skip{i}", joins, conditions=of(i + 1), default="concat"))
    return tuple(found)


class ChipUNetSpace(SearchSpace):
    """Encoder-decoder networks for crossbar chips, 2 to 5 encoder stages.

    On such a chip a multiply-accumulate costs next to nothing. The cost is the number of products
    of a vector with a crossbar: positions of a map times crossbars of the layer. So this space has
    the resolution inside, the sizes of kernels and the width of the decoder as hyperparameters.

    Encoder, named as in AnalogNAS (Benmeziane et al. 2023, arXiv:2305.10459) where that has a name:

    - ``stride0``: side, in pixels of the image, of a position of the finest map. The head gives the
      logits of ``stride0`` x ``stride0`` pixels a position, which PixelShuffle spreads.
    - ``stem``: "conv" is a ``kernel0`` x ``kernel0`` convolution of stride ``stride0``. "fold"
      turns the pixels of a position into channels (PixelUnshuffle), which a 3x3 convolution reads;
      with ``stride0`` 1 it is the same network as "conv" with ``kernel0`` 3.
    - ``out_channel0``: channels of the stem.
    - ``norm``: "batch" or "group", which needs no recalibration, but statistics of every image.
    - ``M``: stages; each after the first halves the resolution. ``R<i>``: residual blocks of stage
      i. ``convblock<i>``: 1 basic (two convolutions), 2 bottleneck (1x1, convolution, 1x1 with half
      the channels inside). ``kernel<i>``: size of the convolutions that are not 1x1.
    - ``widenfact<i>``: channels of stage i over those of the stage before.
    - ``B<i>``: parallel branches of each block, summed.

    Decoder, one level for each halving:

    - ``upsample``: "transposed" or "bilinear", as in the ``unet`` space.
    - ``dec_width``: channels of a level over those of the stage of its resolution.
    - ``skip<i>``: how the map of stage i joins the level of its resolution: "none", "add" (through
      a 1x1 convolution where channels differ), "concat". That of the finest level is never "none".
    - ``dec_kernel``, ``dec_depth``: kernel size and number of the convolutions of a level.

    The default architecture is a U-Net of widths 32, 64, 128 at a quarter of the resolution, which
    the ``unet_quarter`` space has too.
    """

    base_name = "unet2"
    version = 1
    base_hyperparameters = _hyperparameters()
    signed = frozenset(h.name for h in base_hyperparameters)

    def diagram(self, arch: Mapping[str, Any]) -> Diagram:
        """Stem and stages of the encoder, and a level of the decoder for each halving."""
        stem = (
            (f"{arch['kernel0']}x{arch['kernel0']}",)
            if arch["stem"] == "conv"
            else (f"fold {arch['stride0']}", f"{FOLD_KERNEL}x{FOLD_KERNEL}")
        )
        encoder = [Stage("stem", stem, int(arch["out_channel0"]), 0)]
        for i, width in enumerate(stage_widths(arch), start=1):
            size, branches = arch[f"kernel{i}"], int(arch[f"B{i}"])
            block = BLOCKS.get(int(arch[f"convblock{i}"]), "?")
            lines = [f"{arch[f'R{i}']} x {block}", f"{size}x{size}"]
            if branches > 1:
                lines.append(f"{branches} branches")
            encoder.append(Stage(f"stage {i}", tuple(lines), width, i - 1))
        size = arch["dec_kernel"]
        lines = [f"{arch['dec_depth']} x {size}x{size}"]
        decoder, skips = [], []
        for i, width in reversed(list(enumerate(decoder_widths(arch), start=1))):
            decoder.append(Stage("decoder", tuple(lines), width, i - 1))
            skips.append(None if arch[f"skip{i}"] == "none" else str(arch[f"skip{i}"]))
        upsample = UPSAMPLING.get(arch["upsample"], arch["upsample"])
        return Diagram(
            tuple(encoder),
            tuple(decoder),
            stride=int(arch["stride0"]),
            skip=tuple(skips),
            caption=f"{arch['norm']} norm    upsampling: {upsample}",
        )

    def _network(self, arch: dict[str, Any], in_channels: int, out_channels: int) -> nn.Module:
        from nasseg.search_spaces.networks.blocks import group_norms
        from nasseg.search_spaces.networks.chipunet import ChipUNet

        widths, levels = stage_widths(arch), decoder_widths(arch)
        net = ChipUNet(arch, widths, levels, in_channels, out_channels)
        return group_norms(net) if arch["norm"] == "group" else net

    def _layers(
        self, columns: Columns, in_channels: int, out_channels: int, input_size: tuple[int, int]
    ) -> LayerTable:
        widths, stages, stride = _stage_widths(columns), columns["M"], columns["stride0"]
        levels = _decoder_widths(columns, widths)
        areas = map_areas(stages, stride, input_size)
        norm = np.where(columns["norm"] == "group", GROUP_NORM_OPERATIONS, 0)
        layers = Layers(len(stages), norm)
        kernel, folded = _stem(columns)
        taps = np.where(folded, stride * kernel, kernel) ** 2
        before, pixels = columns["out_channel0"], areas[0] * stride**2
        layers.conv_bn("stem", in_channels * taps, before, areas[0], 1, in_channels * pixels)
        for i, width, area in zip(STAGES, widths, areas, strict=True):
            residual_stage(
                layers,
                f"stage{i}",
                before,
                width,
                columns[f"convblock{i}"],
                columns[f"B{i}"],
                columns[f"R{i}"],
                area,
                kernel=columns[f"kernel{i}"],
            )
            before = width
        for i in LEVELS:
            # From the last stage, or from the level below.
            decoder_level(
                layers,
                i + 1,
                np.where(i + 1 == stages, widths[i], levels[i]),
                levels[i - 1],
                columns[f"skip{i}"],
                columns["upsample"],
                columns["dec_kernel"],
                columns["dec_depth"],
                areas[i],
                areas[i - 1],
                i < stages,
                widths[i - 1],
            )
        last, logits = levels[0], out_channels * stride**2
        layers.add("head", last, logits, areas[0], 1, other=logits, inputs=last * areas[0])
        return layers.table()

    def _network_signature(self, columns: Columns) -> list[NDArray[Any]]:
        # Every stage after the first halves the map: none goes on with that of the one before.
        widths, stages = _stage_widths(columns), columns["M"]
        levels = _decoder_widths(columns, widths)
        kernel, folded = _stem(columns)
        numbers = ("out_channel0", "M", "stride0", "dec_kernel", "dec_depth")
        found = [
            *(columns[name] for name in numbers),
            kernel,
            folded,
            columns["norm"] == "group",
            columns["upsample"] == "transposed",
        ]
        for i, width in zip(STAGES, widths, strict=True):
            found.append(np.where(i <= stages, width, 0))
            found += [columns[f"{key}{i}"] for key in ("convblock", "R", "B", "kernel")]
        for i in LEVELS:
            found.append(np.where(i < stages, levels[i - 1], 0))
            found += [columns[f"skip{i}"] == word for word in ("add", "concat")]
        return found

    def _describe(self, columns: Columns) -> Columns:
        """The features of :func:`~nasseg.search_spaces.unet.describe_encoder`, and ``halvings``
        after the stem's; and what decides how soon the network learns:

        - ``unskipped``: levels of the decoder that no skip connection joins.
        - ``narrowest``: binary logarithm of the numbers in the narrowest map that everything
          passes, for each pixel of the image; ``bottom``: in the encoder's deepest map.
        - ``unresidual``: convolutions between image and logits on the shortest way through
          shortcuts and skip connections, which is that of the finest level.
        - ``decoder_view``, ``fine_view``: field of view, in pixels, of the convolutions of the last
          decoder level, and of all at the stem's resolution.
        """
        widths, stages, stride = _stage_widths(columns), columns["M"], columns["stride0"]
        level = _decoder_widths(columns, widths)[0]
        kernel, folded = _stem(columns)
        stem = np.where(folded, stride * kernel, kernel)
        kernels = [columns[f"kernel{i}"] for i in STAGES]
        depth = columns["dec_depth"]
        projected = (widths[0] != columns["out_channel0"]) * 1
        projected = projected + ((columns["skip1"] == "add") & (level != widths[0]))
        convolutions = columns["R1"] * np.where(columns["convblock1"] == 1, 2, 1)
        decoder_view = 1 + stride * depth * (columns["dec_kernel"] - 1)
        folds = 2 * np.log2(stride)
        return {
            **describe_encoder(columns, widths, stages - 1, stride, stem, kernels),
            "halvings": stages - 1,
            "unskipped": sum((columns[f"skip{i}"] == "none") * 1 for i in LEVELS),
            "narrowest": np.log2(np.minimum(columns["out_channel0"], level)) - folds,
            "bottom": np.log2(widths[-1]) - 2 * (stages - 1) - folds,
            # The stem, the head and the last level.
            "unresidual": 2 + projected + depth,
            "decoder_view": decoder_view,
            "fine_view": stem - 1 + stride * convolutions * (kernels[0] - 1) + decoder_view,
        }


def stage_widths(arch: Mapping[str, Any]) -> list[int]:
    """Channels of the M encoder stages: multiples of ``MULTIPLE``, at most ``MAX_WIDTH``."""
    columns = {name: np.array([value]) for name, value in arch.items()}
    return [int(w[0]) for w in _stage_widths(columns)[: arch["M"]]]


def decoder_widths(arch: Mapping[str, Any]) -> list[int]:
    """Channels of the M - 1 decoder levels, that of the finest resolution first: multiples of
    ``MULTIPLE``."""
    columns = {name: np.array([value]) for name, value in arch.items()}
    widths = _decoder_widths(columns, _stage_widths(columns))
    return [int(w[0]) for w in widths[: arch["M"] - 1]]


def _stage_widths(columns: Columns) -> list[Counts]:
    return encoder_widths(columns, MULTIPLE, MAX_WIDTH)


def _decoder_widths(columns: Columns, widths: list[Counts]) -> list[Counts]:
    """Channels of every decoder level, (n,) each, from those of the stages."""
    share = columns["dec_width"] / MULTIPLE
    return [(MULTIPLE * np.ceil(width * share)).astype(np.int64) for width in widths]


def _stem(columns: Columns) -> tuple[Counts, NDArray[np.bool_]]:
    """Size of the stem's convolution, and whether it reads folded pixels, (n,) each."""
    fold = columns["stem"] == "fold"
    return np.where(fold, FOLD_KERNEL, columns["kernel0"]), fold & (columns["stride0"] > 1)
