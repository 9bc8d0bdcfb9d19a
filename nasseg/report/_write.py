"""Put the report together: figures, sections, one HTML file."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from nasseg._version import __version__
from nasseg.io import write_bytes, write_text
from nasseg.records.best import Best
from nasseg.records.folder import refuse_links
from nasseg.records.run_files import RunFiles, load_run
from nasseg.report._headline import cards
from nasseg.report._numbers import chips_of
from nasseg.report.markup import render as fill
from nasseg.report.sections import SECTIONS
from nasseg.report.style import style, to_inline_svg, to_png


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into a run folder; the path of the report.

    The report is one file without outside references. Parts whose files are missing or damaged
    are named in it.

    Raises:
        RunError: there is no such folder.
    """
    run = load_run(run_dir)
    refuse_links(run.folder)
    figures = draw_figures(run)
    report = run.folder / "report.html"
    return write_text(report, render(run, figures))


def draw_figures(run: RunFiles) -> dict[str, Markup]:
    """Write each picture that can be drawn as PNG; name to inline SVG (``panels`` has none)."""
    drawn = {}
    with style():
        for section in SECTIONS:
            figures = section.figure(run)
            for picture in section.pictures:
                target = run.folder / "figures" / f"{picture.name}.png"
                if picture.name not in figures:
                    continue
                figure = figures[picture.name]
                if figure is None:
                    # A picture of an earlier state of the folder would be taken for this one's.
                    target.unlink(missing_ok=True)
                    continue
                write_bytes(target, to_png(figure))
                if picture.label is not None:
                    drawn[picture.name] = to_inline_svg(figure, picture.label)
    return drawn


def render(run: RunFiles, figures: Mapping[str, Markup]) -> str:
    """The HTML page."""
    summary, best = run.summary or {}, run.best or Best()
    arch_id = summary.get("arch_id") or best.arch_id
    facts = [f"seed {summary['seed']}"] if summary.get("seed") is not None else []
    if arch_id:
        facts.insert(0, f"architecture {arch_id}")
    if best.space:
        facts.append(f"space {best.space}")
    facts.append(f"{chips_of(run) or '?'} chips")
    values = {
        "name": run.folder.resolve().name,
        "facts": facts,
        "cards": cards(run),
        "sections": [(section.heading(run), section.html(run, figures)) for section in SECTIONS],
        "version": __version__,
        "python": platform.python_version(),
    }
    return f"{fill('page.html.j2', values)}\n"
