#!/usr/bin/env python
"""Evaluate the chips of a run over time: 1 s, 1 h, 1 day, 30 days, 1 year after programming.

    python scripts/drift.py --out runs/mine

takes the flags of ``nasseg drift``; what the run folder lacks before that stage is made first.
"""

import sys

from nasseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["drift", *sys.argv[1:]]))
