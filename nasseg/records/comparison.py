"""Runs grouped by their settings, and what each group scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nasseg.config import RunConfig
from nasseg.config.identity import experiment
from nasseg.errors import ConfigError, RunError
from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles, load_run
from nasseg.records.tables import by_time
from nasseg.statistics import spread
from nasseg.tasks import bad_chip, metrics_of


@dataclass(frozen=True)
class Group:
    """Runs of one configuration, which differ by seed or fold."""

    name: str
    runs: tuple[RunFiles, ...]
    values: dict[str, list[float]] = field(default_factory=dict)
    """Column to one value a run."""

    def mean(self, column: str) -> float | None:
        """Mean over runs; None where it was not measured."""
        values = self.values.get(column)
        return spread(values).mean if values else None

    def std(self, column: str) -> float | None:
        """Sample standard deviation over runs; None for fewer than two."""
        values = self.values.get(column) or []
        return spread(values).std if len(values) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, and the metrics that they are compared by."""

    groups: tuple[Group, ...]
    metrics: tuple[tuple[str, str], ...]
    """Name and title; what the runs are scored by first."""


def compare(runs: Sequence[str | Path]) -> Comparison:
    """Read run folders and put those together that differ only by seed or fold.

    Raises:
        RunError: a folder is no run, or its digital network is not trained yet.
        ConfigError: the runs have no metric in common, or a folder is named twice.
    """
    folders = [Path(run).resolve() for run in runs]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ConfigError(f"{folder} is named twice")
    loaded = []
    for run in runs:
        files = load_run(run)
        if not (files.summary or {}).get("digital"):
            raise RunError(
                f"{run}: its digital network is not trained; `nasseg train --out {run}` does it"
            )
        loaded.append(files)
    common = set.intersection(*({name for name, _ in run.shown_metrics} for run in loaded))
    monitors = {(run.summary or {}).get("monitor") for run in loaded}
    first = monitors.pop() if len(monitors) == 1 else None
    tasks = {run.task for run in loaded}
    titles = metrics_of(common, first, tasks.pop() if len(tasks) == 1 else None)
    metrics = tuple(entry for entry in titles if entry[0] in common)
    if not metrics:
        raise ConfigError("these runs have no metric in common: they are of different tasks")
    members: dict[str, list[RunFiles]] = {}
    for files in loaded:
        members.setdefault(_identity(files), []).append(files)
    groups = tuple(
        Group(_name(own, list(members.values())), tuple(own), _values(own, metrics))
        for own in members.values()
    )
    return Comparison(groups, metrics)


def _identity(run: RunFiles) -> str:
    """What runs of one group have in common: their settings and their task's data."""
    kept = experiment(run.config or {}, RunConfig)
    if not kept:
        return str(run.folder)
    return repr(sorted(kept.items()))


def _name(own: Sequence[RunFiles], groups: Sequence[Sequence[RunFiles]]) -> str:
    """The network's name, or that of the first folder where several groups have the same."""

    def network(runs: Sequence[RunFiles]) -> str:
        best = runs[0].best or Best()
        network = (best.arch or {}).get("network")
        if isinstance(network, str):
            return network
        ids = {str((run.best or Best()).arch_id) for run in runs}
        return f"{best.space}/{ids.pop() if len(ids) == 1 else '*'}"

    name = network(own)
    if sum(network(group) == name for group in groups) > 1:
        return f"{name} ({own[0].folder.resolve().name})"
    return name


def _values(runs: Sequence[RunFiles], metrics: Sequence[tuple[str, str]]) -> dict[str, list[float]]:
    """Columns ``digital_accuracy``, ``recalibrated_86400s_accuracy``, ``..._p05`` (of errors
    ``..._p95``), ``params`` ...

    Only what every run of the group has.
    """
    rows = []
    for run in runs:
        summary, best = run.summary or {}, run.best or Best()
        row = {f"digital_{name}": summary["digital"].get(name) for name, _ in metrics}
        for time_s, kinds in by_time(summary):
            for kind, values in kinds.items():
                for name, _ in metrics:
                    entry = values.get(name) or {}
                    column = f"{kind}_{time_s:.15g}s_{name}"
                    row[column] = entry.get("mean")
                    bad = bad_chip(name)
                    row[f"{column}_{bad}"] = entry.get(bad)
        for key in ("params", "macs", "tiles"):
            row[key] = getattr(best, key)
        row["mac_fraction"] = (run.coverage or {}).get("mac_fraction")
        row["seconds"] = sum((summary.get("seconds") or {}).values())
        rows.append(row)
    shared = [key for key in rows[0] if all(row.get(key) is not None for row in rows)]
    return {key: [float(row[key]) for row in rows] for key in shared}


def curves(runs: Iterable[RunFiles], stage: str, key: str) -> list[tuple[list[int], list[float]]]:
    """For each run that has it: epochs and values of a metric in ``metrics.jsonl``."""
    found = []
    for run in runs:
        entries = [e for e in run.metrics if e.get("stage") == stage and key in e]
        if entries:
            found.append(([int(e["epoch"]) for e in entries], [float(e[key]) for e in entries]))
    return found
