"""Who works on a trial, and whether it is still alive."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


def worker_name() -> str:
    """This process, for people: ``HOST:PID``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def identity() -> list[str]:
    """This process, for :func:`alive`: boot and process namespace, process id, start time, machine.

    Where the system does not tell them (no ``/proc``), boot and namespace are empty.
    """
    return [*_neighbourhood(), str(os.getpid()), _started(os.getpid()), _machine()]


def alive(who: Sequence[str]) -> bool | None:
    """Whether a process is running; None where that cannot be seen from here.

    It can be seen of processes of this machine and, within it, of this container; and of those
    from before the machine was started anew.
    """
    if len(who) < 4 or not who[0]:
        return None
    boot, namespace = _neighbourhood()
    if [boot, namespace] == list(who[:2]):
        return _started(int(who[2])) == who[3]
    rebooted = len(who) > 4 and who[4] and who[4] == _machine() and boot and who[0] != boot
    return False if rebooted else None


def _machine() -> str:
    """What tells this machine from others, whenever it was started; empty where nothing does."""
    try:
        name = Path("/etc/machine-id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return f"{socket.gethostname()}:{name}" if name else ""


def _neighbourhood() -> list[str]:
    """What processes share that see each other's process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return [boot, os.readlink("/proc/self/ns/pid")]
    except OSError:
        return ["", ""]


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty where there is none.

    A process that has ended but was not waited for (a zombie) counts as none.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name of the program, in parentheses, may hold blanks.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


class Heartbeat:
    """Says every ``interval`` seconds, in a thread of its own, that this worker is alive.

    Args:
        beat: writes down the time; what it raises is logged and tried again.
        interval: seconds.
    """

    def __init__(self, beat: Callable[[float], object], interval: float) -> None:
        self._beat = beat
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with suppress(RuntimeError):
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._beat(time.time())
            except Exception as error:  # a storage out of reach must not end a training
                log.debug("no heartbeat: %s", error)
