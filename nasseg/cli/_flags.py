"""Flags of a command: one declaration parses, checks and explains each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasseg._registry import allow, did_you_mean, is_reference
from nasseg.errors import ConfigError
from nasseg.records.storage import hide_passwords

Parse = Callable[[str, str], Any]
"""Name of a flag and its text to its value; raises ConfigError where that is not allowed."""


def text(_name: str, value: str) -> str:
    """Any text."""
    return value


@dataclass(frozen=True)
class Flag:
    """A flag of a command."""

    name: str
    """With underscores; on the command line a hyphen is as good."""
    metavar: str
    """Stands for the value in the help; empty for a switch, which takes none."""
    help: str
    """Explanation, without the default where that is ``default``."""
    parse: Parse = text
    default: Any = None
    """Value where the flag is not given; of a switch, False."""
    other_names: tuple[str, ...] = ()

    @property
    def entry(self) -> tuple[str, str]:
        """Its two columns of the help text."""
        names = [f"--{name.replace('_', '-')}" for name in (self.name, *self.other_names)]
        left = ", ".join(f"{name} {self.metavar}".rstrip() for name in names)
        return left, self.help if self.default is None else f"{self.help} [{self.default}]"


class Given:
    """Flags of one command line: ``given["chips"]`` is a value or the default of the flag, and
    ``"chips" in given`` is True if the flag is on the command line."""

    def __init__(self, flags: Iterable[Flag], texts: Mapping[str, str]) -> None:
        self._values = {
            flag.name: flag.default if flag.metavar else flag.name in texts for flag in flags
        }
        self._values |= {
            flag.name: flag.parse(flag.name, texts[flag.name])
            for flag in flags
            if flag.metavar and flag.name in texts
        }
        self._named = texts.keys() & self._values.keys()

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def get(self, name: str, other: Any) -> Any:
        """Return the value of a flag that is on the command line, or else ``other``."""
        return self._values[name] if name in self._named else other

    def __contains__(self, name: object) -> bool:
        return name in self._named


def other_names(flags: Iterable[Flag]) -> dict[str, str]:
    """Other names of flags to their names."""
    return {other: flag.name for flag in flags for other in flag.other_names}


# -- values ---------------------------------------------------------------------------------


_DIGITS = 9
"""Digits above which a number is refused: nothing here is counted in thousand millions."""


def whole(least: int) -> Parse:
    """A whole number, ``least`` or more."""

    def parse(name: str, value: str) -> int:
        if not value.isdecimal() or len(value) > _DIGITS or int(value) < least:
            raise ConfigError(f"{name} is {value!r}; allowed: a whole number, {least} or more")
        return int(value)

    return parse


def fraction(name: str, value: str) -> float:
    """A number above 0, at most 1."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number <= 1:
        raise ConfigError(f"{name} is {value!r}; allowed: a number above 0, at most 1")
    return number


def one_of(*choices: str) -> Parse:
    """One of a few words."""

    def parse(name: str, value: str) -> str:
        if value not in choices:
            raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(choices)}")
        return value

    return parse


def age(name: str, value: str) -> float:
    """A time after programming, in seconds."""
    from nasseg.text import parse_time

    return parse_time(value, name)


def device(_name: str, value: str) -> str:
    """A device as the settings of a run name it."""
    from nasseg.config import RunConfig

    return RunConfig(device=value).device


# -- flags of several commands ---------------------------------------------------------------

THREADS = Flag("threads", "N", "CPU threads of torch; 0 = as many as it finds.", whole(0), 0)
DEVICE = Flag("device", "D", "auto, cpu, cuda, or cuda:1 of several.", device, "auto")
QUIET = Flag("quiet", "", "No progress.")
TTA = Flag("tta", "", "Classification: mean over an image and its mirror images.")
UNCALIBRATED = Flag("uncalibrated", "", "No recalibration of BatchNorm on the aged chip.")


PLUGINS = Flag(
    "plugins",
    "MODULE,...",
    "Modules that may be imported where a file names a part as module:Name.",
)


def split_flags(
    args: Sequence[str],
    known: Iterable[str],
    aliases: Mapping[str, str] | None = None,
    switches: Iterable[str] = (),
    repeatable: Iterable[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """Split command-line words into ``{flag: text}`` and positional words.

    ``--flag value`` and ``--flag=value`` are taken; flags in ``aliases`` come back under the name
    they stand for and ``switches`` take no value (theirs is ``"true"``). A flag may be said once,
    a ``repeatable`` one more often: its texts come back with commas between.

    Raises:
        ConfigError: an unknown flag (with the nearest one), a flag without its value, or twice.
    """
    aliases = aliases or {}
    switches = set(switches)
    repeatable = set(repeatable)
    names = {*known, *aliases, *switches}
    flags: dict[str, str] = {}
    words: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        said, equals, value = word.partition("=")
        name = said.lstrip("-").replace("-", "_")
        if not said.startswith("--") or name not in names:
            raise ConfigError(
                f"no flag {said}{did_you_mean(name, names, '--') or '; --help lists the flags'}"
            )
        if name in switches:
            if equals:
                raise ConfigError(f"{said} takes no value, it was given {value!r}")
            value = "true"
        elif not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"{said} needs a value, as in {said} VALUE")
            value = rest.pop(0)
        name = aliases.get(name, name)
        if name in flags and name in repeatable:
            value = f"{flags[name]},{value}"
        elif name in flags:
            shown = [repr(hide_passwords(text)) for text in (flags[name], value)]
            raise ConfigError(f"{said} is given twice: {' and '.join(shown)}")
        flags[name] = value
    return flags, words


def allow_modules(texts: Iterable[str]) -> None:
    """Allow the modules that command-line words name: the user gave them, which no file does."""
    for word in texts:
        if is_reference(word):
            allow(word)


def allow_plugins(text: str | None) -> None:
    """Allow the modules of ``--plugins``.

    Raises:
        ConfigError: a word is no module.
    """
    for word in () if text is None else text.split(","):
        name = word.strip()
        if not (is_reference(name) or is_reference(f"{name}:_")):
            raise ConfigError(f"plugins has {name!r}; allowed: modules, with commas between")
        allow(name)
