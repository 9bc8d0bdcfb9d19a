#!/usr/bin/env python
"""Search, train and stress-test a network: the whole main job.

    python scripts/search.py --data my_nuclei/ --image-size 256 --out runs/mine

takes the flags of ``nasseg run`` (``--help`` lists them) and uses CUDA where there is one.
"""

import sys

from nasseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
