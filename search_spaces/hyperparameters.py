"""One hyperparameter of an architecture: its choices, its group, and when it matters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from nasseg.errors import ArchError

Value = int | float | str
"""A hyperparameter's value as it stands in an architecture; 0 also means "inactive"."""

INACTIVE = 0
ENCODING_TOLERANCE = 1e-4
"""How far, relative to max(1, |code|), an encoded value may be from the code it stands for."""
KINDS = ("width", "depth", "other")
"""The groups of hyperparameters, which are also the kinds of mutation (AnalogNAS)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The hyperparameter matters only where ``parent`` is active and has one of ``values``."""

    parent: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """A named, finite set of choices.

    Numbers are *ordinal*: they are encoded as themselves, must increase, and a mutation often
    takes a neighbouring value. Strings are *categorical*: encoded as their position 1, 2, ...,
    while mutations, samplers and surrogates see no order among them. So are *nominal* numbers,
    which are encoded as themselves.

    Raises:
        ArchError: no choices, repeated, unordered or mixed choices, or a 0 among the choices of a
            conditional hyperparameter (where 0 is the mark of an inactive one).
    """

    name: str
    choices: tuple[Value, ...]
    kind: str = "other"
    """"width", "depth" or "other": which mutation changes it."""
    conditions: tuple[Condition, ...] = ()
    """All must hold for the hyperparameter to be active; otherwise its value is 0."""
    default: Value | None = None
    """The value it keeps when it is removed from a space; None = the middle choice."""
    nominal: bool = False
    """True: numbers are names, such as codes of operations, and their order means nothing."""
    _position: dict[Value, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        def wrong(reason: str) -> ArchError:
            return ArchError(f"hyperparameter {self.name!r}: {reason}; got {list(self.choices)}")

        if not self.name or not isinstance(self.name, str):
            raise ArchError(f"a hyperparameter needs a name; got {self.name!r}")
        if self.kind not in KINDS:
            raise ArchError(
                f"hyperparameter {self.name!r}: kind must be one of {list(KINDS)}; "
                f"got {self.kind!r}"
            )
        if not self.choices:
            raise wrong("needs at least one choice")
        if len(set(self.choices)) != len(self.choices):
            raise wrong("choices must differ")
        if any(isinstance(v, bool) or not isinstance(v, int | float | str) for v in self.choices):
            raise wrong("choices must be numbers or strings")
        numbers = [v for v in self.choices if not isinstance(v, str)]
        if numbers and len(numbers) != len(self.choices):
            raise wrong("choices must be all numbers or all strings")
        if not all(math.isfinite(v) for v in numbers):
            raise wrong("choices must be finite")
        if numbers != sorted(numbers):
            raise wrong("numeric choices must increase")
        if self.conditions and INACTIVE in self.choices:
            raise wrong("0 marks an inactive hyperparameter, so it cannot be a choice as well")
        position: dict[Value, int] = {value: i + 1 for i, value in enumerate(self.choices)}
        object.__setattr__(self, "_position", position)
        if self.default is None:
            object.__setattr__(self, "default", self.choices[(len(self.choices) - 1) // 2])
        elif self.default not in position:
            raise wrong(f"the default {self.default!r} is not a choice")

    @property
    def strings(self) -> bool:
        """True where the choices are strings, which are encoded by position."""
        return isinstance(self.choices[0], str)

    @property
    def categorical(self) -> bool:
        """True where the choices have no order: strings, and nominal numbers."""
        return self.nominal or self.strings

    @property
    def codes(self) -> tuple[float, ...]:
        """The numbers that stand for the choices in an encoded architecture."""
        if self.strings:
            return tuple(float(i + 1) for i in range(len(self.choices)))
        return tuple(float(v) for v in self.choices)

    def size(self) -> int:
        """Number of choices."""
        return len(self.choices)

    def index(self, value: object) -> int | None:
        """Position of ``value`` among the choices, from 1; None where it is not a choice.

        Numpy numbers, and numbers that went through float32, are recognised; booleans are not.
        """
        if isinstance(value, bool | np.bool_ | bytes):
            return None
        if isinstance(value, str):
            return self._position.get(value)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        found = self._position.get(number)
        if found is None and not self.strings:
            for i, code in enumerate(self.codes):
                if math.isclose(number, code, rel_tol=1e-6):
                    return i + 1
        return found

    def closest(self, value: object) -> int:
        """Position, from 1, of the choice nearest to ``value``; the default where none is near."""
        exact = self.index(value)
        if exact is not None:
            return exact
        if not self.categorical and not isinstance(value, str | bool):
            try:
                number = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                number = math.nan
            if math.isfinite(number):
                return 1 + min(range(self.size()), key=lambda i: abs(self.codes[i] - number))
        position = self.index(self.default)
        return 1 if position is None else position


def at_least(parent: str, minimum: int, choices: Iterable[int]) -> Condition:
    """Active where the integer ``parent`` is ``minimum`` or more."""
    return Condition(parent, tuple(v for v in choices if v >= minimum))
