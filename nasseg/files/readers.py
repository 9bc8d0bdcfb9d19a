"""Files of others read as plain values: one reader for JSON, JSON lines, YAML, CSV and npz each.

Whatever is wrong with a file (its encoding, its nesting, a number of a million digits, a key that
is there twice, the wrong type) is one error, whose message begins with the name of the file. A
caller gives the class of the error, and in ``fix`` what the user can do.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasseg.errors import FileError, NassegError
from nasseg.files.forms import check_form, kind_of

if TYPE_CHECKING:
    import numpy.typing as npt

Row = dict[str | None, Any]
"""Cells of a CSV row by column, as :class:`csv.DictReader` gives them."""

MAX_BYTES = 256_000_000
"""Bytes of a text file above which it is not read."""
MAX_YAML_BYTES = 250_000
"""The same for YAML, whose parser is slow."""
MAX_YAML_VALUES = 100_000
"""Values of a YAML file, those behind an alias counted wherever it stands."""
MAX_DEPTH = 60
"""Brackets within brackets in JSON and YAML."""
MAX_DIGITS = 100
"""Digits of a whole number in JSON."""
MAX_COLUMNS = 10_000
"""Columns of a CSV table."""
MAX_ARRAY_BYTES = 1_000_000_000
"""Bytes of all arrays of an npz file together."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet runs, or takes for part of one that it runs."""
_QUOTE = "'"
"""Character before such a cell, which spreadsheets show as text."""


def read_bytes(
    path: str | Path,
    *,
    error: type[NassegError] = FileError,
    fix: str = "",
    most: int = MAX_BYTES,
) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        error: class of what is raised.
        fix: what the user can do, for the end of the message.
        most: bytes above which the file is refused.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: of the class ``error``: it is a folder, a pipe or a device, is too large, or
            cannot be read.
    """
    file = Path(path)
    try:
        found = file.stat()
        # A pipe would be waited for until somebody writes into it.
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        if found.st_size > most:
            raise ValueError(f"it has {found.st_size:,} bytes; {most:,} are the most")
        return file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise _failure(file, cause.strerror or str(cause), error, fix) from None
    except ValueError as cause:
        raise _failure(file, str(cause), error, fix) from None


def read_text(
    path: str | Path,
    *,
    error: type[NassegError] = FileError,
    fix: str = "",
    most: int = MAX_BYTES,
) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 where a byte-order mark says so; the mark is
    left out.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: as :func:`read_bytes`, or the file is no such text or holds a NUL.
    """
    data = read_bytes(path, error=error, fix=fix, most=most)
    try:
        text = data.decode(encoding_of(data[:200]))
    except UnicodeDecodeError as cause:
        why = f"it is no UTF-8 text (byte {cause.start}: {cause.reason})"
        raise _failure(Path(path), why, error, fix) from None
    if "\0" in text:
        raise _failure(Path(path), "it holds a NUL character", error, fix)
    return text


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text by the byte-order mark at its head; UTF-8 where it has none."""
    order = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(head[:2])
    # A text of commas, digits or brackets; damaged bytes may begin with the same mark.
    wide = order is not None and any(c.isascii() for c in head[2:].decode(order, "replace"))
    return "utf-16" if wide else "utf-8-sig"


# -- JSON ------------------------------------------------------------------------------------


def read_json(path: str | Path, *, error: type[NassegError] = FileError, fix: str = "") -> Any:
    """Return the value of a JSON file.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: of the class ``error``: it cannot be read, or is no JSON as :func:`parse_json`
            takes it.
    """
    text = read_text(path, error=error, fix=fix)
    try:
        return parse_json(text)
    except ValueError as cause:
        raise _failure(Path(path), str(cause), error, fix, " as JSON") from None


def read_object(
    path: str | Path, *, error: type[NassegError] = FileError, fix: str = ""
) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: as :func:`read_json`, or it holds a value of another kind.
    """
    value = read_json(path, error=error, fix=fix)
    if not isinstance(value, dict):
        why = f"it holds {kind_of(value)} where a JSON object is expected"
        raise _failure(Path(path), why, error, fix)
    return value


def read_json_lines(
    path: str | Path, *, error: type[NassegError] = FileError, fix: str = ""
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Return the numbers of the lines of a file, from 1, and their objects; None: it is none.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: as :func:`read_text`.
    """
    for number, line in enumerate(read_text(path, error=error, fix=fix).splitlines(), 1):
        try:
            value = parse_json(line)
        except ValueError:
            value = None
        yield number, value if isinstance(value, dict) else None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, which is strict: no NaN, no infinity, no key twice.

    Raises:
        ValueError: the text is no such JSON, or is nested too deeply.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError:
        raise ValueError(f"brackets are nested more than {MAX_DEPTH} deep") from None
    if _deeper_than(value, MAX_DEPTH):
        raise ValueError(f"brackets are nested more than {MAX_DEPTH} deep")
    if "\\ud" in text.lower():
        # Half a surrogate pair is no character, but for what stands for a byte of a file name.
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ValueError("a text in it has half a surrogate pair") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


def _whole(text: str) -> int:
    # Longer ones are no number of anything here, and are too large for a float.
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{text[:20]}... has {len(text)} digits; {MAX_DIGITS} are the most")
    return int(text)


def _deeper_than(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return False
        level = inner
    return True


# -- YAML ------------------------------------------------------------------------------------


def read_yaml(path: str | Path, *, error: type[NassegError] = FileError, fix: str = "") -> Any:
    """Return the value of a YAML file.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: of the class ``error``: it cannot be read, or is no YAML as
            :func:`parse_yaml` takes it.
    """
    text = read_text(path, error=error, fix=fix, most=MAX_YAML_BYTES)
    try:
        return parse_yaml(text)
    except ValueError as cause:
        raise _failure(Path(path), f"it is not YAML: {cause}", error, fix) from None


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text, read by the safe loader.

    Raises:
        ValueError: the text is no YAML, has a key twice, an alias within itself, more than
            :data:`MAX_YAML_VALUES` values where aliases are followed, or is nested too deeply.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_node(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError(f"brackets are nested more than {MAX_DEPTH} deep") from None
    except Exception as cause:
        # PyYAML's constructors raise whatever Python does: KeyError of `!!bool x`, and so on.
        words = " ".join(str(cause).split()) or type(cause).__name__
        raise ValueError(words) from None


def _check_node(root: Any) -> None:
    import yaml

    sizes: dict[int, int] = {}
    """Values in each node that was left; of one that was only entered, 0."""

    def size(node: Any, depth: int) -> int:
        known = sizes.get(id(node))
        if known == 0:
            raise ValueError(f"an alias stands within what it is for{node.start_mark}")
        if known is not None:
            return known
        if depth > MAX_DEPTH:
            raise ValueError(f"brackets are nested more than {MAX_DEPTH} deep")
        sizes[id(node)] = 0
        count = 1
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if (key.tag, key.value) in seen:
                        line = key.start_mark.line + 1
                        raise ValueError(f"the key {key.value!r} is there twice (line {line})")
                    seen.add((key.tag, key.value))
                count += size(key, depth + 1) + size(value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            count += sum(size(item, depth + 1) for item in node.value)
        if count > MAX_YAML_VALUES:
            raise ValueError(f"it has more than {MAX_YAML_VALUES:,} values")
        sizes[id(node)] = count
        return count

    size(root, 0)


# -- CSV -------------------------------------------------------------------------------------


def read_csv(
    path: str | Path, *, error: type[NassegError] = FileError, fix: str = ""
) -> list[tuple[int, Row]]:
    """Return the numbers of the rows of a CSV file, the header being 1, and their cells by column.

    A cell that :func:`csv_text` quoted is as it was before. A row that is too long has its further
    cells under the key None; one that is too short has None for those that it lacks.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: of the class ``error``: it cannot be read, is no CSV, has a column twice, or
            more than :data:`MAX_COLUMNS` of them.
    """
    text = read_text(path, error=error, fix=fix)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        names = [_without_quote(name) for name in reader.fieldnames or ()]
        if len(names) > MAX_COLUMNS:
            raise ValueError(f"it has {len(names):,} columns; {MAX_COLUMNS:,} are the most")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the column {twice!r} is there twice")
        reader.fieldnames = names
        return [
            (number, {name: _without_quote(cell) for name, cell in row.items()})
            for number, row in enumerate(reader, 2)
        ]
    except (csv.Error, ValueError) as cause:
        raise _failure(Path(path), str(cause), error, fix) from None


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as CSV. Texts that a spreadsheet would run as a formula are quoted.

    Such a text begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return and is no
    number; it gets an apostrophe, which :func:`read_csv` takes off.
    """
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    # The module leaves a carriage return without quotes, and reads it as the end of a row.
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (columns, *rows):
        cells = [_with_quote(cell) for cell in row]
        returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if returns else plain).writerow(cells)
    return text.getvalue()


def _with_quote(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.lstrip(_QUOTE).startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"{_QUOTE}{cell}"
    return cell


def _without_quote(cell: Any) -> Any:
    quoted = isinstance(cell, str) and cell.startswith(_QUOTE)
    return cell[1:] if quoted and cell.lstrip(_QUOTE).startswith(_FORMULA) else cell


# -- npz -------------------------------------------------------------------------------------


def read_npz(
    path: str | Path, *, error: type[NassegError] = FileError, fix: str = ""
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an npz file; none of Python objects is read.

    Raises:
        FileNotFoundError: there is no file.
        NassegError: of the class ``error``: it cannot be read, is damaged, or has more than
            :data:`MAX_ARRAY_BYTES` bytes of arrays.
    """
    import numpy as np

    data = read_bytes(path, error=error, fix=fix, most=MAX_ARRAY_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # What zlib unpacks is no more than this, whatever an array's header says.
            total = sum(member.file_size for member in archive.infolist())
        if total > MAX_ARRAY_BYTES:
            raise ValueError(f"its arrays have {total:,} bytes; {MAX_ARRAY_BYTES:,} are the most")
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {name: np.asarray(found[name]) for name in found.files}
    except (Exception, MemoryError) as cause:
        # zipfile, zlib, lzma and numpy each have exceptions of their own.
        words = " ".join(str(cause).split()) or type(cause).__name__
        raise _failure(Path(path), f"it is no npz file: {words}", error, fix) from None


def checked(
    path: str | Path,
    value: Any,
    form: Any,
    *,
    error: type[NassegError] = FileError,
    fix: str = "",
) -> Any:
    """Return a value of a file that has a form.

    Raises:
        NassegError: of the class ``error``: it has another one; the message names file and key.
    """
    try:
        check_form(value, form)
    except ValueError as cause:
        raise _failure(Path(path), str(cause), error, fix) from None
    return value


def _failure(
    path: Path, why: str, error: type[NassegError], fix: str, form: str = ""
) -> NassegError:
    return error(f"{path} cannot be read{form}: {why}" + (f"; {fix}" if fix else ""))
