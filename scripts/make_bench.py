"""NASSeg-Bench from the tables of ``nasseg label``: one Parquet file, and a page that describes it.

    python scripts/make_bench.py runs/bench/table.csv:proxy:0 runs/bench1/table.csv:proxy:1 \\
        --out evaluators/bench/nasseg_bench_v1.parquet --page docs/results/nasseg_bench/README.md

makes the bench that is shipped, and its page, which has the whole command. Each table is given as
FILE:BUDGET:SEED; the budget is ``proxy``, ``full``, or ``screen`` for short trainings of other
architectures. FILE:BUDGET:SEED:search is the table of a search; what it has in common with the
tables before it was drawn at random. A bench to which the others are added is given as FILE.parquet
alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nasseg.cli import script_main
from nasseg.evaluators import NASSegBench
from nasseg.evaluators.base import Matrix
from nasseg.evaluators.bench import DRAWN, RANDOM, SEARCHED, make_bench, read_bench
from nasseg.evaluators.boosting import TREND, cross_validate, tau
from nasseg.evaluators.budgets import FULL, PROXY, SCREEN
from nasseg.evaluators.ensemble import coverage
from nasseg.evaluators.features import Features
from nasseg.evaluators.low_fidelity import fit_low_fidelity
from nasseg.io import write_text
from nasseg.text import markdown_table

TIMES = {"1 s": 1, "1 h": 3600, "1 day": 86_400, "30 days": 2_592_000, "1 year": 31_536_000}


def main(words: list[str] | None = None) -> int:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", metavar="FILE:BUDGET:SEED|FILE.parquet")
    parser.add_argument("--space", default="unet")
    parser.add_argument("--out", required=True)
    parser.add_argument("--page", required=True)
    options = parser.parse_args(words)
    entries: list[dict[str, Any]] = []
    for text in options.tables:
        if Path(text).suffix == ".parquet":
            entries.append({"path": text, "space": options.space})
            continue
        drawn = SEARCHED if text.endswith(f":{SEARCHED}") else RANDOM
        rest = text.removesuffix(f":{SEARCHED}")
        file, budget, seed = rest.rsplit(":", 2) if rest.count(":") > 1 else (rest, "", "")
        known = budget in (PROXY, FULL, SCREEN) and seed.isdecimal()
        if not known or Path(file).suffix == ".parquet":
            parser.error(
                f"table is {text!r}; allowed: FILE:BUDGET:SEED, proxy, full or screen, or a "
                "bench, FILE.parquet"
            )
        entry = {"path": file, "space": options.space, "budget": budget, "seed": int(seed)}
        entries.append({**entry, DRAWN: drawn})
    return script_main(lambda: write(entries, options.out, options.page))


def write(entries: list[dict[str, Any]], out: str, page: str) -> None:
    """Write the Parquet file and the page."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    make_bench(entries, out)
    text = describe(NASSegBench(out), "python " + " ".join(sys.argv))
    write_text(page, text)
    sys.stdout.write(text)


def describe(bench: NASSegBench, command: str) -> str:
    """Return the contents of the bench, and how well it can be predicted, as Markdown."""
    rows, found = bench.table, int(bench.searched.sum())
    others = {FULL: "at the full budget", SCREEN: "short ones"}
    counts = read_bench(bench.path).budget.value_counts()
    more = "".join(f", {counts[b]} {words}" for b, words in others.items() if b in counts)
    X = Features(bench.space).matrix(bench.matrix)
    return (
        f"# NASSeg-Bench v1\n\n```\n{command}\n```\n\n"
        f"{len(bench)} architectures of `{bench.space.name}`, {len(bench) - found} of a Latin "
        f"hypercube and {found} that a search proposed; {len(rows)} trainings at the proxy budget "
        f"({rows.seconds.sum() / 3600:.1f} hours of one CPU core){more}.\n\n"
        f"{markdown_table(ranges(bench), ['', 'mean', 'least', 'most'])}\n\n"
        "Kendall's tau with the Dice after a day:\n\n"
        f"{markdown_table(ranks(bench), ['', 'tau'])}\n\n"
        f"Intervals of 90 % hold {coverage(X, bench.values()):.1%} of held-out architectures.\n"
    )


def ranges(bench: NASSegBench) -> list[list[str]]:
    """Mean, least and most of what was measured."""
    values = {"digital Dice": bench.values("digital")}
    for state, suffix in (("recalibrated", ""), ("uncalibrated", "_uncalibrated")):
        for name, t in TIMES.items():
            values[f"Dice after {name}, {state}"] = bench.values(f"mean_{t}s{suffix}")
    values["chip-to-chip deviation at 1 day"] = bench.values("std")
    values["parameters / 1000"] = bench.values("params") / 1000
    values["seconds"] = bench.values("seconds")
    return [
        [label, *(f"{value:.3f}" for value in (v.mean(), v.min(), v.max()))]
        for label, v in values.items()
    ]


def ranks(bench: NASSegBench) -> list[tuple[str, str]]:
    """Kendall's tau of several predictions with the Dice after a day."""
    day1, drawn, see = bench.values(), ~bench.searched, Features(bench.space)
    X = see.matrix(bench.matrix)

    def fitted(X: Matrix, **how: Any) -> str:
        return f"{cross_validate(X, day1, **how)[0]:.3f}"

    def alone(X: Matrix) -> list[tuple[str, str]]:
        if drawn.all():
            return []
        rank = cross_validate(X[drawn], day1[drawn])[0]
        return [(f"the same on the {drawn.sum()} of the hypercube alone", f"{rank:.3f}")]

    def column(X: Matrix, place: int) -> str:
        return f"{tau(day1, np.asarray(X[:, place], dtype=np.float64)):.3f}"

    screened: list[tuple[str, str]] = []
    if SCREEN in bench.budgets:
        short = fit_low_fidelity(bench.path, see, bench.matrix)
        both = Features(bench.space, low_fidelity=short)
        known = both.matrix(bench.matrix)
        others = f"short trainings of {short.facts['n']} other architectures alone"
        screened = [
            (others, column(known, -1)),
            ("surrogate with them as one more input", fitted(known)),
            *alone(known),
            (
                "surrogate that follows a line over them first",
                fitted(known, params={TREND: both.trend}),
            ),
        ]
    noise = bench.noise()
    again = f"{noise.several} architectures; deviation between seeds {noise.deviation:.4f}"
    ceiling = "true values with single measurements, which follows from it: the noise ceiling"
    return [
        ("surrogate, held out (5 folds, 3 times)", fitted(X)),
        *alone(X),
        *screened,
        ("surrogate on the encoding alone", fitted(bench.matrix)),
        ("trees that learn the order of pairs", fitted(X, params={"objective": "rank:pairwise"})),
        ("hyperparameters tuned inside the folds", fitted(X, repeats=1, tuned=True)),
        ("parameters alone", column(X, see.names.index("log_params"))),
        ("multiply-accumulates alone", column(X, see.names.index("log_macs"))),
        (f"another seed ({again})", f"{noise.agreement:.3f}"),
        (ceiling, f"{noise.ceiling:.3f}"),
        *full_budget(bench),
    ]


def full_budget(bench: NASSegBench) -> list[tuple[str, str]]:
    """Tau of the proxy with what was trained to the end."""
    (tau_all, all_), (tau_drawn, drawn) = bench.proxy_tau(), bench.proxy_tau(drawn_only=True)
    rows = [(f"full budget ({all_} architectures)", f"{tau_all:.2f}")]
    if all_ > drawn > 2:
        rows.append((f"the same on the {drawn} of the hypercube alone", f"{tau_drawn:.2f}"))
    return rows


if __name__ == "__main__":
    sys.exit(main())
