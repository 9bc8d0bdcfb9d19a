"""Values of a report as HTML: the templates, and the little that templates cannot say of a cell.

Everything that is no :class:`~markupsafe.Markup` is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    cells: Sequence[object]
    """Texts; of a heading within the table, one."""
    css: str = ""
    """Class of the row; ``rule``: its one cell is a heading over all columns."""


@dataclass
class Table:
    """A table of a section."""

    head: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    text_columns: Sequence[int] = ()
    """Columns of words, which are aligned to the left."""

    def add(self, *cells: object, css: str = "") -> None:
        """Append a row."""
        self.rows.append(Row(cells, css))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nasseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = resources.files("nasseg.report").joinpath("report.css").read_text(encoding="utf-8")
    # The style sheet is a file of the package.
    environment.globals["css"] = Markup(css)  # noqa: S704
    return environment


def render(template: str, values: Mapping[str, Any]) -> Markup:
    """A template of the package, filled in."""
    # Escaped by the template: autoescape is on.
    return Markup(_environment().get_template(template).render(values).strip())  # noqa: S704


def with_small(text: object, small: object) -> Markup:
    """A text and, after it, a smaller one."""
    return Markup("{} <small>{}</small>").format(text, small)


def code(text: object) -> Markup:
    """A text in the font of code."""
    return Markup("<code>{}</code>").format(text)


def known(value: object) -> str:
    """The value as text, or that it is unknown."""
    return "unknown" if value is None else str(value)


def count_text(value: object) -> str:
    """A count with separators of thousands."""
    return f"{value:,}" if isinstance(value, int) else known(value)


def in_words(value: Any) -> str:
    """A fact on one line; of a dict its plain entries, ``key value, key value``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(item)}" for key, item in _plain(value.items()))
    if value is None or isinstance(value, (list, tuple)):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in items if isinstance(value, (bool, int, float, str))]
