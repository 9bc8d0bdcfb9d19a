"""Where a study is kept, as it may be written down: without a password."""

from __future__ import annotations

import dataclasses
import re

from nasseg.config import LabelConfig, RunConfig

SECRETS = ("password", "passwd", "sslpassword", "passfile")
"""Keys of a URL's query that are nobody's business."""


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

    try:
        url = make_url(where)
    except ArgumentError:
        # What cannot be parsed may hold a password anywhere between // and @.
        return re.sub(r"//.*@", "//...@", where)
    url = url.difference_update_query(SECRETS)
    if url.password is None:
        return str(url) if "?" in where else where
    # URL.set() takes None for "as it is".
    return str(url._replace(password=None).render_as_string(hide_password=False))
