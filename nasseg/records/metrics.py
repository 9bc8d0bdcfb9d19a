"""The epochs of a run's trainings: ``metrics.jsonl``, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nasseg.io import to_json, write_text


def write_metrics(path: Path, stage: str, history: Iterable[dict[str, Any]]) -> None:
    """Write the lines of ``stage`` into the file, keeping those of other stages."""
    kept = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if json.loads(line).get("stage") != stage:
                kept.append(line)
    kept += [to_json(entry, indent=None) for entry in history]
    write_text(path, "".join(f"{line}\n" for line in kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read one entry for each stage and epoch: the last one written, in order.

    A run that was killed and continued may hold an epoch twice, and half a last line.
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
