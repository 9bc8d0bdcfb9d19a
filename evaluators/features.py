"""What surrogates see of an architecture beside its encoding: what follows from it exactly.

A tree of depth three cannot multiply: the parameters, the width of the last stage or the field of
view are products of many hyperparameters, and say more of an architecture than any one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nasseg.evaluators.base import Matrix

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace


class Features:
    """Encoded rows to the features of a surrogate: the encoding, then what
    :meth:`~nasseg.search_spaces.SearchSpace.describe_matrix` says of it.

    Args:
        space: the space of the rows.
        in_channels: image channels of the networks.
        out_channels: output channels of the networks.
    """

    def __init__(self, space: SearchSpace, in_channels: int = 3, out_channels: int = 1) -> None:
        self.space = space
        self.channels = (in_channels, out_channels)
        own = space.encode([space.default()])
        self.names = [*space.feature_names, *space.describe_matrix(own, *self.channels)]
        """Names of the columns."""

    def matrix(self, X: Matrix) -> Matrix:
        """float32 ``(n, F)`` to float32 ``(n, len(names))``."""
        more = self.space.describe_matrix(X, *self.channels)
        found = np.empty((len(X), len(self.names)), dtype=np.float32)
        found[:, : X.shape[1]] = X
        for j, values in enumerate(more.values(), X.shape[1]):
            found[:, j] = values
        return found
