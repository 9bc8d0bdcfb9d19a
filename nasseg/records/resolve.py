"""Settings of a run from what is given, a YAML file, and what its folder already has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from nasseg.config import LabelConfig, RunConfig, settings
from nasseg.config.reading import (
    build_config,
    explicit_values,
    files_beside,
    followed,
    read_begun,
    read_yaml,
    with_network,
)
from nasseg.errors import ConfigError
from nasseg.records.folder import as_begun, is_bound
from nasseg.records.plugins import remember_plugins
from nasseg.records.storage import distrust_storage, trust_storage

C = TypeVar("C", RunConfig, LabelConfig)


def resolve_config(config: type[C], given: Mapping[str, Any], file: str | Path | None = None) -> C:
    """Return the settings of a folder.

    Later wins: defaults; ``config.yaml`` of the folder, only without ``file``; ``file``; ``given``.

    Args:
        config: class of the settings.
        given: dotted keys to values, text where they come from a command line.
        file: YAML file of settings; None: that of the folder, where it has one.

    Raises:
        ConfigError: an unknown key, or a value that is not allowed.
    """
    out = Path(given.get("out", settings(config)["out"].default))
    remember_plugins(out, config)
    saved = out / "config.yaml"
    file = str(saved) if file is None and saved.is_file() else file
    file = None if file is None else str(file)
    begun = file == str(saved) and is_bound(out)
    read = read_begun if begun else read_yaml
    values: dict[str, Any] = read(file, config) if file is not None else {}
    if file == str(saved):
        if not begun:
            # What followed from other settings follows anew: these may have been a slip.
            values = with_network(explicit_values(config, values), given)
        # The folder may have been moved since its settings were written.
        values["out"] = str(out)
    else:
        if file is not None:
            values = files_beside(file, values, config)
        # Not over what a folder was begun with.
        values = with_network(values, given)
        if file is not None and saved.is_file() and is_bound(out):
            # What follows from others may follow otherwise in this version than when it was begun.
            values = {**followed(config, read_begun(saved, config)), **values}
    origins = {key: file for key in values if key not in given and file is not None}
    made = as_begun(build_config(config, {**values, **given}, origins))
    _trust_storage(values, given, file, out)
    if origins.get("data.path") == str(saved) and not is_bound(out):
        _refuse_lost_data(saved, made.data.path)
    return made


def _trust_storage(
    values: Mapping[str, Any], given: Mapping[str, Any], file: str | None, out: Path
) -> None:
    """Trust a storage that the user gives, and one of a file only inside the run folder."""
    for key in ("storage", "search.storage"):
        if isinstance(where := given.get(key), str):
            trust_storage(where)
        elif isinstance(where := values.get(key), str) and file is not None:
            distrust_storage(where, file, out)


def _refuse_lost_data(saved: Path, path: str | None) -> None:
    """Say where a path comes from that no flag of this command names, and no images are at.

    Raises:
        ConfigError: the path is of the folder's settings, and there is nothing.
    """
    if path is not None and not Path(path).expanduser().exists():
        raise ConfigError(f"{saved}: data.path is {path!r}, where no images are; --data says where")
