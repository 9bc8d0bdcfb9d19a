"""An architecture that the user gives: the name of a reference network, or a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasseg.errors import ConfigError
from nasseg.files.readers import read_json
from nasseg.search_spaces.reference import no_such_arch, reference_arch


def read_arch(source: str) -> tuple[str | None, dict[str, Any]]:
    """Read an architecture, which no space has been asked about yet.

    Args:
        source: name of the network, or file with the architecture itself or a run's ``best.json``.

    Returns:
        The space of a reference network, None for a file; and the values of the hyperparameters.

    Raises:
        ConfigError: nothing has that name, or the file holds no architecture.
    """
    named = reference_arch(source)
    if named is not None:
        return named
    path = Path(source)
    try:
        values = read_json(path, error=ConfigError)
    except FileNotFoundError:
        raise ConfigError(no_such_arch(source)) from None
    if isinstance(values, dict) and isinstance(values.get("arch"), dict):
        values = values["arch"]
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no architecture (a JSON object)")
    return None, values
