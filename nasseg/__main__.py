"""``python -m nasseg`` and the ``nasseg`` command."""

from __future__ import annotations

import os
import sys

TRACEBACK = "NASSEG_TRACEBACK"
"""Environment variable: with any value, an error not raised on purpose has its traceback."""


def main() -> int:
    """Run the command line and return its exit status.

    Whatever goes wrong is one line. An error that is not raised on purpose is that of a damaged
    file which no reader refused, or one of nasseg; :func:`nasseg.cli.main` leaves it as it is.
    """
    from nasseg.cli import main as run

    try:
        return run(sys.argv[1:])
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        from nasseg.cli import tell

        words = " ".join(str(error).split()) or "no more is known"
        tell(
            f"nasseg: error: {type(error).__name__}: {words} (a damaged file, or an error in "
            f"nasseg; {TRACEBACK}=1 shows where)"
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
