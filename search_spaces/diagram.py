"""A network as a drawing: the stages of its encoder and its decoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One box of a drawing."""

    title: str
    lines: tuple[str, ...]
    """Text below the title."""
    channels: int
    level: int
    """Halvings of the resolution, from that of the stem."""


@dataclass(frozen=True)
class Diagram:
    """Boxes in the order of computation."""

    encoder: tuple[Stage, ...]
    """From the image on; the first one is the stem."""
    decoder: tuple[Stage, ...] = ()
    """From the deepest level on."""
    stride: int = 1
    """Pixels of the image a pixel of the stem."""
    skip: str | tuple[str | None, ...] | None = None
    """How the encoder's map enters the decoder at the same level, for all boxes of the decoder or
    for each; None: not at all."""
    caption: str = ""
    """One line below the drawing."""
    output: str = "mask"
    """Name of what the network gives."""

    @property
    def skips(self) -> tuple[str | None, ...]:
        """``skip`` of every box of the decoder."""
        return self.skip if isinstance(self.skip, tuple) else (self.skip,) * len(self.decoder)
