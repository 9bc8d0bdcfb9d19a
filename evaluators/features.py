"""What surrogates see of an architecture beside its encoding: what follows from it exactly.

A tree of depth three cannot multiply: the parameters, the width of the last stage or the field of
view are products of many hyperparameters, and say more of an architecture than any one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nasseg.evaluators.base import Matrix

if TYPE_CHECKING:
    from nasseg.evaluators.low_fidelity import LowFidelity
    from nasseg.search_spaces import SearchSpace

LOW_FIDELITY = "low_fidelity"
"""Name of the column that says what short trainings make expect."""


class Features:
    """Encoded rows to the features of a surrogate: the encoding, then what
    :meth:`~nasseg.search_spaces.SearchSpace.describe_matrix` says of it.

    Args:
        space: the space of the rows.
        in_channels: image channels of the networks.
        out_channels: output channels of the networks.
        low_fidelity: what short trainings of other architectures make expect of these, as the last
            column; none = no such column.
    """

    def __init__(
        self,
        space: SearchSpace,
        in_channels: int = 3,
        out_channels: int = 1,
        low_fidelity: LowFidelity | None = None,
    ) -> None:
        self.space = space
        self.channels = (in_channels, out_channels)
        self.low_fidelity = low_fidelity
        own = space.encode([space.default()])
        self.names = [*space.feature_names, *space.describe_matrix(own, *self.channels)]
        """Names of the columns."""
        if low_fidelity is not None:
            self.names.append(LOW_FIDELITY)

    @property
    def trend(self) -> int | None:
        """Column of the low fidelity, which trees may go by first; none where there is none."""
        return None if self.low_fidelity is None else len(self.names) - 1

    def matrix(self, X: Matrix) -> Matrix:
        """float32 ``(n, F)`` to float32 ``(n, len(names))``."""
        more = self.space.describe_matrix(X, *self.channels)
        found = np.empty((len(X), len(self.names)), dtype=np.float32)
        found[:, : X.shape[1]] = X
        for j, values in enumerate(more.values(), X.shape[1]):
            found[:, j] = values
        known = self.low_fidelity
        if known is not None:
            own = found[:, :-1]
            if known.channels != self.channels:
                # Its trees know the parameters of networks with other channels.
                own = Features(self.space, *known.channels).matrix(X)
            found[:, -1] = known.predict(own)
        return found
