"""Command-line words to flags with their texts, and positional words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nasseg._registry import did_you_mean
from nasseg.errors import ConfigError


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
            raise ConfigError(f"{said} is given twice: {flags[name]!r} and {value!r}")
        flags[name] = value
    return flags, words
