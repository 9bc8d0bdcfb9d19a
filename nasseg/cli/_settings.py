"""Commands whose flags are the settings of a config dataclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from nasseg._registry import allow, is_reference
from nasseg.cli._flags import Flag, Given, other_names, split_flags
from nasseg.cli._help import config_help
from nasseg.config import LabelConfig, RunConfig, Setting, aliases, settings
from nasseg.config.reading import (
    build_config,
    files_beside,
    followed,
    read_yaml,
    said_only,
    with_network,
)
from nasseg.errors import ConfigError
from nasseg.io import read_json

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
            [flag.entry for flag in (CONFIG, QUIET)],
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
    leaves: dict[str, Setting] = settings(config)
    own: tuple[Flag, ...] = (*flags, CONFIG, QUIET)
    texts, extra = split_flags(
        words,
        [*leaves, *(flag.name for flag in own if flag.metavar)],
        {**aliases(config), **other_names(own)},
        [flag.name for flag in own if not flag.metavar],
        [key for key, leaf in leaves.items() if leaf.texts],
    )
    if extra:
        raise ConfigError(f"unexpected {extra[0]!r}; settings are given as --name value")
    for text in texts.values():
        # Given on the command line, and so by the user: a file may not do that.
        if is_reference(text):
            allow(text)
    other = {flag.name: texts.pop(flag.name) for flag in own if flag.name in texts}
    return _with_files(config, leaves, texts, other.get("config")), Given(own, other)


def _with_files(
    config: type[C], leaves: Mapping[str, Setting], flags: dict[str, str], file: str | None
) -> C:
    """Return the config of flags, over the given file or that of the run folder."""
    out = Path(flags.get("out", leaves["out"].default))
    saved = out / "config.yaml"
    if file is None and saved.is_file():
        file = str(saved)
    values: dict[str, Any] = read_yaml(file, config) if file is not None else {}
    if file == str(saved):
        # The folder may have been moved since its settings were written.
        values["out"] = str(out)
        if not _bound(out):
            # What followed from other settings follows anew: these may have been a slip.
            values = with_network(said_only(config, values), flags)
    else:
        if file is not None:
            values = files_beside(file, values, config)
        # Not over what a folder was begun with.
        values = with_network(values, flags)
        if file is not None and saved.is_file() and _bound(out):
            # What follows from others may follow otherwise in this version than when it was begun.
            values = {**followed(config, read_yaml(saved, config)), **values}
    origins = {key: file for key in values if key not in flags and file is not None}
    made = build_config(config, {**values, **flags}, origins)
    if origins.get("data.path") == str(saved) and not _bound(out):
        _refuse_lost_data(saved, made.data.path)
    return made


def _refuse_lost_data(saved: Path, path: str | None) -> None:
    """Refuse a path without images that comes from the folder's settings, and name these.

    Raises:
        ConfigError: there is nothing at the path.
    """
    if path is not None and not Path(path).expanduser().exists():
        raise ConfigError(f"{saved}: data.path is {path!r}, where no images are; --data says where")


def _bound(folder: Path) -> bool:
    """Return True if the images of a folder have been found good, so that its settings hold."""
    try:
        return "data" in read_json(folder / "stages.json")
    except (OSError, ValueError, TypeError):
        return False
