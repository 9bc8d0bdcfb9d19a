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
    """Encoded rows to the features of a surrogate.

    The encoding first, then the logarithms of parameters and multiply-accumulates per pixel and
    the space's own ``describe_matrix`` (depth, widths, field of view ...), where it has one.

    Args:
        space: the space of the rows.
        in_channels: image channels of the networks.
        out_channels: output channels of the networks.
    """

    def __init__(self, space: SearchSpace, in_channels: int = 3, out_channels: int = 1) -> None:
        self.space = space
        self.channels = (in_channels, out_channels)
        own = space.describe_matrix(np.empty((0, len(space.feature_names)), dtype=np.float32))
        self.names = [*space.feature_names, "log_params", "log_macs", *own]
        """Names of the columns."""

    def matrix(self, X: Matrix) -> Matrix:
        """float32 ``(n, F)`` to float32 ``(n, len(names))``."""
        columns = [
            np.log(self.space.count_params(X, *self.channels)),
            np.log(self.space.count_macs_per_pixel(X, *self.channels)),
            *self.space.describe_matrix(X).values(),
        ]
        more = np.stack(columns, axis=1).astype(np.float32)
        return np.concatenate([np.asarray(X, dtype=np.float32), more], axis=1)
