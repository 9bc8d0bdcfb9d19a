"""Broken and hostile text files, as each reader is given them: one error that names the file."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasseg.errors import ConfigError, FileError
from nasseg.files import readers
from nasseg.files.readers import csv_text, read_csv, read_json, read_npz, read_yaml
from nasseg.io import write_csv

ANYWHERE = {
    "nul": b'{"a": "\0"}',
    "latin-1": b'{"a": "\xff\xfe"}',
    "utf-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
}
JSON = {
    **ANYWHERE,
    "empty": b"",
    "half": b'{"a": [1, 2',
    "nested": b"[" * 100_000,
    "nested a little too much": b"[" * 70 + b"]" * 70,
    "digits": b"9" * 5000,
    "many digits": b"9" * 400,
    "infinite": b"[1e999]",
    "nan": b"[NaN]",
    "-infinity": b"[-Infinity]",
    "key twice": b'{"a": 1, "a": 2}',
    "half a surrogate pair": b'["\\ud800"]',
    "more follows": b"{} {}",
}
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)
YAML = {
    **ANYWHERE,
    "key twice": b"a: 1\na: 2\n",
    "key twice inside": b"train: {lr: 1, lr: 2}\n",
    "bomb": BOMB.encode(),
    "circle": b"a: &x [*x]",
    "no such alias": b"a: *x",
    "nested": b"a: " + b"[" * 5000,
    "digits": b"a: " + b"9" * 5000,
    "object": b"!!python/object/apply:os.system ['true']",
    "no truth": b"!!bool x",
    "no time": b"!!timestamp x",
    "no month": b"a: 2024-13-45",
    "no binary": b"!!binary x",
    "no whole number": b"!!int ''",
    "control": b"a: \x01",
    "two documents": b"a: 1\n---\nb: 2\n",
    "list as key": b"? [1]\n: 2\n",
    "too long": b"a: [" + b"1," * 200_000 + b"1]",
}
CSV = {
    **ANYWHERE,
    "column twice": b"a,a\n1,2\n",
    "columns": ",".join(map(str, range(1_000_000))).encode(),
    "cell": b'a\n"' + b"x" * 200_000 + b'"\n',
}


def npz(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def array(value: object, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(value), **options)
    return stream.getvalue()


NPZ = {
    "empty": b"",
    "text": b"PK no archive",
    "half": npz(a=array(np.arange(1000)))[:200],
    "objects": npz(a=array(np.array([{}], dtype=object), allow_pickle=True)),
    "claims more": npz(a=array(np.zeros(10)).replace(b"(10,)", b"(9999999999,)"[:5])),
    "no header": npz(a=b"\x93NUMPY\x01\x00"),
    "bomb": npz(a=bytes(1_200_000_000 // 4), b=bytes(1_200_000_000 // 4)),
}
CASES = [
    *((read_json, name, data) for name, data in JSON.items()),
    *((read_yaml, name, data) for name, data in YAML.items()),
    *((read_csv, name, data) for name, data in CSV.items()),
    *((read_npz, name, data) for name, data in NPZ.items() if name != "claims more"),
]


@pytest.mark.parametrize(
    ("read", "data"),
    [(read, data) for read, _, data in CASES],
    ids=[f"{read.__name__}: {name}" for read, name, _ in CASES],
)
def test_a_damaged_or_hostile_file_is_one_error_that_names_it(
    read: Callable[..., object], data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_ARRAY_BYTES", 500_000_000)
    file = tmp_path / "input.file"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as raised:
        read(file, error=ConfigError, fix="delete it")
    message = str(raised.value)
    assert message.startswith(f"{file} cannot be read")
    assert message.endswith("; delete it")
    assert len(message) < 600


@pytest.mark.parametrize("read", [read_json, read_yaml, read_csv, read_npz])
def test_folders_and_pipes_are_refused_at_once(read: Callable[..., object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FileError, match="cannot be read"):
            read(file)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


def test_sound_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text('\ufeff{"a": [1, 2.5, null, true, "ä"]}', encoding="utf-8")
    assert read_json(file) == {"a": [1, 2.5, None, True, "ä"]}
    file.write_text("a: &x {b: 1}\nc: {<<: *x, d: 2}\ne: *x\n")
    assert read_yaml(file) == {"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": {"b": 1}}
    file.write_text("")
    assert read_yaml(file) is None
    file.write_bytes(npz(a=array([1, 2])))
    assert read_npz(file)["a"].tolist() == [1, 2]


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "-x", "@SUM(1)", "\t=1", "\r=1", "'=1", "''-x"])
def test_a_cell_that_a_spreadsheet_runs_is_quoted_and_comes_back(cell: str, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "table.csv", [{cell: cell, "n": -1.5, "text": "-2"}])
    rows = list(csv.reader(io.StringIO(file.read_bytes().decode(), newline="")))
    assert all(not text.startswith(("=", "+", "@", "\t", "\r", "-x")) for text in rows[1])
    assert rows[1][1:] == ["-1.5", "-2"]
    assert read_csv(file) == [(2, {cell: cell, "n": "-1.5", "text": "-2"})]
    assert csv_text(["it's"], [["'quoted'"]]) == "it's\n'quoted'\n"
