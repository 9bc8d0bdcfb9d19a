"""NASSeg-Bench from the tables of ``nasseg label``: one Parquet file, and a page that describes it.

    python scripts/make_bench.py runs/bench/table.csv:proxy:0 runs/bench1/table.csv:proxy:1 \\
        --out evaluators/bench/nasseg_bench_v1.parquet --page docs/results/nasseg_bench/README.md

Each table is given as FILE:BUDGET:SEED; the budget is ``proxy``,
``full``, or ``screen`` for short trainings of other architectures. FILE:BUDGET:SEED:search is the
table of a search; what it has in common with the tables before it was drawn at random. A bench to
which the others are added is given as FILE.parquet alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasseg.cli import script_main
from nasseg.evaluators import NASSegBench
from nasseg.evaluators.base import Matrix
from nasseg.evaluators.bench import DRAWN, RANDOM, SEARCHED, make_bench, read_bench
from nasseg.evaluators.boosting import TREND, cross_validate, tau
from nasseg.evaluators.budgets import FULL, PROXY, SCREEN
from nasseg.evaluators.ensemble import coverage
from nasseg.evaluators.features import Features
from nasseg.evaluators.low_fidelity import fit_low_fidelity
from nasseg.evaluators.scores import FloatArray
from nasseg.io import write_text

TIMES = {"1 s": 1, "1 h": 3600, "1 day": 86_400, "30 days": 2_592_000, "1 year": 31_536_000}


def main() -> int:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", metavar="FILE:BUDGET:SEED|FILE.parquet")
    parser.add_argument("--space", default="unet")
    parser.add_argument("--out", required=True)
    parser.add_argument("--page", required=True)
    options = parser.parse_args()
    entries = []
    for text in options.tables:
        if Path(text).suffix == ".parquet":
            entries.append({"path": text, "space": options.space})
            continue
        drawn = SEARCHED if text.endswith(f":{SEARCHED}") else RANDOM
        told = text.removesuffix(f":{SEARCHED}")
        file, budget, seed = told.rsplit(":", 2) if told.count(":") > 1 else (told, "", "")
        known = budget in (PROXY, FULL, SCREEN) and seed.isdecimal()
        if not known or Path(file).suffix == ".parquet":
            parser.error(
                f"table is {text!r}; allowed: FILE:BUDGET:SEED, proxy, full or screen, or a "
                "bench, FILE.parquet"
            )
        entry = {"path": file, "space": options.space, "budget": budget, "seed": int(seed)}
        entries.append({**entry, DRAWN: drawn})
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    make_bench(entries, options.out)
    page = describe(NASSegBench(options.out), "python " + " ".join(sys.argv))
    write_text(options.page, page)
    sys.stdout.write(page)
    return 0


def describe(bench: NASSegBench, command: str) -> str:
    """What is in the bench and how well it can be predicted, as Markdown."""
    day1 = bench.values()
    see = Features(bench.space)
    plain_X = see.matrix(bench.matrix)
    screened: list[str] = []
    if SCREEN in bench.budgets:
        short = fit_low_fidelity(bench.path, see, bench.matrix)
        both = Features(bench.space, low_fidelity=short)
        X = both.matrix(bench.matrix)
        screened = [
            f"| short trainings of {short.facts['n']} other architectures alone | "
            f"{tau(day1, X[:, -1].astype(np.float64)):.3f} |",
            f"| surrogate with them as one more input | {cross_validate(X, day1)[0]:.3f} |",
            *hypercube_alone(X, day1, ~bench.searched),
            "| surrogate that follows a line over them first | "
            f"{cross_validate(X, day1, params={TREND: both.trend})[0]:.3f} |",
        ]
    plain = [
        np.asarray(plain_X[:, see.names.index(n)], dtype=np.float64)
        for n in ("log_params", "log_macs")
    ]
    noise = bench.noise()
    rows, found = bench.table, int(bench.searched.sum())
    others = {FULL: "at the full budget", SCREEN: "short ones"}
    counts = read_bench(bench.path).budget.value_counts()
    more = "".join(f", {counts[b]} {words}" for b, words in others.items() if b in counts)
    lines = [
        "# NASSeg-Bench v1\n",
        "```",
        command,
        "```\n",
        f"{len(bench)} architectures of `{bench.space.name}`, {len(bench) - found} of a Latin "
        f"hypercube and {found} that a search proposed; {len(rows)} trainings at the proxy budget "
        f"({rows.seconds.sum() / 3600:.1f} hours of one CPU core){more}.\n",
        "| | mean | least | most |",
        "|---|---|---|---|",
        *(
            f"| {label} | {v.mean():.3f} | {v.min():.3f} | {v.max():.3f} |"
            for label, v in [
                ("digital Dice", bench.values("digital")),
                *(
                    (f"Dice after {name}, recalibrated", bench.values(f"mean_{t}s"))
                    for name, t in TIMES.items()
                ),
                *(
                    (f"Dice after {name}, uncalibrated", bench.values(f"mean_{t}s_uncalibrated"))
                    for name, t in TIMES.items()
                ),
                ("chip-to-chip deviation at 1 day", bench.values("std")),
                ("parameters / 1000", bench.values("params") / 1000),
                ("seconds", bench.values("seconds")),
            ]
        ),
        "",
        "Kendall's tau with the Dice after a day:\n",
        "| | tau |",
        "|---|---|",
        f"| surrogate, held out (5 folds, 3 times) | {cross_validate(plain_X, day1)[0]:.3f} |",
        *hypercube_alone(plain_X, day1, ~bench.searched),
        *screened,
        f"| surrogate on the encoding alone | {cross_validate(bench.matrix, day1)[0]:.3f} |",
        f"| trees that learn the order of pairs | "
        f"{cross_validate(plain_X, day1, params={'objective': 'rank:pairwise'})[0]:.3f} |",
        f"| hyperparameters tuned inside the folds | "
        f"{cross_validate(plain_X, day1, repeats=1, tuned=True)[0]:.3f} |",
        f"| parameters alone | {tau(day1, plain[0]):.3f} |",
        f"| multiply-accumulates alone | {tau(day1, plain[1]):.3f} |",
        f"| another seed ({noise.several} architectures; deviation between seeds "
        f"{noise.deviation:.4f}) | {noise.agreement:.3f} |",
        f"| true values with single measurements, which follows from it: the noise ceiling | "
        f"{noise.ceiling:.3f} |",
        *full_budget(bench),
        "",
        f"Intervals of 90 % hold {coverage(plain_X, day1):.1%} of held-out architectures.",
        "",
    ]
    return "\n".join(lines)


def full_budget(bench: NASSegBench) -> list[str]:
    """The lines of the page on how the proxy orders what was trained to the end."""
    (tau_all, all_), (tau_drawn, drawn) = bench.proxy_tau(), bench.proxy_tau(drawn_only=True)
    lines = [f"| full budget ({all_} architectures) | {tau_all:.2f} |"]
    if all_ > drawn > 2:
        lines.append(f"| the same on the {drawn} of the hypercube alone | {tau_drawn:.2f} |")
    return lines


def hypercube_alone(X: Matrix, day1: FloatArray, drawn: NDArray[np.bool_]) -> list[str]:
    """The line of the page on how well those are ranked that no search proposed."""
    if drawn.all():
        return []
    rank = cross_validate(X[drawn], day1[drawn])[0]
    return [f"| the same on the {drawn.sum()} of the hypercube alone | {rank:.3f} |"]


if __name__ == "__main__":
    sys.exit(script_main(main))
