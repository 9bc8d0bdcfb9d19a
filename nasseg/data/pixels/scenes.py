"""Which images show the same scene, told from names and pixels.

Crops of one microscope field share stain, lamp and cells. Where some are trained on and others
held out, the held-out score flatters; on DSB2018 a random split does this to three quarters of its
held-out images. What is found here, and nothing else:

- *the same image*: equal pixels, whatever the file's name or format;
- *the same picture again*, resized or compressed anew: thumbnails that correlate above
  :data:`SAME_PICTURE`;
- *tiles by name*: ``scene_r0_c1``, ``scene_row0_col1``, ``scene_x256_y0``, ``scene_tile3``
  (``crop``, ``patch``), with ``-``, ``_`` or nothing between, belong to ``scene``;
- *tiles by their borders*: the last column (row) of one image continues in the first column (row)
  of another.

Not found: crops that overlap or have a gap between them, neighbours along an empty border, other
fields of the same slide or patient. For these, write a ``splits.json``.

Borders, on DSB2018 (568 images, 0.3 s): 409 pairs are linked, and all but one of them lie on one
side of the curated split; by chance it would be 115.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import adaptive_avg_pool2d, avg_pool1d, pad

FloatArray = npt.NDArray[np.float32]

SAME_PICTURE = 0.985
"""Correlation of two thumbnails from which they are the same picture."""
THUMBNAIL = 16
"""Side of a thumbnail in pixels."""
MIN_CORRELATION = 0.85
"""Correlation of two borders, smooth trends removed, from which they may be neighbours."""
MIN_CONTRAST = 2.0
"""Standard deviation a border needs, in grey levels of 255; below, there is only noise to match."""
MAX_JUMP = 1.5
"""Mean step from one image to the other, as a multiple of the step within either."""
_TILE = re.compile(
    r"^(?P<scene>.*?)[-_]?(?:"
    r"r(?:ow)?[-_]?\d+[-_]?c(?:ol)?[-_]?\d+"
    r"|x[-_]?\d+[-_]?y[-_]?\d+"
    r"|y[-_]?\d+[-_]?x[-_]?\d+"
    r"|(?:tile|crop|patch)[-_]?\d+(?:[-_]\d+)?"
    r")$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Trace:
    """What is kept of an image at its own size, to find its relatives."""

    digest: bytes
    """Hash of shape and pixels."""
    thumbnail: FloatArray
    """Green, flattened."""
    borders: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    """Mean of the colours at left, right, top, bottom: (2, length), the outermost line first."""


def trace_image(image: npt.NDArray[np.uint8]) -> Trace:
    """The trace of a uint8 (H, W, C) image."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    missing = [(0, max(0, 2 - side)) for side in image.shape[:2]]
    if any(after for _, after in missing):  # an image one pixel wide still has two border lines
        image = np.pad(image, (*missing, (0, 0)), mode="edge")
    # Green alone tells pictures apart, at a third of the cost.
    green = image[..., min(1, image.shape[2] - 1)].astype(np.float32)
    thumbnail: FloatArray = adaptive_avg_pool2d(torch.from_numpy(green)[None], THUMBNAIL).numpy()
    left, right = _grey(image[:, :2]).T, _grey(image[:, :-3:-1]).T
    borders = (left, right, _grey(image[:2]), _grey(image[:-3:-1]))
    return Trace(digest.digest(), thumbnail.ravel(), borders)


def _grey(image: npt.NDArray[np.uint8]) -> FloatArray:
    """Mean of the colour channels, (H, W)."""
    grey: FloatArray = image[..., : min(image.shape[2], 3)].mean(axis=2, dtype=np.float32)
    return grey


def scene_of_name(name: str) -> str | None:
    """The scene that a tile's name gives, or None."""
    match = _TILE.match(name)
    return match["scene"].lower() if match and match["scene"] else None


def group_scenes(ids: Sequence[str], traces: Sequence[Trace]) -> list[int]:
    """A group number for each image; images of one scene have the same.

    Args:
        ids: names, sorted.
        traces: their traces, in the same order.
    """
    parent = list(range(len(ids)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[object, int] = {}
    for index, (name, trace) in enumerate(zip(ids, traces, strict=True)):
        scene = scene_of_name(name)
        for key in (trace.digest, *(() if scene is None else (scene,))):
            parent[root(index)] = root(first.setdefault(key, index))
    for a, b in (*_same_picture(traces), *_neighbours(traces)):
        parent[root(a)] = root(b)
    roots = [root(index) for index in range(len(ids))]
    number = {node: count for count, node in enumerate(dict.fromkeys(roots))}
    return [number[node] for node in roots]


def _standard(rows: FloatArray) -> FloatArray:
    """Rows shifted and scaled to mean 0 and norm 1; a constant row becomes 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    result: FloatArray = centred / np.maximum(norm, 1e-6)
    return result


def _same_picture(traces: Sequence[Trace]) -> Iterator[tuple[int, int]]:
    if not traces:
        return
    thumbnails = np.stack([trace.thumbnail for trace in traces])
    # A picture of nothing (empty field, noise) looks like every other picture of nothing.
    rows = np.flatnonzero(thumbnails.std(axis=1) >= MIN_CONTRAST)
    standard = _standard(thumbnails[rows])
    for start in range(0, len(rows), 1024):  # blocks bound the memory of large sets
        close = standard[start : start + 1024] @ standard.T > SAME_PICTURE
        for a, b in zip(*np.nonzero(close), strict=True):
            if a + start < b:
                yield int(rows[a + start]), int(rows[b])


def _neighbours(traces: Sequence[Trace]) -> Iterator[tuple[int, int]]:
    for far, near in ((1, 0), (3, 2)):
        by_length: defaultdict[int, list[int]] = defaultdict(list)
        for index, trace in enumerate(traces):
            by_length[trace.borders[far].shape[1]].append(index)
        for length, members in by_length.items():
            if length >= 32:  # shorter profiles match by accident
                ends = np.stack([traces[i].borders[far] for i in members])
                starts = np.stack([traces[i].borders[near] for i in members])
                for a, b in _continued(ends, starts):
                    if a != b:
                        yield members[a], members[b]


def _detail(profiles: FloatArray) -> FloatArray:
    """Profiles without their smooth trend: vignetting is the same in unrelated images."""
    half = max(4, profiles.shape[1] // 16)
    rows = torch.from_numpy(np.ascontiguousarray(profiles))
    trend = avg_pool1d(pad(rows[:, None], (half, half), mode="replicate"), 2 * half + 1, stride=1)
    detail: FloatArray = (rows - trend[:, 0]).numpy()
    return detail


def _continued(ends: FloatArray, starts: FloatArray) -> Iterator[tuple[int, int]]:
    """Pairs (a, b) where ends[a] continues in starts[b]; both (N, 2, length)."""
    end, start = _detail(ends[:, 0]), _detail(starts[:, 0])
    step_a = np.abs(ends[:, 0] - ends[:, 1]).mean(axis=1)
    step_b = np.abs(starts[:, 0] - starts[:, 1]).mean(axis=1)
    contrast_a, contrast_b = end.std(axis=1), start.std(axis=1)
    standard = _standard(start).T
    for first in range(0, len(end), 1024):
        alike = _standard(end[first : first + 1024]) @ standard > MIN_CORRELATION
        for row, b in zip(*np.nonzero(alike), strict=True):
            a = row + first
            jump = np.abs(ends[a, 0] - starts[b, 0]).mean()
            if (
                min(contrast_a[a], contrast_b[b]) > MIN_CONTRAST
                and jump < MAX_JUMP * max(step_a[a], step_b[b]) + 0.15
            ):
                yield int(a), int(b)
