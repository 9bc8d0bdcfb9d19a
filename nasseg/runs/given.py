"""An architecture that the user gives, instead of a search: ``search.arch``."""

from __future__ import annotations

from typing import Any

from nasseg.errors import ConfigError, NassegError
from nasseg.records.architecture import read_arch
from nasseg.search_spaces import SearchSpace


def given_arch(source: str, space: SearchSpace) -> dict[str, Any]:
    """Return the architecture of a reference network, or of a JSON file.

    Args:
        source: name of the network, or file with the architecture itself or a run's ``best.json``.
        space: whose architecture it must be.

    Raises:
        ConfigError: nothing has that name, or the file holds no architecture of the space.
    """
    try:
        named, values = read_arch(source)
    except ConfigError as error:
        raise ConfigError(f"search.arch: {error}") from None
    if named is None:
        try:
            space.validate(values)
        except NassegError as error:
            raise ConfigError(f"search.arch: {source}: {error}") from None
    return space.canonical(values)
