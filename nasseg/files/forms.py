"""Forms of JSON and YAML values: which keys are what, checked where a file is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Return True for a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Return True for a whole number of at most 18 digits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18


def is_truth(value: Any) -> bool:
    """Return True for true and false."""
    return isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Return True for a text."""
    return isinstance(value, str)


def is_any(_value: Any) -> bool:
    """Return True."""
    return True


def check_form(value: Any, form: Any, key: str = "") -> None:
    """Refuse a JSON or YAML value of another form.

    Args:
        value: as it was read.
        form: a function that is True of what is allowed; ``{"key": form}`` for an object, whose
            keys may be missing, but for those written ``"!key"``, and which may have others;
            ``{"*": form}`` for one of any keys; ``[form]`` for a list; ``(form,)`` where null is
            allowed too.
        key: of the value, for the message.

    Raises:
        ValueError: the value has another form; the message names the key and the value.
    """
    if isinstance(form, tuple):
        if value is not None:
            check_form(value, form[0], key)
        return
    if isinstance(form, Mapping):
        _require(isinstance(value, dict), key, value, "an object")
        for name, inner in form.items():
            if name.startswith("!"):
                name = name[1:]
                if name not in value:
                    raise ValueError(f"{f'{key}.{name}' if key else name} is missing")
            for found in value if name == "*" else [name] if name in value else []:
                check_form(value[found], inner, f"{key}.{found}" if key else str(found))
    elif isinstance(form, list):
        _require(isinstance(value, list), key, value, "a list")
        for place, item in enumerate(value):
            check_form(item, form[0], f"{key}[{place}]")
    else:
        _require(form(value), key, value, _WORDS.get(form, "a value of another kind"))


_WORDS: dict[Check, str] = {
    is_number: "a finite number",
    is_whole: "a whole number",
    is_truth: "true or false",
    is_text: "a text",
}


def _require(ok: bool, key: str, value: Any, allowed: str) -> None:
    if not ok:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise ValueError(f"{key or 'it'} is {shown}; allowed: {allowed}")


def kind_of(value: Any) -> str:
    """Return in words what kind of JSON or YAML value it is."""
    kinds = (
        (type(None), "nothing"),
        (bool, "true or false"),
        (int | float, "a number"),
        (str, "a text"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), type(value).__name__)
