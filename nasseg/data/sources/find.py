"""Which kind of source reads what the settings name."""

from __future__ import annotations

from pathlib import Path

from nasseg.config import DataConfig
from nasseg.data.problems import SHOWN
from nasseg.data.sources import shipped
from nasseg.data.sources.base import SOURCES, Source, SourceType
from nasseg.data.sources.class_base import ClassSource
from nasseg.data.sources.folder import is_folder_layout
from nasseg.errors import ConfigError, DataError
from nasseg.tasks import get_task

__all__ = ["layouts", "open_source", "shipped"]


def open_source(config: DataConfig) -> Source | ClassSource:
    """The source that the settings name, listed but not read.

    Raises:
        DataError: there is nothing at the path, or no known layout.
        UnknownName: no source is called ``config.source``.
        ConfigError: that source has no labels of the task, or a setting is not for it.
        MissingDependencyError: a set is to be downloaded without the package that does it.
    """
    path = None if config.path is None else Path(config.path).expanduser()
    try:
        kind = _find(path, config)
        if config.group_column is not None and (kind is None or not kind.columns):
            raise DataError(
                f"data.group_column is {config.group_column!r}, but there is no table with "
                f"columns: data.path is {config.path!r}; groups of an .npz file are its array "
                "groups"
            )
        if kind is not None:
            source = kind.open(path, config)
        else:
            raise DataError(_unrecognised(path, config))
    except OSError as error:
        raise DataError(f"{path} cannot be listed: {error}") from None
    whole = get_task(config.kind).per_image
    if isinstance(source, ClassSource) is not whole:
        wanted = "a ClassSource" if whole else "a Source"
        raise DataError(f"data source {kind.name!r} gives {type(source).__name__}, not {wanted}")
    return source


def layouts(config: DataConfig) -> str:
    """What is read where the labels are those of the task, in words."""
    known = [text for kind in _serving(config) for text in kind.layouts]
    return "expected " + ", or ".join([", ".join(known[:-1]), known[-1]] if known[1:] else known)


def _serving(config: DataConfig) -> list[SourceType]:
    """The kinds of source with labels of the task."""
    wanted = get_task(config.kind).labels
    return [kind for kind in SOURCES.values() if wanted in kind.labels]


def _find(path: Path | None, config: DataConfig) -> SourceType | None:
    """The kind of source that is named, or else the first that recognises the path."""
    serving = _serving(config)
    if config.source == "auto":
        return next((kind for kind in serving if kind.recognises(path, config)), None)
    kind = SOURCES[config.source]
    if get_task(config.kind).labels not in kind.labels:
        raise ConfigError(
            f"data.source is {config.source!r}, which has no labels for {config.task}; allowed: "
            f"auto, {', '.join(kind.name for kind in serving)}"
        )
    return kind


def _unrecognised(path: Path | None, config: DataConfig) -> str:
    """The message where no kind of source knows what is at the path."""
    whole = get_task(config.kind).per_image
    if path is None:
        return f"there is no data.path; {layouts(config)}"
    if not path.exists():
        return f"no such {'file or folder' if whole else 'folder'}: {path}"
    if not path.is_dir():
        return f"{path} is a file{' of another kind' if whole else ''}; {layouts(config)}"
    if whole and is_folder_layout(path):
        return (
            f"{path} has images/ and labels/ of pixels but no index.csv with classes of images; "
            "for pixels use --task segmentation or --task semantic"
        )
    found = sorted(entry.name for entry in path.iterdir())
    shown = 10 if whole else SHOWN
    more = f", ... and {len(found) - shown} more" if whole else ", ..."
    listing = ", ".join(found[:shown]) + more * (len(found) > shown)
    return f"{path} holds {listing or 'nothing'}; {layouts(config)}"
