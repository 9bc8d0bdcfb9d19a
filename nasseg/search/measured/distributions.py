"""Search spaces as Optuna knows them: conditional distributions, and architectures as parameters.

A hyperparameter that is not active in an architecture (a stage that is not there) is not suggested
at all, so that every parameter that a study shows mattered.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nasseg.errors import ArchError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from nasseg.search_spaces import SearchSpace
    from nasseg.search_spaces.hyperparameters import Hyperparameter

POSITION = "_position"
"""Ending of a parameter that is a position among uneven choices, counted from 0."""


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Parameter name to distribution, for every hyperparameter of the space, parents first.

    Strings and nominal numbers are categorical. Other numbers keep their order, which samplers
    make use of: evenly spaced ones are integers or floats with that step; others (8, 12, 16, 24,
    32) the integer position of the choice, under a name that says so.
    """
    return dict(_parameter(h) for h in space.hyperparameters)


def suggest(trial: BaseTrial, space: SearchSpace) -> dict[str, Any]:
    """The canonical architecture that a trial's sampler suggests.

    Example:
        ``study.optimize(lambda trial: score(suggest(trial, space)))``
    """
    arch: dict[str, Any] = {}
    for h in space.hyperparameters:
        if not _active(h, arch):
            continue
        name, distribution = _parameter(h)
        if isinstance(distribution, IntDistribution):
            d = distribution
            value: Any = trial.suggest_int(name, d.low, d.high, step=d.step)
        elif isinstance(distribution, FloatDistribution):
            f = distribution
            value = trial.suggest_float(name, f.low, f.high, step=f.step)
        else:
            value = trial.suggest_categorical(name, list(h.choices))
        arch[h.name] = _choice(h, value)
    return space.canonical(arch)


def to_params(space: SearchSpace, arch: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by which :func:`suggest` gives ``arch``: of active hyperparameters only.

    Raises:
        ArchError: ``arch`` is not of the space.
    """
    canonical = space.canonical(arch)
    params: dict[str, Any] = {}
    for h in space.hyperparameters:
        if not _active(h, canonical):
            continue
        name, distribution = _parameter(h)
        value = canonical[h.name]
        position = h.index(value)
        uneven = name != h.name and position is not None
        params[name] = position - 1 if uneven and position is not None else value
        if isinstance(distribution, FloatDistribution):
            params[name] = float(value)
    return params


def from_params(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical architecture of a trial's parameters.

    Raises:
        ArchError: a parameter of an active hyperparameter is missing, or its value is not allowed.
    """
    arch: dict[str, Any] = {}
    for h in space.hyperparameters:
        if not _active(h, arch):
            continue
        name, _ = _parameter(h)
        if name not in params:
            raise ArchError(f"{space.name}: parameter {name} is missing")
        arch[h.name] = _choice(h, params[name])
    return space.canonical(arch)


def _active(h: Hyperparameter, arch: Mapping[str, Any]) -> bool:
    """Whether ``h`` matters, given the hyperparameters before it."""
    # An inactive parent is absent or 0, which is never among a condition's values.
    return all(arch.get(c.parent) in c.values for c in h.conditions)


def _parameter(h: Hyperparameter) -> tuple[str, BaseDistribution]:
    if h.categorical:
        return h.name, CategoricalDistribution(h.choices)
    numbers = [float(v) for v in h.choices]
    steps = [b - a for a, b in itertools.pairwise(numbers)] or [1.0]
    if not all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps):
        return f"{h.name}{POSITION}", IntDistribution(0, len(numbers) - 1)
    if all(isinstance(v, int) for v in h.choices):
        return h.name, IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(steps[0]))
    # Differences of decimal fractions are not exact (0.55 - 0.5), and Optuna wants the grid to be.
    return h.name, FloatDistribution(numbers[0], numbers[-1], step=round(steps[0], 9))


def _choice(h: Hyperparameter, value: Any) -> Any:
    """The choice that a parameter's value stands for."""
    if _parameter(h)[0] != h.name:
        if isinstance(value, int) and 0 <= value < h.size():
            return h.choices[value]
        raise ArchError(f"{h.name}{POSITION} cannot be {value!r}; allowed: 0 to {h.size() - 1}")
    # A value that went through a grid of floats is the choice it is closest to.
    return value if h.categorical or isinstance(value, str) else h.choices[h.closest(value) - 1]
