"""How many measurements does a search need? Strategies compared on a table, in seconds.

Every strategy may only ask for architectures of the table, and sees the score of those it asked
for; what it proposes beside the table becomes the nearest row that it has not asked for yet.

    python scripts/bench_search.py --out docs/results/bench_search
    python scripts/bench_search.py --drawn-only --out docs/results/bench_search_drawn
    python scripts/bench_search.py --table cifar10_dataset.csv --score 1_day_accuracy --batch 4 \\
        --out docs/results/bench_search_cifar10
    python scripts/bench_search.py --table my.csv --score accuracy --columns depth,width,kernel \\
        --out runs/mine
    python scripts/bench_search.py --table nb201_cifar10.csv --score val_accs --out runs/nb201 \\
        --categorical edge0,edge1,edge2,edge3,edge4,edge5

Without ``--table`` it is NASSeg-Bench. ``runs.csv`` in the folder of ``--out`` gets one row a
query, strategy by strategy and seed by seed; the same command continues.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from tqdm import tqdm

from nasseg.cli import script_main
from nasseg.errors import DataError
from nasseg.evaluators.boosting import LEAST_ROWS, fit_head, predict, tau
from nasseg.evaluators.cost import row_keys
from nasseg.io import write_bytes, write_text
from nasseg.records.bound import bind_settings
from nasseg.report.style import new_figure, strip_axes, style, to_png
from nasseg.search.measured.domain import TableDomain
from nasseg.search.measured.replay import replay
from nasseg.search.measured.strategies import (
    INITIAL,
    PROPOSERS,
    Strategy,
    SurrogateAssisted,
)
from nasseg.text import markdown_table, spread_text

OPTUNA = ("nsgaii", "tpe")
"""Samplers of Optuna, beside our strategies."""
LABELS = {
    "random": "random",
    "regularized": "regularised evolution",
    "analognas": "AnalogNAS evolution",
    "surrogate": "surrogate-assisted",
    "surrogate_short": "surrogate-assisted, short trainings known",
    "nsgaii": "NSGA-II (Optuna)",
    "tpe": "TPE (Optuna)",
}
WITH_SHORT = "surrogate_short"
"""Needs a bench with short trainings of other architectures (its budget ``screen``)."""
COLOURS = dict(zip(LABELS, ("0.55", "C1", "C2", "C3", "C6", "C4", "C0"), strict=True))
TOP = 0.01
"""Share of the table that counts as found."""
SPLITS = 5
"""Divisions of the table by which its prediction is scored."""


def main(words: list[str] | None = None) -> int:
    """Run what is missing, then write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", help="CSV; none = NASSeg-Bench")
    parser.add_argument("--bench", help="Parquet file of a bench; none = the shipped one")
    parser.add_argument(
        "--drawn-only", action="store_true", help="of the bench, without what a search proposed"
    )
    parser.add_argument("--score", default="day1", help="column to maximise")
    parser.add_argument("--columns", help="columns of the architecture; none = those before score")
    parser.add_argument(
        "--categorical", help="columns whose numbers have no order; those with words never have"
    )
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1, help="proposals between two fits")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--strategies", nargs="+", choices=list(LABELS), help="none = all there are"
    )
    parser.add_argument("--out", required=True)
    options = parser.parse_args(words)
    if options.table and (options.bench or options.drawn_only):
        parser.error("--table goes with neither --bench nor --drawn-only")
    if options.categorical and not options.table:
        parser.error("--categorical goes with --table only; a bench knows its own")
    return script_main(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Search the table, then write the page."""
    domain, scores, source, trend = (
        (*read_csv(options), None)
        if options.table
        else from_bench(options.bench, options.score, drawn_only=options.drawn_only)
    )
    if trend is None and WITH_SHORT in (options.strategies or ()):
        raise DataError(
            f"strategies is {WITH_SHORT}: {source} has no short trainings of other architectures"
        )
    possible = [name for name in LABELS if trend is not None or name != WITH_SHORT]
    options.strategies = options.strategies or possible
    options.trend = trend
    runs = run_all(domain, scores, options)
    ranked = ranked_by(domain, scores, trend)
    if options.table and domain.categorical:
        ranked += "\n" + order_text(domain, scores, min(options.queries, 4 * len(scores) // 5))
    report(runs, scores, source, ranked, options)


def from_bench(
    path: str | None, score: str, *, drawn_only: bool = False
) -> tuple[TableDomain, np.ndarray[Any, Any], str, int | None]:
    """A bench, the shipped one where ``path`` is none; and the column of its short trainings.

    Searches of the kind that proposed a part of it find that part more easily than their due;
    ``drawn_only`` leaves it out.
    """
    from nasseg.evaluators import NASSegBench
    from nasseg.evaluators.budgets import SCREEN
    from nasseg.evaluators.features import Features
    from nasseg.evaluators.low_fidelity import fit_low_fidelity

    bench = NASSegBench(path)
    see = Features(bench.space)
    if SCREEN in bench.budgets:
        short = fit_low_fidelity(bench.path, see, bench.matrix)
        see = Features(bench.space, low_fidelity=short)
    rows = ~bench.searched if drawn_only else np.ones(len(bench), dtype=bool)
    if not rows.any():
        raise DataError(f"{bench.path}: a search proposed all of it; nothing was drawn at random")
    categorical = {h.name for h in bench.space.hyperparameters if h.categorical}
    domain = TableDomain(
        bench.matrix[rows], bench.space.feature_names, see.matrix, see.groups, categorical
    )
    name = "NASSeg-Bench v1" if path is None else bench.path.name
    drawn = " drawn at random" if drawn_only else ""
    source = f"{name} ({rows.sum()} architectures{drawn}, {score})"
    return domain, bench.values(score)[rows], source, see.trend


def read_csv(options: argparse.Namespace) -> tuple[TableDomain, np.ndarray[Any, Any], str]:
    """A table of any space: words become the position of the word in their sorted order, and are
    categorical.

    An architecture that is there several times counts once, with the mean of its scores.
    """
    path, score = Path(options.table), options.score
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no readable CSV table: {error}") from None
    if score not in table:
        raise DataError(f"{path}: no column {score!r}; it has {', '.join(table)}")
    before = list(table)[: list(table).index(score)]
    names = options.columns.split(",") if options.columns else before
    named = options.categorical.split(",") if options.categorical else []
    missing = [name for name in [*names, *named] if name not in table]
    if missing or not names:
        raise DataError(f"{path}: no column {', '.join(missing) or 'of an architecture'}")
    words = {name for name in names if not pd.api.types.is_numeric_dtype(table[name])}
    coded = [
        table[name].astype(str).astype("category").cat.codes if name in words else table[name]
        for name in names
    ]
    X = np.stack([np.asarray(column, dtype=np.float32) for column in coded], axis=1)
    y = np.asarray(table[score], dtype=np.float64)
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise DataError(f"{path}: an architecture or a score is not a finite number")
    X, row = np.unique(X, axis=0, return_inverse=True)
    row = row.reshape(-1)
    mean = np.bincount(row, weights=y) / np.bincount(row)
    domain = TableDomain(X, names, categorical=words.union(named))
    return domain, mean, f"{path.name} ({len(X)} architectures, {score})"


def run_all(
    domain: TableDomain, scores: np.ndarray[Any, Any], options: argparse.Namespace
) -> pd.DataFrame:
    """Every strategy and seed that ``runs.csv`` does not have."""
    check_settings(domain, scores, options)
    file = Path(options.out) / "runs.csv"
    runs = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["strategy", "seed"])
    queries = min(options.queries, len(scores))
    todo = [
        (name, seed)
        for name in options.strategies
        for seed in range(options.seeds)
        if not ((runs.strategy == name) & (runs.seed == seed)).any()
    ]
    for name, seed in tqdm(todo, desc="searches"):
        begun = time.perf_counter()
        asked = (
            ask_optuna(name, domain, scores, queries, seed)
            if name in OPTUNA
            else replay(
                strategy_of(name, domain, options.trend),
                domain,
                scores,
                queries,
                batch=options.batch,
                seed=seed,
            )
        )
        part = pd.DataFrame({"strategy": name, "seed": seed, "query": range(1, queries + 1)})
        part["score"] = scores[asked]
        part["seconds"] = round(time.perf_counter() - begun, 2)
        runs = pd.concat([runs, part], ignore_index=True) if len(runs) else part
        write_text(file, runs.to_csv(index=False, float_format="%.6g"))
    return runs


def check_settings(
    domain: TableDomain, scores: np.ndarray[Any, Any], options: argparse.Namespace
) -> None:
    """Refuse a folder with searches on another table or with another budget."""
    seen = b"" if options.trend is None else domain.features(domain.X).tobytes()
    table = hashlib.sha256(domain.X.tobytes() + scores.tobytes() + seen).hexdigest()[:16]
    settings = {"table": table, "queries": options.queries, "batch": options.batch}
    if domain.categorical:
        settings["categorical"] = sorted(domain.categorical)
    bind_settings(options.out, settings, "searches")


def strategy_of(name: str, domain: TableDomain, trend: int | None) -> Strategy:
    """One of our strategies on a table; only that of the name sees the column ``trend``."""
    if name == WITH_SHORT:
        return SurrogateAssisted(domain, trend=trend)
    if trend is not None:
        see = domain.see
        domain = TableDomain(
            domain.X,
            domain.names,
            lambda X: np.delete(see(X), trend, axis=1),
            np.delete(domain.groups, trend),
            domain.categorical,
        )
    return PROPOSERS[name](domain)


def ask_optuna(
    name: str, domain: TableDomain, scores: np.ndarray[Any, Any], queries: int, seed: int
) -> list[int]:
    """Rows in the order in which a sampler of Optuna asks for them; each column is the choice of
    a position among its values, categorical where these have no order."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    make: dict[str, Callable[[], Any]] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, n_startup_trials=INITIAL),
        "nsgaii": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
    }
    study = optuna.create_study(direction="maximize", sampler=make[name]())
    rng = np.random.default_rng([seed, 1])
    asked: list[int] = []
    taken: set[bytes] = set()
    while len(asked) < queries:
        trial = study.ask()
        # The position among the values of the column, so that their order is known.
        chosen = [
            values[
                trial.suggest_categorical(column, list(range(len(values))))
                if column in domain.categorical
                else trial.suggest_int(column, 0, len(values) - 1)
            ]
            for column, values in zip(domain.names, domain.values, strict=True)
        ]
        row = domain.settle(np.array([chosen], dtype=np.float32), taken, rng)
        (key,) = row_keys(row)
        taken.add(key)
        asked.append(domain.row_of[key])
        # The score belongs to the row that was measured, not to what was proposed beside it.
        last = study.get_trials(deepcopy=False)[-1]
        places = [int(np.searchsorted(v, x)) for v, x in zip(domain.values, row[0], strict=True)]
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(zip(domain.names, places, strict=True)),
                distributions=last.distributions,
                value=float(scores[asked[-1]]),
                system_attrs=last.system_attrs,
            )
        )
    return asked


def ranked_by(domain: TableDomain, scores: np.ndarray[Any, Any], trend: int | None) -> str:
    """Return, in words, how well trees that are fitted to four fifths of the table rank the rest.

    They do not see short trainings. Empty where the table has too few rows.
    """
    X = domain.features(domain.X)
    X = X if trend is None else np.delete(X, trend, axis=1)
    if len(X) < 5 * LEAST_ROWS:
        return ""
    found = []
    for seed in range(SPLITS):
        rows = np.random.default_rng(seed).permutation(len(X))
        held, known = np.split(rows, [len(X) // 5])
        plain = xgb.XGBRegressor(random_state=seed, n_jobs=1).fit(X[known], scores[known])
        own = fit_head(X[known], scores[known], seed=seed)
        predicted = predict(own, X[held]), plain.predict(X[held]).astype(np.float64)
        found.append([tau(scores[held], one) for one in predicted])
    both = zip(np.mean(found, axis=0), np.std(found, axis=0), strict=True)
    own_text, plain_text = (spread_text(mean, std) for mean, std in both)
    return (
        f"Kendall's tau of a held-out fifth of the table ({SPLITS} splits): "
        f"{own_text} by the trees of a surrogate, {plain_text} by XGBoost's defaults.\n"
    )


def order_text(domain: TableDomain, scores: np.ndarray[Any, Any], count: int) -> str:
    """Return, in words, how trees fitted to ``count`` rows rank the rest, with a column for every
    value of categorical columns and with these as numbers. Empty where the rows are too few."""
    if count < LEAST_ROWS:
        return ""
    found = []
    for seed in range(4 * SPLITS):
        known, rest = np.split(np.random.default_rng(seed).permutation(len(scores)), [count])
        found.append(
            [
                tau(scores[rest], predict(fit_head(X[known], scores[known], seed=seed), X[rest]))
                for X in (domain.features(domain.X), domain.X)
            ]
        )
    both = zip(np.mean(found, axis=0), np.std(found, axis=0), strict=True)
    own_text, ordered_text = (spread_text(mean, std) for mean, std in both)
    return (
        f"Fitted to {count} rows ({4 * SPLITS} draws), trees rank the rest with a tau of "
        f"{own_text}, and of {ordered_text} where they see {', '.join(sorted(domain.categorical))} "
        "as numbers.\n"
    )


def report(
    runs: pd.DataFrame,
    scores: np.ndarray[Any, Any],
    source: str,
    ranked: str,
    options: argparse.Namespace,
) -> None:
    """``README.md`` and ``regret.png``."""
    out = Path(options.out)
    runs = runs[runs.strategy.isin(options.strategies) & (runs.seed < options.seeds)]
    best, top = scores.max(), np.sort(scores)[-max(1, round(TOP * len(scores)))]
    marks = [n for n in (20, 50, 100, 200) if n <= runs["query"].max()]
    lines = [
        f"# Searches compared on {source}\n",
        "```",
        "python " + " ".join(sys.argv),
        "```\n",
        f"{runs.seed.nunique()} seeds; the first {INITIAL} queries are random (20, its population, "
        "for NSGA-II; where short trainings are known, all but one are the best by them), then "
        f"{options.batch} at a time (Optuna's samplers: 1). Simple regret: best "
        f"score of the table ({best:.4f}) minus best found. Found: queries until one of the best "
        f"{TOP:.0%} ({(scores >= top).sum()} architectures from {top:.4f} on) was asked for.\n",
    ]
    floor = max(float(np.diff(np.sort(scores)[-2:])[0]) / 10, 1e-6)
    with style():
        figure = new_figure(7, 4.2)
        axis = strip_axes(figure.subplots())
    rows = []
    for name in [n for n in LABELS if n in set(runs.strategy)]:
        own = runs[runs.strategy == name].pivot(index="seed", columns="query", values="score")
        reached = (own >= top).to_numpy()
        first = np.where(reached.any(1), reached.argmax(1) + 1.0, np.inf)
        # The file has six digits of each score.
        regret = (best - own.cummax(axis=1)).clip(lower=0)
        # A logarithm has no place for those that found the best.
        shown = regret.clip(lower=floor)
        quarter = np.quantile(first, (0.25, 0.5, 0.75), method="inverted_cdf")
        texts = [f"{v:.0f}" if np.isfinite(v) else f"> {own.shape[1]}" for v in quarter]
        cells = [f"{regret[n].mean():.4f}" for n in marks]
        seconds = runs[runs.strategy == name].groupby("seed").seconds.first().mean()
        quartiles = f"{texts[0]} to {texts[2]}"
        rows.append([LABELS[name], texts[1], quartiles, *cells, f"{seconds:.1f}"])
        x = regret.columns.to_numpy()
        axis.plot(x, shown.mean(), color=COLOURS[name], label=LABELS[name])
        low, high = (shown.quantile(q) for q in (0.25, 0.75))
        axis.fill_between(x, low, high, color=COLOURS[name], alpha=0.12, linewidth=0)
    axis.set(xlabel="architectures measured", ylabel="simple regret", title=source)
    axis.set_xlim(1, runs["query"].max())
    axis.set_yscale("log")
    axis.legend(frameon=False)
    with style():
        write_bytes(out / "regret.png", to_png(figure))
    columns = ["strategy", "found, median", "quartiles", *(f"regret at {n}" for n in marks)]
    lines += [
        markdown_table(rows, [*columns, "seconds a search"]),
        "",
        "Lines are means over seeds, bands the quartiles.\n",
        "![regret](regret.png)\n",
        ranked,
    ]
    write_text(out / "README.md", "\n".join(lines))
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
