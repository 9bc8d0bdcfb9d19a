"""AnalogNAS's own protocol of a configuration space, on ours.

The calls are those that IBM's ``EAOptimizer``, ``Worker`` and tutorials make on their
``ConfigSpace`` (github.com/IBM/analog-nas, ``analogainas/search_spaces/config_space.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from nasseg._registry import near_name
from nasseg.errors import ArchError
from nasseg.search_spaces._schema import Indices, Schema
from nasseg.search_spaces.hyperparameters import INACTIVE, Hyperparameter, Value

CONTINUOUS_CHOICES = 7
"""A continuous range becomes this many evenly spaced choices, so that spaces stay countable."""


class AnalogNASProtocol:
    """Mixed into every search space.

    Editing (adding, removing) replaces this object's schema by a changed copy: other spaces of the
    same name, made before or after, do not change. An edited space is called ``<name>-custom``, so
    that its architectures and surrogates are not mistaken for those of the published space.
    """

    _schema: Schema
    _fixed: dict[str, Value]
    _added: dict[str, Hyperparameter]
    _removed: frozenset[str]
    base_hyperparameters: tuple[Hyperparameter, ...]

    @property
    def name(self) -> str:
        raise NotImplementedError

    def size(self) -> int:
        raise NotImplementedError

    def _dicts(self, indices: Indices) -> list[dict[str, Any]]:
        raise NotImplementedError

    def seed(self, seed: int) -> None:
        """Restart the generator behind :meth:`sample_arch_uniformly`."""
        self._rng = np.random.default_rng(seed)

    def sample_arch(self) -> dict[str, Any]:
        """One architecture from the space's own generator."""
        return self.sample_arch_uniformly(1)[0]

    def sample_arch_uniformly(self, n: int) -> list[dict[str, Any]]:
        """``n`` architectures, as a list, from the generator that the space holds."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ArchError(f"the number of architectures must be an integer >= 0; got {n!r}")
        return self._dicts(self._schema.draw(int(n), self._rng))

    def get_hyperparameters(self) -> list[str]:
        """Names of the hyperparameters (AnalogNAS prints them; this returns them)."""
        return list(self._schema.names)

    def compute_cs_size(self) -> int:
        """Number of architectures; exact, where AnalogNAS multiplies inactive choices in too."""
        return self.size()

    def add_hyperparameter(
        self,
        name: str,
        type: str,
        min_value: float,
        max_value: float,
        step: float = 1,
    ) -> None:
        """Add a numeric hyperparameter to this space.

        ``type`` "discrete": ``min_value``, ``min_value + step``, ... *below* ``max_value``, as in
        AnalogNAS; "continuous": seven evenly spaced values from ``min_value`` to ``max_value``.

        Raises:
            ArchError: the name is taken, the type unknown, or the range empty.
        """
        if not (max_value > min_value and step > 0):
            raise ArchError(
                f"hyperparameter {name!r}: needs min_value < max_value and step > 0; "
                f"got {min_value!r}, {max_value!r}, {step!r}"
            )
        if type == "discrete":
            values = np.arange(min_value, max_value, step).tolist()
        elif type == "continuous":
            values = np.linspace(min_value, max_value, CONTINUOUS_CHOICES).round(6).tolist()
        else:
            raise ArchError(
                f"hyperparameter {name!r}: type must be 'discrete' or 'continuous'; got {type!r}"
            )
        self.add_hyperparameter_range(name, type, values)

    def add_hyperparameter_range(self, name: str, type: str, range: Iterable[Value]) -> None:
        """Add a hyperparameter with the listed choices to this space.

        A name that the space was born with (and that was removed before) returns to its place,
        with its mutation kind and its conditions: so removing and adding changes a range. A new
        name is of kind "other", always active, carried in every architecture, and has no meaning
        for the network that is built. ``type`` is AnalogNAS's; the choices say it all.

        Raises:
            ArchError: the name is taken or the choices are not valid.
        """
        if name in self._schema.column:
            raise ArchError(f"{self.name}: hyperparameter {name!r} exists already; remove it first")
        choices = tuple(range)
        if not any(isinstance(v, str) for v in choices):
            choices = tuple(sorted(choices, key=float))
        born = {h.name: h for h in self.base_hyperparameters}
        if name in born:
            default = born[name].default if born[name].default in choices else None
            added = dataclasses.replace(born[name], choices=choices, default=default)
        else:
            added = Hyperparameter(name, choices)
        self._edit({**self._added, name: added}, self._removed - {name})

    def remove_hyperparameter(self, name: str) -> None:
        """Take a hyperparameter out of this space; networks are built with its default.

        What depended on it is active for good, or removed too where the default rules it out.

        Raises:
            ArchError: there is no such hyperparameter (with the nearest match).
        """
        if name not in self._schema.column:
            hint = near_name(name, self._schema.names)
            raise ArchError(
                f"{self.name}: no hyperparameter {name!r} to remove{hint} "
                f"(known: {', '.join(self._schema.names)})"
            )
        added = {n: h for n, h in self._added.items() if n != name}
        self._edit(added, self._removed | {name})

    def _edit(self, added: dict[str, Hyperparameter], removed: frozenset[str]) -> None:
        """Take over these edits: a new schema, or an error and no change."""
        present = {h.name: h for h in self.base_hyperparameters if h.name not in removed} | added
        fixed: dict[str, Value] = {}
        kept: list[Hyperparameter] = []
        for h in self.base_hyperparameters:
            if h.name in removed:
                fixed[h.name] = h.default if h.default is not None else INACTIVE
            elif any(c.parent in fixed and fixed[c.parent] not in c.values for c in h.conditions):
                if h.name in added and h.name not in self._added:
                    raise ArchError(
                        f"{self.name}: hyperparameter {h.name!r} would never be active with "
                        f"{fixed}; add what it depends on first"
                    )
                fixed[h.name] = INACTIVE
            else:
                still_open = tuple(c for c in h.conditions if c.parent not in fixed)
                kept.append(dataclasses.replace(present[h.name], conditions=still_open))
        born = {h.name for h in self.base_hyperparameters}
        kept += [h for name, h in added.items() if name not in born]
        self._schema = Schema(kept)
        self._fixed, self._added, self._removed = fixed, added, removed
