"""Put the report together: figures, sections, one HTML file."""

from __future__ import annotations

import platform
from collections.abc import Callable
from html import escape
from importlib import resources
from pathlib import Path

from matplotlib.figure import Figure

from nasseg._version import __version__
from nasseg.io import write_bytes, write_text
from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles, load_run
from nasseg.report import _details as details
from nasseg.report import _html as html
from nasseg.report import _numbers as numbers
from nasseg.report._architecture import draw_architecture
from nasseg.report._classes import draw_classified, draw_confusion, draw_reliability
from nasseg.report._figures import draw_curves, draw_drift, draw_search
from nasseg.report._front import draw_front, front_table
from nasseg.report._panels import draw_panels
from nasseg.report.style import look, to_inline_svg, to_png

_LABELS = {
    "architecture": "the architecture as a block diagram",
    "search": "best and mean predicted score over generations",
    "front": "the Pareto front of the search, and its hypervolume over generations",
    "curves": "loss and validation score over epochs",
    "confusion": "true classes against those said",
    "reliability": "accuracy over confidence",
    "drift": "the score and a second metric over time since programming",
}


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into a run folder; the path of the report.

    The report is one file without outside references. Parts whose files are missing or damaged
    are named in it.

    Raises:
        RunError: there is no such folder.
    """
    run = load_run(run_dir)
    figures = draw_figures(run)
    report = run.folder / "report.html"
    return write_text(report, render(run, figures))


def draw_figures(run: RunFiles) -> dict[str, str]:
    """Write each picture that can be drawn as PNG; name to inline SVG (``panels`` has none)."""
    size = run.setting("data.crop") or run.setting("data.image_size")
    painters: dict[str, Callable[[], Figure | None]] = {
        "architecture": lambda: draw_architecture(
            run.best, size if isinstance(size, int) else None
        ),
        "search": lambda: draw_search(run),
        "front": lambda: draw_front(run),
        "curves": lambda: draw_curves(run),
        "drift": lambda: draw_drift(run),
        "panels": lambda: (
            draw_classified(run.panels) if run.classified else draw_panels(run.panels)
        ),
        "confusion": lambda: draw_confusion(run.panels),
        "reliability": lambda: draw_reliability(run.panels),
    }
    drawn = {}
    with look():
        for name, paint in painters.items():
            target = run.folder / "figures" / f"{name}.png"
            figure = paint()
            if figure is None:
                # A picture of an earlier state of the folder would be taken for this one's.
                target.unlink(missing_ok=True)
                continue
            write_bytes(target, to_png(figure))
            if name in _LABELS:
                drawn[name] = to_inline_svg(figure, _LABELS[name])
    return drawn


def render(run: RunFiles, figures: dict[str, str]) -> str:
    """The HTML page."""
    css = resources.files("nasseg.report").joinpath("report.css").read_text(encoding="utf-8")
    summary, best = run.summary or {}, run.best or Best()
    arch_id = summary.get("arch_id") or best.arch_id
    name = run.folder.resolve().name
    facts = [f"seed {summary['seed']}"] if summary.get("seed") is not None else []
    if arch_id:
        facts.insert(0, f"architecture {arch_id}")
    if best.space:
        facts.append(f"space {best.space}")
    facts.append(f"{numbers.chips_of(run) or '?'} chips")

    drift_note = (
        '<p class="note">Lines: mean over chips. Bands: one standard deviation to either side. '
        "Dotted: 5th percentile chip. Dashed: the digital network. Recalibrated: BatchNorm "
        "statistics re-estimated on each drifted chip.</p>"
    )
    drift = figures.get("drift", "")
    sections = [
        html.Section(
            "Accuracy over time since programming",
            html.missing(run, "drift.csv", "summary.json")
            + drift
            + (drift_note if drift else "")
            + numbers.drift_table(run)
            + numbers.chips_table(run)
            + numbers.sweep_table(run)
            + numbers.plan_list(run),
        ),
        html.Section(
            "Classified images" if run.classified else "Segmentations",
            html.missing(run, "panels.npz")
            + figures.get("confusion", "")
            + figures.get("reliability", "")
            + (details.class_grid(run) if run.classified else details.panels_grid(run)),
        ),
        html.Section(
            "Architecture",
            html.missing(run, "best.json")
            + _scroll(figures.get("architecture", ""))
            + details.architecture_table(run),
        ),
        html.Section(
            "Search",
            (html.missing(run, "pareto.csv") if "pareto.csv" in run.missing else "")
            + figures.get("front", "")
            + front_table(run)
            + figures.get("search", "")
            + details.search_facts(run)
            or _no_search(run),
        ),
        html.Section("Training", html.missing(run, "metrics.jsonl") + figures.get("curves", "")),
        html.Section(
            "Analog coverage",
            html.missing(run, "coverage.json")
            + details.coverage_table(run)
            + numbers.sensitivity_table(run),
        ),
        html.Section(
            "Seed, budget, command",
            html.missing(run, "config.yaml") + details.budget(run) + details.reproduce_command(run),
        ),
    ]
    body = "".join(section.render() for section in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>nasseg: {escape(name)}</title><style>{css}</style></head><body><main>"
        f"<header><h1>{escape(name)}</h1><p>{escape(', '.join(facts))}</p></header>"
        f"{numbers.headline(run)}{body}"
        f"<footer>nasseg {__version__}, Python {platform.python_version()}</footer>"
        "</main></body></html>\n"
    )


def _scroll(picture: str) -> str:
    return f'<div class="scroll">{picture}</div>' if picture else ""


def _no_search(run: RunFiles) -> str:
    if run.best is None:
        return html.missing(run, "best.json")
    return "<p>The architecture was given; nothing was searched.</p>"
