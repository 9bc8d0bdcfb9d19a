"""Where a study is kept, as it may be written down: without a password."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from nasseg.config import LabelConfig, RunConfig
from nasseg.errors import ConfigError

_WORDS = r"(?:ssl)?pass(?:word|wd|phrase|file)?|pwd|secret|token"
_SECRET = re.compile(_WORDS, re.IGNORECASE)
"""Keys of a URL's query that are nobody's business."""
_PAIR = re.compile(
    rf"(?<![A-Za-z])({_WORDS})(\s*=\s*|%3D)('(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s&;'\"]+)",
    re.IGNORECASE,
)
"""A key with its value, as in the conninfo of PostgreSQL."""
_IN_URL = re.compile(r"(\b[A-Za-z][\w+.-]*:(?://)?[^\s/:@'\"]*):[^\s'\"]*@")
"""``scheme://user`` before a password and the last @ of the word."""
_HIDDEN = "..."

_foreign: dict[str, str] = {}
"""Storages that a file of settings names and no user did, with that file."""


def hide_passwords(text: str) -> str:
    """Return a text in which passwords of URLs and of ``password=...`` are dots."""
    return _PAIR.sub(rf"\1\2{_HIDDEN}", _IN_URL.sub(rf"\1:{_HIDDEN}@", text))


def trust_storage(where: str) -> None:
    """Let a storage be opened: the user named it, whatever file of settings does too."""
    _foreign.pop(where, None)


def distrust_storage(where: str, file: str | Path, folder: str | Path) -> None:
    """Let a storage that a file of settings names be opened only inside the run folder.

    The file may be somebody else's. A database anywhere else is made, or asked, for the user alone.
    """
    path = file_of(where)
    if path is None or not path.resolve().is_relative_to(Path(folder).resolve()):
        _foreign[where] = str(file)


def refuse_foreign(where: str) -> None:
    """Refuse a storage that only a file of settings names.

    Raises:
        ConfigError: it is one.
    """
    if where in _foreign:
        raise ConfigError(
            f"{_foreign[where]}: storage is {shown(where)!r}, outside of the run folder; a "
            "database there is opened only where the flag --storage names it too"
        )


def file_of(where: str) -> Path | None:
    """Return the file of a storage that is one; None of a database server."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if where.startswith("journal:"):
        name = where.removeprefix("journal:")
        # journal:///FILE as in a URL, or plainly journal:FILE
        return Path(name[2:] if name.startswith("//") else name)
    if "://" not in where:
        return Path(where) if Path(where).suffix in (".journal", ".log") else None
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        return None
    sqlite = url.get_backend_name() == "sqlite" and url.database
    return Path(str(url.database)) if sqlite else None


def sqlite_storage(file: Path) -> str:
    """Return the storage that is an SQLite file, whatever characters its name has."""
    from sqlalchemy import URL

    return str(URL.create("sqlite", database=str(file)).render_as_string())


def without_password(config: RunConfig | LabelConfig) -> RunConfig | LabelConfig:
    """Return a config as it may be written into a file."""
    if isinstance(config, LabelConfig):
        return dataclasses.replace(config, storage=_shown(config.storage))
    search = dataclasses.replace(config.search, storage=_shown(config.search.storage))
    return dataclasses.replace(config, search=search)


def _shown(where: str | None) -> str | None:
    return None if where is None else shown(where)


def shown(where: str) -> str:
    """Return a storage as it may be printed and written into files: without its password."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if where.startswith("journal:") or file_of(where) is not None:
        return where if _PAIR.search(where) is None else hide_passwords(where)
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        # What cannot be parsed may hold a password anywhere between // and @.
        return hide_passwords(re.sub(r"(//|:).*@", rf"\1{_HIDDEN}@", where))
    hidden = [
        name
        for name, value in url.query.items()
        if _SECRET.search(name) or _PAIR.search(f"{value}")
    ]
    # An @ in a password that was not escaped leaves the rest of it with the host.
    host = None if url.host is None else url.host.rpartition("@")[2]
    if url.password is None and not hidden and host == url.host:
        return str(url) if "?" in where else where
    # URL.set() takes None for "as it is".
    url = url.difference_update_query(hidden)._replace(password=None, host=host)
    return str(url.render_as_string(hide_password=False))


def secrets_of(where: str) -> list[str]:
    """Return the secret parts of a storage, which messages of drivers may quote."""
    known = shown(where)
    return [part for part in re.split(r"[:@/?&=;\s'\"]+", where) if part and part not in known]
