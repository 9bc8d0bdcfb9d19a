#!/usr/bin/env python
"""How fast architectures are scored and searched, and how much of it is the surrogate.

    OMP_NUM_THREADS=1 python scripts/bench_search_speed.py
    python scripts/bench_search_speed.py --space unet --threads 2 --json speed.json

print the figures of ``docs/multi_objective.md``. Four figures, each the best of several repeats in
one process, warmed up; beside wall-clock time stands processor time, which other work on the
machine hardly changes:

- candidates a second: 100,000 encoded architectures through all heads of the shipped surrogate,
  and the same beside XGBoost's own prediction alone (a ratio that a busy machine leaves alone);
- seconds of a search of 200 generations and a population of 50, under bounds on parameters and
  multiply-accumulates: AnalogNAS's evolution, and NSGA-II for the metric and the parameters;
- the share of these seconds that is the surrogate.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from nasseg.cli import script_main
from nasseg.evaluators import Scores, load_surrogate
from nasseg.evaluators.boosting import predict
from nasseg.evaluators.xgboost import XGBoostEvaluator
from nasseg.io import write_json
from nasseg.search import EAOptimizer, NSGA2Optimizer, parse_objectives
from nasseg.search_spaces import get_space

BOUNDS = {"max_nb_param": 1.0, "T_AVM": 10.0, "max_macs_per_pixel": 30_000}


class Stopwatch(XGBoostEvaluator):
    """A surrogate that keeps the processor seconds spent in it."""

    seconds = 0.0

    def evaluate_matrix(self, X: Any) -> Scores:
        """As the parent's, timed."""
        start = time.process_time()
        scores = super().evaluate_matrix(X)
        self.seconds += time.process_time() - start
        return scores


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one call; the latter leave out what others compute."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def best_of(repeats: int, function: Callable[[], object]) -> tuple[float, float]:
    """Least seconds of several calls, wall-clock and processor, after one that is not counted."""
    function()
    taken = [timed(function) for _ in range(repeats)]
    return min(wall for wall, _ in taken), min(cpu for _, cpu in taken)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures, by name."""
    space = get_space(args.space)
    surrogate = load_surrogate(args.surrogate, space, args.threads)
    X = space.sample_matrix(args.rows, np.random.default_rng(0))
    whole = best_of(args.repeats, lambda: surrogate.evaluate_matrix(X))
    heads, seen = list(surrogate.heads.values()), surrogate.features.matrix(X)
    bare = best_of(args.repeats, lambda: [predict(head, seen) for head in heads])
    result: dict[str, Any] = {
        "rows": args.rows,
        "heads": len(heads),
        "candidates_per_s": args.rows / whole[0],
        "candidates_per_cpu_s": args.rows / whole[1],
        "over_xgboost": whole[1] / bare[1],
        "searches": {},
    }
    shared = {"nb_iter": args.generations, "population_size": args.population, "progress": False}
    for name in ("evolution", "nsga2"):
        runs = []
        for _ in range(args.repeats + 1):
            watched = Stopwatch(space, args.threads)
            watched.features = surrogate.features
            watched.schema, watched._heads = surrogate.schema, surrogate._heads
            optimizer = (
                EAOptimizer(watched, **shared, **BOUNDS)
                if name == "evolution"
                else NSGA2Optimizer(watched, parse_objectives("day1", "params"), **shared, **BOUNDS)
            )
            wall, cpu = timed(lambda optimizer=optimizer: optimizer.run(space))
            runs.append((cpu, wall, watched.seconds / cpu, optimizer.history[-1].queries))
        cpu, _, share, queries = min(runs[1:])
        result["searches"][name] = {
            "seconds": min(wall for _, wall, _, _ in runs[1:]),
            "cpu_seconds": cpu,
            "surrogate_share": share,
            "queries": queries,
        }
    return result


def main(words: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", default="unet")
    parser.add_argument("--surrogate", default="auto", help="shipped name or folder")
    parser.add_argument("--rows", type=int, default=100_000, help="architectures scored at once")
    parser.add_argument("--generations", type=int, default=200)
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of XGBoost")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    args = parser.parse_args(words)
    return script_main(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write the numbers where a file is named."""
    result = measure(args)
    print(f"XGBoost {xgboost.__version__}, {args.threads} threads, best of {args.repeats}")
    print(
        f"{result['rows']:,} architectures through {result['heads']} heads: "
        f"{result['candidates_per_s']:,.0f} a second "
        f"({result['candidates_per_cpu_s']:,.0f} a second of processor time), "
        f"{result['over_xgboost']:.2f} x the time of XGBoost alone"
    )
    for name, found in result["searches"].items():
        print(
            f"{name}: {args.generations} generations of {args.population} in "
            f"{found['seconds']:.2f} s ({found['cpu_seconds']:.2f} s of processor time), "
            f"{found['surrogate_share']:.0%} of it in the surrogate, "
            f"{found['queries']:,} architectures scored"
        )
    if args.json is not None:
        write_json(args.json, result)


if __name__ == "__main__":
    sys.exit(main())
