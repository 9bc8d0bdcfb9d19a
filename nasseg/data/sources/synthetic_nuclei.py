"""Nuclei drawn from a seed, for demos, tests and machines without data.

They follow the look of the 2018 Data Science Bowl: mostly fluorescence on a dark field, some
violet or purple stain on a bright field, in the proportions, densities and sizes seen there. A
network trained on them is for trying the machinery, not for a microscope.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from skimage.draw import polygon
from skimage.filters import gaussian
from torch.nn.functional import interpolate

from nasseg.config import DataConfig
from nasseg.data.problems import Problems
from nasseg.data.sources.base import PIXELS, Item, Pair, Source, SourceType, Split

FloatArray = npt.NDArray[np.float32]

MIN_SIDE = 192
"""Images are drawn at least this large, then resized like any others."""
BRIGHT_FIELD = 0.25
"""Share of images with a stain on a bright field."""
MAX_OVERLAP = 0.35
"""Share of its area with which a nucleus may lie on others."""

# Optical density of the stain and colour of the lamp through unstained tissue, red green blue.
_STAINS = (
    ((0.80, 1.55, 0.30), (0.74, 0.66, 0.86)),  # violet on lavender
    ((0.75, 1.50, 0.55), (0.88, 0.90, 0.89)),  # purple on near white
    ((0.70, 1.25, 0.60), (0.91, 0.72, 0.85)),  # purple on pink
)

# Outlines: 32 points, and how deep the lobes of each order are.
_TURN = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_HARMONICS = np.array([[2], [3], [4]])
_DENT = 0.06 / np.sqrt(_HARMONICS)


class SyntheticNuclei(SourceType):
    """Nuclei that are drawn, where no path is given."""

    labels = PIXELS

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True without a path."""
        return path is None

    def open(self, path: Path | None, config: DataConfig) -> Source:
        """As :func:`open_synthetic`."""
        return open_synthetic(config)


def open_synthetic(config: DataConfig) -> Source:
    """The source of ``synthetic_train`` and ``synthetic_val`` images.

    Image ``i`` of a side depends on the seed, the side and ``i`` only, so more images of one do not
    change the other.
    """
    side = max(MIN_SIDE, config.image_size)
    items, ids = [], {}
    for number, (split, count) in enumerate(
        (("train", config.synthetic_train), ("val", config.synthetic_val))
    ):
        ids[split] = [f"{split}{index:05d}" for index in range(count)]
        for index, name in enumerate(ids[split]):
            key = (config.seed, number, index)
            items.append(Item(name, partial(_read, key, side, config.channels), name))
    name = f"built-in synthetic nuclei, seed {config.seed}"
    return Source(name, items, Split(ids["train"], ids["val"]), builtin="synthetic nuclei")


def draw_nuclei(
    rng: np.random.Generator, side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """One picture: uint8 (side, side, 3) and its instance labels, uint16 (side, side)."""
    bright = rng.random() < BRIGHT_FIELD
    labels, amount = _place(rng, side, elongated=bright)
    picture = _bright_field(rng, labels, amount) if bright else _dark_field(rng, labels, amount)
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8), labels


def _read(key: tuple[int, int, int], side: int, channels: int, problems: Problems) -> Pair:
    del problems  # nothing can be wrong with a drawing
    image, labels = draw_nuclei(np.random.default_rng(key), side)
    if channels == 1:
        luminance = image @ np.array([0.299, 0.587, 0.114])
        image = np.rint(luminance).astype(np.uint8)[..., None]
    elif channels == 4:
        image = np.concatenate([image, np.full_like(image[..., :1], 255)], axis=2)
    return Pair(image, labels.astype(np.int32))


def _smooth(rng: np.random.Generator, side: int, cells: int, along: int = 1) -> FloatArray:
    """Smooth noise of deviation near 1: (side, side), ``cells`` lumps a side, drawn out by
    ``along`` in one direction."""
    coarse = rng.standard_normal((1, 1, cells, max(2, cells // along)), dtype=np.float32)
    fine = interpolate(torch.from_numpy(coarse), (side, side), mode="bicubic", align_corners=True)
    field: FloatArray = fine[0, 0].numpy()
    return field if rng.random() < 0.5 else np.ascontiguousarray(field.T)


def _place(
    rng: np.random.Generator, side: int, elongated: bool
) -> tuple[npt.NDArray[np.uint16], FloatArray]:
    """Instance labels, and how much nucleus there is at each pixel (about 1 inside, 0 outside)."""
    labels = np.zeros((side, side), dtype=np.uint16)
    amount = np.zeros((side, side), dtype=np.float32)
    radius = side * float(np.exp(rng.uniform(np.log(0.02), np.log(0.085))))
    cover = rng.beta(1.3, 4.0) * 0.7 + 0.03
    count = int(np.clip(cover * side**2 / (np.pi * radius**2), 2, 150))
    spread = rng.uniform(0.1, 0.5)  # of brightness between nuclei of one picture
    stretch = rng.uniform(1.1, 2.2 if elongated else 1.6)
    direction, disorder = rng.uniform(0, np.pi), rng.uniform(0.2, 1.5)
    clustering = rng.uniform(0.0, 0.5)
    centres: list[npt.NDArray[np.float64]] = []
    for _ in range(2 * count):
        if len(centres) == count:
            break
        if centres and rng.random() < clustering:  # beside another one
            angle = rng.uniform(0, 2 * np.pi)
            neighbour = centres[rng.integers(len(centres))]
            centre = neighbour + rng.uniform(1.4, 2.2) * radius * np.array(
                [np.sin(angle), np.cos(angle)]
            )
        else:
            centre = rng.uniform(-0.02, 1.02, 2) * side
        major = radius * float(np.exp(rng.normal(0, 0.18)))
        minor = major / max(1.0, stretch * float(np.exp(rng.normal(0, 0.12))))
        rows, columns, depth = _nucleus(
            rng, centre, major, minor, direction + rng.normal(0, disorder), side
        )
        if not len(rows) or (labels[rows, columns] > 0).mean() > MAX_OVERLAP:
            continue
        centres.append(centre)
        labels[rows, columns] = len(centres)
        strength = float(np.exp(rng.normal(0, spread)))
        amount[rows, columns] = np.maximum(amount[rows, columns], strength * depth)
    return labels, amount


def _nucleus(
    rng: np.random.Generator,
    centre: npt.NDArray[np.float64],
    major: float,
    minor: float,
    angle: float,
    side: int,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """Pixels of a dented ellipse, and its thickness at each (1 at the centre, 0.6 at the rim)."""
    phase = rng.uniform(0, 2 * np.pi, (3, 1))
    size = rng.normal(0, _DENT)
    dent = 1 + (size * np.cos(_HARMONICS * _TURN + phase)).sum(axis=0)
    x, y = major * dent * np.cos(_TURN), minor * dent * np.sin(_TURN)
    cos, sin = np.cos(angle), np.sin(angle)
    outline_rows, outline_columns = centre[0] + sin * x + cos * y, centre[1] + cos * x - sin * y
    rows, columns = polygon(outline_rows, outline_columns, (side, side))
    dr, dc = rows - centre[0], columns - centre[1]
    along, across = (sin * dr + cos * dc) / major, (cos * dr - sin * dc) / minor
    depth = 0.6 + 0.4 * np.sqrt(np.maximum(1 - along**2 - across**2, 0))
    return rows, columns, depth.astype(np.float32)


def _chromatin(rng: np.random.Generator, side: int) -> FloatArray:
    """The grain inside nuclei, around 1."""
    grain = 0.6 * _smooth(rng, side, side // 5) + 0.4 * _smooth(rng, side, side // 2)
    result: FloatArray = np.clip(1 + rng.uniform(0.05, 0.3) * grain, 0.2, 2.0)
    return result


def _illumination(rng: np.random.Generator, side: int, strength: float) -> FloatArray:
    """The lamp, around 1."""
    result: FloatArray = np.clip(1 + rng.uniform(0, strength) * _smooth(rng, side, 3), 0.3, 2.0)
    return result


def _glow(field: FloatArray, side: int, width: int) -> FloatArray:
    """``field`` blurred widely: light from out of focus."""
    small = interpolate(torch.from_numpy(field)[None, None], (width, width), mode="area")
    wide = interpolate(small, (side, side), mode="bicubic", align_corners=False)
    result: FloatArray = wide[0, 0].numpy().clip(0)
    return result


def _dark_field(
    rng: np.random.Generator, labels: npt.NDArray[np.uint16], amount: FloatArray
) -> FloatArray:
    side = len(labels)
    exposure = float(np.exp(rng.uniform(np.log(0.08), np.log(0.8))))
    light = amount * _chromatin(rng, side)
    light = gaussian(light, sigma=rng.uniform(0.5, 1.6) * side / 256)
    light = light + rng.uniform(0.0, 0.25) * _glow(light, side, int(rng.integers(10, 28)))
    for _ in range(rng.poisson(1.0)):  # specks of dye, bright and no nuclei
        row, column = rng.integers(2, side - 2, 2)
        light[row - 1 : row + 2, column - 1 : column + 2] += rng.uniform(0.3, 1.0)
    background = rng.uniform(0.01, 0.3) * exposure * _illumination(rng, side, 0.3)
    picture = exposure * light * _illumination(rng, side, 0.3) + background
    photons = rng.uniform(150, 3000)
    shot = np.sqrt(picture.clip(0) / photons) * rng.standard_normal((side, side), dtype=np.float32)
    read = rng.uniform(0.0, 0.01) * rng.standard_normal((side, side), dtype=np.float32)
    result: FloatArray = np.repeat((picture + shot + read)[..., None], 3, axis=2)
    return result


def _bright_field(
    rng: np.random.Generator, labels: npt.NDArray[np.uint16], amount: FloatArray
) -> FloatArray:
    side = len(labels)
    stain, lamp = _STAINS[int(rng.choice(len(_STAINS), p=(0.55, 0.3, 0.15)))]
    density = np.array(stain) * np.exp(rng.normal(0, 0.12, 3)) * rng.uniform(0.7, 1.2)
    colour = np.clip(np.array(lamp) * np.exp(rng.normal(0, 0.04, 3)), 0, 1)
    dye = gaussian(amount * _chromatin(rng, side), sigma=rng.uniform(0.5, 1.4) * side / 256)
    # Nuclei above and below the focus: pale, blurred, not labelled.
    if rng.random() < 0.6:
        ghosts = np.roll(amount, rng.integers(side, size=2), axis=(0, 1))
        dye = dye + rng.uniform(0.1, 0.35) * _glow(ghosts, side, 36)
    fibres = _smooth(rng, side, side // 6, along=2) + _smooth(rng, side, side // 3)
    dye = dye + rng.uniform(0.01, 0.03) * (fibres + _smooth(rng, side, 9)) + 0.05
    picture = colour * np.exp(-dye[..., None] * density)
    picture *= _illumination(rng, side, 0.06)[..., None]
    noise = rng.normal(0, rng.uniform(0.003, 0.015), (side, side, 3))
    result: FloatArray = (picture + noise).astype(np.float32)
    return result
