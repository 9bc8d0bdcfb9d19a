"""The memory cell of a run, where a YAML file of the user describes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nasseg.config import RunConfig, analog_spec
from nasseg.errors import ConfigError, RunError
from nasseg.files.readers import read_text
from nasseg.records.folder import RunFolder

MEMORY = "memory.yaml"
"""The run's copy of the file."""


def keep_memory(config: RunConfig, folder: RunFolder) -> None:
    """Copy a memory cell of a YAML file into the run folder, where it has none yet.

    Chips of one run are of one memory, whatever becomes of the file later.
    """
    preset = Path(config.analog.preset)
    if preset.suffix in (".yaml", ".yml") and not (folder / MEMORY).exists():
        analog_spec(config.analog)  # raises an error that names what is wrong with it
        folder.begin_with(MEMORY, read_text(preset, error=ConfigError))


def with_own_memory(config: RunConfig, folder: RunFolder) -> RunConfig:
    """The settings, a memory cell of a YAML file replaced by the run folder's copy of it.

    A folder without a copy is of the file itself; nothing is written.
    """
    preset = Path(config.analog.preset)
    copy_ = folder / MEMORY
    if preset.suffix not in (".yaml", ".yml") or not copy_.exists():
        return config
    given = read_text(preset, error=RunError) if preset.is_file() else None
    if given is not None and given != read_text(copy_, error=RunError):
        raise RunError(
            f"{preset} has changed since {folder.path} was begun ({copy_} is what it was); bring "
            "it back, or use another --out"
        )
    return dataclasses.replace(config, analog=dataclasses.replace(config.analog, preset=str(copy_)))
