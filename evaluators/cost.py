"""What an architecture costs: parameters, crossbars, energy and time.

Spaces that give the table of their layers by formula (ours do) are counted without building
anything, hundreds of thousands of architectures a second. For other spaces every network is built
on torch's meta device, where weights take no memory (about ten a second); torch is imported with
the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ConfigError
from nasseg.evaluators._hardware import Hardware
from nasseg.evaluators.base import Arch, Evaluator, Matrix
from nasseg.evaluators.estimate import COMPONENTS, Estimate, estimate
from nasseg.evaluators.scores import Scores

if TYPE_CHECKING:
    from torch import nn

    from nasseg.search_spaces import SearchSpace

IntArray = NDArray[np.int64]
K = TypeVar("K")

TILE_SHAPE = (512, 256)
"""Rows and columns of a crossbar where nothing else is said: those of the ``pcm`` preset, on which
networks are trained and drift."""
BLOCK = 1024
"""Architectures estimated at a time, so that a table stays in the processor's cache."""

ENDS = {"first": 0, "last": -1}
"""Words for the layers at either end of a network, and their index among its weight layers."""


@dataclass(frozen=True)
class Cost:
    """Counts of one network."""

    params: int
    """Trainable parameters."""
    tiles: int
    """Crossbars for all Conv2d and Linear weights, every layer beginning a crossbar of its own."""


@dataclass(frozen=True)
class LayerCost:
    """One layer that holds weights, with the digital operations up to the next one."""

    name: str
    """Of the module."""
    rows: int
    """Inputs of its weight matrix; 0 = not on crossbars."""
    columns: int
    """Outputs of its weight matrix; 0 = not on crossbars."""
    positions: int
    """Output positions of one image."""
    macs: int
    """Multiply-accumulates of one image."""
    tiles: int
    """Crossbars."""
    utilisation: float
    """Share of their weights that are used, 0 to 1."""
    mvms: int
    """Multiplications by a crossbar for one image."""
    energy: Mapping[str, float]
    """Microjoules of one image, by component: ``array``, ``dac``, ``adc``, ``tile``, ``digital``,
    ``traffic``."""
    latency_us: float
    """Its share of the time of one image in microseconds."""

    @property
    def energy_uj(self) -> float:
        """Microjoules of one image."""
        return sum(self.energy.values())


class CostEvaluator(Evaluator):
    """Parameters, crossbars, energy and time of architectures of ``space``.

    The estimate is that of :mod:`nasseg.evaluators.estimate`; ``docs/hardware.md`` says what is
    not in it.

    Args:
        space: The search space.
        in_channels: Image channels of the networks.
        out_channels: Output channels of the networks.
        tile_shape: Rows and columns of a crossbar, in weights; none = those of ``hardware``, and
            512 x 256 where that is not given either. A k x k convolution of C to D channels takes
            ``ceil(C k k / rows) * ceil(D / columns)`` of them; biases stay digital.
        hardware: The chip; none = the ``hermes`` preset.
        input_size: Height and width in pixels of the image that energy and time are of.
        digital_layers: Layers that are kept digital: ``first`` and ``last`` for those of each
            network, or names of modules. Names that are not those of the first or the last layer
            (:func:`split_places`) have every network built; one that lacks such a module raises
            UnknownName.

    Raises:
        ConfigError: a channel count, a tile side or the image is below 1.
    """

    def __init__(
        self,
        space: SearchSpace,
        in_channels: int = 3,
        out_channels: int = 1,
        tile_shape: tuple[int, int] | None = None,
        hardware: Hardware | None = None,
        input_size: tuple[int, int] = (64, 64),
        digital_layers: Sequence[str] = (),
    ) -> None:
        if tile_shape is None:
            tile_shape = TILE_SHAPE if hardware is None else hardware.tile_shape
        for key, value in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("tile_shape", min(tile_shape)),
            ("input_size", min(input_size)),
        ):
            if value < 1:
                raise ConfigError(f"{key} is {value!r}; allowed: 1 or more")
        self.space = space
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.tile_shape = tile_shape
        self.hardware = (hardware or Hardware.preset()).replace(
            tile_rows=tile_shape[0], tile_columns=tile_shape[1]
        )
        self.input_size = input_size
        self.digital_layers = tuple(digital_layers)
        self._built: dict[tuple[bytes, int, int], Estimate] = {}

    def evaluate(self, archs: Sequence[Arch]) -> Scores:
        """Scores with ``params``, ``tiles``, ``energy_uj`` and ``latency_us`` known."""
        return self.evaluate_matrix(self.space.encode(archs))

    def evaluate_matrix(self, X: Matrix) -> Scores:
        """As :meth:`evaluate`, of float32 rows ``(n, F)``."""
        counted = self.estimate_matrix(X)
        return Scores.of(
            len(counted),
            params=counted.params,
            tiles=counted.tiles,
            energy_uj=counted.energy_uj,
            latency_us=counted.latency_us,
        )

    def estimate(self, archs: Sequence[Arch]) -> Estimate:
        """All that is counted and estimated, column by column."""
        return self.estimate_matrix(self.space.encode(archs))

    def estimate_matrix(self, X: Matrix, input_size: tuple[int, int] | None = None) -> Estimate:
        """As :meth:`estimate`, of float32 rows ``(n, F)``; ``input_size`` none = the evaluator's.

        Raises:
            ArchError: a row is no architecture, or the image is smaller than the networks accept.
        """
        size = self.input_size if input_size is None else input_size
        parts = []
        for start in range(0, max(len(X), 1), BLOCK):
            block = X[start : start + BLOCK]
            table = self.space.layer_table(block, self.in_channels, self.out_channels, size)
            if table is None or self._places[1]:
                return self._estimate_built(X, size)
            if places := self._places[0]:
                table = table.keep_digital(first="first" in places, last="last" in places)
            parts.append(estimate(table, self.hardware))
        return Estimate.join(parts)

    def costs_matrix(self, X: Matrix) -> list[Cost]:
        """The :class:`Cost` of every row."""
        counted = self.estimate_matrix(X)
        return [
            Cost(params, tiles)
            for params, tiles in zip(counted.params.tolist(), counted.tiles.tolist(), strict=True)
        ]

    def params_matrix(self, X: Matrix) -> IntArray:
        """Number of parameters of every row, int64 ``(n,)``."""
        return self.space.count_params(X, self.in_channels, self.out_channels)

    def macs(self, archs: Sequence[Arch], input_size: tuple[int, int] = (64, 64)) -> IntArray:
        """Multiply-accumulates of Conv2d and Linear for one image of ``input_size`` (H, W)."""
        return self.macs_matrix(self.space.encode(archs), input_size)

    def macs_matrix(self, X: Matrix, input_size: tuple[int, int] = (64, 64)) -> IntArray:
        """As :meth:`macs`, of float32 rows ``(n, F)``."""
        return self.estimate_matrix(X, input_size).macs

    def layer_costs(self, network: Arch | nn.Module) -> list[LayerCost]:
        """What every layer costs, of an architecture or of a network that is built.

        In the order in which layers run. Sums are those of :meth:`estimate`.

        Raises:
            ArchError: no architecture of the space, or a network without weight layers.
        """
        net = self._build(network) if isinstance(network, Mapping) else network
        shape = (1, self.in_channels, *self.input_size)
        return layer_costs(net, shape, self.hardware, self.digital_layers)

    @cached_property
    def _places(self) -> tuple[list[str], list[str]]:
        return split_places(self.space, self.digital_layers)

    def _estimate_built(self, X: Matrix, size: tuple[int, int]) -> Estimate:
        """Of networks that are built; equal rows are built once, and remembered."""
        from nasseg.evaluators._counted import layer_table
        from nasseg.search_spaces.layers import Layers

        keys = [(key, *size) for key in row_keys(X)]
        new = _first_of_each(keys, self._built)
        for key, arch in zip(new, self._decode(X, new.values()), strict=True):
            shape = (1, self.in_channels, *size)
            table = layer_table(self._build(arch), shape, self.digital_layers)
            self._built[key] = estimate(table, self.hardware)
        nothing = estimate(Layers(0).table(), self.hardware)
        return Estimate.join([self._built[key] for key in keys] or [nothing])

    def _decode(self, X: Matrix, index: Any) -> list[dict[str, Any]]:
        rows = list(index)
        return self.space.decode(X[rows]) if rows else []

    def _build(self, arch: Arch) -> nn.Module:
        return _build_on_meta(
            lambda: self.space.build(
                arch, in_channels=self.in_channels, out_channels=self.out_channels
            )
        )


def _build_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    import torch

    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, NotImplementedError):
        # An initialisation that reads values cannot run without them.
        return build().to("meta")


def split_places(space: SearchSpace, layers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide digital layers into those with a place in every network of a space, and others.

    A population is estimated by formula where all have a place.

    Args:
        space: The search space.
        layers: ``first``, ``last``, or names of modules, such as ``head.0``.

    Returns:
        ``first`` and ``last``, each if it is among the layers, under this or under its module's
        name; and the names of all others.
    """
    places = [layer for layer in dict.fromkeys(layers) if layer in ENDS]
    names = [layer for layer in dict.fromkeys(layers) if layer not in ENDS]
    if names and (slots := _slots(space)):
        from nasseg._macs import weight_layers

        net = _build_on_meta(lambda: space.build(space.default()))
        weighted = [name for name, *_ in weight_layers(net)]
        for name in list(names):
            covered = [item for item in weighted if item == name or item.startswith(f"{name}.")]
            # The part of the table must be called so too, and be the only one: then the module
            # is at that end of every other network of the space.
            named = [slot for slot in slots if f"{slot}.".startswith(f"{name}.")]
            named += [slot for slot in slots if name.startswith(f"{slot}.")]
            for place, index in ENDS.items():
                if covered == [weighted[index]] and named == [slots[index]]:
                    places.append(place)
                    names.remove(name)
                    break
    return list(dict.fromkeys(places)), names


def _slots(space: SearchSpace) -> tuple[str, ...]:
    table = space.layer_table(space.encode([space.default()]))
    return () if table is None else table.names


def layer_costs(
    net: nn.Module,
    input_shape: tuple[int, int, int, int],
    hardware: Hardware,
    digital_layers: Sequence[str] = (),
) -> list[LayerCost]:
    """What every layer of a network that is built costs, in the order in which layers run.

    Args:
        net: On any device; on meta nothing is computed.
        input_shape: ``(1, C, H, W)``.
        hardware: The chip.
        digital_layers: Names of the modules that are kept digital, ``first`` or ``last``.

    Raises:
        ArchError: the network has no weight layers.
        UnknownName: ``digital_layers`` names no module of the network.
    """
    from nasseg.evaluators._counted import layer_table

    whole = layer_table(net, input_shape, digital_layers)
    table = whole.each()
    cost = estimate(table, hardware)
    energies = {part: getattr(cost, f"{part}_uj").tolist() for part in COMPONENTS}
    return [
        LayerCost(
            name=name,
            rows=int(table.rows[0, i]) if cost.tiles[i] else 0,
            columns=int(table.columns[0, i]) if cost.tiles[i] else 0,
            positions=int(table.positions[0, i]),
            macs=int(cost.macs[i]),
            tiles=int(cost.tiles[i]),
            utilisation=float(cost.utilisation[i]),
            mvms=int(cost.mvms[i]),
            energy={part: values[i] for part, values in energies.items()},
            latency_us=float(cost.latency_us[i]),
        )
        for i, name in enumerate(whole.names)
    ]


def count_network(net: nn.Module, tile_shape: tuple[int, int] = TILE_SHAPE) -> Cost:
    """The :class:`Cost` of a network that is built, on any device."""
    from nasseg._macs import weight_layers, why_off_tiles

    rows, columns = tile_shape
    tiles = 0
    for _, module, weights in weight_layers(net):
        if not why_off_tiles(module):
            weight: Any = module.weight
            outputs = len(weight)
            tiles += math.ceil(weights // outputs / rows) * math.ceil(outputs / columns)
    return Cost(sum(p.numel() for p in net.parameters() if p.requires_grad), tiles)


def count_macs(net: nn.Module, input_shape: tuple[int, int, int, int]) -> int:
    """Multiply-accumulates of all Conv2d and Linear layers in one forward pass.

    Args:
        net: A network on the meta device.
        input_shape: ``(B, C, H, W)``.
    """
    import torch

    from nasseg._macs import count_macs as layer_macs

    return input_shape[0] * sum(layer_macs(net, torch.empty(input_shape, device="meta")).values())


def row_keys(X: Matrix) -> list[bytes]:
    """The bytes of every row; equal architectures have equal keys."""
    # Adding zero turns -0.0 into 0.0, which is the same architecture but other bytes.
    rows = np.ascontiguousarray(X, dtype=np.float32) + np.float32(0)
    return [row.tobytes() for row in rows]


def _first_of_each(keys: Sequence[K], known: Any) -> dict[K, int]:
    """Keys not in ``known``, with the index at which each occurs first."""
    new: dict[K, int] = {}
    for i, key in enumerate(keys):
        if key not in known:
            new.setdefault(key, i)
    return new
