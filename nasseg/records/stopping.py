"""Signals that end a process: SIGTERM and SIGHUP stop as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_BASE = 128
"""Added to the number of a signal, it is the exit status that shells know."""


@dataclass
class Stop:
    """How a process was stopped."""

    signal: int = signal.SIGINT
    """Number of the signal."""

    @property
    def status(self) -> int:
        """Exit status: 130 of Ctrl-C, 143 of SIGTERM, 129 of SIGHUP."""
        return _BASE + self.signal


_active: list[Stop] = []
"""Of the outermost :func:`terminable` that is entered, which has the handlers."""


@contextmanager
def terminable() -> Iterator[Stop]:
    """Let SIGTERM, by which clusters end jobs, and SIGHUP, of a closed terminal, stop as Ctrl-C.

    A SIGHUP that is ignored, as under ``nohup``, stays so. In another thread than the main one
    nothing is changed, since Python gives signals to that one alone.

    Yields:
        Which signal it was, once ``KeyboardInterrupt`` has been raised.
    """
    if _active or threading.current_thread() is not threading.main_thread():
        yield _active[0] if _active else Stop()
        return
    stopped = Stop()

    def stop(number: int, _: object) -> None:
        stopped.signal = number
        raise KeyboardInterrupt

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    _active.append(stopped)
    try:
        yield stopped
    finally:
        _active.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
