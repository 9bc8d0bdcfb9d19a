"""Small pieces of HTML. Every text that comes from a file goes through ``html.escape``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from nasseg.records.run_files import RunFiles

_STAGE_OF = {
    "best.json": "search",
    "metrics.jsonl": "train",
    "coverage.json": "analog",
    "drift.csv": "drift",
    "panels.npz": "drift",
    "summary.json": "drift",
    "pareto.csv": "search",
    "config.yaml": "search",
}


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading with its HTML."""

    title: str
    html: str

    def render(self) -> str:
        """The section as HTML; one without content says so."""
        inner = self.html or '<p class="missing">Nothing was recorded.</p>'
        return f"<section><h2>{escape(self.title)}</h2>{inner}</section>"


def missing(run: RunFiles, *names: str) -> str:
    """A line for each of these files that could not be used."""
    lines = []
    for name in names:
        if name in run.missing:
            stage = _STAGE_OF.get(name, "run")
            lines.append(
                f'<p class="missing">{escape(name)} {escape(run.missing[name])}; '
                f"the stage <code>{stage}</code> writes it.</p>"
            )
    return "".join(lines)


def table(head: Sequence[str], body: Iterable[str], text_columns: Sequence[int] = ()) -> str:
    """A table from header texts and rows that are HTML already."""
    cells = "".join(
        f'<th class="text">{escape(name)}</th>' if k in text_columns else f"<th>{escape(name)}</th>"
        for k, name in enumerate(head)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def row(cells: Iterable[str], text_columns: Sequence[int] = (), css: str = "") -> str:
    inner = "".join(
        f'<td class="text">{cell}</td>' if k in text_columns else f"<td>{cell}</td>"
        for k, cell in enumerate(cells)
    )
    return f'<tr class="{css}">{inner}</tr>' if css else f"<tr>{inner}</tr>"


def definitions(facts: Iterable[tuple[str, str]]) -> str:
    """A list of names and texts; both are escaped."""
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f"<dl>{inner}</dl>" if inner else ""


def known(value: Any) -> str:
    return "unknown" if value is None else escape(str(value))


def count_text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else known(value)


def in_words(value: Any) -> str:
    """A fact on one line; of a dict its plain entries, ``key value, key value``."""
    if isinstance(value, dict):
        plain = {k: v for k, v in value.items() if isinstance(v, (bool, int, float, str))}
        return ", ".join(f"{key} {in_words(item)}" for key, item in plain.items())
    if value is None or isinstance(value, (list, tuple)):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
