"""A worker of a study whose measuring is a formula: run as a program by the tests of studies.

usage: toy_worker.py STORAGE COUNT SAMPLER LOG TABLE [SECONDS] [KILL_AT]

Every measurement is a line "PID ARCH_ID" in LOG. The worker kills itself, as kill -9 would, in the
middle of its measurement number KILL_AT.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from nasseg.search.measured.bounds import SizeBounds
from nasseg.search.measured.study import MeasuredStudy
from nasseg.search_spaces import get_space

SPACE = get_space("unet")
BOUNDS = SizeBounds(10_000, 300_000, 30_000)


def formula(arch: dict[str, Any]) -> dict[str, Any]:
    """Wider, shallower networks with concatenation are better; no two are quite the same."""
    params = float(SPACE.count_params(SPACE.encode([arch]))[0])
    day1 = 1.0 - params**-0.3 - 0.01 * arch["M"] + 0.02 * (arch["skip"] == "concat")
    return {"day1": day1, "avm": 0.1, "std": 0.01, "params": int(params)}


def open_study(storage: str, **settings: Any) -> MeasuredStudy:
    # A short heartbeat, as the tests are.
    return MeasuredStudy(
        storage, "toy", SPACE, {"budget": 1, **settings}, bounds=BOUNDS, heartbeat=1
    )


def main(
    storage: str, count: str, sampler: str, log: str, table: str, seconds="0", kill_at="0"
) -> None:
    begun = 0

    def measure(arch: dict[str, Any]) -> dict[str, Any]:
        nonlocal begun
        begun += 1
        with Path(log).open("a") as lines:
            lines.write(f"{os.getpid()} {SPACE.arch_id(arch)}\n")
        if begun == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(seconds))
        return formula(arch)

    study = open_study(storage)
    study.work(measure, int(count), sampler, progress=False)
    study.export(Path(table))


if __name__ == "__main__":
    main(*sys.argv[1:])
