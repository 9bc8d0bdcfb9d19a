"""Which classified images are trained on, which select, and which results are of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from nasseg.config import DataConfig
from nasseg.data._types import Side
from nasseg.errors import DataError

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

PARTS = 20
"""Groups are held out as some of at most so many parts."""


def join_units(digests: Sequence[bytes], groups: Sequence[str] | None) -> Ints:
    """A number for each image, (N,); those of one number must be on one side.

    These are images of equal pixels and of one group, and what hangs together by both.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(digests)
    ends: list[int] = []
    for keys in (digests, groups or ()):
        first: dict[object, int] = {}
        ends += [first.setdefault(key, row) for row, key in enumerate(keys)]
    starts = np.tile(np.arange(count), 1 + (groups is not None))
    links = coo_array((np.ones(len(ends), dtype=np.int8), (starts, ends)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def strata_of(labels: Ints) -> Ints:
    """The class that each image counts as where classes are held out evenly, (N,).

    Labels (N,) are these classes; of several classes (N, K) it is the image's rarest one, K where
    it has none.
    """
    if labels.ndim == 1:
        return labels
    counts = labels.sum(axis=0)
    rarity = np.where(labels > 0, counts, len(labels) + 1)
    rarest = rarity.argmin(axis=1)
    strata: Ints = np.where(labels.any(axis=1), rarest, labels.shape[1]).astype(np.int64)
    return strata


def draw_sides(
    strata: Ints, units: Ints, grouped: bool, given: Sequence[Side] | None, config: DataConfig
) -> list[Side]:
    """A side for each image; a function of the arguments and ``config.seed``.

    Sides that the source gives stay; those it lacks are drawn from its training images. With
    ``config.folds``, all images are divided anew: part ``config.fold`` is the test side, whatever
    the source gives. Every class is on each drawn side in its share, as far as whole units allow,
    and has a training image.

    Args:
        strata: class of each image, (N,).
        units: number of the unit of each image, (N,); units are not divided.
        grouped: whether units are groups that may be large and of several classes.
        given: the source's own sides.
        config: ``val_fraction``, ``test_fraction``, ``folds``, ``fold`` and ``seed``.

    Raises:
        DataError: there are too few units.
    """
    sides: list[Side] = ["train"] * len(strata) if given is None or config.folds else list(given)
    everything = np.arange(len(strata))

    def training() -> Rows:
        return np.array([row for row in everything if sides[row] == "train"], dtype=np.intp)

    def move(rows: Rows, side: Side) -> None:
        for row in rows:
            sides[row] = side

    seeds = np.random.SeedSequence(config.seed).generate_state(2).tolist()
    if config.folds:
        move(_fold(strata, units, grouped, config, seeds[0]), "test")
    elif config.test_fraction and "test" not in sides:
        rows = _hold_out(training(), strata, units, grouped, config.test_fraction, seeds[0])
        move(rows, "test")
    if "val" not in sides:
        rows = _hold_out(training(), strata, units, grouped, config.val_fraction, seeds[1])
        move(rows, "val")
    return sides


def hold_out(strata: Ints, units: Ints, grouped: bool, config: DataConfig) -> Rows:
    """Return those of the training images that stand in for the validation images.

    Args:
        strata: class of each training image, (N,).
        units: number of the unit of each training image, (N,); units are not divided.
        grouped: whether units are groups that may be large and of several classes.
        config: ``holdout`` and ``seed``.

    Raises:
        DataError: they cannot be divided.
    """
    seed = np.random.SeedSequence(config.seed).generate_state(3).tolist()[2]
    return _hold_out(np.arange(len(strata)), strata, units, grouped, config.holdout, seed)


def _fold(strata: Ints, units: Ints, grouped: bool, config: DataConfig, seed: int) -> Rows:
    """Rows of part ``config.fold``."""
    count = len(np.unique(units))
    if count < config.folds:
        raise DataError(
            f"data.folds is {config.folds}, but there are only {count} "
            f"{'groups' if grouped else 'different images'}"
        )
    rows = _parts(strata, units, grouped, config.folds, seed)[config.fold]
    if not len(rows):
        raise DataError(
            f"data.folds is {config.folds}: the groups are so unequal that part {config.fold} has "
            "no images; use fewer parts"
        )
    return rows


def _parts(strata: Ints, units: Ints, grouped: bool, parts: int, seed: int) -> list[Rows]:
    """Rows of each of ``parts`` parts of equal size, classes spread evenly, units whole."""
    with warnings.catch_warnings():
        # A class of fewer images than parts is missing in some; what matters is checked later.
        warnings.simplefilter("ignore", UserWarning)
        try:
            if grouped:
                splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
                return [held for _, held in splitter.split(strata, strata, units)]
            number, first = np.unique(units, return_index=True)
            simple = StratifiedKFold(parts, shuffle=True, random_state=seed)
            found = [number[held] for _, held in simple.split(number, strata[first])]
        except ValueError:
            raise DataError(
                f"the images cannot be divided into {parts} parts: every class has fewer images"
            ) from None
    return [np.flatnonzero(np.isin(units, held)) for held in found]


def _hold_out(
    rows: Rows, strata: Ints, units: Ints, grouped: bool, fraction: float, seed: int
) -> Rows:
    """Rows that are held out of ``rows``."""
    names, units = np.unique(units[rows], return_inverse=True)
    strata = strata[rows]
    if len(names) < 2:
        raise DataError(
            f"cannot hold out images of {len(rows)}: they are all the same or of one group"
        )
    if grouped:
        held = _hold_out_groups(strata, units, len(names), fraction, seed)
    else:
        held = _hold_out_units(strata, units, fraction, seed)
    _mend(held, strata, units)
    if not held.any():
        raise DataError(
            f"cannot hold out any of {len(names)} {'groups' if grouped else 'images'}: each has "
            "the only training images of a class"
        )
    return rows[held[units]]


def _hold_out_groups(
    strata: Ints, units: Ints, count: int, fraction: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Which of ``count`` groups are held out."""
    share = Fraction(fraction).limit_denominator(PARTS)
    parts = share.denominator if 0 < share < 1 else PARTS
    parts = max(2, min(parts, count, int(np.bincount(strata).max())))
    taken = min(max(1, round(fraction * parts)), parts - 1)
    held = np.zeros(count, dtype=bool)
    for part in _parts(strata, units, True, parts, seed)[:taken]:
        held[units[part]] = True
    return held


def _hold_out_units(strata: Ints, units: Ints, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which units are held out, each class in its share."""
    _, first = np.unique(units, return_index=True)
    own = strata[first]
    count = np.bincount(own)
    held = np.zeros(len(own), dtype=bool)
    several = np.flatnonzero(count[own] > 1)  # the only image of a class is trained on
    if not len(several):
        return held
    kinds = len(np.unique(own[several]))
    wanted = round(fraction * len(own))
    if len(several) >= 2 * kinds:
        wanted = min(max(wanted, kinds), len(several) - kinds)
        splitter = StratifiedShuffleSplit(1, test_size=wanted, random_state=seed)
        _, chosen = next(splitter.split(several, own[several]))
        held[several[chosen]] = True
    return held


def _mend(held: npt.NDArray[np.bool_], strata: Ints, units: Ints) -> None:
    """Give every class a training unit, and where it has a second one, one that is held out.

    Small units are moved first, in the order of their numbers. Nothing is moved that would take a
    class its last training unit.
    """
    kinds = np.unique(strata)
    has = np.zeros((len(held), int(kinds.max()) + 1), dtype=bool)
    has[units, strata] = True
    sizes = np.bincount(units, minlength=len(held))
    for kind in kinds:
        own = np.flatnonzero(has[:, kind])
        own = own[np.argsort(sizes[own], kind="stable")]
        if held[own].all():
            held[own[0]] = False
    for kind in kinds:
        own = np.flatnonzero(has[:, kind])
        own = own[np.argsort(sizes[own], kind="stable")]
        if held[own].any() or len(own) < 2:
            continue
        for unit in own:
            training = has[~held].sum(axis=0)
            if (training[has[unit]] > 1).all():
                held[unit] = True
                break
