"""Streams, signals and names as the command line meets them: one line, and the right status."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nasseg import __main__ as entry
from nasseg.cli import _streams, main, script_main
from nasseg.cli._command import start_logging
from nasseg.cli._streams import printable
from nasseg.io import atomic_write
from nasseg.records.storage import hide_passwords, shown

WAITING = """
import sys, time
from nasseg.cli import script_main
def work():
    print("ready", flush=True)
    time.sleep(60)
sys.exit(script_main(work, "nasseg"))
"""


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_signals_stop_with_one_line_and_their_status(number: int, status: int) -> None:
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Under nohup a process inherits that it ignores the signal, as it shall.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == status
    assert said.strip() == "stopped; the same command continues"


@pytest.mark.parametrize(
    "redirection",
    [">&-", "2>&-", ">&- 2>&-", "> /dev/full", "2> /dev/full", "| true"],
)
def test_closed_and_full_streams_end_without_a_traceback(redirection: str) -> None:
    command = f"{sys.executable} -m nasseg --version {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_ascii_terminal_takes_every_name() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "nasseg", "predict", "ä\u202e.run", os.fsdecode(b"\xff.png")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\x07\x9bb", r"a\x07\x9bb"),
        ("a\u202eb", r"a\u202eb"),
        (os.fsdecode(b"a\xffb"), r"a\xffb"),
        ("a\rb", r"a\x0db"),
        ("Zellkerne äöü 細胞\n\t.", "Zellkerne äöü 細胞\n\t."),
    ],
)
def test_what_steers_a_terminal_is_shown_escaped(
    text: str, shown_as: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable(text) == shown_as
    _streams.say(text)
    _streams.tell(text)
    out, err = capsys.readouterr()
    assert shown_as in out
    assert shown_as in err


def test_an_error_that_nobody_foresaw_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("nasseg.cli.main", fail)
    monkeypatch.delenv(entry.TRACEBACK, raising=False)
    assert entry.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("nasseg: error: ZeroDivisionError: two lines (a damaged file")
    assert len(said.splitlines()) == 1
    monkeypatch.setenv(entry.TRACEBACK, "1")
    with pytest.raises(ZeroDivisionError):
        entry.main()


def test_a_full_disk_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    file = tmp_path / "result.csv"
    assert script_main(lambda: atomic_write(file, lambda h: h.write(b"x")) and 0, "nasseg") == 1
    assert f"No space left on device: '{file}'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


STORAGES = [
    "postgresql://ann:hidden@host/db",
    "postgresql://ann:hid@den@host/db",
    "postgresql://ann:hid/den@host/db",
    "postgresql://ann:hid:den@host:5432/db",
    "postgresql://ann:hid%40den@host/db",
    "postgresql://ann@host/db?password=hidden",
    "postgresql://ann@host/db?PASSWORD=hidden&sslmode=require",
    "postgresql://ann@host/db?Passwd=hidden",
    "postgresql://host/db?options=-c%20password=hidden",
    "mysql+pymysql://ann:hidden@host/db",
    "postgres://ann:hidden@[::1]/db",
    "host=h user=ann password=hidden dbname=db",
    "host=h user=ann password='hid den' dbname=db",
    "HOST=h PASSWORD = hidden",
    "postgresql:ann:hidden@host/db",
]


@pytest.mark.parametrize("where", STORAGES)
def test_no_form_of_a_storage_shows_its_password(where: str) -> None:
    for text in (shown(where), hide_passwords(f"the storage '{where}' cannot be opened")):
        assert not any(part in text for part in ("hidden", "hid", "den@", "den'"))


@pytest.mark.parametrize("where", STORAGES)
def test_no_screen_shows_a_password(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["label", "--storage", where, "--storage", where])
    main(["label", where])
    main(["label", "--storag", where])
    main(["predict", f"--storage={where}"])
    start_logging(quiet=True)
    logging.getLogger("nasseg").warning("the storage %s", where)
    assert "hid" not in capsys.readouterr().err.replace("hidden_", "")


@pytest.mark.parametrize("where", ["sqlite:////a/b@c/s.db", "journal:/a/b:c@d", "sqlite:///s.db"])
def test_files_of_a_storage_are_shown_as_they_are(where: str) -> None:
    assert shown(where) == where
