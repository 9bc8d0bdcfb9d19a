"""Commands whose flags are the settings of a config dataclass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from nasseg.cli._flags import (
    PLUGINS,
    Flag,
    Given,
    allow_modules,
    allow_plugins,
    other_names,
    split_flags,
)
from nasseg.cli._help import config_help
from nasseg.config import LabelConfig, RunConfig, Setting, aliases, settings
from nasseg.errors import ConfigError
from nasseg.records.resolve import resolve_config

C = TypeVar("C", RunConfig, LabelConfig)

CONFIG = Flag(
    "config",
    "FILE",
    "YAML file of settings; flags go before it. Files that it names are looked for here, then "
    "beside it.",
)
QUIET = Flag("quiet", "", "No progress; warnings, errors and the result only.")


@dataclass(frozen=True)
class SettingsCommand(Generic[C]):
    """A command whose flags are the settings of a config dataclass, and a few of its own."""

    name: str
    purpose: str
    """One line, for the list of commands."""
    description: str
    """A paragraph, for the command's own help."""
    notes: str
    """Another one."""
    config: type[C]
    run: Callable[[C, Given], int]
    """Settings and other flags to the exit status."""
    flags: tuple[Flag, ...] = ()
    """Flags of its own, which are no settings."""

    def help(self) -> str:
        """Return the help text."""
        return config_help(
            self.name,
            self.description,
            self.config,
            self.notes,
            [flag.entry for flag in self.flags],
            [flag.entry for flag in (CONFIG, PLUGINS, QUIET)],
        )

    def __call__(self, words: Sequence[str]) -> int:
        """Run the command on command-line words and return its exit status.

        Raises:
            ConfigError: a setting is not allowed.
        """
        return self.run(*read_config(self.config, words, self.flags))


def read_config(
    config: type[C],
    words: Sequence[str],
    flags: Sequence[Flag] = (),
) -> tuple[C, Given]:
    """Read the config of a command line, and its flags that are no settings.

    Later wins: defaults; ``config.yaml`` of the run folder, only where no ``--config`` is given;
    the ``--config`` file; flags.

    Args:
        config: class of the settings.
        words: of the command line.
        flags: flags of the command that are no settings, beside ``--quiet``.

    Raises:
        ConfigError: an unknown flag or key, or a value that is not allowed.
    """
    own: tuple[Flag, ...] = (*flags, CONFIG, PLUGINS, QUIET)
    texts = setting_texts(config, words, own)
    other = {flag.name: texts.pop(flag.name) for flag in own if flag.name in texts}
    allow_plugins(other.get(PLUGINS.name))
    return resolve_config(config, texts, other.get("config")), Given(own, other)


def setting_texts(
    config: type[C], words: Sequence[str], flags: Sequence[Flag] = ()
) -> dict[str, str]:
    """Read flags that are settings as the texts that they are given.

    Args:
        config: class of the settings.
        words: of the command line.
        flags: flags that are no settings.

    Returns:
        Key of a setting, or name of a flag, to its text.

    Raises:
        ConfigError: an unknown flag, one without a value, or a word that belongs to none.
    """
    leaves: dict[str, Setting] = settings(config)
    texts, extra = split_flags(
        words,
        [*leaves, *(flag.name for flag in flags if flag.metavar)],
        {**aliases(config), **other_names(flags)},
        [flag.name for flag in flags if not flag.metavar],
        [key for key, leaf in leaves.items() if leaf.texts],
    )
    if extra:
        raise ConfigError(f"unexpected {extra[0]!r}; settings are given as --name value")
    allow_modules(texts.values())
    return texts
