"""Heads of instances side by side: equal network and training, another answer of the network.

Runs ``nasseg run`` for every head and seed, each in a folder of its own, and puts the average
precision of all of them into one table: digital, and on chips of three ages, recalibrated and not.
The same command continues what was interrupted.

    python scripts/heads.py --config docs/heads.yaml --data DSB2018 --out runs/heads

makes the table of ``docs/results/heads``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from nasseg.cli import main as nasseg
from nasseg.cli import script_main
from nasseg.errors import RunError
from nasseg.io import write_text
from nasseg.records.run_files import RunFiles, load_run
from nasseg.statistics import DAY, MONTH, YEAR, spread_text
from nasseg.tasks import TASKS, InstanceTask
from nasseg.text import markdown_table, time_name

TIMES = (DAY, MONTH, YEAR)
"""Seconds after programming."""
METRIC = "ap50"
"""Metric of the chips in the table."""
DIGITAL = ("ap50", "ap", "pq", "dice", "count_error")
"""Metrics of the digital network in the table."""


def main(words: list[str] | None = None) -> int:
    """Run what is missing, then print the table."""
    heads = [task.name for task in TASKS.values() if isinstance(task, InstanceTask)]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="YAML file of the runs, with data.crop")
    parser.add_argument("--data", required=True, help="folder of images and labels")
    parser.add_argument("--heads", nargs="+", choices=heads, default=heads)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="the table of finished runs alone")
    parser.add_argument("--out", default="runs/heads")
    options = parser.parse_args(words)
    return script_main(lambda: run(options), threads=options.threads)


def run(options: argparse.Namespace) -> None:
    """Run every head, seed after seed, then write the table.

    Raises:
        RunError: a run failed; it has said why.
    """
    out = Path(options.out)
    for seed in options.seeds if not options.table else ():
        for head in options.heads:
            folder = out / f"{head}{seed}"
            if (folder / "summary.json").exists():
                continue
            words = ["run", "--config", options.config, "--data", options.data, "--task", head]
            words += ["--seed", str(seed), "--threads", str(options.threads), "--out", str(folder)]
            if nasseg(words) != 0:
                raise RunError(f"{folder}: the run failed; the same command continues")
    text = table(out, options.heads, options.seeds)
    write_text(out / "README.md", text)
    sys.stdout.write(text)


def table(out: Path, heads: Sequence[str], seeds: Sequence[int]) -> str:
    """Markdown of the finished runs: digital metrics, and AP at IoU 0.5 of chips."""
    digital, analog = [], []
    states = [(recalibrated, time_s) for recalibrated in (True, False) for time_s in TIMES]
    for head in heads:
        folders = [out / f"{head}{seed}" for seed in seeds]
        runs = [load_run(path) for path in folders if (path / "summary.json").exists()]
        if not runs:
            continue
        scores = [(run.summary or {})["digital"] for run in runs]
        digital.append(
            [head, len(runs), *(spread_text(score[name] for score in scores) for name in DIGITAL)]
        )
        analog.append([head, *(_ratio(runs, *state) for state in states)])
    titles = {name: TASKS["instances"].metrics[name] for name in DIGITAL}
    names = [
        f"{time_name(time_s)}, {'recalibrated' if recalibrated else 'compensation alone'}"
        for recalibrated, time_s in states
    ]
    return "\n".join(
        [
            "Digital, mean ± standard deviation over seeds.\n",
            markdown_table(digital, ["head", "seeds", *titles.values()]),
            "",
            f"Chips: {titles[METRIC]}, and its share of the digital network's; mean over seeds.\n",
            markdown_table(analog, ["head", *names]),
            "",
        ]
    )


def _ratio(runs: Sequence[RunFiles], recalibrated: bool, time_s: float) -> str:
    values, ratios = [], []
    for run in runs:
        chips = run.drift.values(METRIC, recalibrated=recalibrated, time_s=time_s)
        if not chips:
            return "-"
        values.append(fmean(chips))
        reference: Any = (run.summary or {})["digital"][METRIC]
        ratios.append(values[-1] / reference if reference else float("nan"))
    return f"{fmean(values):.3f} ({fmean(ratios):.3f})"


if __name__ == "__main__":
    sys.exit(main())
