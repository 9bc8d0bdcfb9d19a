"""Where do searches end in the true ranking of a space that was trained to the last architecture?

    python scripts/bench_cells.py enumerate --task pneumoniamnist --data pneumoniamnist.npz \\
        --epochs 1 --out runs/cells
    python scripts/bench_cells.py compare --out runs/cells --score auc --darts-epochs 30

make the table and the picture of ``docs/results/cells``.

``enumerate`` trains every architecture of the space ``cells`` for a few epochs into a CSV, one row
a training, in an order that is random but fixed: what is there at any time is a fair sample. The
same command continues; several processes share the work with ``--shard 0/4`` to ``3/4``, and with
``--seed 1``, ``--seed 2`` all are trained once more into the same folder.

``compare`` runs DARTS on the images, and searches that measure on the table, and gives the share of
the architectures that each one's choice beats. A measurement is the look-up of one training, never
of the mean of several; the choice is ranked by the mean of the others. DARTS looks up the few that
its supernet proposes (``nasseg run --strategy darts --measure N``), beside as many random ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cells_table import (
    SCORES,
    SPLITS,
    averaged,
    best_of,
    enumerate_all,
    load_images,
    noise_text,
    placed,
    read_tables,
    seen,
)
from tqdm import tqdm

from nasseg.cli import script_main
from nasseg.config import DataConfig, SearchConfig, TrainConfig
from nasseg.errors import ConfigError, DataError
from nasseg.evaluators import XGBoostEvaluator
from nasseg.evaluators.boosting import LEAST_ROWS
from nasseg.evaluators.features import Features
from nasseg.evaluators.scores import Scores
from nasseg.files.readers import read_json
from nasseg.io import write_bytes, write_json, write_text
from nasseg.report.style import new_figure, strip_axes, style, to_png
from nasseg.search import EAOptimizer
from nasseg.search.darts.search import search_darts
from nasseg.search.measured.domain import TableDomain
from nasseg.search.measured.replay import replay
from nasseg.search.measured.strategies import PROPOSERS
from nasseg.search_spaces import CellsSpace
from nasseg.tasks import task_for
from nasseg.text import markdown_table
from nasseg.training.checkpoint import remove_checkpoint
from nasseg.training.device import select_device

SPLIT_NAMES = {"val": "validation", "test": "test"}
LABELS = {
    "few": "random, as few as DARTS",
    "random": "random",
    "evolution": "evolution on a surrogate",
    "regularized": "regularised evolution",
    "analognas": "AnalogNAS evolution",
    "surrogate": "surrogate-assisted",
    "darts": "DARTS",
    "darts_noise": "DARTS, weight noise",
}
COLOURS = dict(zip(LABELS, ("0.7", "0.45", "C5", "C1", "C2", "C3", "C0", "C4"), strict=True))
GENERATIONS = 40
"""Of the evolution on a surrogate."""
PROPOSED = 50
"""Architectures that are kept of a supernet's ranking, so that it need not be trained again to look
up more of them or fewer."""
TOP = 95.0
"""Percentile from which on a choice is one of the best."""


def main(words: list[str] | None = None) -> int:
    """Train what is missing, or compare."""
    options = _parser().parse_args(words)
    return script_main(lambda: options.work(options), threads=options.threads)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", required=True, help="folder of tables and results")
    common.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = as torch finds")
    common.add_argument("--device", default="auto")

    each = commands.add_parser("enumerate", parents=[common], help="train every architecture")
    each.add_argument("--task", default="classification", help="as in nasseg run")
    each.add_argument("--data", help="images; as in nasseg run")
    each.add_argument("--image-size", type=int, default=28)
    each.add_argument("--channels", type=int, default=1)
    each.add_argument("--epochs", type=int, default=8)
    each.add_argument("--batch-size", type=int, default=32)
    each.add_argument("--lr", type=float, default=5e-3)
    each.add_argument("--seed", type=int, default=0)
    each.add_argument("--shard", default="0/1", help="I/N: part I, from 0, of N")
    each.add_argument("--limit", type=int, help="only the first so many of the order")
    each.set_defaults(work=enumerate_all)

    both = commands.add_parser("compare", parents=[common], help="searches on the table")
    both.add_argument("--score", default="accuracy", choices=SCORES)
    both.add_argument("--queries", type=int, default=100, help="rows that a search may look up")
    both.add_argument("--seeds", type=int, default=10)
    both.add_argument("--strategies", nargs="+", default=list(LABELS), choices=list(LABELS))
    both.add_argument("--darts-epochs", type=int, default=250)
    both.add_argument("--darts-noise", type=float, default=0.06, help="of 'darts_noise'")
    both.add_argument(
        "--darts-candidates",
        type=int,
        default=SearchConfig().darts_candidates,
        help="architectures that DARTS scores at the end",
    )
    both.add_argument(
        "--darts-measure",
        type=int,
        default=10,
        help="of these, how many it looks up and takes the best of (and 'few' of random ones); "
        f"0 = the best by the supernet; at most {PROPOSED}",
    )
    both.add_argument("--partial", action="store_true", help="take a table that is not complete")
    both.set_defaults(work=compare)
    return parser


def compare(options: argparse.Namespace) -> None:
    """Every strategy and seed that ``runs.csv`` does not have; then the table and the picture."""
    out, space = Path(options.out), CellsSpace()
    every = table = read_tables(out)
    if not len(table) or not (out / "settings.json").exists():
        raise DataError(f"{out} has no table; make one with: bench_cells.py enumerate --out {out}")
    if not options.partial:
        counts = table["seed"].value_counts()
        table = table[table["seed"].isin(counts[counts == space.size()].index)]
        if not len(table):
            raise DataError(
                f"{out} has {counts.max()} of {space.size()} architectures; go on with "
                "`enumerate`, or take what is there with --partial"
            )
    truth = averaged(table)
    few = min(options.queries, len(truth))
    if options.seeds < 1 or few < LEAST_ROWS:
        raise ConfigError(
            f"--seeds is {options.seeds}, --queries {options.queries}, of {len(truth)} "
            "architectures that were trained with every seed there; allowed: 1 or more seeds, "
            f"{LEAST_ROWS} or more of the others"
        )
    if not 0 <= options.darts_measure <= PROPOSED:
        raise ConfigError(f"--darts-measure is {options.darts_measure}; allowed: 0 to {PROPOSED}")
    runs = read_runs(out, options, table)
    todo = [
        (name, seed)
        for name in options.strategies
        if name != "few" or options.darts_measure
        for seed in range(options.seeds)
        if not ((runs["strategy"] == name) & (runs["seed"] == seed)).any()
    ]
    darts = _darts(out, space, options) if any(n.startswith("darts") for n, _ in todo) else None
    for name, seed in tqdm(todo, desc="searches"):
        begun = time.perf_counter()
        row: dict[str, Any] = {"strategy": name, "seed": seed}
        if name.startswith("darts") and darts is not None:
            noise = options.darts_noise if name == "darts_noise" else 0.0
            ranked = darts(noise, seed, out / f"{name}_{seed}.ckpt")
            row |= {"arch_id": ranked[0], "seconds": round(time.perf_counter() - begun, 1)}
            row["proposed"] = " ".join(ranked)
        else:
            queries = options.queries if name != "few" else options.darts_measure
            own = seen(table, truth, seed)
            arch_id, seconds = look_up(name, space, own, options.score, queries, seed)
            row |= {"arch_id": arch_id, "seconds": round(seconds, 1)}
        new = pd.DataFrame([row])
        runs = pd.concat([runs, new], ignore_index=True) if len(runs) else new
        write_text(out / "runs.csv", runs.to_csv(index=False))
        remove_checkpoint(out / f"{name}_{seed}.ckpt")
    runs = measured(runs, table, truth, options)
    report(table, truth, runs, options, noise_text(every, truth, options.score))


def read_runs(out: Path, options: argparse.Namespace, table: pd.DataFrame) -> pd.DataFrame:
    """The searches that were done with these settings; ``compare.json`` has the settings.

    Raises:
        ConfigError: there are supernets of others, which took long.
    """
    settings = {
        "darts": {
            "epochs": options.darts_epochs,
            "candidates": options.darts_candidates,
            "score": options.score,
        },
        "darts_noise": options.darts_noise,
        "table": {
            "score": options.score,
            "queries": options.queries,
            "few": options.darts_measure,
            "trainings": len(table),
        },
    }
    none = pd.DataFrame(columns=["strategy", "seed", "arch_id", "seconds", "proposed"])
    file, known = out / "runs.csv", out / "compare.json"
    runs = pd.read_csv(file, dtype={"arch_id": str, "proposed": str}) if file.exists() else none
    before = read_json(known) if known.exists() else settings
    long = runs["strategy"].str.startswith("darts") if len(runs) else []
    keys = ("darts", "darts_noise")
    if len(runs[long]) and any(before.get(key) != settings[key] for key in keys):
        raise ConfigError(
            f"{out} holds supernets trained with {[before.get(key) for key in keys]}, these would "
            f"be with {[settings[key] for key in keys]} (settings, noise of 'darts_noise'); remove "
            "compare.json and runs.csv to compare from scratch"
        )
    write_json(known, settings)
    # A look-up takes no time.
    return runs if before.get("table") == settings["table"] else runs[long]


def _darts(
    out: Path, space: CellsSpace, options: argparse.Namespace
) -> Callable[[float, int, Path], list[str]]:
    """A function of noise, seed and checkpoint that searches the images of the table, and gives
    what is best by the supernet, the best first."""
    settings = read_json(out / "settings.json")
    data = load_images(DataConfig(**settings["data"]))
    if data.fingerprint != settings["fingerprint"]:
        raise DataError(f"{data.source} has changed since the table in {out} was made")
    # What its history is scored by, and what is looked up; its proposals are decided by the loss.
    train = TrainConfig(**{**settings["train"], "monitor": options.score})
    device = select_device(options.device)
    config = SearchConfig(
        strategy="darts", space="cells", darts_epochs=options.darts_epochs,
        darts_candidates=options.darts_candidates,
    )  # fmt: skip

    def search(noise: float, seed: int, checkpoint: Path) -> list[str]:
        own = dataclasses.replace(config, darts_noise=noise)
        task = task_for(data, train)
        found = search_darts(
            space, data, task, own, train, seed=seed, device=device, checkpoint=checkpoint,
            propose=PROPOSED,
        )  # fmt: skip
        return [space.arch_id(entry.arch) for entry in found.ranked[:PROPOSED]]

    return search


def measured(
    runs: pd.DataFrame, table: pd.DataFrame, truth: pd.DataFrame, options: argparse.Namespace
) -> pd.DataFrame:
    """The runs, those of DARTS with the best of the first that they proposed, and its seconds."""
    rows = runs.to_dict("records")
    for row in rows if options.darts_measure else ():
        if row["strategy"].startswith("darts"):
            proposed = str(row["proposed"]).split()[: options.darts_measure]
            own = seen(table, truth, row["seed"])
            if own["arch_id"].isin(proposed).any():
                row["arch_id"], more = best_of(own, proposed, options.score)
                row["seconds"] += more
    return pd.DataFrame(rows, columns=runs.columns)


def look_up(
    name: str, space: CellsSpace, table: pd.DataFrame, score: str, queries: int, seed: int
) -> tuple[str, float]:
    """The best architecture that a search found on the table, and what measuring would take.

    It sees the validation score of the rows it asks for.
    """
    archs = table[space.feature_names].to_dict("records")
    value = table[f"val_{score}"].to_numpy(dtype=np.float64)
    if name == "evolution":
        rng = np.random.default_rng(seed)
        asked = rng.choice(len(table), min(queries, len(table)), replace=False).tolist()
        arch = evolved(space, [archs[row] for row in asked], value[asked], seed)
        return space.arch_id(arch), float(table["seconds"].to_numpy()[asked].sum())
    categorical = {h.name for h in space.hyperparameters if h.categorical}
    features = Features(space)
    domain = TableDomain(
        space.encode(archs), space.feature_names, features.matrix, features.groups, categorical
    )
    strategy = PROPOSERS["random" if name == "few" else name](domain)
    asked = replay(strategy, domain, value, queries, seed=seed)
    return best_of(table, table["arch_id"][asked].tolist(), score)


def evolved(
    space: CellsSpace, archs: list[dict[str, Any]], value: np.ndarray[Any, Any], seed: int
) -> dict[str, Any]:
    """Return the best that AnalogNAS's evolution finds on a surrogate of these measurements."""
    # Digital networks: nothing varies over time or chips.
    nothing = np.zeros(len(value))
    scores = Scores.of(len(value), day1=value, avm=nothing, std=nothing)
    surrogate = XGBoostEvaluator(space).fit(archs, scores, seed, repeats=0)
    search = EAOptimizer(surrogate, nb_iter=GENERATIONS, seed=seed, progress=False)
    return search.run(space)[0]


def report(
    table: pd.DataFrame,
    truth: pd.DataFrame,
    runs: pd.DataFrame,
    options: argparse.Namespace,
    noise: str,
) -> None:
    """``README.md`` and ``ranks.png``; the same on the terminal."""
    out, score = Path(options.out), options.score
    splits = [split for split in SPLITS if f"{split}_{score}" in truth]
    runs = runs[runs["strategy"].isin(options.strategies) & (runs["seed"] < options.seeds)]
    places = [placed(run, table, truth, score, splits) for run in runs.itertuples()]
    runs = runs.reset_index(drop=True).join(pd.DataFrame(places, dtype=np.float64))
    trainings = table["seed"].nunique()
    lucky = (
        "what a search saw is not in the mean that its choice is ranked by"
        if trainings > 1
        else "with one training, a search that looks up owes some of its validation percentile "
        "to luck"
    )
    few = (
        f" ({options.darts_measure} where few are random)" if "few" in set(runs["strategy"]) else ""
    )
    darts = (
        f"; DARTS sees the images for {options.darts_epochs} epochs and looks up the "
        f"{options.darts_measure} that it expects most of"
        if runs["strategy"].str.startswith("darts").any()
        else ""
    )
    lines = [
        "# Searches compared on the whole space `cells`\n",
        "```",
        "python " + " ".join(sys.argv),
        "```\n",
        f"{len(truth)} architectures, each trained alone {_times(trainings)}; {options.seeds} "
        f"seeds. Searches on the table look up the validation {score} of "
        f"{min(options.queries, len(truth))} single trainings{few}{darts}. Percentile: share of "
        f"the architectures that the choice beats in the mean {score} of trainings (ties count "
        f"half; {lucky}).\n",
        noise,
    ]
    shown = [name for name in LABELS if name in set(runs["strategy"])]
    columns = [
        "strategy",
        *(f"{split} percentile, median (quartiles)" for split in splits),
        *(f"of the best {100 - TOP:.0f} %, {split}" for split in splits),
        *(f"{split} {score}, mean" for split in splits),
        "seconds",
    ]
    by_strategy = {name: runs[runs["strategy"] == name] for name in shown}
    rows = [[LABELS[name], *_cells(own, splits)] for name, own in by_strategy.items()]
    lines.append(markdown_table(rows, columns))
    if missing := int(runs[f"place_{splits[0]}"].isna().sum()):
        lines += ["", f"{missing} choices are not in the table, which is not complete."]
    lines += ["", "A dot is a seed, a line the median.\n", "![ranks](ranks.png)", ""]
    write_text(out / "README.md", "\n".join(lines))
    sys.stdout.write("\n".join(lines))
    with style():
        write_bytes(out / "ranks.png", to_png(draw(by_strategy, splits, score)))


def _cells(own: pd.DataFrame, splits: list[str]) -> list[str]:
    """The row of a strategy, without its name."""
    known = own[own[f"place_{splits[0]}"].notna()]
    quartiles = [known[f"place_{split}"].quantile([0.25, 0.5, 0.75]) for split in splits]
    return [
        *(
            f"{middle:.0f} ({low:.0f} to {high:.0f})" if len(known) else "not in the table"
            for low, middle, high in quartiles
        ),
        *(f"{(known[f'place_{split}'] >= TOP).sum()} of {len(own)}" for split in splits),
        *(f"{known[f'value_{split}'].mean():.3f}" if len(known) else "" for split in splits),
        f"{own['seconds'].mean():.0f}",
    ]


def draw(by_strategy: dict[str, pd.DataFrame], splits: list[str], score: str) -> Any:
    """Percentiles of the choices: a panel for each split, a row for each strategy."""
    figure = new_figure(4.6 * len(splits), 3.4)
    axes = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    name = score.upper() if score == "auc" else score
    for split, axis in zip(splits, axes, strict=True):
        for row, (strategy, own) in enumerate(by_strategy.items()):
            places = own[f"place_{split}"].dropna().to_numpy()
            if not len(places):
                continue
            # A little apart, so that equal ones are seen.
            y = row + np.linspace(-0.18, 0.18, len(places)) if len(places) > 1 else row
            axis.scatter(places, y, s=22, color=COLOURS[strategy], alpha=0.8, linewidths=0)
            axis.plot([np.median(places)] * 2, [row - 0.32, row + 0.32], color="0.2", linewidth=1.5)
        axis.set(xlabel=f"percentile of the {SPLIT_NAMES[split]} {name}", xlim=(-2, 102))
        axis.axvline(50, color="0.8", linewidth=1, zorder=0)
        axis.axvline(TOP, color="0.8", linewidth=1, linestyle=":", zorder=0)
        axis.set_yticks(range(len(by_strategy)), [LABELS[name] for name in by_strategy])
        strip_axes(axis)
    axes[0].invert_yaxis()
    return figure


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


if __name__ == "__main__":
    sys.exit(main())
