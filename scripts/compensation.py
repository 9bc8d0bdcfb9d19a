"""Drift compensation and recalibration of aged chips: what they bring back, and their cost.

    python scripts/compensation.py runs/dsb32 --chips 10 --out compensation.md

makes the table of ``docs/results/compensation``. It takes the analog network of a run and measures
it on the same chips without, with global and with per-column drift compensation, each without
recalibration and recalibrated with 16, 64 and all training images.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from typing import Literal

from nasseg.analog import recalibrate_batch_norms
from nasseg.analog.calibrate import preserved_batch_norms
from nasseg.analog.noise import derive_seed
from nasseg.analog.reuse import cached_batches
from nasseg.cli import script_main
from nasseg.config import DriftConfig
from nasseg.io import write_text
from nasseg.records.folder import RunFolder, read_run_config
from nasseg.runs.job import Job
from nasseg.statistics import spread_text, values_at
from nasseg.text import markdown_table, time_name
from nasseg.training import evaluate
from nasseg.training.measure import age
from nasseg.training.recipe import SEED_DRIFT, recalibration_loader

COMPENSATIONS: tuple[Literal["none", "global", "column"], ...] = ("none", "global", "column")


def main(words: list[str] | None = None) -> int:
    """Measure, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="run folder with an analog network")
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--times", type=float, nargs="+", default=[86_400.0, 31_536_000.0])
    parser.add_argument("--images", type=int, nargs="+", default=[16, 64, 0], help="0 = all")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(words)
    return script_main(lambda: run(options), threads=options.threads)


def run(options: argparse.Namespace) -> None:
    """Measure, then write and print the table."""
    text = measure(options)
    write_text(options.out, text)
    sys.stdout.write(text)


def measure(options: argparse.Namespace) -> str:
    """The table as Markdown."""
    config = read_run_config(options.run)
    first = Job(config, RunFolder(config, readonly=True), progress=False)
    metric = first.task.monitor
    loader = cached_batches(first.data.val_loader(config.train.batch_size), first.device)
    digital = evaluate(first.digital, loader, first.task)[metric]
    images = {}
    for wanted in options.images:
        drift = dataclasses.replace(DriftConfig(), recalibrate_images=wanted)
        images[wanted] = recalibration_loader(first.data, config.train, drift, config.seed)
    rows = []
    for compensation in COMPENSATIONS:
        # A job of its own: the compensation belongs to the tiles.
        own = dataclasses.replace(
            config, analog=dataclasses.replace(config.analog, compensation=compensation)
        )
        net = Job(own, first.folder, progress=False).analog_net
        for wanted in (None, *options.images):
            batches = None if wanted is None else images[wanted]
            measured = age(
                net,
                loader,
                first.task,
                times=tuple(options.times),
                chips=range(options.chips),
                images=batches,
                seed=derive_seed(config.seed, SEED_DRIFT),
            )
            chips = [row for chip in measured for row in chip]
            cells = []
            for time_s in options.times:
                scores = values_at(chips, metric, recalibrated=wanted is not None, time_s=time_s)
                cells.append(spread_text(scores / (digital or math.nan), 4))
            count, seconds = "no", ""
            if batches is not None:
                begun = time.perf_counter()
                with preserved_batch_norms(net):
                    recalibrate_batch_norms(net, batches)
                seconds = f"{time.perf_counter() - begun:.1f}"
                count = f"{sum(len(x) for x, _ in batches)} images"
            rows.append([compensation, count, *cells, seconds])
            sys.stderr.write(f"{' | '.join(rows[-1])}\n")
    columns = ["drift compensation", "recalibration", *map(time_name, options.times)]
    return (
        f"{metric} over the digital network's ({digital:.4f}), mean ± standard "
        f"deviation over {options.chips} chips.\n\n"
        f"```\npython scripts/compensation.py {options.run} --chips {options.chips}\n```\n\n"
        f"{markdown_table(rows, [*columns, 'seconds a chip'])}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
