#!/usr/bin/env python
"""Measure sampled architectures into a table, from which surrogates are fitted.

    python scripts/label.py --data my_nuclei/ --count 48 --out runs/labels
    nasseg fit runs/labels/table.csv

takes the flags of ``nasseg label``; the same command continues an interrupted table.
"""

import sys

from nasseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["label", *sys.argv[1:]]))
