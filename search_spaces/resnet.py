"""The ``resnet`` space: AnalogNAS's ResNet-like networks, for classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.search_spaces.base import Columns, SearchSpace
from nasseg.search_spaces.constants import HALVING_GROUPS
from nasseg.search_spaces.hyperparameters import Hyperparameter, at_least
from nasseg.search_spaces.layers import Layers, LayerTable, residual_stage, stage_sequence

if TYPE_CHECKING:
    from torch import nn

GROUPS = (1, 2, 3, 4, 5)
MAX_WIDTH = 256
"""Channels of a group are capped here; the ranges alone would allow 2,048."""


def _hyperparameters() -> tuple[Hyperparameter, ...]:
    found = [
        Hyperparameter("out_channel0", (8, 12, 16, 32, 48, 64), "width", default=16),
        Hyperparameter("M", GROUPS, "depth", default=3),
    ]
    active = {i: () if i == 1 else (at_least("M", i, GROUPS),) for i in GROUPS}
    found += [
        Hyperparameter(f"R{i}", tuple(range(1, 17)), "depth", active[i], default=2) for i in GROUPS
    ]
    for i in GROUPS:
        found += [
            Hyperparameter(f"convblock{i}", (1, 2), conditions=active[i], default=1),
            Hyperparameter(
                f"widenfact{i}",
                (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8),
                "width",
                active[i],
                default=0.5 if i > 1 else 0.8,
            ),
            Hyperparameter(f"B{i}", (1, 2, 3, 4, 5), conditions=active[i], default=1),
        ]
    return tuple(found)


class ResNetSpace(SearchSpace):
    """AnalogNAS's space (Benmeziane et al. 2023, arXiv:2305.10459) with the released ranges.

    ``out_channel0`` channels of the 7x7 stem, ``M`` groups, ``R<i>`` residual blocks in group i,
    ``convblock<i>`` 1 basic or 2 bottleneck, ``B<i>`` parallel branches that are summed, and
    ``widenfact<i>`` in [0.5, 0.8], by which the channels of the group before are *divided*.

    It differs from the released code (github.com/IBM/analog-nas) where that code does not do what
    it declares: upper bounds are included (there, group 5 can be set but never used); ``R<i>`` of
    an active group is at least 1 (there, 0 builds one block); ``convblock<i>`` is honoured;
    groups 2, 3 and 4 halve the resolution (there, the stride is dropped on the way); widening
    factors are a grid of 0.05, which makes the space finite; channels stop at ``MAX_WIDTH``.
    """

    base_name = "resnet"
    task = "classification"
    version = 1
    base_hyperparameters = _hyperparameters()
    signed = frozenset(h.name for h in base_hyperparameters)

    def _network(self, arch: dict[str, Any], in_channels: int, out_channels: int) -> nn.Module:
        from nasseg.search_spaces.networks.nasresnet import NASResNet

        return NASResNet(arch, group_widths(arch), in_channels, out_channels)

    def _layers(
        self, columns: Columns, in_channels: int, out_channels: int, input_size: tuple[int, int]
    ) -> LayerTable:
        height, width = input_size
        channels = columns["out_channel0"]
        layers = Layers(len(channels))
        pixels = height * width
        taps = np.full_like(channels, in_channels * 7**2)
        read = np.full_like(channels, in_channels * pixels)
        layers.conv_bn("stem", taps, channels, pixels, 1, read)
        last = np.zeros_like(channels)
        for i, wider in zip(GROUPS, _widths(columns), strict=True):
            before = height * width
            if i in HALVING_GROUPS:
                height, width = -(-height // 2), -(-width // 2)
            residual_stage(
                layers,
                f"group{i}",
                channels,
                wider,
                columns[f"convblock{i}"],
                columns[f"B{i}"],
                columns[f"R{i}"],
                height * width,
                before if i in HALVING_GROUPS else None,
            )
            channels = wider
            last = np.where(i <= columns["M"], height * width, last)
        # The average over the last map goes before.
        layers.add(
            "head",
            channels,
            out_channels,
            1,
            1,
            other=out_channels,
            inputs=channels,
            operations=channels * last,
        )
        return layers.table()

    def _network_signature(self, columns: Columns) -> list[NDArray[Any]]:
        halves = [i in HALVING_GROUPS for i in GROUPS]
        return [columns["out_channel0"], *stage_sequence(columns, _widths(columns), halves)]


def group_widths(arch: Mapping[str, Any]) -> list[int]:
    """Channels of the M groups: the channels before over the widening factor, rounded down."""
    columns = {name: np.array([value]) for name, value in arch.items()}
    return [int(w[0]) for w in _widths(columns)[: arch["M"]]]


def _widths(columns: Columns) -> list[NDArray[Any]]:
    """Channels of every group, (n,) each; of groups that are not there, those of the last one."""
    widths: list[NDArray[Any]] = []
    width = columns["out_channel0"].astype(np.int64)
    for i in GROUPS:
        factor = columns[f"widenfact{i}"].astype(np.float64)
        # The small term keeps 8 / 0.8 at 10 where the division falls just short of it.
        wider = np.floor(width / np.where(factor > 0, factor, 1.0) + 1e-9)
        width = np.minimum(MAX_WIDTH, wider.astype(np.int64))
        widths.append(width)
    return widths
