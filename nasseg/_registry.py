"""Names to objects, with the nearest match when a name is unknown."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from nasseg.errors import UnknownName

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to ``name``, or None where nothing is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return match[0] if match else None


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """``; did you mean ...?`` with the keys of the same last part, or else the nearest key."""
    known = sorted(names)
    last = name.rpartition(".")[2]
    near = [key for key in known if key.rpartition(".")[2] == last]
    if not near:
        one = nearest(name, known)
        near = [one] if one else []
    # Flags are written as the help writes them.
    shown = [
        prefix + (key if "." in key else key.replace("_", "-")) if prefix else key for key in near
    ]
    return f"; did you mean {' or '.join(shown)}?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for an unknown ``name`` of ``kind``, with the nearest match."""
    names = sorted(known)
    near = nearest(name, names)
    hint = f"; did you mean {near!r}?" if near else ""
    return UnknownName(f"no {kind} named {name!r}{hint} (known: {', '.join(names)})")


class Registry(Mapping[str, T]):
    """An ordered mapping whose unknown keys raise :class:`~nasseg.errors.UnknownName`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Add ``entry`` under ``name``; a second entry of the same name is an error."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._entries) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def names(self, pattern: str = "*") -> list[str]:
        """Registered names that match a shell pattern, sorted."""
        return sorted(fnmatch.filter(self._entries, pattern))
