"""Facts on the fields of a dataclass, such as bounds, and the check of values by them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import numbers
import re
import sys
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from nasseg._registry import unknown_name
from nasseg.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Made = TypeVar("Made", bound="DataclassInstance")

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
"""The plain types of values, in words."""


@dataclass(frozen=True)
class Facts:
    """Allowed values of a field, beside those that its annotation refuses."""

    ge: float | None = None
    """Least value."""
    gt: float | None = None
    """Bound that values stay above."""
    le: float | None = None
    """Greatest value."""
    lt: float | None = None
    """Bound that values stay below; infinity: values are finite."""
    zero: str = ""
    """Words for 0 where it is allowed outside the bounds, as in ``0 for none``."""
    unit: str = ""
    """Unit of the bounds, for messages."""
    choices: tuple[Any, ...] = ()
    """The allowed values, where the annotation is no ``Literal``."""
    pattern: str = ""
    """Regular expression that texts match."""
    words: str = ""
    """Words for the allowed values, where those made of the other facts do not do."""
    help: str = ""
    """Meaning of the field, where no docstring follows it."""

    def allows(self, value: Any) -> bool:
        """Return True if a value of the right type is within the bounds and among the choices."""
        if value is None:
            return True
        if self.choices and value not in self.choices:
            return False
        if self.pattern and re.fullmatch(self.pattern, value, re.DOTALL) is None:
            return False
        if self.zero and value == 0:
            return True
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def in_words(self, annotation: Any) -> str:
        """The allowed values, as a message names them."""
        if self.words:
            return self.words
        if self.choices:
            return either(self.choices)
        bounds = self._bounds()
        if not bounds:
            return in_words(annotation)
        return f"{bounds}, or null" if type(None) in typing.get_args(annotation) else bounds

    def _bounds(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.ge is not None and self.le is not None:
            bounds = f"{self.ge:.16g} to {self.le:.16g}{unit}"
        else:
            parts = (
                ("{} or more", self.ge),
                ("above {}", self.gt),
                ("at most {}", self.le),
                ("below {}", None if self.lt == math.inf else self.lt),
            )
            texts = [text.format(f"{bound:.16g}") for text, bound in parts if bound is not None]
            bounds = ", ".join(texts) + unit if texts else ""
        return f"{bounds}, or {self.zero}" if self.zero else bounds


def bounded(default: Any, **facts: Any) -> Any:
    """A dataclass field with a default and :class:`Facts`."""
    return dataclasses.field(default=default, metadata={"facts": Facts(**facts)})


def facts_of(field: dataclasses.Field[Any]) -> Facts:
    """The facts of a field; those of a plain one are empty."""
    found: Facts = field.metadata.get("facts", Facts())
    return found


def check_fields(instance: Any, prefix: str = "", error: type[Exception] = ConfigError) -> None:
    """Refuse values that their annotation, or the facts of their field, do not allow.

    Args:
        instance: of a dataclass; to be called from its ``__post_init__``.
        prefix: of the field's name in the message, as in ``train.``.
        error: class of the exception.
    """
    cls = type(instance)
    annotations = field_types(cls)
    for field in dataclasses.fields(cls):
        found, annotation = getattr(instance, field.name), annotations[field.name]
        facts = facts_of(field)
        if not is_of(found, annotation):
            allowed = facts.in_words(annotation) if facts.choices else in_words(annotation)
        elif not facts.allows(found):
            allowed = facts.in_words(annotation)
        else:
            continue
        raise error(f"{prefix}{field.name} is {found!r}; allowed: {allowed}")


def replaced(instance: Made, kind: str, changes: Mapping[str, Any]) -> Made:
    """Return a copy of a dataclass instance with fields replaced.

    Args:
        instance: of a dataclass.
        kind: how messages call a field, as in ``AnalogSpec field``.
        changes: new values by field.

    Raises:
        UnknownName: no such field; the message has the nearest one.
    """
    known = {field.name for field in dataclasses.fields(instance)}
    for key in changes:
        if key not in known:
            raise unknown_name(kind, key, known)
    return dataclasses.replace(instance, **changes)


def lacking(cls: type[Any], values: Collection[str]) -> list[str]:
    """Return the fields of a dataclass that have no default and are not among ``values``."""
    return [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.name not in values
    ]


def is_of(value: Any, annotation: Any) -> bool:
    """Return True if a value is of an annotation; a bool is no number, nor are nan and infinity."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return True
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(is_of(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(is_of(item, arguments[0]) for item in value)
    if annotation is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if annotation is float:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return number and _is_finite(value)
    return isinstance(value, annotation)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that is too large for a float
        return False


def in_words(annotation: Any) -> str:
    """The kinds of value that an annotation takes."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return either(arguments)
    if origin in (typing.Union, types.UnionType):
        kinds = [in_words(a) for a in arguments if a is not type(None)]
        return ", ".join([*kinds, "or null"])
    if origin is tuple:
        named = str in arguments
        return "texts with commas between" if named else "numbers, as in 1,3600,86400"
    return KINDS.get(annotation) or f"a {annotation.__name__}"


def either(choices: tuple[Any, ...]) -> str:
    """Choices in words: ``a, b or c``."""
    return " or ".join([", ".join(map(str, choices[:-1])), str(choices[-1])])


_types: dict[type[Any], Mapping[str, Any]] = {}


def field_types(cls: type[Any]) -> Mapping[str, Any]:
    """The resolved annotations of a dataclass."""
    if cls not in _types:
        _types[cls] = typing.get_type_hints(cls)
    return _types[cls]


@cache
def _module_classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def field_docstrings(cls: type[Any]) -> Mapping[str, str]:
    """The meaning of each field on one line: the string after it, or ``help`` of its facts."""
    found = {field.name: facts_of(field).help for field in dataclasses.fields(cls)}
    node = _module_classes(cls.__module__).get(cls.__name__)
    for field, after in itertools.pairwise(node.body if node is not None else ()):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found[field.target.id] = " ".join(after.value.value.split())
    return found
