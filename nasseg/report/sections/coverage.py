"""The section of analog coverage: where each layer runs, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasseg.records.run_files import RunFiles
from nasseg.report.markup import Table, code, count_text
from nasseg.report.sections.base import Section
from nasseg.text import number


def _layers(layers: list[Mapping[str, Any]]) -> Table:
    head = ["layer", "type", "runs", "MACs", "weights", "tiles", "why"]
    table = Table(head, text_columns=(1, 2, 6))
    for layer in layers:
        analog = bool(layer.get("analog"))
        table.add(
            code(layer.get("name", "")),
            layer.get("type", ""),
            "analog" if analog else "digital",
            *(count_text(layer.get(key)) for key in ("macs", "weights", "tiles")),
            layer.get("why") or "",
            css="" if analog else "off",
        )
    return table


def _sensitivity(run: RunFiles) -> Table | None:
    """Loss of the score by each layer alone on analog tiles, if that was measured."""
    if run.sensitivity is None:
        return None
    kept = set(run.sensitivity.get("digital_layers") or [])
    layers = sorted(
        run.sensitivity.get("layers") or [], key=lambda entry: -float(entry.get("loss", 0))
    )
    score = run.main_metric[1]
    head = ["layer", "MACs", f"{score} lost where it alone is analog", "runs"]
    table = Table(head, text_columns=(0, 3))
    for entry in layers:
        table.add(
            code(entry.get("name")),
            count_text(entry.get("macs")),
            number(entry.get("loss"), 4),
            "digital" if entry.get("name") in kept else "analog",
        )
    return table


class CoverageSection(Section):
    """Layers on analog tiles, and layers that stay digital."""

    title = "Analog coverage"
    template = "coverage.html.j2"
    files = ("coverage.json",)

    def values(self, run: RunFiles) -> Mapping[str, Any]:
        """Every layer, the shares of the network, and the sensitivity of the layers."""
        coverage = run.coverage or {}
        layers = coverage.get("layers") or []
        shares = [
            f"{100 * float(coverage[key]):.2f} % of the {name}"
            for key, name in (
                ("mac_fraction", "multiply-accumulates"),
                ("weight_fraction", "weights"),
            )
            if coverage.get(key) is not None
        ]
        return {
            "layers": _layers(layers),
            "shares": shares,
            "tiles": f"{sum(int(layer.get('tiles') or 0) for layer in layers):,}",
            "on": sum(bool(layer.get("analog")) for layer in layers),
            "sensitivity": _sensitivity(run),
        }
