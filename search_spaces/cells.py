"""The ``cells`` space: small classification networks, few enough to train every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nasseg.search_spaces.base import Columns, SearchSpace
from nasseg.search_spaces.constants import (
    CELL_BLOCKS,
    CELL_HEADS,
    CELL_STAGES,
    CELL_STEM_STRIDE,
    CELL_STEM_WIDTH,
    CELL_STRIDES,
)
from nasseg.search_spaces.hyperparameters import Hyperparameter
from nasseg.search_spaces.layers import Counts, Layers, LayerTable

if TYPE_CHECKING:
    from torch import nn

WIDTHS = (8, 16, 32)
SKIPS = ("none", "add")


def _hyperparameters() -> tuple[Hyperparameter, ...]:
    found = []
    for i in CELL_STAGES:
        found += [
            Hyperparameter(f"block{i}", tuple(CELL_BLOCKS), "depth", default="c3c3"),
            Hyperparameter(f"skip{i}", SKIPS, default="add"),
            Hyperparameter(f"width{i}", WIDTHS, "width", default=WIDTHS[i - 1]),
        ]
    found.append(Hyperparameter("head", tuple(CELL_HEADS), "width", default="none"))
    return tuple(found)


class CellsSpace(SearchSpace):
    """A choice in each of a few places, as one-shot architecture search has it.

    A 3x3 stem of stride 2, two stages (the second one of stride 2), the average over the map, and
    a classifier. Of stage i:

    - ``block<i>``: kernel sizes of its convolutions: ``c3``, ``c5``, ``c3c3``, ``c3c3c3``,
      ``c3c3c3c3``. Each has BatchNorm and ReLU after it.
    - ``skip<i>``: ``add`` adds the stage's input before the last ReLU, through a 1x1 convolution
      with BatchNorm where channels or resolution differ; ``none`` does not.
    - ``width<i>``: channels.

    ``head``: ``h64`` is a linear layer of 64 features with ReLU before the classifier, ``none`` the
    classifier alone.

    The choices do not depend on one another, so that a supernet can hold them all
    (:mod:`nasseg.search.darts.search`), and :meth:`enumerate` lists all 1,800 architectures.
    """

    base_name = "cells"
    task = "classification"
    version = 1
    base_hyperparameters = _hyperparameters()

    def _network(self, arch: dict[str, Any], in_channels: int, out_channels: int) -> nn.Module:
        from nasseg.search_spaces.networks.cellnet import CellNet

        return CellNet(arch, in_channels, out_channels)

    def _layers(
        self, columns: Columns, in_channels: int, out_channels: int, input_size: tuple[int, int]
    ) -> LayerTable:
        n = len(columns["head"])
        layers = Layers(n)

        def counts(value: int) -> Counts:
            return np.full(n, value, dtype=np.int64)

        height, width = input_size
        inputs, before = counts(CELL_STEM_WIDTH), height * width
        height, width = -(-height // CELL_STEM_STRIDE), -(-width // CELL_STEM_STRIDE)
        layers.conv_bn(
            "stem",
            counts(in_channels * 3**2),
            inputs,
            height * width,
            1,
            counts(in_channels * before),
        )
        for i, stride in zip(CELL_STAGES, CELL_STRIDES, strict=True):
            before = height * width
            height, width = -(-height // stride), -(-width // stride)
            area = height * width
            outputs = columns[f"width{i}"].astype(np.int64)
            kernels = [CELL_BLOCKS[block] for block in columns[f"block{i}"]]
            first = np.array([k[0] for k in kernels])
            rest = np.array([len(k) - 1 for k in kernels])
            add = columns[f"skip{i}"] == "add"
            layers.conv_bn(
                f"stage{i}.first",
                inputs * first**2,
                outputs,
                area,
                1,
                inputs * before,
                add * outputs * area,
            )
            layers.conv_bn(
                f"stage{i}.rest", outputs * 3**2, outputs, area, rest, rest * outputs * area
            )
            projected = add & ((inputs != outputs) | (stride > 1))
            layers.conv_bn(
                f"stage{i}.shortcut", inputs, outputs, area, projected, projected * inputs * before
            )
            inputs = outputs
        hidden = np.array([CELL_HEADS[head] for head in columns["head"]], dtype=np.int64)
        pooling = inputs * height * width
        layers.add(
            "head.hidden",
            inputs,
            hidden,
            1,
            hidden > 0,
            other=hidden,
            inputs=(hidden > 0) * inputs,
            operations=(hidden > 0) * pooling,
        )
        features = np.where(hidden > 0, hidden, inputs)
        layers.add(
            "head.classifier",
            features,
            out_channels,
            1,
            1,
            other=out_channels,
            inputs=features,
            operations=(hidden == 0) * pooling,
        )
        return layers.table()

    def _describe(self, columns: Columns) -> Columns:
        """Convolutions one after another, field of view of the last map in pixels, skips."""
        n = len(columns["head"])
        convolutions, skips = np.ones(n), np.zeros(n)
        view, jump = np.full(n, 3.0), float(CELL_STEM_STRIDE)
        for i, stride in zip(CELL_STAGES, CELL_STRIDES, strict=True):
            kernels = [CELL_BLOCKS[block] for block in columns[f"block{i}"]]
            convolutions += [len(k) for k in kernels]
            # The first convolution has the stride: those after it step over a coarser map.
            view += [(k[0] - 1) * jump + sum(k[1:]) * jump * stride for k in kernels]
            view -= [(len(k) - 1) * jump * stride for k in kernels]
            jump *= stride
            skips += columns[f"skip{i}"] == "add"
        return {"convolutions": convolutions, "field_of_view": view, "skips": skips}
