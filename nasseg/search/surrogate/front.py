"""The front that several runs found together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nasseg.evaluators.cost import CostEvaluator
from nasseg.records.pareto import FrontRow
from nasseg.search._rows import SeenRows
from nasseg.search.pareto import Pick, crowding_distances, nondominated_ranks, pick_row
from nasseg.search.surrogate.candidates import Population, as_table

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace


def merge_runs(
    space: SearchSpace, found: Iterable[Population], cost: CostEvaluator, pick: Pick
) -> tuple[tuple[FrontRow, ...], int]:
    """What several runs found, ranked anew among all of them.

    Args:
        space: The search space.
        found: Front and feasible population of every run, with at least one row in all.
        cost: Fills in the columns that no run asked for, of the front alone.
        pick: Which architecture of the front is taken.

    Returns:
        The rows, by rank and then the best in the first objective first, and the index of the one
        that is taken, which has rank 0.
    """
    several = list(found)
    everyone = several[0]
    for population in several[1:]:
        everyone = everyone.join(population)
    everyone = everyone.take(SeenRows().add_new(everyone.X, len(everyone)))
    ranks = nondominated_ranks(everyone.goals)
    crowding = crowding_distances(everyone.goals, ranks)
    # Of equal architectures the one with the fewest parameters comes first, and is taken.
    order = np.lexsort((everyone.column("params"), *everyone.goals.T[::-1], ranks))
    everyone, ranks, crowding = everyone.take(order), ranks[order], crowding[order]
    front = everyone.goals[ranks == 0]
    knee, taken = pick_row(front, "knee"), pick_row(front, pick)
    table = everyone.table.copy()
    unknown = np.isnan(table).all(axis=0)
    if unknown.any():
        counted = as_table(cost.evaluate_matrix(everyone.X[ranks == 0]), everyone.columns)
        table[: len(front), unknown] = counted[:, unknown]
    rows = tuple(
        FrontRow(
            arch_id=space.arch_id(arch),
            rank=int(rank),
            crowding=float(apart),
            knee=i == knee,
            scores=dict(zip(everyone.columns, values, strict=True)),
            arch=arch,
        )
        for i, (arch, rank, apart, values) in enumerate(
            zip(space.decode(everyone.X), ranks, crowding, table.tolist(), strict=True)
        )
    )
    return rows, taken
