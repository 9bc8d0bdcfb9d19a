"""Energy and time of networks on a chip of crossbars: the formulas, for whole populations at once.

Every convolution and linear layer is a matrix of R rows (input channels times kernel area) and C
columns (output channels) on crossbars of r x c weights of its own::

    tiles       = ceil(R / r) ceil(C / c) replication
    utilisation = sum(R C) replication / (sum(tiles) r c)
    mvms        = P ceil(R / r) ceil(C / c)           P: output positions of the layer

Each multiplication takes ``cycles = ceil(input_bits / bits_per_cycle)``. Rows are driven once for
every block of columns, columns are read once for every block of rows, and what blocks of rows give
is added up digitally::

    tile    = mvms cycles tile_pj
    array   = P R C cells_per_weight cycles cell_fj
    dac     = P R ceil(C / c) cycles dac_pj
    adc     = P C ceil(R / r) cells_per_weight cycles adc_pj
    digital = P C ceil(R / r) scale_pj
              + (P C (ceil(R / r) - 1) + operations) operation_pj
    traffic = (input map + output map) activation_bytes byte_pj

One image passes layer after layer, the crossbars of a layer working side by side, digital work on
their outputs in step with them. In a pipeline all layers work at once, on different images, and the
digital unit is one more stage::

    latency  = sum(ceil(P / replication)) cycles cycle_ns + operations / operations_per_ns
    interval = max(max(ceil(P / replication)) cycles cycle_ns, operations / operations_per_ns)

``operations`` are the additions of partial sums, branches and skips, pooling, interpolation and
GroupNorm, and the multiply-accumulates of layers off the crossbars: those kept digital, and those
that have no analog layer. A layer kept digital costs nothing else but its traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nasseg.evaluators._hardware import Hardware

if TYPE_CHECKING:
    from nasseg.search_spaces import LayerTable

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

COMPONENTS = ("array", "dac", "adc", "tile", "digital", "traffic")
"""Parts of the energy, in the order in which they are shown."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Costs of ``n`` networks, one image each; all columns have shape ``(n,)``."""

    params: IntArray
    """Trainable parameters."""
    macs: IntArray
    """Multiply-accumulates."""
    tiles: IntArray
    """Crossbars, every layer beginning one of its own."""
    utilisation: FloatArray
    """Share of the crossbars' weights that are used, 0 to 1."""
    mvms: IntArray
    """Multiplications by a crossbar."""
    array_uj: FloatArray
    """Energy of the cells in microjoules."""
    dac_uj: FloatArray
    """Energy of the input converters in microjoules."""
    adc_uj: FloatArray
    """Energy of the output converters in microjoules."""
    tile_uj: FloatArray
    """Energy of the rest of the crossbars in microjoules."""
    digital_uj: FloatArray
    """Energy of digital operations in microjoules."""
    traffic_uj: FloatArray
    """Energy of moving activations from layer to layer in microjoules."""
    latency_us: FloatArray
    """Time of one image, layer after layer, in microseconds."""
    interval_us: FloatArray
    """Time from one image to the next where layers work as a pipeline, in microseconds."""

    def __len__(self) -> int:
        return len(self.params)

    @property
    def energy_uj(self) -> FloatArray:
        """Energy of one image in microjoules."""
        total: FloatArray = np.sum([getattr(self, f"{part}_uj") for part in COMPONENTS], axis=0)
        return total

    @classmethod
    def join(cls, parts: Sequence[Estimate]) -> Estimate:
        """The rows of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def estimate(table: LayerTable, hardware: Hardware) -> Estimate:
    """What the networks of a table cost on a chip; see the formulas of this module."""
    # Everything is counted in whole numbers and multiplied by constants last: a table by formula
    # and one counted on the built network give the same floats.
    rows, columns, count = table.rows, table.columns, table.count
    high = _blocks(rows, hardware.tile_rows)
    wide = _blocks(columns, hardware.tile_columns)
    each = high * wide
    weights = rows * columns
    on_tiles = count - table.digital
    runs = on_tiles * table.positions
    tiles = _sum(on_tiles * each)
    read = runs * columns
    outputs = _sum(read)
    conversions = _sum(read * high)
    used = _sum(on_tiles * weights)
    macs = _sum(runs * weights)
    mvms = _sum(runs * each)
    drives = _sum(runs * rows * wide)
    digital_runs = table.digital * table.positions
    digital_macs = _sum(table.digital_macs) + _sum(digital_runs * weights)
    operations = _sum(table.operations) + digital_macs + conversions - outputs
    moved = _sum(table.inputs) + outputs + _sum(digital_runs * columns)
    shared = _blocks(table.positions, hardware.replication)
    turns = _sum(on_tiles * shared)
    longest = np.max(np.where(on_tiles > 0, shared, 0), axis=0, initial=0)

    cycles, cells = hardware.cycles, hardware.cells_per_weight
    digital_ns = operations / hardware.operations_per_ns
    capacity = tiles * (hardware.tile_rows * hardware.tile_columns)
    return Estimate(
        params=_sum(count * (weights + table.other)),
        macs=macs + digital_macs,
        tiles=tiles * hardware.replication,
        utilisation=used / np.maximum(capacity, 1),
        mvms=mvms,
        array_uj=_microjoules(macs, cells * cycles * hardware.cell_fj * 1e-3),
        dac_uj=_microjoules(drives, cycles * hardware.dac_pj),
        adc_uj=_microjoules(conversions, cells * cycles * hardware.adc_pj),
        tile_uj=_microjoules(mvms, cycles * hardware.tile_pj),
        digital_uj=_microjoules(conversions, hardware.scale_pj)
        + _microjoules(operations, hardware.operation_pj),
        traffic_uj=_microjoules(moved, hardware.activation_bytes * hardware.byte_pj),
        latency_us=(turns * hardware.mvm_ns + digital_ns) * 1e-3,
        interval_us=np.maximum(longest * hardware.mvm_ns, digital_ns) * 1e-3,
    )


def _blocks(values: IntArray, size: int) -> IntArray:
    """Blocks of ``size`` that hold ``values``."""
    return (values + (size - 1)) // size


def _microjoules(counts: IntArray, picojoules: float) -> FloatArray:
    """Energy of ``counts`` events."""
    energy: FloatArray = counts.astype(np.float64) * (picojoules * 1e-6)
    return energy


def _sum(slots: IntArray) -> IntArray:
    total: IntArray = slots.sum(axis=0)
    return total
