"""Tables of measured architectures, from which surrogates are fitted."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasseg._registry import nearest
from nasseg.errors import ArchError, DataError
from nasseg.evaluators._repeats import NOTHING_REPEATED, Noise, repeat_noise
from nasseg.evaluators.base import Matrix
from nasseg.evaluators.budgets import PROXY, SCREEN
from nasseg.evaluators.scores import Scores

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

TARGETS: tuple[str, ...] = ("day1", "avm", "std")
"""The columns of scores that a surrogate learns."""
MORE: tuple[str, ...] = ("p05",)
"""Those that it learns too where a table has them, known in every row."""


@dataclass(frozen=True, eq=False)
class Table:
    """Measured architectures of one space."""

    X: Matrix
    """Encoded architectures, float32 ``(n, F)``."""
    scores: Scores
    """Their scores; the targets are known and finite."""
    data: bytes
    """The file as it was read."""
    noise: Noise = NOTHING_REPEATED
    """How well repeated measurements of ``day1`` agree."""
    metric: str = ""
    """What ``day1`` is of (``dice``, ``auc`` ...); empty where the table does not say."""

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.data).hexdigest()


def read_table(path: str | Path, space: SearchSpace) -> Table:
    """Read a CSV table of measured architectures.

    One row an architecture: either a column ``arch`` with its canonical JSON, or one column for
    every name in ``space.feature_names``; and the columns ``day1``, ``avm`` and ``std``. ``p05`` is
    read where it is a column, and so is ``metric``, the name of what ``day1`` is of; other columns
    are ignored. A Parquet file is a bench
    (:class:`~nasseg.evaluators.NASSegBench`), of which the proxy budget is read.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a cell that is no architecture
            of the space or no finite number; the message names file, row (the header is row 1)
            and column.
    """
    file = Path(path)
    data, header, body = _read_cells(file, space)
    _check_header(file, header, TARGETS, space)
    X = _architectures(file, header, body, space)
    known = {
        name: _numbers(file, name, _column(header, body, name))
        for name in (*TARGETS, *(name for name in MORE if name in header))
    }
    if file.suffix == ".parquet":
        # Its seeds are one row by now.
        from nasseg.evaluators.bench import NASSegBench

        noise = NASSegBench(file).noise()
    else:
        noise = _noise_of(X, known["day1"])
    return Table(X, Scores.of(len(body), **known), data, noise, _metric(file, header, body))


def _metric(file: Path, header: Sequence[str], body: _Body) -> str:
    cells = _column(header, body, "metric") if "metric" in header else []
    return _one_metric({cell for _, cell in cells}, str(file))


def _one_metric(said: set[str], where: str) -> str:
    known = sorted(said - {""})
    if len(known) > 1:
        raise DataError(
            f"{where}: day1 is of several metrics ({', '.join(known)}); one surrogate learns one"
        )
    return known[0] if known else ""


def _noise_of(X: Matrix, day1: Sequence[float]) -> Noise:
    return repeat_noise([row.tobytes() for row in X], None, np.array(day1))


def read_archs(path: str | Path, space: SearchSpace) -> list[dict[str, Any]]:
    """The different architectures of a table, in its order; it needs no scores.

    Raises:
        DataError: as :func:`read_table`, or the table has no row.
    """
    file = Path(path)
    _, header, body = _read_cells(file, space)
    _check_header(file, header, (), space)
    archs = space.decode(_architectures(file, header, body, space)) if body else []
    if not archs:
        raise DataError(f"{file}: a header alone; one row an architecture is needed")
    return list({space.arch_id(arch): arch for arch in archs}.values())


def read_column(
    path: str | Path, name: str, space: SearchSpace
) -> tuple[Matrix, np.ndarray[Any, np.dtype[np.float64]]]:
    """Architectures of a table, float32 ``(n, F)``, and one column of numbers ``(n,)``.

    Of a bench, the budget ``screen`` is read.

    Raises:
        DataError: as :func:`read_table`.
    """
    file = Path(path)
    _, header, body = _read_cells(file, space, SCREEN)
    _check_header(file, header, (name,), space)
    X = _architectures(file, header, body, space)
    return X, np.array(_numbers(file, name, _column(header, body, name)))


_Body = Sequence[tuple[int, list[str]]]
"""Cells of the rows below the header, and the numbers of the rows."""


def _read_cells(
    file: Path, space: SearchSpace, budget: str = PROXY
) -> tuple[bytes, list[str], _Body]:
    """A file as it is, its header, and its further rows; of a bench, those of a budget."""
    try:
        data = _of_bench(file, space, budget) if file.suffix == ".parquet" else file.read_bytes()
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except FileNotFoundError:
        raise DataError(f"{file}: no such table") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a readable CSV table: {error}") from None
    if not rows:
        raise DataError(f"{file}: empty; a header and one row an architecture are needed")
    header, body = rows[0], [(i, row) for i, row in enumerate(rows[1:], start=2) if row]
    for number, row in body:
        if len(row) != len(header):
            raise DataError(f"{file}, row {number}: {len(row)} cells under {len(header)} columns")
    return data, header, body


def _column(header: Sequence[str], body: _Body, name: str) -> list[tuple[int, str]]:
    return [(number, row[header.index(name)]) for number, row in body]


def _architectures(file: Path, header: Sequence[str], body: _Body, space: SearchSpace) -> Matrix:
    if "arch" in header:
        return _from_json(file, _column(header, body, "arch"), space)
    columns = {name: _column(header, body, name) for name in space.feature_names}
    return _from_features(file, columns, [number for number, _ in body], space)


def _of_bench(file: Path, space: SearchSpace, budget: str) -> bytes:
    from nasseg.evaluators.bench import KEYS, of_budget, read_bench

    more = [name for name in KEYS if name not in ("arch_id", "arch")]
    table = of_budget(read_bench(file, space.name), budget, file).drop(columns=more)
    # Several seeds of an architecture are one, better known, row.
    means = table.groupby(["arch_id", "arch"], sort=False, as_index=False).mean(numeric_only=True)
    text: str = means.to_csv(index=False)
    return text.encode("utf-8")


def read_tables(paths: Sequence[str | Path], space: SearchSpace) -> Table:
    """Several tables as one, such as those of workers that labelled with different seeds.

    ``data`` is one CSV of all their rows, with a column ``arch`` and the targets first, and what
    other columns they share.

    Raises:
        DataError: as :func:`read_table`, or there is no table.
    """
    if not paths:
        raise DataError("no table given; one or more are needed")
    tables = [read_table(path, space) for path in paths]
    if len(tables) == 1:
        return tables[0]
    X = np.concatenate([table.X for table in tables])
    rows = [row for table in tables for row in table.scores.rows()]
    archs = space.decode(X)
    shared, cells = _shared_columns(tables)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arch", *TARGETS, *shared])
    for arch, row, more in zip(archs, rows, cells, strict=True):
        writer.writerow([space.to_json(arch), *(row[name] for name in TARGETS), *more])
    noise = _noise_of(X, [row["day1"] for row in rows])
    metric = _one_metric({table.metric for table in tables}, ", ".join(map(str, paths)))
    return Table(X, Scores.from_rows(rows), text.getvalue().encode("utf-8"), noise, metric)


def _shared_columns(tables: Sequence[Table]) -> tuple[list[str], list[list[str]]]:
    """Names of the further columns that all tables have, and their cells row by row."""
    parsed = [
        list(csv.DictReader(io.StringIO(table.data.decode("utf-8-sig"), newline="")))
        for table in tables
    ]
    heads = [list(rows[0]) if rows else [] for rows in parsed]
    shared = [
        name
        for name in heads[0]
        if name not in ("arch", *TARGETS) and all(name in head for head in heads)
    ]
    return shared, [[row[name] for name in shared] for rows in parsed for row in rows]


def _check_header(
    file: Path, header: Sequence[str], targets: Sequence[str], space: SearchSpace
) -> None:
    by_json = "arch" in header
    needed = [*([] if by_json else space.feature_names), *targets]
    missing = [name for name in needed if name not in header]
    if missing:
        near = nearest(missing[0], header)
        hint = f" (nearest column: {near!r})" if near else ""
        what = "" if by_json else f"; without a column 'arch', every feature of {space.name!r} is"
        raise DataError(
            f"{file}: no column {', '.join(map(repr, missing))}{hint}{what or ''}"
            f"{' needed' if what else ''}"
        )


def _numbers(file: Path, name: str, cells: Sequence[tuple[int, str]]) -> list[float]:
    values = []
    for number, cell in cells:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{file}, row {number}, column {name!r}: {cell!r} is no finite number")
        values.append(value)
    return values


def _from_json(file: Path, cells: Sequence[tuple[int, str]], space: SearchSpace) -> Matrix:
    archs = []
    for number, cell in cells:
        try:
            arch = space.canonical(space.from_json(cell))
            space.validate(arch)
        except (ArchError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{file}, row {number}, column 'arch': no architecture of {space.name!r}: {error}"
            ) from None
        archs.append(arch)
    return space.encode(archs)


def _from_features(
    file: Path, columns: dict[str, Any], numbers: Sequence[int], space: SearchSpace
) -> Matrix:
    names = space.feature_names
    values = [_numbers(file, name, columns[name]) for name in names]
    X = np.array(values, dtype=np.float32).reshape(len(names), len(numbers)).T
    for i, number in enumerate(numbers):
        try:
            arch = space.decode(X[i : i + 1])[0]
            space.validate(arch)
        except (ArchError, ValueError, KeyError) as error:
            raise DataError(
                f"{file}, row {number}: no architecture of {space.name!r}: {error}"
            ) from None
        differs = np.flatnonzero(space.encode([arch])[0] != X[i])
        if len(differs):
            column = names[differs[0]]
            raise DataError(
                f"{file}, row {number}, column {column!r}: {columns[column][i][1]!r} is no value "
                f"of a canonical architecture of {space.name!r}"
            )
    return np.ascontiguousarray(X)
