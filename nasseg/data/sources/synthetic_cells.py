"""White blood cells drawn from a seed, for demos, tests and machines without data.

Four kinds that haematologists tell apart by the shape of the nucleus, the granules and the colour
of the cytoplasm: lymphocytes (round nucleus that nearly fills the cell), monocytes (kidney-shaped
nucleus, wide grey cytoplasm), neutrophils (two to five lobes, pale pink) and eosinophils (two
lobes, orange granules). Stain, lamp, focus and the outlines vary so that neighbouring kinds
overlap. A network trained on them is for trying the machinery, not for a blood smear.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from skimage.filters import gaussian
from torch.nn.functional import interpolate

from nasseg.config import DataConfig
from nasseg.data._types import Side
from nasseg.data.problems import Problems
from nasseg.data.read import to_channels
from nasseg.data.sources.base import Item, Pair, Source, SourceType, Split
from nasseg.data.sources.class_base import ClassSource, LoadedImages
from nasseg.tasks import get_task

FloatArray = npt.NDArray[np.float32]
Field = npt.NDArray[np.float32]
"""How deep inside something each pixel is, in cell radii: (side, side), above 0 inside."""

CELL_CLASSES = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
"""Kinds of cells, for classification."""
PIXEL_CLASSES = ("background", "cytoplasm", "nucleus")
"""Classes of pixels, for the same cells."""
MIN_SIDE = 96
"""Images are drawn at least this large, then resized like any others."""

_SIDES: tuple[Side, ...] = ("train", "val", "test")


class SyntheticCells(SourceType):
    """Blood cells that are drawn, where no path is given: classes of pixels or of images."""

    labels = frozenset({"classes", "class"})

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True without a path."""
        return path is None

    def open(self, path: Path | None, config: DataConfig) -> Source | ClassSource:
        """As :func:`open_cell_images`, or :func:`open_cell_pixels` for classes of pixels."""
        whole = get_task(config.kind).per_image
        return open_cell_images(config) if whole else open_cell_pixels(config)


def open_cell_images(config: DataConfig) -> ClassSource:
    """The source of ``synthetic_train`` training, and ``synthetic_val`` validation and as many
    test images, each with one cell; kinds take turns.

    Image ``i`` of a side depends on the seed, the side and ``i`` only.
    """
    side = max(MIN_SIDE, config.image_size, config.centre_crop)
    keys, ids, sides = _keys(config, _SIDES)
    kinds = [index % len(CELL_CLASSES) for _, _, index in keys]

    def load(row: int) -> npt.NDArray[np.uint8]:
        image, _ = draw_cell(np.random.default_rng(keys[row]), side, kinds[row])
        return to_channels(image, config.channels)

    return ClassSource(
        name=f"built-in synthetic cells, seed {config.seed}",
        ids=ids,
        images=LoadedImages(ids, load),
        labels=np.array(kinds, dtype=np.int64),
        classes=CELL_CLASSES,
        sides=sides,
        builtin="synthetic cells",
    )


def open_cell_pixels(config: DataConfig) -> Source:
    """The source of the same training and validation images with :data:`PIXEL_CLASSES`."""
    side = max(MIN_SIDE, config.image_size)
    keys, ids, sides = _keys(config, _SIDES[:2])
    items = [
        Item(name, partial(_read, key, side, config.channels), name)
        for name, key in zip(ids, keys, strict=True)
    ]
    split = Split(
        [name for name, own in zip(ids, sides, strict=True) if own == "train"],
        [name for name, own in zip(ids, sides, strict=True) if own == "val"],
    )
    name = f"built-in synthetic cells, seed {config.seed}"
    return Source(name, items, split, classes=PIXEL_CLASSES, builtin="synthetic cells")


def draw_cell(
    rng: np.random.Generator, side: int, kind: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """One cell among red ones.

    Args:
        rng: what varies.
        side: of the picture in pixels.
        kind: number among :data:`CELL_CLASSES`.

    Returns:
        uint8 (side, side, 3), and numbers of :data:`PIXEL_CLASSES`, uint8 (side, side).
    """
    name = CELL_CLASSES[kind]
    grid = (np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1
    centre = rng.uniform(-0.12, 0.12, 2)
    low, high = _SIZES[name]
    radius = rng.uniform(low, high) * rng.uniform(0.9, 1.1)
    turn = rng.uniform(0, 2 * np.pi)
    # The cell's own frame: its radius is 1, its nucleus lies as drawn before it is turned.
    rows, columns = np.meshgrid(grid - centre[0], grid - centre[1], indexing="ij")
    x = (np.cos(turn) * columns + np.sin(turn) * rows) / radius
    y = (np.cos(turn) * rows - np.sin(turn) * columns) / radius
    cell = 1 + _ripple(rng, x, y, 0.05) - np.hypot(x, y)
    nucleus = np.minimum(_NUCLEI[name](rng, x, y), cell - 0.03)
    labels = np.where(nucleus > 0, 2, np.where(cell > 0, 1, 0)).astype(np.uint8)
    image = _paint(rng, name, cell.astype(np.float32), nucleus.astype(np.float32), grid)
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8), labels


def _keys(
    config: DataConfig, sides: tuple[Side, ...]
) -> tuple[list[tuple[int, int, int]], list[str], list[Side]]:
    """Seed, id and side of each image."""
    counts = {
        "train": config.synthetic_train,
        "val": config.synthetic_val,
        "test": config.synthetic_val,
    }
    found = [(n, name, i) for n, name in enumerate(sides) for i in range(counts[name])]
    keys = [(config.seed, number, index) for number, _, index in found]
    return keys, [f"{name}{index:05d}" for _, name, index in found], [s for _, s, _ in found]


def _read(key: tuple[int, int, int], side: int, channels: int, problems: Problems) -> Pair:
    del problems  # nothing can be wrong with a drawing
    kind = key[2] % len(CELL_CLASSES)
    image, labels = draw_cell(np.random.default_rng(key), side, kind)
    return Pair(to_channels(image, channels), labels.astype(np.int32), "classes")


# --- shapes ---------------------------------------------------------------------------------


def _ripple(rng: np.random.Generator, x: Field, y: Field, size: float) -> Field:
    """Slow waves along an outline around the origin."""
    angle = np.arctan2(y, x)
    waves = np.zeros_like(x)
    for order in (2, 3, 4):
        strength = rng.normal(0, size / np.sqrt(order))
        waves += strength * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return waves


def _ellipse(x: Field, y: Field, at: tuple[float, float], axes: tuple[float, float]) -> Field:
    distance = np.hypot((x - at[0]) / axes[0], (y - at[1]) / axes[1])
    depth: Field = (1 - distance) * min(axes)
    return depth


def _round(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A lymphocyte's: fills the cell but for a rim, at times with a shallow dent."""
    size = rng.uniform(0.66, 0.88)
    at = (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1))
    body = _ellipse(x, y, at, (size, size * rng.uniform(0.88, 1.0)))
    body = body + _ripple(rng, x - at[0], y - at[1], 0.04)
    return _dented(rng, x, y, body, rng.uniform(0.0, 0.28), size)


def _kidney(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A monocyte's: large, with a dent of any depth at one side."""
    size = rng.uniform(0.58, 0.76)
    body = _ellipse(x, y, (0.05, 0.0), (size * rng.uniform(0.75, 0.95), size))
    body = body + _ripple(rng, x, y, 0.06)
    return _dented(rng, x, y, body, rng.uniform(0.2, 0.75), size)


def _dented(
    rng: np.random.Generator, x: Field, y: Field, body: Field, depth: float, size: float
) -> Field:
    width = rng.uniform(0.25, 0.4)
    dent = _ellipse(x, y, (size + 0.25 - depth * size, rng.uniform(-0.1, 0.1)), (0.35, width))
    return np.minimum(body, -dent)


def _lobes(rng: np.random.Generator, x: Field, y: Field, few: int, many: int) -> Field:
    """Lobes along an arc, with bridges between them."""
    count = int(rng.integers(few, many + 1))
    spread = rng.uniform(0.9, 1.25) * (np.pi / 2 if count == 2 else np.pi * 0.8)
    angles = np.linspace(-spread, spread, count) + rng.normal(0, 0.12, count)
    away = rng.uniform(0.36, 0.48)
    sizes = (0.62 if count == 2 else 0.95) / np.sqrt(count) * rng.uniform(0.72, 0.95, count)
    depth = np.full_like(x, -9)
    points = [(away * np.cos(a), away * np.sin(a)) for a in angles]
    for (column, row), angle, size in zip(points, angles, sizes, strict=True):
        long = size * rng.uniform(0.85, 1.3)
        c, s = np.cos(angle), np.sin(angle)
        along, across = -s * (x - column) + c * (y - row), c * (x - column) + s * (y - row)
        depth = np.maximum(depth, _ellipse(along, across, (0, 0), (long * 0.75, size * 0.65)))
    bridge = rng.uniform(0.03, 0.16)
    for (a, b), (c, d) in pairwise(points):
        along = ((x - a) * (c - a) + (y - b) * (d - b)) / ((c - a) ** 2 + (d - b) ** 2)
        along = np.clip(along, 0, 1)
        depth = np.maximum(
            depth, bridge - np.hypot(x - a - along * (c - a), y - b - along * (d - b))
        )
    return depth + _ripple(rng, x, y, 0.02)


_NUCLEI: dict[str, Callable[[np.random.Generator, Field, Field], Field]] = {
    "eosinophil": partial(_lobes, few=2, many=3),
    "lymphocyte": _round,
    "monocyte": _kidney,
    "neutrophil": partial(_lobes, few=2, many=5),
}
_SIZES = {
    "eosinophil": (0.5, 0.66),
    "lymphocyte": (0.36, 0.58),
    "monocyte": (0.54, 0.76),
    "neutrophil": (0.48, 0.64),
}
"""Radius of the cell, in half sides of the picture."""

# --- colours --------------------------------------------------------------------------------

_CYTOPLASM = {
    "eosinophil": (0.90, 0.72, 0.66),
    "lymphocyte": (0.70, 0.74, 0.90),
    "monocyte": (0.74, 0.73, 0.84),
    "neutrophil": (0.88, 0.78, 0.82),
}
_GRANULES = {
    "eosinophil": (260, (0.80, 0.40, 0.30), 0.55),
    "lymphocyte": (8, (0.55, 0.30, 0.55), 0.25),
    "monocyte": (50, (0.58, 0.45, 0.65), 0.25),
    "neutrophil": (200, (0.72, 0.52, 0.62), 0.40),
}
"""How many, their colour, and how strong they are."""


def _smooth(rng: np.random.Generator, side: int, cells: int) -> FloatArray:
    """Smooth noise of deviation near 1 with ``cells`` lumps a side, (side, side)."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells, cells), dtype=np.float32))
    fine = interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    return np.asarray(fine[0, 0].numpy(), dtype=np.float32)


def _soft(depth: FloatArray, side: int) -> FloatArray:
    """A field above 0 inside as shares of pixels: (side, side, 1), 0 to 1."""
    share: FloatArray = np.clip(depth * side / 4 + 0.5, 0, 1).astype(np.float32)[..., None]
    return share


def _paint(
    rng: np.random.Generator, name: str, cell: FloatArray, nucleus: FloatArray, grid: FloatArray
) -> FloatArray:
    side = len(grid)

    def tinted(colour: tuple[float, ...], spread: float) -> FloatArray:
        tint: FloatArray = (np.array(colour) + rng.normal(0, spread, 3)).astype(np.float32)
        return tint

    paper = tinted((0.93, 0.90, 0.86), 0.02)
    image = np.broadcast_to(paper, (side, side, 3)).copy()
    red = tinted((0.88, 0.62, 0.60), 0.03)
    for _ in range(rng.integers(2, 8)):  # red cells, pale in the middle
        row, column = rng.uniform(-1.1, 1.1, 2)
        size = rng.uniform(0.28, 0.4)
        away = np.hypot(grid[:, None] - row, grid[None] - column).astype(np.float32)
        inside = _soft(size - away, side)
        pale = 0.35 * np.exp(-((away / (0.5 * size)) ** 2))[..., None]
        image += inside * (0.85 - pale) * (red - image)
    body = tinted(_CYTOPLASM[name], 0.045)
    body = body * (1 + 0.03 * _smooth(rng, side, 12))[..., None]
    image += _soft(cell, side) * 0.95 * (body - image)
    image = _granules(rng, name, image, cell)
    chromatin = 1 + rng.uniform(0.06, 0.16) * _smooth(rng, side, int(rng.integers(8, 22)))
    violet = tinted((0.42, 0.24, 0.56), 0.04) * chromatin[..., None]
    image += _soft(nucleus, side) * 0.95 * (violet - image)
    image = gaussian(image, sigma=(rng.uniform(0.4, 1.8) * side / 96,) * 2 + (0,))
    # The lamp, the stain of the day and the camera's noise.
    image = image * rng.uniform(0.82, 1.06) * np.exp(rng.normal(0, 0.035, 3))
    image = image * (1 + rng.uniform(0, 0.05) * _smooth(rng, side, 3))[..., None]
    noise = rng.normal(0, rng.uniform(0.01, 0.04), (side, side, 3))
    result: FloatArray = (image + noise).astype(np.float32)
    return result


def _granules(
    rng: np.random.Generator, name: str, image: FloatArray, cell: FloatArray
) -> FloatArray:
    """Grains in the cytoplasm; the nucleus is painted over them."""
    side = len(cell)
    count, colour, strength = _GRANULES[name]
    count = int(count * rng.uniform(0.5, 1.4))
    spots = np.zeros((side, side), dtype=np.float32)
    inside = np.flatnonzero(cell.ravel() > 0.06)
    spots.ravel()[rng.choice(inside, min(count, len(inside)), replace=False)] = 1.0
    width = side / 96 * rng.uniform(0.7, 1.1)
    spots = gaussian(spots, sigma=width) * (2 * np.pi * width**2)
    cover = np.clip(spots, 0, 1)[..., None] * strength * rng.uniform(0.5, 1.2)
    result: FloatArray = image + cover * (np.array(colour, dtype=np.float32) - image)
    return result
