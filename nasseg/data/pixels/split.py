"""Which images are trained on and which are held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nasseg.data.sources.base import Split
from nasseg.errors import DataError


def split_groups(
    ids: Sequence[str], groups: Sequence[int], val_fraction: float, seed: int
) -> Split:
    """A seeded split that keeps groups whole.

    Groups are held out in random order while they fit into ``val_fraction`` of the images, so the
    held-out part is as large as asked or a little smaller; where no group fits, the smallest is
    held out. It depends on the ids, their groups and the seed, not on the order of listing.

    Raises:
        DataError: there are fewer than two groups.
    """
    members: defaultdict[int, list[str]] = defaultdict(list)
    for name, group in zip(ids, groups, strict=True):
        members[group].append(name)
    scenes = sorted(sorted(names) for names in members.values())
    if len(scenes) < 2:
        raise DataError(
            f"cannot split {len(ids)} image{'s' if len(ids) != 1 else ''} into training and "
            "validation without a leak: they are all the same or of one scene (equal pixels, "
            "adjoining borders, or names like scene_r0_c1); add images of other scenes, or say the "
            "split in a splits.json beside them"
        )
    order = np.random.default_rng(seed).permutation(len(scenes))
    target = max(1, round(val_fraction * len(ids)))
    val: list[str] = []
    for index in order:
        if len(val) + len(scenes[index]) <= target and len(val) + len(scenes[index]) < len(ids):
            val += scenes[index]
    if not val:
        val = min((scenes[index] for index in order), key=len)
    held_out = set(val)
    return Split(sorted(set(ids) - held_out), sorted(held_out))
