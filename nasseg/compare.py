"""Several runs beside each other: one table, one picture. ``nasseg compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasseg.io import write_bytes, write_csv, write_text
from nasseg.records.comparison import Comparison, Group, compare
from nasseg.records.run_files import RunFiles
from nasseg.report import comparison_png
from nasseg.statistics import DAY, YEAR
from nasseg.text import markdown_table, spread_text, time_name

__all__ = ["Comparison", "Group", "compare", "format_comparison", "write_comparison"]

KINDS = ("recalibrated", "uncalibrated")
SHOWN_TIMES = (DAY, YEAR)
"""Ages of the table of the terminal, where they were measured; the CSV has all of them."""


def format_comparison(found: Comparison, most: int = 2) -> str:
    """A Markdown table: a row for each group, mean ± standard deviation over its runs.

    ``most`` metrics are shown: digital, and analog at a day and a year, recalibrated where that
    was measured; a star marks where it was not.
    """
    columns: list[tuple[tuple[str, ...], str]] = []
    for name, title in found.metrics[:most]:
        columns.append(((f"digital_{name}",), f"digital {title}"))
        for time_s in SHOWN_TIMES:
            keys = tuple(f"{kind}_{time_s:.15g}s_{name}" for kind in KINDS)
            if any(key in group.values for group in found.groups for key in keys):
                columns.append((keys, f"{title} after {time_name(time_s)}"))
    head = ["network", "runs", "parameters", "tiles", "on tiles", *(title for _, title in columns)]
    rows = []
    for group in found.groups:
        share = group.mean("mac_fraction")
        rows.append(
            [
                group.name,
                str(len(group.runs)),
                _whole(group.mean("params")),
                _whole(group.mean("tiles")),
                "-" if share is None else f"{100 * share:.1f} %",
                *(_cell(group, keys) for keys, _ in columns),
            ]
        )
    sides = {_side(run) for group in found.groups for run in group.runs}
    notes = [f"Of the {' and '.join(sorted(sides))} images"]
    if len(sides) > 1:
        notes[0] += ", as each run has them: not the same images"
    if any(cell.endswith(" *") for row in rows for cell in row):
        notes.append("* = chips as programmed, without recalibration")
    return "\n".join([markdown_table(rows, head), "", "; ".join(notes) + "."])


def _side(run: RunFiles) -> str:
    images = (run.summary or {}).get("images") or {}
    return "test" if images.get("test") else "validation"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _cell(group: Group, columns: Sequence[str]) -> str:
    """The first of the columns that the group has; a star says that it is a later one."""
    for column in columns:
        mean, std = group.mean(column), group.std(column)
        if mean is not None:
            star = "" if column == columns[0] else " *"
            return spread_text(mean, std, 4) + star
    return "-"


def write_comparison(found: Comparison, out: str | Path) -> tuple[Path, ...]:
    """Write ``compare.csv`` (every column, a row a run), ``compare.md`` and ``compare.png``."""
    out = Path(out)
    rows = []
    for group in found.groups:
        for i, run in enumerate(group.runs):
            summary = run.summary or {}
            rows.append(
                {
                    "group": group.name,
                    "run": run.folder.name,
                    "arch_id": run.best.arch_id if run.best else None,
                    "seed": summary.get("seed"),
                    "fold": run.setting("data.fold"),
                    **{key: values[i] for key, values in group.values.items()},
                }
            )
    columns = list(dict.fromkeys(key for row in rows for key in row))
    full = [{key: row.get(key, "") for key in columns} for row in rows]
    write_csv(out / "compare.csv", full)
    write_text(out / "compare.md", format_comparison(found) + "\n")
    write_bytes(out / "compare.png", comparison_png(found))
    return tuple(out / f"compare.{ending}" for ending in ("csv", "md", "png"))
