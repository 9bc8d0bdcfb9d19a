"""Outputs that must not take the place of what is somebody's: inputs, files of a run, others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from nasseg.errors import ConfigError

RUN_MARK = "config.yaml"
"""File by which a run folder is known."""


def refuse_inputs(key: str, target: str | Path, inputs: Iterable[str | Path]) -> None:
    """Refuse an output file that is one of the files read, by whatever name or link.

    Raises:
        ConfigError: it is; the message names ``key``.
    """
    file = Path(target)
    for path in map(Path, inputs):
        if path.resolve() == file.resolve() or (
            file.exists() and path.exists() and file.samefile(path)
        ):
            raise ConfigError(f"{key} is {str(target)!r}, which is read; choose another file")


def refuse_run_files(key: str, target: str | Path) -> None:
    """Refuse an output file that is there already in a run folder, or in a folder of one.

    Raises:
        ConfigError: it is; the message names ``key``.
    """
    file = Path(target)
    inside = [folder for folder in file.resolve().parents[:2] if (folder / RUN_MARK).exists()]
    if file.exists() and inside:
        raise ConfigError(
            f"{key} is {str(target)!r}, a file of the run in {inside[0]}; choose another place"
        )


def refuse_others(key: str, target: str | Path, own: Callable[[Path], bool], what: str) -> None:
    """Refuse an output file that is there already and is not of the kind that is written.

    Args:
        key: setting or flag, for the message.
        target: the file.
        own: True of a file that an earlier command of the same kind wrote.
        what: that kind, for the message.

    Raises:
        ConfigError: there is another file.
    """
    file = Path(target)
    if file.is_dir():
        raise ConfigError(f"{key} is {str(target)!r}, a folder; allowed: a file")
    if file.exists() and not (file.is_file() and own(file)):
        raise ConfigError(
            f"{key} is {str(target)!r}, which is there and is no {what}; choose another file, or "
            "delete it"
        )


def same_names(results: Iterable[tuple[Path, Iterable[str]]]) -> tuple[Path, Path, str] | None:
    """Return two inputs that would be written to one file, and that file; None: there are none.

    Names that differ in case alone are one on some file systems.
    """
    known: dict[str, Path] = {}
    for source, names in results:
        for name in names:
            other = known.setdefault(name.casefold(), source)
            if other != source:
                return other, source, name
    return None
