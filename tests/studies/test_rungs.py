"""How a budget is divided, and who goes on."""

from __future__ import annotations

import itertools

import pytest

from nasseg.config.search import Amount
from nasseg.errors import ConfigError
from nasseg.search.objectives import Objective
from nasseg.studies.rungs import Plan, plan_rungs, ranked, whole_cost

COLUMNS = ("score", "energy_uj")


def planned(times: float, epochs: int = 180, retraining: int = 20, **changes: float) -> Plan:
    settings = {"share": 0.8, "scoring": 1.0, **changes}
    cost = times * whole_cost(epochs, retraining)
    return plan_rungs(cost, epochs=epochs, retraining=retraining, **settings)


@pytest.mark.parametrize("times", [0.1, 0.25, 0.5, 1.0, 2.0, 8.0, 50.0])
def test_a_plan_keeps_to_its_budget_and_uses_it(times):
    plan = planned(times)
    spent = plan.cost * 0.8 / whole_cost(180, 20)
    assert 0.7 * times <= spent <= times
    for before, after in itertools.pairwise(plan.rungs):
        assert before.count > after.count >= 2
        assert before.epochs < after.epochs <= 180
    assert [rung.chips > 0 for rung in plan.rungs] == [False] * (len(plan.rungs) - 1) + [True]
    assert plan.rungs[-1].retraining >= 1


def test_more_buys_more_candidates_and_longer_trainings():
    plans = [planned(times) for times in (0.5, 1.0, 2.0, 4.0)]
    for one, other in itertools.pairwise(plans):
        assert one.rungs[0].count < other.rungs[0].count
        assert one.rungs[-1].epochs < other.rungs[-1].epochs


def test_too_small_a_budget_says_how_much_is_needed():
    with pytest.raises(ConfigError, match=r"search\.budget is 0\.05 .* allowed: 0, or 0\.\d+x"):
        planned(0.05, epochs=10, retraining=2)
    # What it says is enough.
    with pytest.raises(ConfigError) as error:
        planned(0.01)
    least = float(str(error.value).split("or ")[1].split("x")[0])
    assert planned(least).rungs[0].count == 2


def test_plans_are_kept_as_plain_values():
    plan = planned(1.0)
    assert Plan.of(plan.to_dict()) == plan
    assert str(plan) == "10 candidates x 12 epochs, 3 x 36 with chips"


def test_the_best_go_on_and_of_equal_ones_the_earlier():
    rows = [
        {"score": value, "arch_id": name} for name, value in zip("abcd", (3, 9, 3, 5), strict=True)
    ]
    order = ranked(rows, (Objective("score", True, COLUMNS),))
    assert [row["arch_id"] for row in order] == ["b", "d", "a", "c"]


def test_of_several_objectives_a_whole_front_goes_on():
    values = {"a": (0.9, 100), "b": (0.8, 50), "c": (0.7, 80), "d": (0.6, 10), "e": (0.85, 120)}
    rows = [
        {"arch_id": name, "score": score, "energy_uj": energy}
        for name, (score, energy) in values.items()
    ]
    goals = (Objective("score", True, COLUMNS), Objective("energy_uj", False, COLUMNS))
    assert {row["arch_id"] for row in ranked(rows, goals)[:3]} == {"a", "b", "d"}


@pytest.mark.parametrize(
    ("text", "times", "seconds"),
    [("0", 0, 0), ("0.5x", 0.5, 0), ("90s", 0, 90), ("20min", 0, 1200), ("1.5h", 0, 5400)],
)
def test_budgets_are_read(text, times, seconds):
    assert Amount.of(text) == Amount(times, seconds)
    assert bool(Amount.of(text)) == (text != "0")
