"""The rungs of a search within a budget: how many candidates are trained for how long.

Successive halving (Jamieson and Talwalkar, AISTATS 2016): every candidate is trained for a few
epochs, the best third goes on from there, and of that the best third again; the last ones are
retrained and put onto chips. Every rung has a schedule of its own, which falls to 0 and begins
anew with the next one (Loshchilov and Hutter, ICLR 2017): at a high learning rate networks do not
show yet what they have learned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.errors import ConfigError
from nasseg.search.objectives import Objective
from nasseg.search.pareto import crowding_distances, nondominated_ranks

KEPT = 3
"""Of so many candidates, one goes on."""
MOST_RUNGS = 3
FIRST = 1 / 15
"""Epochs of the first rung over those of the winner, at least. After 4 of 180 epochs, networks that
later separate nuclei best do not separate any yet: of seven networks of DSB2018, the two that were
the worst after 4 epochs were the best by far after 12."""
SHARE = 0.2
"""Epochs of the longest training of a candidate over those of the winner, at a budget of 1x. They
grow with the root of the budget, as the number of candidates does."""
CHIPS = 3
"""Chips that each network of the last rung is put onto."""
RETRAINING = 1.8
"""Epochs of digital training that take as long as one of the retraining on tiles."""
CHIP = 2.0
"""Times that ageing and scoring a chip takes as long as scoring a digital network."""


@dataclass(frozen=True)
class Rung:
    """What is done with the candidates of one rung."""

    count: int
    """Candidates."""
    epochs: int
    """Epochs that each has been trained after it, those of the rungs before included."""
    retraining: int = 0
    """Epochs of retraining on tiles; the chips are :data:`CHIPS`, where there are any."""
    chips: int = 0
    """Chips that each is put onto; 0 = it is scored as it is."""

    def __str__(self) -> str:
        return f"{self.count} x {self.epochs}{' with chips' if self.chips else ''}"


@dataclass(frozen=True)
class Plan:
    """All rungs."""

    rungs: tuple[Rung, ...]
    scoring: float
    """Epochs of training that take as long as scoring a network on the images held out."""

    def costs(self) -> list[float]:
        """Cost of a candidate in each rung, in epochs over the images that it is trained on."""
        before = [0, *(rung.epochs for rung in self.rungs)]
        return [
            rung.epochs
            - start
            + RETRAINING * rung.retraining
            + self.scoring * (1.0 + CHIP * rung.chips)
            for rung, start in zip(self.rungs, before, strict=False)
        ]

    @property
    def cost(self) -> float:
        """Cost of all candidates, in epochs over the images that they are trained on."""
        pairs = zip(self.rungs, self.costs(), strict=True)
        return sum(rung.count * cost for rung, cost in pairs)

    def __str__(self) -> str:
        first, *rest = map(str, self.rungs)
        return ", ".join([f"{first.replace(' x', ' candidates x', 1)} epochs", *rest])

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"rungs": [dict(vars(rung)) for rung in self.rungs], "scoring": self.scoring}

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Plan:
        """From what :meth:`to_dict` gives."""
        return cls(tuple(Rung(**rung) for rung in saved["rungs"]), float(saved["scoring"]))


def whole_cost(epochs: int, retraining: int) -> float:
    """Cost of training and retraining a winner, in epochs over all training images."""
    return epochs + RETRAINING * retraining


def plan_rungs(cost: float, *, epochs: int, retraining: int, share: float, scoring: float) -> Plan:
    """Divide a budget into rungs.

    Args:
        cost: what may be spent, in epochs over all training images.
        epochs: of the digital training of the winner.
        retraining: epochs of its retraining.
        share: of the training images that candidates are trained on.
        scoring: epochs over these that take as long as scoring a network.

    Raises:
        ConfigError: it does not do for two candidates of one epoch.
    """
    times = cost / whole_cost(epochs, retraining)
    longest = min(epochs, max(1, round(SHARE * epochs * math.sqrt(times))))
    chips = CHIPS
    while True:

        def of(count: int, longest: int = longest, chips: int = chips) -> Plan:
            least = max(1, round(FIRST * epochs))
            return _plan(count, longest, least, chips, retraining * longest / epochs, scoring)

        # A further rung saves: more candidates may cost less.
        most = 2 + int(cost / share)
        fits = [plan for count in range(2, most) if (plan := of(count)).cost * share <= cost]
        if fits:
            return fits[-1]
        if longest == 1 and chips == 1:
            least = of(2).cost * share
            raise ConfigError(
                f"search.budget is {times:.2g} times what training the winner takes; allowed: 0, "
                f"or {math.ceil(100 * least / whole_cost(epochs, retraining)) / 100:g}x and more, "
                "which is two candidates"
            )
        longest, chips = max(1, longest // 2), chips if longest > 1 else 1


def _plan(
    count: int, longest: int, least: int, chips: int, retraining: float, scoring: float
) -> Plan:
    lengths = [longest]
    while (
        len(lengths) < MOST_RUNGS
        and round(lengths[0] / KEPT) >= least
        and count > KEPT ** len(lengths)
    ):
        lengths.insert(0, round(lengths[0] / KEPT))
    counts = [max(2, round(count / KEPT**place)) for place in range(len(lengths))]
    rungs = [Rung(*pair) for pair in zip(counts, lengths, strict=True)]
    short = max(1, round(retraining)) if retraining else 0
    rungs[-1] = dataclasses.replace(rungs[-1], retraining=short, chips=chips)
    return Plan(tuple(rungs), scoring)


def goals_of(
    rows: Sequence[Mapping[str, Any]], objectives: Sequence[Objective]
) -> npt.NDArray[np.float64]:
    """Objectives of candidates (n, m), smaller better."""
    return np.array([[o.sign * float(row[o.name]) for o in objectives] for row in rows])


def ranked(rows: Sequence[dict[str, Any]], objectives: Sequence[Objective]) -> list[dict[str, Any]]:
    """Rows of candidates, the best first; of equal ones the earlier.

    By the only objective, or by fronts that no other dominates and, within one, by how far apart
    neighbours are (NSGA-II), so that a whole front goes on.
    """
    if not rows:
        return []
    F = goals_of(rows, objectives)
    ranks = nondominated_ranks(F)
    crowding = crowding_distances(F, ranks) if len(objectives) > 1 else np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: (ranks[i], -crowding[i], i))
    return [rows[i] for i in order]
