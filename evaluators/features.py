"""What surrogates see of an architecture: its choices, and what follows from them exactly.

A tree of depth three cannot multiply: the parameters, the width of the last stage or the field of
view are products of many hyperparameters, and say more of an architecture than any one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nasseg.errors import ConfigError
from nasseg.evaluators.base import Matrix
from nasseg.evaluators.one_hot import OneHot

if TYPE_CHECKING:
    from nasseg.evaluators.low_fidelity import LowFidelity
    from nasseg.search_spaces import SearchSpace
    from nasseg.search_spaces.base import Columns

LOW_FIDELITY = "low_fidelity"
"""Name of the column that says what short trainings make expect."""


class Features:
    """Encoded rows to the features of a surrogate: the encoding, in which every choice of a
    categorical hyperparameter has a column of its own, then what
    :meth:`~nasseg.search_spaces.SearchSpace.describe_matrix` says of it.

    Args:
        space: the space of the rows.
        in_channels: image channels of the networks.
        out_channels: output channels of the networks.
        low_fidelity: what short trainings of other architectures make expect of these, as the last
            column; none = no such column.
        one_hot: False: categorical hyperparameters are one column with their code, as in
            surrogates that were fitted by earlier versions.

    Raises:
        ConfigError: the low fidelity was fitted to features that this version does not make.
    """

    def __init__(
        self,
        space: SearchSpace,
        in_channels: int = 3,
        out_channels: int = 1,
        low_fidelity: LowFidelity | None = None,
        *,
        one_hot: bool = True,
    ) -> None:
        self.space = space
        self.channels = (in_channels, out_channels)
        self.low_fidelity = low_fidelity
        self._encoding = OneHot.of_space(space) if one_hot else OneHot(space.feature_names)
        described = space.describe_matrix(space.encode([space.default()]), *self.channels)
        self.names = [*self._encoding.names, *described]
        """Names of the columns."""
        self._short: Features | None = None
        if low_fidelity is not None:
            self._short = low_fidelity.features(space)
            self.names.append(LOW_FIDELITY)
        width = len(space.feature_names)
        alone = np.arange(width, width + len(self.names) - len(self._encoding.names))
        self.groups = np.concatenate([self._encoding.groups, alone])
        """Number of the hyperparameter, or of what follows from several, of each column."""

    @classmethod
    def named(
        cls,
        names: Sequence[str],
        space: SearchSpace,
        in_channels: int = 3,
        out_channels: int = 1,
        low_fidelity: LowFidelity | None = None,
    ) -> Features:
        """The features with these ``names``, by which a surrogate says what it was fitted to.

        Raises:
            ConfigError: this version makes no such features.
        """
        present = cls(space, in_channels, out_channels, low_fidelity)
        if present.names == list(names):
            return present
        earlier = cls(space, in_channels, out_channels, low_fidelity, one_hot=False)
        if earlier.names == list(names):
            return earlier
        raise ConfigError(
            f"the surrogate sees {', '.join(names)}; this version makes "
            f"{', '.join(present.names)} (fit one anew: `nasseg fit`)"
        )

    @property
    def trend(self) -> int | None:
        """Column of the low fidelity, which trees may go by first; none where there is none."""
        return None if self.low_fidelity is None else len(self.names) - 1

    def matrix(self, X: Matrix) -> Matrix:
        """float32 ``(n, F)`` to float32 ``(n, len(names))``."""
        return self._join(X, self.space.describe_matrix(X, *self.channels))

    def _join(self, X: Matrix, described: Columns) -> Matrix:
        found = np.empty((len(X), len(self.names)), dtype=np.float32)
        self._encoding.fill(X, found)
        for j, values in enumerate(described.values(), len(self._encoding.names)):
            found[:, j] = values
        known, short = self.low_fidelity, self._short
        if known is not None and short is not None:
            if short.channels != self.channels:
                # Its trees know the parameters of networks with other channels.
                own = short.matrix(X)
            elif short.names == self.names[:-1]:
                own = found[:, :-1]
            else:
                own = short._join(X, described)
            found[:, -1] = known.predict(own)
        return found
