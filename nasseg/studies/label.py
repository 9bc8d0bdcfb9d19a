"""``nasseg label``: architectures, measured into a table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from nasseg.config import LabelConfig
from nasseg.config.search import space_for
from nasseg.data import load_data
from nasseg.errors import RunError
from nasseg.evaluators.measured import MeasuredTable
from nasseg.records.folder import RunFolder, as_begun
from nasseg.search.measured.bounds import spread_architectures
from nasseg.search.measured.study import MeasuredStudy
from nasseg.search_spaces import SearchSpace
from nasseg.studies.study import (
    check_labelling,
    open_study,
    out_channels_of,
    report,
    size_bounds,
)
from nasseg.studies.workers import run_workers
from nasseg.training.device import set_threads

log = logging.getLogger(__name__)


def draw_architectures(
    space: SearchSpace, config: LabelConfig, out_channels: int = 1
) -> list[dict[str, Any]]:
    """Draw ``config.count`` different architectures within the bounds, a function of the seed.

    Raises:
        ConfigError: there are too few within the bounds.
    """
    bounds = size_bounds(config, out_channels)
    return spread_architectures(space, config.count, config.seed, bounds)


def label(config: LabelConfig, progress: bool = True) -> Path:
    """Measure architectures into ``table.csv`` of a folder; continue what is there.

    The record is a study (``study.db`` of the folder, or ``config.storage``), which any number of
    workers share: the same call in another process, on this or another machine, is one more. The
    table is written again from the study whenever a worker has finished an architecture. What
    cannot be measured is in ``table_failures.csv`` with its reason and is not tried again. Rows
    that the folder has from before there was a study become trials of it.

    Returns:
        The table.

    Raises:
        RunError: the folder or the study has other settings, or nothing could be measured.
        ConfigError: a setting that is not possible, or so few architectures are within the bounds
            that ``count`` cannot be drawn.
    """
    set_threads(config.threads)
    config = as_begun(config)
    space = space_for(config.space, config.data)
    check_labelling(config)
    folder = RunFolder(config)
    table = folder / "table.csv"
    # The folder is held only while its files are written: other workers are welcome.
    with folder.locked(wait=True):
        data = load_data(config.data)
        if config.archs is None and config.sampler == "lhs":
            draw_architectures(space, config, out_channels_of(config, data))
        folder.check_data(data.fingerprint, data.source, data.counts)
        folder.remember("data.path", config.data.path)
    study = open_study(config, space, data)

    def export() -> None:
        with folder.locked(wait=True):
            study.export(table)

    with folder.locked(wait=True):
        _take_over(study, table)
    try:
        run_workers(study, config, data, export, progress)
    finally:
        export()
    report(study, config)
    if not study.rows():
        raise RunError(
            f"no architecture could be measured; the reasons are in {folder / 'table_failures.csv'}"
        )
    return table


def _take_over(study: MeasuredStudy, table: Path) -> None:
    """Make trials of the rows of a table that its study does not have."""
    known = MeasuredTable(table)
    rows = [_parsed(row) for row in known.rows.values()]
    failures = [dict(row) for row in known.failures.values()]
    if added := study.add_known(rows, failures, source=table.name):
        log.info("%s: %d architectures taken over into the study", table, added)


def _parsed(row: dict[str, str]) -> dict[str, Any]:
    return {
        key: value if key in ("arch_id", "arch") else _number(value) for key, value in row.items()
    }


def _number(text: str) -> int | float | str | None:
    if text in ("", None):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
