"""All that is wrong with a folder, in one message."""

from __future__ import annotations

from collections import defaultdict

from nasseg.errors import DataError

SHOWN = 20
"""Files named per kind of problem; of the others, the message says how many there are."""


class Problems:
    """Collects problems by kind; :meth:`raise_if_any` says them all in one error.

    Not locked: collect per thread and :meth:`extend` from one.
    """

    def __init__(self) -> None:
        self._found: defaultdict[str, list[str]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, kind: str, detail: str) -> None:
        """One problem: its kind ("label missing") and the file with what is wrong about it."""
        self._found[kind].append(detail)

    def extend(self, other: Problems) -> None:
        """Take over the problems of ``other``."""
        for kind, details in other._found.items():
            self._found[kind] += details

    def message(self, where: str) -> str:
        """The text: per kind, a count and the sorted details, cut after :data:`SHOWN`."""
        count = sum(map(len, self._found.values()))
        lines = [f"{where} cannot be used: {count} problem{'s' if count > 1 else ''}"]
        for kind, details in self._found.items():
            lines.append(f"  {kind} ({len(details)}):")
            lines += [f"    {detail}" for detail in sorted(details)[:SHOWN]]
            if len(details) > SHOWN:
                lines.append(f"    ... and {len(details) - SHOWN} more")
        return "\n".join(lines)

    def raise_if_any(self, where: str) -> None:
        """Raise :class:`~nasseg.errors.DataError` where anything was added."""
        if self:
            raise DataError(self.message(where))
