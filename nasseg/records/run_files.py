"""The files of a run folder as plain values; a file that is missing or damaged is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from nasseg.errors import RunError
from nasseg.records.pareto import Front, read_front
from nasseg.text import metrics_of, score_name

Array = npt.NDArray[Any]

PANEL_KEYS = ("images", "labels", "digital", "analog_1day", "ids")
CLASS_KEYS = ("shown", "classes")
PIXEL_KEYS = ("pixel_classes",)


@dataclass(frozen=True)
class DriftRow:
    """One evaluation of one programmed chip."""

    chip: int
    time_s: float
    """Seconds after programming."""
    recalibrated: bool
    """Whether BatchNorm statistics were re-estimated on the drifted chip."""
    scores: dict[str, float]
    """Metric to value."""


@dataclass
class RunFiles:
    """What a run folder holds. A part is None (or empty) where its file is in ``missing``."""

    folder: Path
    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    coverage: dict[str, Any] | None = None
    drift: list[DriftRow] = field(default_factory=list)
    sweep: list[tuple[float, DriftRow]] = field(default_factory=list)
    """Chips a day old, each with the noise scale of its memory."""
    plan: dict[str, Any] | None = None
    sensitivity: dict[str, Any] | None = None
    panels: dict[str, Array] | None = None
    front: Front | None = None
    """What a search for several objectives kept."""
    missing: dict[str, str] = field(default_factory=dict)
    """File name to why it could not be used."""

    @property
    def shown_metrics(self) -> tuple[tuple[str, str], ...]:
        """Metrics that the report shows, with their titles."""
        digital = (self.summary or {}).get("digital") or {}
        names = {*digital, *(name for row in self.drift for name in row.scores)}
        return metrics_of(names, (self.summary or {}).get("monitor"))

    @property
    def main_metric(self) -> tuple[str, str]:
        """The metric that the run is scored by, and its title."""
        return self.shown_metrics[0]

    @property
    def predicted_title(self) -> str:
        """Title of the metric that the surrogate predicts, which its table may say."""
        return self._title_of("surrogate")

    @property
    def measured_title(self) -> str:
        """Title of the metric that a measured search compared by; a proxy may have its own."""
        return self._title_of("measured")

    def _title_of(self, key: str) -> str:
        entry = (self.best or {}).get(key)
        known = entry.get("metric") if isinstance(entry, dict) else None
        return score_name(known) if isinstance(known, str) else self.main_metric[1]

    @property
    def classified(self) -> bool:
        """Whether the images have a class each, and not their pixels."""
        return self.panels is not None and "classes" in self.panels

    def setting(self, key: str) -> Any:
        """A setting of the run by its dotted key; None where it is not known."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def load_run(run_dir: str | Path) -> RunFiles:
    """Read what is in a run folder.

    Raises:
        RunError: there is no such folder.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise RunError(f"no run folder {folder}; `nasseg run --out {folder}` makes one")
    files = RunFiles(folder)

    def read(name: str, reader: Callable[[Path], Any]) -> Any:
        path = folder / name
        try:
            return reader(path)
        except FileNotFoundError:
            files.missing[name] = "is not there"
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            # np.load raises ValueError for an object array, json and csv for a broken line.
            files.missing[name] = f"cannot be read ({type(error).__name__}: {error})"
        return None

    files.config = read("config.yaml", _read_yaml)
    files.summary = read("summary.json", _read_object)
    files.best = read("best.json", _read_object)
    files.metrics = read("metrics.jsonl", _read_metrics) or []
    files.coverage = read("coverage.json", _read_object)
    files.drift = read("drift.csv", _read_drift) or []
    # Older runs have none of these; a report without them is whole.
    if (folder / "sweep.csv").exists():
        files.sweep = read("sweep.csv", _read_sweep) or []
    for name in ("plan", "sensitivity"):
        if (folder / f"{name}.json").exists():
            setattr(files, name, read(f"{name}.json", _read_object))
    try:
        files.front = read_front(folder)
    except RunError as error:
        files.missing["pareto.csv"] = str(error)
    files.panels = read("panels.npz", _read_panels)
    return files


def _read_object(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise TypeError(f"a JSON {type(value).__name__} where an object is expected")
    return value


def _read_yaml(path: Path) -> dict[str, Any]:
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise TypeError(f"YAML {type(value).__name__} where keys are expected")
    return value


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    """One entry for each stage and epoch: the last one said, in order.

    A run that was killed and continued says an epoch twice, and may leave half a last line.
    """
    entries: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            key = (str(entry["stage"]), int(entry["epoch"]))
        except (ValueError, KeyError, TypeError):
            continue
        entries[key] = entry
    return [entries[key] for key in sorted(entries, key=lambda key: key[1])]


def _read_drift(path: Path) -> list[DriftRow]:
    with path.open(encoding="utf-8", newline="") as handle:
        return [_drift_row(row) for row in csv.DictReader(handle)]


def _read_sweep(path: Path) -> list[tuple[float, DriftRow]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return [(float(row["noise_scale"]), _drift_row(row)) for row in csv.DictReader(handle)]


_NO_SCORES = ("chip", "time_s", "recalibrated", "noise_scale")


def _drift_row(row: dict[str, str]) -> DriftRow:
    return DriftRow(
        chip=int(row["chip"]),
        time_s=float(row["time_s"]),
        recalibrated=row["recalibrated"].strip().lower() in ("true", "1"),
        scores={
            name: float(value)
            for name, value in row.items()
            if name not in _NO_SCORES and value not in (None, "")
        },
    )


def _read_panels(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        # Of classified images, fewer are shown than were scored.
        classified = "classes" in archive
        more = CLASS_KEYS if classified else [key for key in PIXEL_KEYS if key in archive]
        panels = {key: archive[key] for key in (*PANEL_KEYS, *more)}
    scored = [key for key in PANEL_KEYS if not (classified and key == "images")]
    for keys in (scored, ["images", "shown"] if classified else []):
        if len({len(panels[key]) for key in keys}) > 1:
            lengths = ", ".join(f"{key} {len(panels[key])}" for key in keys)
            raise ValueError(f"arrays of different lengths: {lengths}")
    return panels


def chip_statistics(
    rows: list[DriftRow], metric: str, recalibrated: bool
) -> list[tuple[float, float, float, float]]:
    """(time_s, mean, sample std, 5th percentile) over chips for each time, rising."""
    found = []
    for time in sorted({row.time_s for row in rows}):
        values = np.array(
            [
                row.scores[metric]
                for row in rows
                if row.time_s == time and row.recalibrated == recalibrated and metric in row.scores
            ]
        )
        if values.size:
            std = float(values.std(ddof=1)) if values.size > 1 else 0.0
            found.append((time, float(values.mean()), std, float(np.percentile(values, 5))))
    return found
