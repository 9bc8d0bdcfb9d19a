"""Choices without an order, for surrogates: a column for each of them.

Trees split between numbers, so that a code 1, 2, 3 of three operations lets them tell the first
from the others and the last from the others in one split, but not the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nasseg.evaluators.base import Matrix
from nasseg.search_spaces.hyperparameters import ENCODING_TOLERANCE

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

Groups = NDArray[np.intp]
"""For each column of features ``(K,)`` the number of what it describes; columns with one number
are the choices of one hyperparameter."""


class OneHot:
    """Encoded rows to columns in which categorical hyperparameters have one for each choice.

    Args:
        names: of the F columns of the rows.
        choices: by the name of a categorical column, the code of each choice by its text.
    """

    def __init__(
        self, names: Sequence[str], choices: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        self.names: list[str] = []
        """Names of the K columns: of a choice, ``name=choice``."""
        groups: list[int] = []
        # Columns [start, stop) of the result, the first column of the rows, codes of its choices.
        self._parts: list[tuple[int, int, int, Matrix | None]] = []
        numbers = 0
        for j, name in enumerate(names):
            codes = (choices or {}).get(name)
            start = len(self.names)
            if codes is None:
                self.names.append(name)
                numbers += 1
                # Neighbouring numbers are copied at once.
                before = self._parts.pop() if numbers > 1 else (start, start, j, None)
                self._parts.append((before[0], start + 1, before[2], None))
            else:
                self.names += [f"{name}={text}" for text in codes]
                numbers = 0
                known = np.array(list(codes.values()), dtype=np.float32)
                self._parts.append((start, len(self.names), j, known))
            groups += [j] * (len(self.names) - start)
        self.groups: Groups = np.array(groups, dtype=np.intp)
        """Column of the rows that each column comes from ``(K,)``."""

    @classmethod
    def of_space(cls, space: SearchSpace) -> OneHot:
        """Columns of the rows of a space, with those of its categorical hyperparameters."""
        choices = {
            h.name: dict(zip(map(str, h.choices), h.codes, strict=True))
            for h in space.hyperparameters
            if h.categorical
        }
        return cls(space.feature_names, choices)

    def fill(self, X: Matrix, out: Matrix) -> None:
        """Write the columns of float32 rows ``(n, F)`` to the first of ``out`` ``(n, K or more)``.

        1 in the column of the choice and 0 in those of the others; 0 in all where the
        hyperparameter is inactive.
        """
        for start, stop, source, codes in self._parts:
            if codes is None:
                out[:, start:stop] = X[:, source : source + stop - start]
            else:
                near = ENCODING_TOLERANCE * np.maximum(1.0, np.abs(codes))
                out[:, start:stop] = np.abs(X[:, source, None] - codes) <= near

    def matrix(self, X: Matrix) -> Matrix:
        """float32 ``(n, F)`` to float32 ``(n, len(names))``."""
        found = np.empty((len(X), len(self.names)), dtype=np.float32)
        self.fill(X, found)
        return found
