"""What brings an aged chip back, and what it costs: drift compensation and recalibration.

    python scripts/compensation.py runs/native0 --chips 5 --out docs/results/compensation.md

Takes the analog network of a run and measures it on the same chips without, with global and with
per-column drift compensation, each without recalibration and recalibrated with 16, 64 and all
training images.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

import numpy as np
import torch

from nasseg.analog import evaluate_drift, recalibrate_batch_norms
from nasseg.analog.calibrate import preserved_batch_norms
from nasseg.analog.noise import derive_seed
from nasseg.analog.reuse import cached_batches
from nasseg.cli import script_main
from nasseg.config import DriftConfig
from nasseg.io import write_text
from nasseg.records.folder import RunFolder, read_run_config
from nasseg.runs.job import Job
from nasseg.text import time_name
from nasseg.training import evaluate
from nasseg.training.recipe import SEED_DRIFT, drift_metrics, recalibration_loader

COMPENSATIONS = ("none", "global", "column")


def main() -> int:
    """Measure, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="run folder with an analog network")
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--times", type=float, nargs="+", default=[86_400.0, 31_536_000.0])
    parser.add_argument("--images", type=int, nargs="+", default=[16, 64, 0], help="0 = all")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    text = measure(options)
    write_text(options.out, text)
    sys.stdout.write(text)
    return 0


def measure(options: argparse.Namespace) -> str:
    """The table as Markdown."""
    config = read_run_config(options.run)
    first = Job(config, RunFolder(config, readonly=True), progress=False)
    loader = cached_batches(first.data.val_loader(config.train.batch_size), first.device)
    digital = evaluate(first.digital, loader, first.task)[first.task.monitor]
    images = {}
    for wanted in options.images:
        drift = dataclasses.replace(DriftConfig(), recalibrate_images=wanted)
        images[wanted] = recalibration_loader(first.data, config.train, drift, config.seed)
    columns = [f"{time_name(t)}" for t in options.times]
    lines = [
        f"{first.task.monitor} over the digital network's ({digital:.4f}), mean ± standard "
        f"deviation over {options.chips} chips.\n",
        "```",
        f"python scripts/compensation.py {options.run} --chips {options.chips}",
        "```\n",
        "| drift compensation | recalibration | " + " | ".join(columns) + " | seconds a chip |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for compensation in COMPENSATIONS:
        # A job of its own: the compensation belongs to the tiles.
        own = dataclasses.replace(
            config, analog=dataclasses.replace(config.analog, compensation=compensation)
        )
        job = Job(own, first.folder, progress=False)
        for wanted in (None, *options.images):
            batches = None if wanted is None else images[wanted]
            table = evaluate_drift(
                job.analog_net,
                loader,
                drift_metrics(job.task),
                times=tuple(options.times),
                chips=options.chips,
                recalibrate_with=batches,
                seed=derive_seed(config.seed, SEED_DRIFT),
            )
            state = table[table.recalibrated == (wanted is not None)]
            cells, seconds = [], 0.0
            for time_s in options.times:
                ratio = np.array(state[state.time_s == time_s][job.task.monitor]) / digital
                spread = ratio.std(ddof=1) if len(ratio) > 1 else 0.0
                cells.append(f"{ratio.mean():.4f} ± {spread:.4f}")
            if batches is not None:
                begun = time.perf_counter()
                with preserved_batch_norms(job.analog_net):
                    recalibrate_batch_norms(job.analog_net, batches)
                seconds = time.perf_counter() - begun
            count = "no" if wanted is None else f"{sum(len(x) for x, _ in batches or [])} images"
            lines.append(
                f"| {compensation} | {count} | {' | '.join(cells)} | "
                f"{f'{seconds:.1f}' if wanted is not None else ''} |"
            )
            sys.stderr.write(lines[-1] + "\n")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(script_main(main))
