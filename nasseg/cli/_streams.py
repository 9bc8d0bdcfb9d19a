"""Output of the command line, on any stdout and stderr, closed ones included."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unicodedata
from typing import TextIO

from nasseg.records.storage import hide_passwords

_PLAIN = "\n\t"
"""Control characters that are printed as they are."""


def say(text: str) -> None:
    """Print to stdout at once, with a line break at the end.

    Raises:
        OSError: it cannot be written, as to a full disk.
    """
    text = printable(text)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Print to stderr; where there is none any more, nothing is lost but the message."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(printable(hide_passwords(text)) + "\n")
        sys.stderr.flush()


def printable(text: str) -> str:
    """Return a text with what steers a terminal escaped, and what is no character.

    File names may hold any of it: escape sequences that rename the window or hide lines,
    overrides of the reading direction, bytes that are no UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in _PLAIN or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte of a file name that is no UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def usable_streams() -> None:
    """Make stdout and stderr take any text: closed ones nothing, ASCII ones with escapes."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def abandon_streams() -> None:
    """Point stdout at nothing, so that Python does not fail to flush it at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
