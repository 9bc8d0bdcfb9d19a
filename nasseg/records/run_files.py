"""The files of a run folder as plain values; a file that is missing or damaged is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from nasseg.errors import FileError, RunError
from nasseg.files.readers import read_npz
from nasseg.records.best import Best
from nasseg.records.drift import DriftTable
from nasseg.records.fates import FatePicture, read_fates
from nasseg.records.folder import read_settings
from nasseg.records.images import ImageTable
from nasseg.records.metrics import read_metrics
from nasseg.records.pareto import Front, read_front
from nasseg.records.results import read_result
from nasseg.tasks import known_task, metric_title, metrics_of

Array = npt.NDArray[Any]

PANEL_KEYS = ("images", "labels", "digital", "analog_1day", "ids")
CLASS_KEYS = ("shown", "classes")
PIXEL_KEYS = ("pixel_classes",)


@dataclass
class RunFiles:
    """What a run folder holds. A part is None (or empty) where its file is in ``missing``."""

    folder: Path
    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    best: Best | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    coverage: dict[str, Any] | None = None
    drift: DriftTable = field(default_factory=DriftTable)
    sweep: DriftTable = field(default_factory=DriftTable)
    """Chips a day old, each with the noise scale of its memory."""
    plan: dict[str, Any] | None = None
    sensitivity: dict[str, Any] | None = None
    panels: dict[str, Array] | None = None
    images: ImageTable | None = None
    """Scores of every image by the digital network."""
    fates: list[FatePicture] = field(default_factory=list)
    """Images with the fates of their nuclei."""
    front: Front | None = None
    """What a search for several objectives kept."""
    missing: dict[str, str] = field(default_factory=dict)
    """File name to why it could not be used."""

    @property
    def shown_metrics(self) -> tuple[tuple[str, str], ...]:
        """Metrics that the report shows, with their titles."""
        digital = (self.summary or {}).get("digital") or {}
        names = {*digital, *self.drift.metrics}
        return metrics_of(names, (self.summary or {}).get("monitor"), self.task)

    @property
    def task(self) -> str | None:
        """Name of the task; None in a folder that does not say it."""
        name = (self.summary or {}).get("task")
        return name if isinstance(name, str) else None

    @property
    def metric_note(self) -> str:
        """A sentence on how the metrics are taken; empty where the task is not here."""
        task = known_task([self.main_metric[0]], self.task)
        return task.note if task else ""

    @property
    def main_metric(self) -> tuple[str, str]:
        """The metric that the run is scored by, and its title."""
        return self.shown_metrics[0]

    @property
    def predicted_title(self) -> str:
        """Title of the metric that the surrogate predicts, which its table may say."""
        return self._title_of(self.best.surrogate if self.best else {})

    @property
    def measured_title(self) -> str:
        """Title of the metric that a measured search compared by; a proxy may have its own."""
        return self._title_of(self.best.measured if self.best else {})

    def _title_of(self, facts: Mapping[str, Any]) -> str:
        known = facts.get("metric")
        return metric_title(known) if isinstance(known, str) else self.main_metric[1]

    @property
    def classified(self) -> bool:
        """Whether the images have a class each, and not their pixels."""
        return self.panels is not None and "classes" in self.panels

    def setting(self, key: str) -> Any:
        """A setting of the run by its dotted key, as it was found where the search had it too;
        None where it is not known."""
        if self.best is not None and key in self.best.settings:
            return self.best.settings[key]
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
        except (RunError, FileError) as error:
            files.missing[name] = str(error).removeprefix(f"{path} ")
        except (OSError, ValueError, LookupError, TypeError) as error:
            files.missing[name] = f"cannot be read ({type(error).__name__}: {error})"
        return None

    files.config = read("config.yaml", lambda path: read_settings(path.parent))
    files.summary = read("summary.json", read_result)
    files.best = read("best.json", Best.read)
    files.metrics = read("metrics.jsonl", read_metrics) or []
    files.coverage = read("coverage.json", read_result)
    files.drift = read("drift.csv", DriftTable.read) or DriftTable()
    # Older runs have none of these; a report without them is whole.
    if (folder / "sweep.csv").exists():
        files.sweep = read("sweep.csv", DriftTable.read) or DriftTable()
    for name in ("plan", "sensitivity"):
        if (folder / f"{name}.json").exists():
            setattr(files, name, read(f"{name}.json", read_result))
    if (folder / "images.csv").exists():
        files.images = read("images.csv", ImageTable.read)
    if (folder / "fates.npz").exists():
        files.fates = read("fates.npz", read_fates) or []
    try:
        files.front = read_front(folder)
    except RunError as error:
        files.missing["pareto.csv"] = str(error)
    files.panels = read("panels.npz", _read_panels)
    return files


def _read_panels(path: Path) -> dict[str, Array]:
    archive = read_npz(path, error=RunError)
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
