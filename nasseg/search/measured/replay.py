"""Searches replayed on a table of measured architectures, where a measurement is a look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nasseg.evaluators.cost import row_keys
from nasseg.search.measured.strategies import INITIAL, History

if TYPE_CHECKING:
    from nasseg.evaluators.scores import FloatArray
    from nasseg.search.measured.domain import TableDomain
    from nasseg.search.measured.strategies import Strategy


def replay(
    strategy: Strategy,
    domain: TableDomain,
    scores: FloatArray,
    queries: int,
    *,
    batch: int = 1,
    seed: int,
) -> list[int]:
    """Return the rows of a table in the order in which a strategy asks for them.

    Args:
        strategy: proposes architectures of ``domain``.
        domain: the table ``(n, F)``.
        scores: of its rows ``(n,)``, higher is better; the strategy sees those it asked for.
        queries: number of rows to ask for; all rows where there are fewer.
        batch: proposals between two looks at the scores, after the first ones.
        seed: (seed, number of rows asked for) decides every draw.
    """
    queries = min(queries, len(scores))
    asked: list[int] = []
    while len(asked) < queries:
        history = History(domain.X[asked], scores[asked])
        rng = np.random.default_rng([seed, len(asked)])
        count = min(batch if asked else INITIAL, queries - len(asked))
        rows = strategy.propose(history, count, rng)
        asked += [domain.row_of[key] for key in row_keys(rows)]
    return asked
