"""What every evaluator answers, ours and AnalogNAS's calls alike."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg.errors import ArchError
from nasseg.evaluators.scores import FloatArray, Scores

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

Arch = Mapping[str, Any]
Matrix = NDArray[np.float32]


class Evaluator(ABC):
    """Architectures to :class:`Scores`.

    A subclass sets ``space`` and defines :meth:`evaluate`; one that works on encoded matrices
    defines :meth:`evaluate_matrix` too, which the search calls. :meth:`query_pop` and
    :meth:`query` are AnalogNAS's protocol (Benmeziane et al. 2023), so that its classes take
    our evaluators as they are.
    """

    space: SearchSpace
    extra_columns: tuple[str, ...] = ()
    """Names of further columns that its scores have (``Scores.extra``): a search may have them as
    objectives and constraints."""

    @abstractmethod
    def evaluate(self, archs: Sequence[Arch]) -> Scores:
        """Scores of ``n`` architectures, in order.

        Raises:
            ArchError: an architecture is not in the space.
        """

    def evaluate_matrix(self, X: Matrix) -> Scores:
        """Scores of the rows of ``X``, float32 ``(n, len(space.feature_names))``."""
        return self.evaluate(self.space.decode(X))

    def query_pop(
        self, P: Sequence[Sequence[Arch]], **ignored: object
    ) -> tuple[FloatArray, FloatArray]:
        """AnalogNAS's call: ``(day1, avm)``, each of shape ``(n,)``, of one-architecture lists.

        AnalogNAS's batched evolution mixes hyperparameters of two architectures without regard
        to which of them are active: what is no architecture is scored as the nearest one that
        is, ``space.repair(arch)``. Further keyword arguments of that evolution
        (``should_bypass_eval`` ...) are without effect.

        Raises:
            ArchError: a list does not hold one architecture, or a key is unknown.
        """
        scores = self.evaluate([self._member(member) for member in P])
        return scores.day1, scores.avm

    def query(self, p: Sequence[Arch]) -> tuple[float, float]:
        """AnalogNAS's call for one one-architecture list: ``(day1, avm)``."""
        day1, avm = self.query_pop([p])
        return float(day1[0]), float(avm[0])

    def _member(self, member: Sequence[Arch]) -> Arch:
        if isinstance(member, Mapping) or len(member) != 1 or not isinstance(member[0], Mapping):
            raise ArchError(
                f"a population member is {reprlib.repr(member)}; allowed: a list of one "
                "architecture"
            )
        try:
            return self.space.canonical(member[0])
        except ArchError:
            return self.space.repair(member[0])
