"""When to recalibrate and when to reprogram, so that chips stay good enough for a year.

Recalibrating re-estimates BatchNorm statistics from unlabelled images, which any chip can do in the
field; reprogramming writes all its weights anew. The plan is not read off drift curves but lived
through: chips age on a grid of times, keep the statistics of their last recalibration, and are
looked at before each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import nn
from tqdm import tqdm

from nasseg.analog.ageing import Chips
from nasseg.analog.drift import Metric, metric_value
from nasseg.analog.eager import uncompiled, without_compiler
from nasseg.analog.reuse import cached_batches, reused_inputs
from nasseg.errors import ConfigError
from nasseg.statistics import YEAR, Values, share_at_least

PER_DECADE = 2
"""Ages a decade of time at which chips are looked at."""


@dataclass(frozen=True)
class Action:
    """Something to do to every chip."""

    time_s: float
    """Seconds after the first programming."""
    kind: Literal["recalibrate", "reprogram"]


@dataclass(frozen=True)
class Look:
    """What chips were worth at one time, after what the plan does then."""

    time_s: float
    """Seconds after the first programming."""
    age_s: float
    """Seconds after the last programming."""
    value: float
    """The metric that the asked share of the chips reaches."""
    mean: float
    """Its mean over chips."""
    worst: float
    """The worst chip."""


@dataclass(frozen=True)
class RefreshPlan:
    """Actions that keep chips above a bound, with what was measured on the way."""

    min_value: float
    """The bound."""
    share: float
    """Share of the chips that must be above it."""
    chips: int
    horizon_s: float
    feasible: bool
    """Whether a fresh chip is above the bound at all."""
    reprogram_every_s: float | None
    """Period of reprogramming that the bound takes; none = a chip lives through the horizon."""
    actions: tuple[Action, ...]
    """What to do in the first period; after each reprogramming the same again."""
    looks: tuple[Look, ...]
    """What was measured, over the first two periods."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def ages(horizon_s: float = YEAR, per_decade: int = PER_DECADE) -> list[float]:
    """Ages at which chips are looked at: evenly in logarithm from 1 s to ``horizon_s``."""
    count = max(2, round(np.log10(horizon_s) * per_decade) + 1)
    return [float(age) for age in np.geomspace(1.0, horizon_s, count)]


def plan_refresh(
    analog: nn.Module,
    loader: Iterable[Any],
    metric: Metric,
    *,
    min_value: float,
    recalibrate_with: Iterable[Any] | None,
    chips: int = 10,
    share: float = 0.95,
    horizon_s: float = YEAR,
    name: str = "value",
    seed: int = 0,
    progress: bool = False,
) -> RefreshPlan:
    """Find the latest times at which chips must be recalibrated or reprogrammed.

    A chip starts with the statistics that the network holds. Where too few chips are above
    ``min_value`` at a look, all are recalibrated; where that does not suffice, they should have
    been reprogrammed at the look before. Then a second programming is lived through, and the
    shorter of both lives is the period.

    Args:
        analog: converted network; it is as before afterwards.
        loader: what ``metric`` evaluates on; re-iterable.
        metric: (network, loader) -> value, or values by name.
        min_value: bound of the metric.
        recalibrate_with: batches whose images recalibrate a chip; none = chips cannot be.
        chips: chips simulated.
        share: share of them that must be above the bound, above 0, at most 1.
        horizon_s: seconds for which the plan holds.
        name: of the metric, where there are several.
        seed: (seed, chip, programming, age) decides every draw.
        progress: show a bar.

    Raises:
        ConfigError: ``chips`` or ``share`` is not allowed.
    """
    if chips < 1:
        raise ConfigError(f"chips is {chips!r}; allowed: 1 or more")
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share!r}; allowed: above 0, at most 1")
    analog = uncompiled(analog)
    device = next(analog.parameters()).device
    shown = cached_batches(loader, device)
    images = None
    if recalibrate_with is not None:
        images = cached_batches(recalibrate_with, device, "recalibration")
    grid = ages(horizon_s)
    bar = tqdm(total=len(grid), desc="plan", unit="look", disable=not progress)
    with (
        bar,
        without_compiler(),
        Chips(analog, seed, images) as simulated,
        reused_inputs(analog, [*shown, *(images or [])]),
    ):
        analog.eval()
        fleet = _Fleet(simulated, shown, metric, name, chips)
        actions, looks = _live(fleet, grid, min_value, share, bar)
        period = None
        if looks and looks[-1].age_s < horizon_s:
            fleet.reprogram()
            bar.reset()
            again, second = _live(fleet, grid, min_value, share, bar)
            period = min(looks[-1].age_s, second[-1].age_s if second else 0.0)
            # What is done to every chip is done when the first life asks for it.
            actions = min(actions, again, key=lambda found: [*(a.time_s for a in found), math.inf])
            actions = [action for action in actions if action.time_s < period]
            actions.append(Action(period, "reprogram"))
            looks = [look for look in looks if look.age_s <= period] + [
                replace(look, time_s=look.age_s + period) for look in second if look.age_s <= period
            ]
    feasible = bool(looks) and period != 0.0
    return RefreshPlan(
        min_value,
        share,
        chips,
        horizon_s,
        feasible,
        period if feasible else None,
        tuple(actions) if feasible else (),
        tuple(looks),
    )


def _live(
    fleet: _Fleet, grid: Sequence[float], bound: float, share: float, bar: Any
) -> tuple[list[Action], list[Look]]:
    """One programming: recalibrations, and looks up to the last one at which the bound held."""
    actions: list[Action] = []
    looks: list[Look] = []
    for age in grid:
        values = fleet.values(age)
        if share_at_least(values, bound) < share:
            if not fleet.recalibrate(age):
                break
            values = fleet.values(age)
            if share_at_least(values, bound) < share:
                break
            actions.append(Action(age, "recalibrate"))
        # The chip that decides: of ten, with a share of 0.95, the worst.
        quantile = float(np.quantile(values, 1 - share, method="lower"))
        looks.append(Look(age, age, quantile, float(values.mean()), float(values.min())))
        bar.update()
        bar.set_postfix(value=f"{quantile:.4f}")
    return actions, looks


class _Fleet:
    """Chips that age together, each with the statistics of its last recalibration."""

    def __init__(
        self, chips: Chips, shown: Sequence[Any], metric: Metric, name: str, count: int
    ) -> None:
        self.chips, self.shown, self.metric, self.name = chips, shown, metric, name
        self.shipped = chips.statistics
        self.states = [self.shipped] * count
        self.life = 1

    def _age(self, chip: int, age: float) -> None:
        self.chips.program(chip, self.life)
        self.chips.drift(age)

    def values(self, age: float) -> Values:
        """Return the metric of every chip at an age."""
        found = []
        for chip, state in enumerate(self.states):
            self._age(chip, age)
            self.chips.statistics = state
            found.append(metric_value(self.chips.net, self.shown, self.metric, self.name))
        return np.array(found)

    def recalibrate(self, age: float) -> bool:
        """Recalibrate every chip at an age; False where there is nothing to recalibrate."""
        if not self.shipped or self.chips.images is None:
            return False
        states = []
        for chip in range(len(self.states)):
            self._age(chip, age)
            self.chips.recalibrate()
            states.append(self.chips.statistics)
        self.states = states
        return True

    def reprogram(self) -> None:
        """Write every chip again, with the statistics that it was shipped with."""
        self.life += 1
        self.states = [self.shipped] * len(self.states)
