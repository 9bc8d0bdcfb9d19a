"""Chips measured on a share of the images each, beside a network that was measured on all of them.

A chip differs little from the network without noise, and chips differ little from each other: what
an image adds to a score is nearly the same on all of them. So each chip sees other images, all
chips together see all of them about equally often, and what counts is the difference from the
network without noise on the same images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasseg.analog.batches import inputs, items, rebuilt
from nasseg.errors import ConfigError
from nasseg.statistics import metric_names

REFERENCE = -1
"""Number that the network without noise has among chips; as a part, all images."""
PARTS_EACH = 2
"""Parts that a chip is measured on: from their difference follows what chance adds to a chip."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Sample:
    """Images dealt into parts of about equal size, each with images of all sizes."""

    parts: tuple[tuple[Any, ...], ...]
    """Batches of each."""
    sizes: tuple[int, ...]
    """Number of images of each."""

    @classmethod
    def of(cls, batches: Sequence[Any], images: int) -> Sample | None:
        """Deal batches so that :data:`PARTS_EACH` parts have about so many images.

        Args:
            batches: tuples, lists or dictionaries of tensors and lists with an entry for each
                image, or tensors. Anything else is kept together, as one image.
            images: that each chip is measured on; 0: all.

        Returns:
            None where a chip is measured on all of them.

        Raises:
            ConfigError: fewer images than parts of a chip.
        """
        if images and images < PARTS_EACH:
            raise ConfigError(f"images is {images}; allowed: 0, or {PARTS_EACH} or more")
        rows = [row for batch in batches for row in _rows(batch)]
        count = part_count(images, len(rows))
        if not count:
            return None
        # The largest first, there and back, so that no part has the largest of every round.
        rows.sort(key=lambda row: -_pixels(row))
        dealt: list[list[Any]] = [[] for _ in range(count)]
        for number, row in enumerate(rows):
            turn, place = divmod(number, count)
            dealt[place if turn % 2 == 0 else count - 1 - place].append(row)
        most = max(_length(batch) for batch in batches)
        return cls(
            tuple(tuple(_joined(part, most)) for part in dealt),
            tuple(len(part) for part in dealt),
        )

    def of_chip(self, chip: int) -> tuple[int, ...]:
        """Numbers of the parts that a chip is measured on."""
        return tuple((PARTS_EACH * chip + k) % len(self.parts) for k in range(PARTS_EACH))


def part_count(images: int, of: int) -> int:
    """Number of parts into which images are dealt; 0: each chip is measured on all of them.

    Args:
        images: that each chip is measured on; 0: all.
        of: images there are.
    """
    count = min(of, round(PARTS_EACH * of / images)) if images else 0
    return count if count > PARTS_EACH else 0


def _length(batch: Any) -> int:
    """Number of images of a batch whose items are by image; 1 of any other."""
    first = next(iter(inputs(batch)), None)
    if first is None or not any(first is item for item in items(batch)):
        return 1
    count = len(first) if first.dim() else 0
    alike = all(
        (item.dim() > 0 and len(item) == count)
        if isinstance(item, Tensor)
        else (isinstance(item, list) and len(item) == count)
        for item in items(batch)
    )
    return count if alike and count else 1


def _rows(batch: Any) -> Iterator[Any]:
    count = _length(batch)
    if count == 1:
        yield batch
        return
    for row in range(count):
        yield rebuilt(batch, [item[row : row + 1] for item in items(batch)])


def _pixels(row: Any) -> int:
    first = next(iter(inputs(row)), None)
    return first[0].numel() if first is not None and first.dim() else 0


def _joined(rows: Sequence[Any], most: int) -> Iterator[Any]:
    """Rows side by side in batches of equal shapes, at most so many in each."""
    waiting: list[Any] = []
    for row in rows:
        if waiting and (len(waiting) == most or _shapes(row) != _shapes(waiting[0])):
            yield _together(waiting)
            waiting = []
        waiting.append(row)
    if waiting:
        yield _together(waiting)


def _shapes(row: Any) -> Any:
    first = next(iter(inputs(row)), None)
    if first is None or not first.dim() or _length(row) != len(first):
        return id(row)
    return [item.shape[1:] if isinstance(item, Tensor) else None for item in items(row)]


def _together(rows: Sequence[Any]) -> Any:
    if len(rows) == 1:
        return rows[0]

    def joined(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], Tensor):
            return torch.cat(list(parts))
        return [entry for part in parts for entry in part]

    columns = zip(*(items(row) for row in rows), strict=True)
    return rebuilt(rows[0], [joined(column) for column in columns])


@dataclass(frozen=True)
class Estimate:
    """Chips as if each had been measured on all images, and how far off their mean may be."""

    rows: Rows
    """``chip``, ``time_s``, ``recalibrated`` and metrics. Their mean and their deviation are those
    estimated; a single chip's value is not known better than that."""
    errors: dict[tuple[float, bool], dict[str, float]]
    """Standard error of the mean over chips, by time and state, of each metric."""


def estimate(rows: Iterable[Mapping[str, Any]]) -> Estimate:
    """Estimate the scores of chips on all images from their scores on parts.

    The mean over chips is that of the reference on all images plus the mean over parts of the mean
    over chips of the difference from the reference on the same part. The variance over chips has
    two shares: one of the chip, which parts have in common, and one of chip and image, which
    shrinks with the images; the second follows from the two parts of each chip (a nested analysis
    of variance).

    Args:
        rows: of chips and of :data:`REFERENCE`, as
            :func:`~nasseg.analog.chip_evaluator` gives them where it is given ``images``.
    """
    given = list(rows)
    reference = {row["part"]: row for row in given if row["chip"] == REFERENCE}
    chips = [row for row in given if row["chip"] != REFERENCE]
    names = metric_names(chips)
    states: dict[tuple[float, bool], list[Mapping[str, Any]]] = {}
    for row in chips:
        states.setdefault((row["time_s"], row["recalibrated"]), []).append(row)
    found: dict[tuple[int, float, bool], dict[str, Any]] = {
        (row["chip"], row["time_s"], row["recalibrated"]): {} for row in chips
    }
    errors: dict[tuple[float, bool], dict[str, float]] = {}
    for state, measured in states.items():
        for name in names:
            values, error = _metric(name, measured, reference)
            errors.setdefault(state, {})[name] = error
            for chip, value in values.items():
                found[(chip, *state)][name] = value
    made = [
        {"chip": chip, "time_s": time_s, "recalibrated": recalibrated, **metrics}
        for (chip, time_s, recalibrated), metrics in found.items()
    ]
    return Estimate(made, errors)


def _metric(
    name: str, rows: Sequence[Mapping[str, Any]], reference: Mapping[int, Mapping[str, Any]]
) -> tuple[dict[int, float], float]:
    """Values of one metric by chip in one state, and the standard error of their mean."""
    numbers = list(dict.fromkeys(row["chip"] for row in rows))
    parts = sorted(part for part in reference if part != REFERENCE)
    away = np.full((len(numbers), len(parts)), np.nan)
    for row in rows:
        place = numbers.index(row["chip"]), parts.index(row["part"])
        away[place] = row[name] - reference[row["part"]][name]
    known = ~np.isnan(away)
    seen = known.sum(axis=0)
    whole = float(reference[REFERENCE][name])
    if not seen.any():
        return dict.fromkeys(numbers, float("nan")), float("nan")
    weights = np.array([reference[part]["images"] for part in parts], dtype=float) * (seen > 0)
    weights /= weights.sum()
    of_part = np.where(known, away, 0.0).sum(axis=0) / np.maximum(seen, 1)
    shift = float(weights @ of_part)
    # What a part does to all chips is no difference between chips; with one chip a part, nobody
    # knows which is which. Deviations from a mean of n are smaller than those from the truth.
    if seen.min() > 1:
        rest = np.where(known, away - of_part, 0.0) * np.sqrt(seen / (seen - 1))
    else:
        rest = np.where(known, away - shift, 0.0)
    each = np.maximum(known.sum(axis=1), 1)
    of_chip = rest.sum(axis=1) / each
    chance = _chance(rest, known)
    own = max(0.0, float((of_chip**2).mean()) - chance)
    over_all = own + chance * float(each.mean()) / len(parts)
    centred = of_chip - of_chip.mean()
    spread = float(centred.var(ddof=1)) if len(numbers) > 1 else 0.0
    scale = np.sqrt(over_all / spread) if spread > 0 else 0.0
    values = whole + shift + scale * centred
    error = float(np.sqrt((own + chance) / len(numbers)))
    return dict(zip(numbers, (float(value) for value in values), strict=True)), error


def _chance(rest: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]) -> float:
    """Variance of the mean of a chip's parts that is not the chip's own: from their spread."""
    found = []
    for values, there in zip(rest, known, strict=True):
        if there.sum() > 1:
            found.append(values[there].var(ddof=1) / there.sum())
    return float(np.mean(found)) if found else 0.0
