"""Where a study is kept: SQLite, a journal file, PostgreSQL or MySQL."""

from __future__ import annotations

import logging
import random
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning

from nasseg.errors import ConfigError, MissingDependencyError, RunError
from nasseg.records.storage import file_of, refuse_foreign, secrets_of, shown

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import URL, Engine

log = logging.getLogger(__name__)

BUSY_SECONDS = 100
"""How long a process waits for another one's transaction in SQLite."""
FORMS = (
    "sqlite:///FILE, journal:FILE (or a name that ends in .journal or .log), "
    "postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE"
)
_DRIVERS = {"postgresql": ("psycopg", "postgresql"), "mysql": ("pymysql", "mysql")}
"""Database to the driver taken where the URL names none, and the extra that installs it."""
_ATTEMPTS = 8
"""Times a storage is opened: processes that make the tables at once get in each other's way."""


def open_storage(where: str) -> BaseStorage:
    """Open, or make, the storage of a study.

    Args:
        where: ``sqlite:///FILE``, ``journal:FILE``, a file ending in ``.journal`` or ``.log``,
            ``postgresql://...`` or ``mysql://...``.

    Raises:
        ConfigError: something else, or only a file of settings names it.
        MissingDependencyError: the database's driver is not installed.
        RunError: the file or the database cannot be opened.
    """
    quiet_optuna()
    refuse_foreign(where)
    journal = journal_path(where)
    if journal is not None:
        return _open_journal(journal)
    url = database_url(where)
    for attempt in range(_ATTEMPTS):
        try:
            return _open_database(url)
        except ImportError as error:
            driver, extra = _DRIVERS.get(url.get_backend_name(), (url.drivername, ""))
            how = f"pip install 'nasseg[{extra}]'" if extra else "install it with pip"
            raise MissingDependencyError(
                f"{shown(where)} needs the driver {driver!r}: {how} ({error})"
            ) from None
        except Exception as error:  # drivers have exceptions of their own
            if attempt == _ATTEMPTS - 1 or not _may_pass(error):
                raise RunError(
                    f"the storage {shown(where)} cannot be opened: {_first_line(error, where)}"
                ) from None
            time.sleep(random.uniform(0.05, 0.3) * (attempt + 1))  # noqa: S311
    raise RunError(f"the storage {shown(where)} cannot be opened")


def journal_path(where: str) -> Path | None:
    """The file of a journal storage; None where ``where`` is something else."""
    return file_of(where) if where.startswith("journal:") or "://" not in where else None


def database_url(where: str) -> URL:
    """The SQLAlchemy URL, with the driver that nasseg's extras install where none is named.

    Raises:
        ConfigError: no URL of a database that is supported.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(where)
    except ArgumentError:
        raise ConfigError(f"storage is {shown(where)!r}; allowed: {FORMS}") from None
    backend = url.get_backend_name()
    if backend == "postgres":
        # SQLAlchemy dropped this spelling, which is still in many environment variables.
        url, backend = url.set(drivername="postgresql"), "postgresql"
    if backend not in ("sqlite", *_DRIVERS):
        raise ConfigError(f"storage is {shown(where)!r}; allowed: {FORMS}")
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError(f"storage is {shown(where)!r}, which names no file; allowed: {FORMS}")
    if backend in _DRIVERS and "+" not in url.drivername:
        url = url.set(drivername=f"{backend}+{_DRIVERS[backend][0]}")
    return url


def _open_journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError) as error:
        raise RunError(f"the journal {path} cannot be opened: {_first_line(error)}") from None


def _open_database(url: URL) -> BaseStorage:
    from optuna.storages import RDBStorage, get_storage

    options: dict[str, Any] = {}
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        options["connect_args"] = {"timeout": BUSY_SECONDS}
    else:
        # A connection idle for the length of a training may have been cut on the way.
        options["pool_pre_ping"] = True
    storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
    if sqlite:
        _serialise(storage.engine)
    cached: BaseStorage = get_storage(storage)
    return cached


def _serialise(engine: Engine) -> None:
    """Make every transaction of SQLite take the write lock when it begins.

    SQLite knows no SELECT ... FOR UPDATE: by default two processes may both read that a trial is
    waiting, and both take it. It also fails at once, without waiting, where a transaction that
    has read wants to write after another one did.
    """
    from sqlalchemy import event

    def manual(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver shall begin nothing by itself

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", manual)
    event.listen(engine, "begin", begin)

    engine.dispose()  # the connections made until now are of the other kind


def _may_pass(error: BaseException) -> bool:
    """Whether it may be the others that open the same storage at the same moment."""
    text = str(error).lower()
    return any(
        word in text
        for word in ("already exists", "locked", "duplicate", "unique", "busy", "deadlock")
    )


def _first_line(error: BaseException, where: str = "") -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    for secret in secrets_of(where) if where else ():
        text = text.replace(secret, "...")
    return text


class _ToNasseg(logging.Handler):
    """Hands what Optuna has to say to nasseg's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "optuna: %s", record.getMessage())


def quiet_optuna() -> None:
    """Warnings of Optuna go to nasseg's log, and its chatter nowhere.

    The parts of Optuna that it calls experimental and that are used here say so once a call;
    those warnings, and no others, are dropped.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logger = logging.getLogger("optuna")
    if not any(isinstance(handler, _ToNasseg) for handler in logger.handlers):
        logger.addHandler(_ToNasseg())
    warnings.filterwarnings("ignore", ".*set_metric_names is experimental", ExperimentalWarning)
