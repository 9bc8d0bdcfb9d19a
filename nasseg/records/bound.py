"""``settings.json``: the settings that the results of a folder were made with."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nasseg.config.identity import flatten
from nasseg.errors import ConfigError, RunError
from nasseg.files.readers import read_object
from nasseg.io import to_json, write_json


def bind_settings(
    folder: str | Path,
    settings: Mapping[str, Any],
    kind: str,
    *,
    defaults: Mapping[str, Any] | None = None,
    free: Collection[str] = (),
) -> None:
    """Write the settings of a folder's results, or refuse a folder with results of others.

    Args:
        folder: holds ``settings.json``; made where it is missing.
        settings: plain values, which may be nested.
        kind: name of the results, in the plural or with an article, for the message.
        defaults: values of settings that an older file may lack.
        free: dotted keys of settings that may change.

    Raises:
        ConfigError: the results are of other settings; the message names them.
        RunError: the file cannot be read.
    """
    file = Path(folder) / "settings.json"
    if not file.exists():
        write_json(file, settings)
        return
    fix = f"choose another --out, or delete it where {folder} holds nothing that is to be kept"
    known = {**_as_written(defaults or {}), **flatten(read_object(file, error=RunError, fix=fix))}
    wanted = _as_written(settings)
    changed = [key for key in wanted if key not in free and known.get(key) != wanted[key]]
    if changed:
        raise ConfigError(
            f"{folder} holds {kind} of other settings ({', '.join(changed)}: {file}); choose "
            "another --out"
        )


def _as_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys to values as JSON gives them back."""
    return flatten(json.loads(to_json(settings)))
