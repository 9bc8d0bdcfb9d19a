"""Searches on a table of measured architectures."""

from __future__ import annotations

import numpy as np

from nasseg.search.measured.domain import TableDomain
from nasseg.search.measured.replay import replay
from nasseg.search.measured.strategies import INITIAL, PROPOSERS


def test_a_replayed_search_asks_for_each_row_once_and_sees_only_scores_it_asked_for():
    domain = TableDomain(np.array([[i, j] for i in range(6) for j in range(6)]), ["i", "j"])
    scores = domain.X.sum(1).astype(np.float64)
    hidden = np.full(len(scores), np.nan)
    strategy = PROPOSERS["regularized"](domain)
    asked = replay(strategy, domain, scores, 25, seed=3)
    assert len(set(asked)) == len(asked) == 25
    assert asked == replay(strategy, domain, scores, 25, batch=1, seed=3)
    hidden[asked] = scores[asked]
    assert asked == replay(strategy, domain, hidden, 25, seed=3)
    assert asked[:INITIAL] == replay(strategy, domain, scores, 25, batch=5, seed=3)[:INITIAL]
    assert sorted(replay(strategy, domain, scores, 100, batch=7, seed=0)) == list(range(36))
