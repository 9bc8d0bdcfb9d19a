"""Classified images named in a CSV table, as Kaggle and many papers give them."""

from __future__ import annotations

import csv
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nasseg.config import DataConfig
from nasseg.data._types import Side
from nasseg.data.files import SUFFIXES, composed, is_image, is_system, text_encoding
from nasseg.data.problems import Problems
from nasseg.data.sources.base import SourceType, given_path
from nasseg.data.sources.class_base import (
    INDEX,
    SIDE_NAMES,
    ClassSource,
    file_images,
    number_names,
    shortened,
    unite_names,
)
from nasseg.errors import DataError

logger = logging.getLogger(__name__)

PATH_COLUMNS = (
    "path",
    "file_path",
    "image_path",
    "file",
    "file_name",
    "image_file",
    "image_name",
    "image",
    "img",
    "new_names",
    "image_id",
    "img_id",
    "name",
    "id",
)
"""Columns of image files by their usual names, the surest first; capitals, spaces and underscores
do not matter."""
LABEL_COLUMNS = (
    "class_name",
    "label_name",
    "label",
    "labels",
    "class",
    "classes",
    "class_label",
    "cell_type",
    "diagnosis",
    "dx",
    "category",
    "target",
    "y",
)
"""Columns of classes by their usual names, the surest first."""
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "fold_name")
"""Columns of sides by their usual names."""
MAX_BYTES = 256_000_000
"""Size above which a table is not read."""
MAX_FILES = 2_000_000
"""Files below the table's folder above which they are not searched for names."""
_MISSING = frozenset({"", "nan", "null"})
"""What an empty field is also written as; "None" is a class of many sets."""


TABLES = (".csv", ".tsv")
"""How names of tables end."""


class ClassIndexSource(SourceType):
    """A folder with a table of images and classes."""

    labels = frozenset({"class"})
    layouts = (f"{INDEX} with images/",)
    columns = True

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True if the folder holds the table."""
        return path is not None and (path / INDEX).is_file()

    def open(self, path: Path | None, config: DataConfig) -> ClassSource:
        """As :func:`open_csv`."""
        return open_csv(given_path(path, self.name) / INDEX, config)


class ClassTableSource(SourceType):
    """A CSV file that names images and classes."""

    labels = frozenset({"class"})
    layouts = ("a CSV file",)
    columns = True

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True for a file by its name."""
        return path is not None and path.suffix.lower() in TABLES and not path.is_dir()

    def open(self, path: Path | None, config: DataConfig) -> ClassSource:
        """As :func:`open_csv`."""
        return open_csv(given_path(path, self.name), config)


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file as text."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """One value for each column."""
    lines: tuple[int, ...]
    """Line of the file on which each row ends, from 1."""

    def column(self, name: str) -> list[str]:
        """All values of a column, without spaces around them."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


def read_table(path: Path) -> Table:
    """Read a table; comma, semicolon or tab between values, whatever there is most of.

    Raises:
        DataError: it is too large, is no text, or rows differ in length; all of these are named.
    """
    problems = Problems()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES // 1_000_000} MB; split the table")
        with path.open(encoding=text_encoding(path), newline="") as stream:
            head = stream.readline()
            stream.seek(0)
            separator = max(",;\t", key=head.count)
            reader = csv.reader(stream, delimiter=separator, strict=True)
            columns = tuple(value.strip() for value in next(reader, []))
            rows, lines = [], []
            for row in reader:
                if not any(value.strip() for value in row):
                    continue
                if len(row) != len(columns):
                    problems.add(
                        "row of another length",
                        f"line {reader.line_num} has {len(row)} values for {len(columns)} columns",
                    )
                    continue
                rows.append(tuple(value.strip() for value in row))
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not readable as a CSV table: {error}") from None
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        problems.add("column twice", repr(name))
    problems.raise_if_any(str(path))
    if not rows:
        raise DataError(f"{path} has no rows below its line of column names")
    return Table(path, columns, tuple(rows), tuple(lines))


def open_csv(path: Path, config: DataConfig) -> ClassSource:
    """The source for a table of image files and classes.

    A column ``split`` (``set``, ``subset``, ``partition``) of train, val and test is the split;
    the column ``config.group_column`` is what must not be divided.

    Raises:
        DataError: the table cannot be read, or its columns are not found.
    """
    table = read_table(path)
    file_column = _column(table, config.path_column, PATH_COLUMNS, "data.path_column", "files")
    label_column = _column(
        table, config.label_column, LABEL_COLUMNS, "data.label_column", "classes"
    )
    group_column = config.group_column
    if group_column is not None and group_column not in table.columns:
        raise DataError(_no_column(table, group_column, "data.group_column"))
    split_column = _split_column(table)
    logger.info("%s: files from column %r, classes from %r", path, file_column, label_column)
    problems = Problems()
    values, names = table.column(file_column), table.column(label_column)
    found = _resolve(table, file_column, problems)
    sides = table.column(split_column) if split_column else [""] * len(values)
    groups = unite_names(table.column(group_column)) if group_column else [""] * len(values)
    kept: list[int] = []
    for row, (file, name, side, group) in enumerate(zip(found, names, sides, groups, strict=True)):
        where = f"line {table.lines[row]} ({values[row]!r})"
        good = file is not None
        if name.lower() in _MISSING:
            problems.add("label missing", f"{where}: column {label_column!r} is {name!r}")
            good = False
        if split_column and side.lower() not in SIDE_NAMES:
            problems.add(
                "side unknown",
                f"{where}: column {split_column!r} is {side!r}; train, val or test is allowed",
            )
            good = False
        if group_column and group.lower() in _MISSING:
            problems.add("group missing", f"{where}: column {group_column!r} is {group!r}")
            good = False
        if good:
            kept.append(row)
    classes, labels = number_names([names[row] for row in kept])
    ids = [values[row] for row in kept]
    paths = [file for row in kept if (file := found[row]) is not None]
    given: list[Side] = [SIDE_NAMES[sides[row].lower()] for row in kept] if split_column else []
    return ClassSource(
        str(path),
        ids,
        file_images(paths, ids, config.channels),
        labels,
        classes,
        given if split_column else None,
        [groups[row] for row in kept] if group_column else None,
        problems,
    )


def list_csv_images(path: str | Path, path_column: str = "auto") -> tuple[list[Path], list[str]]:
    """Image files that a table names, and their ids (what the table calls them), in its order.

    The table needs no classes: this is for prediction.

    Raises:
        DataError: the table cannot be read, or files are missing; all of these are named.
    """
    table = read_table(Path(path).expanduser())
    column = _column(table, path_column, PATH_COLUMNS, "data.path_column", "files")
    problems = Problems()
    found = _resolve(table, column, problems)
    problems.raise_if_any(str(table.path))
    return [file for file in found if file is not None], table.column(column)


def _split_column(table: Table) -> str | None:
    """The column of sides, if a column of a usual name for it has any."""
    name = _usual(table, SPLIT_COLUMNS)
    if name is None:
        return None
    if any(value.lower() in SIDE_NAMES for value in table.column(name)):
        return name
    logger.warning("%s: column %r has no train, val or test; it is not the split", table.path, name)
    return None


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("_", "").replace("-", "")


def _usual(table: Table, names: Sequence[str]) -> str | None:
    """The table's column that comes first among usual names."""
    there = {_plain(column): column for column in reversed(table.columns)}
    return next((there[_plain(name)] for name in names if _plain(name) in there), None)


def _column(table: Table, given: str, usual: Sequence[str], key: str, what: str) -> str:
    if given != "auto":
        if given not in table.columns:
            raise DataError(_no_column(table, given, key))
        return given
    found = _usual(table, usual)
    if found is None:
        raise DataError(
            f"{table.path} has columns {', '.join(table.columns)}; none has a usual name for "
            f"{what} ({', '.join(usual)}): say which with --{key}"
        )
    return found


def _no_column(table: Table, name: str, key: str) -> str:
    return f"{key} is {name!r}; {table.path} has columns {', '.join(table.columns)}"


def _resolve(table: Table, column: str, problems: Problems) -> list[Path | None]:
    """The file of each row; None where there is none, which is a problem, as is a file twice."""
    files = _Files(table.path.parent)
    found: list[Path | None] = []
    lines: dict[Path, int] = {}
    for value, line in zip(table.column(column), table.lines, strict=True):
        where = f"line {line} ({value!r})"
        file = None
        if value.lower() in _MISSING:
            problems.add("image missing", f"line {line}: column {column!r} is {value!r}")
        else:
            candidates = files.find(value)
            if not candidates:
                problems.add("image missing", f"{where}: no such file at or below {files.root}")
            elif len(candidates) > 1:
                listed = [path.relative_to(files.root).as_posix() for path in candidates]
                problems.add("several files of one name", f"{where}: {shortened(listed, 3)}")
            else:
                file = candidates[0]
                first = lines.setdefault(file, line)
                if first != line:
                    problems.add("image named twice", f"{where} is that of line {first}")
                    file = None
        found.append(file)
    return found


class _Files:
    """Image files beside a table and below its folder, by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._places = [root, root / "images"]

    def find(self, value: str) -> list[Path]:
        """Files that a value of the table can mean; several where it is not clear."""
        value = value.replace("\\", "/")
        root = self.root.resolve()
        for place in self._places:
            for file in _spellings(place / value):
                # A table from elsewhere must not have files of this machine read.
                if _is_file(file) and file.resolve().is_relative_to(root):
                    return [file]
        wanted = Path(value)
        found = self._by_name.get(_folded(wanted.name), [])
        # Tables name files as they lay on another machine. Their folder must be the same at least:
        # fold_1/3.png is not fold_2/3.png.
        if folder := _folded(wanted.parent.name):
            found = [path for path in found if _folded(path.parent.name) == folder]
        exact = [path for path in found if _stem_path(path).endswith("/" + _stem_path(wanted))]
        return exact if len(exact) == 1 else found

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """Files below the folder by name, and by name without its suffix."""
        names: defaultdict[str, list[Path]] = defaultdict(list)
        count = 0
        for base, folders, files in os.walk(self.root):
            folders[:] = sorted(folder for folder in folders if not is_system(folder))
            count += len(files)
            if count > MAX_FILES:
                raise DataError(
                    f"{self.root} holds more than {MAX_FILES} files; put the table nearer to its "
                    "images, or write paths relative to it"
                )
            for name in sorted(files):
                path = Path(base, name)
                if is_image(path):
                    names[_folded(name)].append(path)
                    names[_folded(path.stem)].append(path)
        return names


def _spellings(path: Path) -> list[Path]:
    """The path itself, and with the suffixes of images where it has none of them."""
    if path.suffix.lower() in SUFFIXES:
        return [path]
    if not path.name:
        return []
    return [path.with_name(path.name + suffix) for suffix in sorted(SUFFIXES)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no file has such a name: too long, or not allowed
        return False


def _stem_path(path: Path) -> str:
    if path.suffix.lower() in SUFFIXES:
        path = path.with_suffix("")
    return _folded(path.as_posix())


def _folded(name: str) -> str:
    """A name as it is compared: small letters, accents composed."""
    return composed(name).lower()
