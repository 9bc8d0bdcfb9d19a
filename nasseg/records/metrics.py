"""The epochs of a run's trainings: ``metrics.jsonl``, one JSON object a line."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nasseg.errors import RunError
from nasseg.files.forms import check_form, is_number, is_text, is_whole
from nasseg.files.readers import read_json_lines
from nasseg.io import to_json, write_text

log = logging.getLogger(__name__)

_FORM = {"!stage": is_text, "!epoch": is_whole, "loss": is_number, "lr": is_number}


def write_metrics(path: Path, stage: str, history: Iterable[dict[str, Any]]) -> None:
    """Write the lines of ``stage`` into the file, keeping those of other stages.

    Lines that are damaged are left out, with a warning: they are shown, and decide nothing.

    Raises:
        RunError: the file is no text.
    """
    entries, damaged = _entries(path) if path.exists() else ([], [])
    if damaged:
        log.warning(
            "%s: line %s is damaged and left out; the other epochs are kept",
            path,
            ", ".join(map(str, damaged)),
        )
    kept = [entry for entry in entries if entry["stage"] != stage]
    lines = [to_json(entry, indent=None) for entry in (*kept, *history)]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read one entry for each stage and epoch: the last one written, in order.

    A run that was killed and continued may hold an epoch twice, and half a last line.

    Raises:
        FileNotFoundError: there is no file.
        RunError: the file is no text.
    """
    found = {(entry["stage"], entry["epoch"]): entry for entry in _entries(path)[0]}
    return [found[key] for key in sorted(found, key=lambda key: key[1])]


def _entries(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the entries of the file, and the numbers of its damaged lines."""
    entries, damaged = [], []
    fix = "delete it; the curves of the epochs in it are lost, and nothing else"
    for number, entry in read_json_lines(path, error=RunError, fix=fix):
        try:
            check_form(entry, _FORM)
        except ValueError:
            damaged.append(number)
        else:
            if entry is not None:
                entries.append(entry)
    return entries, damaged
