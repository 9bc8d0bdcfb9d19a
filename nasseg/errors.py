"""The exception tree. Everything that nasseg raises on purpose is a :class:`NassegError`.

The command line prints the message of a :class:`NassegError` without a traceback; so a message
names the file or key, the value, and what is allowed.
"""

from __future__ import annotations


class NassegError(Exception):
    """Base of all errors raised on purpose by nasseg."""


class ArchError(NassegError, ValueError):
    """An architecture is not a member of its search space, or cannot be built."""


class UnknownName(NassegError, LookupError):
    """A name that is not in a registry; the message gives the nearest match."""


class DataError(NassegError, ValueError):
    """A data folder or file cannot be used; the message lists every problem found."""


class ConfigError(NassegError, ValueError):
    """A setting has a value that is not allowed."""


class SpecError(NassegError, ValueError):
    """An analog specification that the hardware model cannot honour."""


class ConversionError(NassegError, ValueError):
    """A network cannot be converted to analog tiles as asked."""


class FileError(NassegError, ValueError):
    """A file cannot be read, or holds something else than it should; the message names it."""


class RunError(NassegError, RuntimeError):
    """A run folder cannot be continued: changed config, damaged or missing files."""


class BusyError(NassegError, RuntimeError):
    """A device has no room because of what else runs on it; another time it may have."""


class MissingDependencyError(NassegError, ImportError):
    """An optional package is not installed; the message says how to install it."""
