"""Which encoded architectures were seen before, for whole populations at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Hashes = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15


def row_hashes(X: Matrix) -> Hashes:
    """A 64-bit hash of every row of ``X`` ``(n, F)``: uint64 ``(n,)``; equal rows, equal hashes.

    Every value goes, with its column, through the finaliser of SplitMix64 (Steele et al. 2014,
    OOPSLA), and the results are summed. Among a million different rows, two share a hash with a
    chance of 3e-8.
    """
    # Adding zero turns -0.0 into 0.0, which is the same architecture but other bits.
    bits = (np.ascontiguousarray(X, dtype=np.float32) + np.float32(0)).view(np.uint32)
    columns = np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    z = bits.astype(np.uint64) + columns
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z ^= z >> np.uint64(31)
    hashes: Hashes = z.sum(axis=1, dtype=np.uint64)
    return hashes


class SeenRows:
    """A growing set of rows, held by their hashes.

    Two rows of one hash count as the same one: a new row may be taken for an old one (by chance,
    and hardly ever), an old one never for new.
    """

    def __init__(self) -> None:
        self._sorted: Hashes = np.empty(0, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._sorted)

    def add_new(self, X: Matrix, n: int) -> NDArray[np.intp]:
        """Indices of the first ``n`` rows of ``X`` that are not in the set, each once, rising.

        These are in the set afterwards; rows beyond the n-th are not.
        """
        hashes, first = np.unique(row_hashes(X), return_index=True)
        place = np.searchsorted(self._sorted, hashes)
        known = np.zeros(len(hashes), dtype=np.bool_)
        within = place < len(self._sorted)
        known[within] = self._sorted[place[within]] == hashes[within]
        new = np.flatnonzero(~known)
        new = np.sort(new[np.argsort(first[new])[:n]])
        self._sorted = np.insert(self._sorted, place[new], hashes[new])
        return np.sort(first[new])
