"""A command of ``nasseg``: its name, flags and help, and the function that runs it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasseg.cli._flags import (
    PLUGINS,
    Flag,
    Given,
    allow_modules,
    allow_plugins,
    other_names,
    split_flags,
)
from nasseg.cli._help import simple_help
from nasseg.cli._streams import abandon_streams, say, tell, usable_streams
from nasseg.errors import ConfigError, NassegError
from nasseg.records.stopping import terminable

__all__ = ["Command", "say", "script_main", "start_logging"]

CheckWords = Callable[[Sequence[str]], None]
"""Raises ConfigError where a command cannot take these positional words."""


def at_most(most: int) -> CheckWords:
    """Allow ``most`` positional words and fewer."""

    def check(words: Sequence[str]) -> None:
        if len(words) > most:
            raise ConfigError(f"unexpected {words[-1]!r}; --help lists what is taken")

    return check


def at_least(least: int, message: str) -> CheckWords:
    """Require ``least`` positional words."""

    def check(words: Sequence[str]) -> None:
        if len(words) < least:
            raise ConfigError(message)

    return check


def exactly_one(message: str) -> CheckWords:
    """Require one positional word."""

    def check(words: Sequence[str]) -> None:
        if len(words) != 1:
            raise ConfigError(message)

    return check


no_words = at_most(0)


@dataclass(frozen=True)
class Command:
    """A command with a few flags of its own."""

    name: str
    purpose: str
    """One line, for the list of commands."""
    usage: str
    """What follows the name in the usage line."""
    description: str
    """A paragraph, for the command's own help."""
    flags: tuple[Flag, ...]
    run: Callable[[Given, list[str]], int]
    """Flags and positional words to the exit status."""
    check_words: CheckWords = no_words

    def help(self) -> str:
        """Return the help text."""
        usage = f"{self.name} {self.usage}".rstrip()
        return simple_help(usage, self.description, [flag.entry for flag in (*self.flags, PLUGINS)])

    def __call__(self, words: Sequence[str]) -> int:
        """Run the command on command-line words and return its exit status.

        Raises:
            ConfigError: a flag or a word is not allowed.
        """
        texts, positional = split_flags(
            words,
            [flag.name for flag in (*self.flags, PLUGINS) if flag.metavar],
            other_names(self.flags),
            [flag.name for flag in self.flags if not flag.metavar],
        )
        self.check_words(positional)
        allow_plugins(texts.pop(PLUGINS.name, None))
        allow_modules([*texts.values(), *positional])
        return self.run(Given(self.flags, texts), positional)


class _Stderr(logging.Handler):
    """Messages as errors are printed, on whatever stderr there is by then."""

    of_nasseg_cli = True

    def emit(self, record: logging.LogRecord) -> None:
        tell(self.format(record))


def start_logging(quiet: bool) -> None:
    """Send the package's log to stderr; with ``quiet``, warnings and errors only."""
    logger = logging.getLogger("nasseg")
    if not any(getattr(handler, "of_nasseg_cli", False) for handler in logger.handlers):
        logger.addHandler(_Stderr())
        logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def script_main(
    work: Callable[[], int | None], name: str | None = None, *, threads: int | None = None
) -> int:
    """Run ``work``, with one line on stderr for an error that is raised on purpose.

    Args:
        work: what a script does; returns its exit status, None for 0.
        name: begins the line of an error; None: the file name of the running script.
        threads: CPU threads of torch; None or 0: as torch finds.

    Returns:
        The exit status: 0 = done, 1 = it could not be done, 2 = a setting is wrong, 130 = stopped
        by Ctrl-C, 143 = by SIGTERM, 129 = by SIGHUP.
    """
    usable_streams()
    who = name or Path(sys.argv[0]).stem
    with terminable() as stopped:
        try:
            if threads:
                from nasseg.training.device import set_threads

                set_threads(threads)
            return work() or 0
        except KeyboardInterrupt:
            tell("\nstopped; the same command continues")
            return stopped.status
        except BrokenPipeError:
            # The reader (head, less) has left, and no message would arrive.
            abandon_streams()
            return 1
        except (NassegError, OSError) as error:
            tell(f"{who}: error: {error}")
            return 2 if isinstance(error, ConfigError) else 1
