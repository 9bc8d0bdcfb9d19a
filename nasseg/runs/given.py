"""An architecture that the user gives, instead of a search: ``search.arch``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nasseg.errors import ConfigError, NassegError
from nasseg.search_spaces import SearchSpace
from nasseg.search_spaces.reference import no_such_arch, reference_arch


def given_arch(source: str, space: SearchSpace) -> dict[str, Any]:
    """Return the architecture of a reference network, or of a JSON file.

    Args:
        source: name of the network, or file with the architecture itself or a run's ``best.json``.
        space: whose architecture it must be.

    Raises:
        ConfigError: nothing has that name, or the file holds no architecture of the space.
    """
    named = reference_arch(source)
    if named is not None:
        return space.canonical(named[1])
    path = Path(source)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"search.arch: {no_such_arch(source)}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"search.arch: {path} cannot be read as JSON: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("arch"), dict):
        value = value["arch"]
    if not isinstance(value, dict):
        raise ConfigError(f"search.arch: {path} holds no architecture (a JSON object)")
    try:
        space.validate(value)
    except NassegError as error:
        raise ConfigError(f"search.arch: {path}: {error}") from None
    return space.canonical(value)
