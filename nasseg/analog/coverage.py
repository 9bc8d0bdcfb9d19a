"""Which layers run on tiles and which stay digital, and why: nothing stays digital in silence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nasseg.errors import ConversionError

AS_ASKED = "kept digital as asked"
"""Why a layer is digital that the user named."""


@dataclass(frozen=True)
class LayerCoverage:
    """One layer that holds weights."""

    name: str
    type: str
    macs: int
    """Multiply-accumulates for one input image."""
    weights: int
    tiles: int
    """Crossbars that it takes; 0 = digital."""
    analog: bool
    why: str
    """Why it is digital, or what its tiles do; empty for the usual fused tile."""


@dataclass(frozen=True)
class Coverage:
    """All layers that hold weight matrices, for an input of ``input_shape``."""

    layers: tuple[LayerCoverage, ...]
    input_shape: tuple[int, ...]

    @property
    def mac_fraction(self) -> float:
        """Share of the multiply-accumulates that run on tiles."""
        total = sum(layer.macs for layer in self.layers)
        return sum(layer.macs for layer in self.layers if layer.analog) / total if total else 0.0

    @property
    def weight_fraction(self) -> float:
        """Share of the weights that are held by tiles."""
        total = sum(layer.weights for layer in self.layers)
        return sum(la.weights for la in self.layers if la.analog) / total if total else 0.0

    @property
    def analog_layers(self) -> int:
        """Layers on tiles."""
        return sum(layer.analog for layer in self.layers)

    @property
    def tiles(self) -> int:
        """Crossbars in all."""
        return sum(layer.tiles for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one input image."""
        return sum(layer.macs for layer in self.layers)

    def require(self, min_mac_fraction: float) -> Coverage:
        """This coverage, if at least so much runs on tiles of what was not kept digital as asked.

        Raises:
            ConversionError: less does; the digital layers are named with their reasons.
        """
        counted = tuple(layer for layer in self.layers if layer.why != AS_ASKED)
        share = Coverage(counted, self.input_shape).mac_fraction
        if not counted or share >= min_mac_fraction:
            return self
        digital = [
            f"  {la.name} ({la.type}, {la.macs:,} MACs): {la.why}"
            for la in self.layers
            if not la.analog
        ]
        raise ConversionError(
            f"{self.mac_fraction:.2%} of the multiply-accumulates run on tiles; "
            f"{min_mac_fraction:.2%} are required. To accept it, set min_mac_fraction (in a run "
            f"analog.min_mac_fraction) to {math.floor(share * 100) / 100:g}. Digital layers:\n"
            + "\n".join(digital)
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Coverage:
        """Return the coverage that :meth:`to_dict` has written.

        Raises:
            KeyError, TypeError: the values are no coverage.
        """
        layers = tuple(LayerCoverage(**layer) for layer in values["layers"])
        return cls(layers, tuple(values["input_shape"]))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: ``layers`` and the fractions."""
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "input_shape": list(self.input_shape),
            "mac_fraction": self.mac_fraction,
            "weight_fraction": self.weight_fraction,
            "tiles": self.tiles,
            "macs": self.macs,
        }

    def __str__(self) -> str:
        width = max((len(layer.name) for layer in self.layers), default=4)
        rows = [
            f"{layer.name:<{width}}  {layer.type:<16} {layer.macs:>12,} {layer.weights:>10,} "
            f"{layer.tiles:>5}  {'analog' if layer.analog else 'digital'}"
            + (f" ({layer.why})" if layer.why else "")
            for layer in self.layers
        ]
        head = f"{'layer':<{width}}  {'type':<16} {'MACs':>12} {'weights':>10} {'tiles':>5}  where"
        return "\n".join(
            [
                head,
                *rows,
                f"{self.mac_fraction:.2%} of the MACs and {self.weight_fraction:.2%} "
                f"of the weights on {self.tiles} tiles",
            ]
        )
