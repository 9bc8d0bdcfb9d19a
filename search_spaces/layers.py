"""The weight layers of whole populations as a table, by formula (numpy only).

Whatever a network costs follows from it: parameters, multiply-accumulates, crossbars, energy, time.
The formulas mirror ``networks/blocks.py``; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]

GROUP_NORM_OPERATIONS = 3
"""Digital operations an element of GroupNorm: sum, sum of squares, scale and shift. BatchNorm is
a fixed scale and shift of each column, which the digital scaling after the ADC does anyway."""
INTERPOLATION_OPERATIONS = 4
"""Multiply-adds an element of bilinear interpolation."""


@dataclass(frozen=True, eq=False)
class LayerTable:
    """Convolutions and linear layers of ``n`` networks, for one image of a given size.

    A *slot* stands for ``count`` equal layers of a network, such as one convolution in all
    branches of all blocks of a stage. All arrays are int64 ``(slots, n)``; what belongs to a slot
    with ``count`` 0 has no meaning, except that ``inputs``, ``operations`` and ``digital_macs``,
    which are sums, are 0 there.
    """

    names: tuple[str, ...]
    """What the slots are, as long as there are slots."""
    rows: Counts
    """Inputs of the weight matrix: input channels times kernel area."""
    columns: Counts
    """Outputs of the weight matrix: output channels."""
    positions: Counts
    """Output positions, each of which multiplies the matrix once."""
    count: Counts
    """Equal layers of that kind; 0 = not there."""
    other: Counts
    """Parameters of one such layer beside its matrix: bias, normalisation."""
    inputs: Counts
    """Numbers in the input maps of all ``count`` layers together."""
    operations: Counts
    """Digital operations that go with all ``count`` layers: additions of branches and skips,
    pooling, interpolation, GroupNorm. Bias, BatchNorm and ReLU are not among them."""
    digital_macs: Counts
    """Multiply-accumulates of layers that have no place on a crossbar; 0 in our own spaces."""
    digital: Counts
    """Layers of ``count`` that could lie on crossbars and are kept digital."""

    def __len__(self) -> int:
        return int(self.rows.shape[1])

    def params(self) -> Counts:
        """Trainable parameters, ``(n,)``."""
        return _total(self.count * (self.rows * self.columns + self.other))

    def macs(self) -> Counts:
        """Multiply-accumulates of one image, ``(n,)``."""
        return _total(self.count * self.positions * self.rows * self.columns + self.digital_macs)

    def keep_digital(self, *, first: bool = False, last: bool = False) -> LayerTable:
        """Return the table with the first or the last layer of every network kept digital.

        Of a slot of several layers it is one of them.
        """
        kept, networks = self.digital.copy(), np.arange(len(self))
        there = self.count > 0
        if first:
            kept[np.argmax(there, axis=0), networks] += 1
        if last:
            kept[len(there) - 1 - np.argmax(there[::-1], axis=0), networks] += 1
        # The only layer of a network is its first and its last one.
        return replace(self, digital=np.minimum(kept, self.count))

    def each(self) -> LayerTable:
        """The layers of one network as networks of one layer each.

        Raises:
            ValueError: the table is not that of one network.
        """
        if len(self) != 1:
            raise ValueError(f"a table of {len(self)} networks; allowed: one")
        turned = (getattr(self, f.name).T for f in fields(self) if f.name != "names")
        return LayerTable(("layer",), *turned)


class Layers:
    """Collects the slots of a population of ``n``.

    ``norm_operations`` is what an element of the networks' normalisation costs digitally, ``(n,)``
    or one number for all.
    """

    def __init__(self, n: int, norm_operations: Counts | int = 0) -> None:
        self.n = n
        self.norm_operations = norm_operations
        self._names: list[str] = []
        self._slots: list[tuple[ArrayLike, ...]] = []

    def add(
        self,
        name: str,
        rows: ArrayLike,
        columns: ArrayLike,
        positions: ArrayLike,
        count: ArrayLike,
        *,
        other: ArrayLike = 0,
        inputs: ArrayLike = 0,
        operations: ArrayLike = 0,
        digital_macs: ArrayLike = 0,
        digital: ArrayLike = 0,
    ) -> None:
        """One more slot; arguments as the fields of :class:`LayerTable`, ``(n,)`` or scalars."""
        self._names.append(name)
        self._slots.append(
            (rows, columns, positions, count, other, inputs, operations, digital_macs, digital)
        )

    def conv_bn(
        self,
        name: str,
        rows: Counts,
        columns: Counts,
        positions: Counts | int,
        count: Counts | int,
        inputs: Counts,
        operations: Counts | int = 0,
    ) -> None:
        """A convolution without bias, and the normalisation after it."""
        if np.any(self.norm_operations):
            operations = operations + self.norm_operations * count * columns * positions
        self.add(
            name,
            rows,
            columns,
            positions,
            count,
            other=2 * columns,
            inputs=inputs,
            operations=operations,
        )

    def table(self) -> LayerTable:
        """The table of what was added."""
        stacked = np.empty((9, len(self._slots), self.n), dtype=np.int64)
        for s, slot in enumerate(self._slots):
            for k, values in enumerate(slot):
                stacked[k, s] = values
        return LayerTable(tuple(self._names), *stacked)


def residual_stage(
    layers: Layers,
    name: str,
    inputs: Counts,
    outputs: Counts,
    convblock: Counts,
    branches: Counts,
    blocks: Counts,
    area: Counts | int,
    area_before: Counts | int | None = None,
    kernel: Counts | int = 3,
) -> None:
    """Add ``blocks`` residual blocks; ``blocks`` and ``branches`` are 0 where there is no stage.

    Args:
        layers: Where to.
        name: Of the stage.
        inputs, outputs: Channels before and after.
        convblock: 1 = basic, 2 = bottleneck.
        branches: Of each block.
        blocks: Residual blocks.
        area: Positions of the stage's map.
        area_before: Positions of the map before, where the first block has a stride; none = equal.
        kernel: Size of the convolutions that are not 1x1.
    """
    strided = area_before is not None
    before: Any = area if area_before is None else area_before
    bottleneck = convblock == 2
    inner = np.maximum(4, outputs // 2)
    # Channels that the middle of a block works with, and the convolution in front of them.
    middle = np.where(bottleneck, inner, outputs)
    taps = kernel**2
    front = np.where(bottleneck, 1, taps)
    first = branches * (blocks > 0)
    rest = branches * (blocks - 1)
    every = branches * blocks
    # Of a bottleneck the second convolution has the stride, else the first one.
    front_area = np.where(bottleneck, before, area) if strided else area

    layers.conv_bn(
        f"{name}.first", front * inputs, middle, front_area, first, first * inputs * before
    )
    layers.conv_bn(f"{name}.front", front * outputs, middle, area, rest, rest * outputs * area)
    read: Any = every * middle * area
    if strided:  # A bottleneck's first one reads the map before the stride.
        read = read + np.where(bottleneck, first * middle * (before - area), 0)
    # Every branch is added to the shortcut.
    layers.conv_bn(
        f"{name}.middle", taps * middle, middle, area, every, read, every * outputs * area
    )
    back: Any = np.where(bottleneck, every, 0)
    layers.conv_bn(f"{name}.back", inner, outputs, area, back, back * inner * area)
    projected = (blocks > 0) & ((inputs != outputs) | strided)
    layers.conv_bn(
        f"{name}.shortcut", inputs, outputs, area, projected, projected * inputs * before
    )


def decoder_level(
    layers: Layers,
    stage: int,
    inputs: Counts,
    outputs: Counts,
    skip: NDArray[np.str_],
    upsample: NDArray[np.str_],
    kernel: Counts,
    depth: Counts,
    low: Counts,
    high: Counts,
    there: NDArray[np.bool_],
    skipped: Counts | None = None,
) -> None:
    """Add the pooling that leads to a stage, and the decoder level that undoes it.

    Args:
        layers: Where to.
        stage: The stage whose resolution the level doubles.
        inputs, outputs: Channels before and after.
        skip: "add" or "concat" where the encoder's map joins; anything else: it does not.
        upsample: "transposed" or "bilinear".
        kernel, depth: Size and number of the convolutions after it.
        low, high: Positions of the map before and after.
        there: True for networks that have the level.
        skipped: Channels of the encoder's map that joins; None: as many as ``outputs``.
    """
    count = there.astype(np.int64)
    norm = layers.norm_operations
    transposed = upsample == "transposed"
    added, joined = skip == "add", skip == "concat"
    beside = outputs if skipped is None else skipped
    maps = outputs * high
    work: Any = np.where(transposed, norm, norm + INTERPOLATION_OPERATIONS) * maps
    # The addition, and four numbers compared for one of the pooled map.
    work = work + np.where(added, maps, 0) + 4 * beside * low
    # The 1x1 convolution comes before the upsampling.
    layers.add(
        f"up{stage}",
        inputs,
        outputs * np.where(transposed, 4, 1),
        low,
        count,
        other=2 * outputs,
        inputs=count * inputs * low,
        operations=count * work,
    )
    if skipped is not None:  # A 1x1 convolution makes the channels equal that are added.
        projected = count * (added & (skipped != outputs))
        layers.conv_bn(
            f"skip{stage}", skipped, outputs, high, projected, projected * skipped * high
        )
    taps = kernel**2
    read = outputs + np.where(joined, beside, 0)
    layers.conv_bn(f"decoder{stage}.first", read * taps, outputs, high, count, count * read * high)
    rest = count * (depth - 1)
    layers.conv_bn(f"decoder{stage}.rest", outputs * taps, outputs, high, rest, rest * maps)


def _total(slots: Counts) -> Counts:
    total: Counts = slots.sum(axis=0)
    return total


def stage_sequence(
    columns: Mapping[str, NDArray[Any]], widths: Sequence[Counts], halves: Sequence[Any]
) -> list[Counts]:
    """What residual stages build, one after another: equal columns are equal networks.

    A stage that neither halves the map nor changes its channels is more blocks of the stage before
    where it has blocks of the same kind.

    Args:
        columns: ``M``, the number of stages, and ``convblock<i>``, ``B<i>`` and ``R<i>`` of each.
        widths: Channels of each stage, (n,) each.
        halves: Whether each stage halves the map, (n,) each or one for all.

    Returns:
        For as many stages whether it halves the map, its channels, ``convblock``, branches and
        blocks, (n,) each; 0 where none is left.
    """
    n = len(columns["M"])
    slots = np.zeros((n, len(widths), 5), dtype=np.int64)
    last = np.full(n, -1)
    rows = np.arange(n)
    for i, (width, halved) in enumerate(zip(widths, halves, strict=True), 1):
        there, halving = columns["M"] >= i, np.broadcast_to(halved, n)
        own = np.stack([width, columns[f"convblock{i}"], columns[f"B{i}"]], axis=-1)
        same = (last >= 0) & ~halving & (slots[rows, last, 1:4] == own).all(-1)
        begun = there & ~same
        last = last + begun
        slots[rows[begun], last[begun], 0] = halving[begun]
        slots[rows[begun], last[begun], 1:4] = own[begun]
        slots[rows[there], last[there], 4] += columns[f"R{i}"][there]
    return list(slots.reshape(n, 5 * len(widths)).T)
