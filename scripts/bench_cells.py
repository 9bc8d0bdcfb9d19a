"""Where do searches end in the true ranking of a space that was trained to the last architecture?

    python scripts/bench_cells.py enumerate --task breastmnist --data breastmnist.npz --out runs/c
    python scripts/bench_cells.py compare --out runs/c

``enumerate`` trains every architecture of the space ``cells`` for a few epochs into a CSV, one row
a training, in an order that is random but fixed: what is there at any time is a fair sample. The
same command continues; several processes share the work with ``--shard 0/4`` to ``3/4``, and with
``--seed 1``, ``--seed 2`` all are trained once more into the same folder.

``compare`` runs DARTS on the images, and searches that measure on the table, and says which share
of the architectures each one's choice beats. A measurement is the look-up of one training, never of
the mean of several; the choice is ranked by the mean of the others. DARTS looks up the few that its
supernet proposes (``nasseg run --strategy darts --measure N``), beside as many random ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau
from tqdm import tqdm

from nasseg.cli import script_main
from nasseg.config import DataConfig, SearchConfig, TrainConfig
from nasseg.data import ClassificationData, load_data
from nasseg.errors import ConfigError, DataError
from nasseg.evaluators import XGBoostEvaluator
from nasseg.evaluators.boosting import LEAST_ROWS
from nasseg.evaluators.cost import row_keys
from nasseg.evaluators.scores import Scores
from nasseg.io import read_json, write_json, write_text
from nasseg.search import EAOptimizer
from nasseg.search.darts.search import search_darts
from nasseg.search.measured.domain import TableDomain
from nasseg.search.measured.strategies import INITIAL, PROPOSERS, History
from nasseg.search_spaces import CellsSpace
from nasseg.tasks import task_for
from nasseg.training import evaluate
from nasseg.training.recipe import initialise, select_device, train_digital

ORDER_SEED = 0
"""Of the order in which architectures are trained."""
SCORES = ("accuracy", "auc")
SIDE_NAMES = {"val": "validation", "test": "test"}
SIDES = tuple(SIDE_NAMES)
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
LEAST_SHARED = 10
"""Architectures that two seeds must share to tell how well they agree."""
PROPOSED = 50
"""Architectures that are kept of a supernet's ranking, so that it need not be trained again to look
up more of them or fewer."""
TOP = 95.0
"""Percentile from which on a choice is one of the best."""


def main(words: list[str] | None = None) -> int:
    """Train what is missing, or compare."""
    options = _parser().parse_args(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    return script_main(lambda: options.work(options), "bench_cells")


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


# --- every architecture -------------------------------------------------------------------------


def enumerate_all(options: argparse.Namespace) -> None:
    """Train the architectures of a shard that no table of the folder has."""
    part, parts = _shard(options.shard)
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit is {options.limit}; allowed: 1 or more")
    data_config = DataConfig(
        task=options.task,
        path=options.data,
        image_size=options.image_size,
        channels=options.channels,
    )
    train = TrainConfig(
        epochs=options.epochs,
        eval_every=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
    )
    device = select_device(options.device)
    data = _images(data_config)
    out = Path(options.out)
    _bind(out, data_config, train, data)
    space = CellsSpace()
    order = np.random.default_rng(ORDER_SEED).permutation(space.size())[: options.limit]
    archs = list(space.enumerate())
    mine = [archs[k] for place, k in enumerate(order.tolist()) if place % parts == part]
    name = f"table_seed{options.seed}_{part}of{parts}.csv"
    known = read_tables(out)
    done = set(known["arch_id"][known["seed"] == options.seed]) if len(known) else set()
    own = (
        pd.read_csv(out / name, dtype={"arch_id": str}) if (out / name).exists() else pd.DataFrame()
    )
    rows: list[dict[str, Any]] = own.to_dict("records")
    todo = [arch for arch in mine if space.arch_id(arch) not in done]
    for arch in tqdm(todo, desc=f"cells {options.shard}", unit="arch"):
        rows.append(measure(space, arch, data, train, options.seed, device))
        # Whole each time, so that a killed process leaves whole rows.
        write_text(out / name, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
    total = pd.DataFrame(rows)
    if len(total):
        sys.stdout.write(
            f"{out / name}: {len(total)} architectures, {total['seconds'].mean():.1f} s each "
            f"(median {total['seconds'].median():.1f}); all {space.size()} would take "
            f"{total['seconds'].mean() * space.size() / 60:.0f} min in one process\n"
        )


def measure(
    space: CellsSpace,
    arch: dict[str, Any],
    data: ClassificationData,
    train: TrainConfig,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """One row: architecture, size, scores of both sides, seconds."""
    begun = time.perf_counter()
    task = task_for(data, train)
    net = initialise(
        lambda own: space.build(arch, data.in_channels, task.out_channels, seed=own), seed, device
    )
    scores = {"val": train_digital(net, data, task, train, seed=seed).metrics}
    if "test" in data.ids:
        scores["test"] = evaluate(net.eval(), data.loader("test", train.batch_size), task)
    X = space.encode([arch])
    size = (data.size, data.size)
    table = space.layer_table(X, data.in_channels, task.out_channels, size)
    return {
        "arch_id": space.arch_id(arch),
        "seed": seed,
        **arch,
        "params": int(table.params()[0]),
        "macs": int(table.macs()[0]),
        **{f"{side}_{name}": scores[side][name] for side in scores for name in SCORES},
        "seconds": round(time.perf_counter() - begun, 3),
    }


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = (int(n) for n in match.groups()) if match else (0, 0)
    if not 0 <= part < parts:
        raise ConfigError(f"--shard is {text!r}; allowed: I/N with I from 0 to N - 1, as in 0/4")
    return part, parts


def _images(config: DataConfig) -> ClassificationData:
    if config.kind != "classification":
        raise ConfigError(
            f"--task is {config.task!r}; allowed: classification, or a set of MedMNIST"
        )
    data = load_data(config)
    if not isinstance(data, ClassificationData):
        raise DataError(f"{data.source} has no classes of images")
    return data


def _bind(out: Path, data_config: DataConfig, train: TrainConfig, data: ClassificationData) -> None:
    """Refuse a folder whose tables are of other images or another budget."""
    settings = {
        "data": dataclasses.asdict(data_config),
        "fingerprint": data.fingerprint,
        "train": dataclasses.asdict(train),
        "space": f"{CellsSpace.base_name} v{CellsSpace.version}",
    }
    file = out / "settings.json"
    if not file.exists():
        write_json(file, settings)
        return
    known = read_json(file)
    # Where the images lie does not matter; what they are does.
    for each in (known, settings):
        each["data"] = {**each["data"], "path": None}
    changed = [key for key in settings if known.get(key) != settings[key]]
    if changed:
        raise ConfigError(
            f"{out} holds a table of other settings ({', '.join(changed)}: {file}); choose another "
            "--out"
        )


def read_tables(out: Path) -> pd.DataFrame:
    """All tables of a folder as one, every training once, in the order of id and seed."""
    try:
        tables = [
            pd.read_csv(file, dtype={"arch_id": str})
            for file in sorted(out.glob("table_seed*_*of*.csv"))
        ]
    except (OSError, ValueError) as error:
        raise DataError(f"{out}: a table cannot be read: {error}") from None
    if not tables:
        return pd.DataFrame()
    whole = pd.concat(tables, ignore_index=True).drop_duplicates(["arch_id", "seed"])
    return whole.sort_values(["arch_id", "seed"], ignore_index=True)


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each architecture that was trained with every seed of the table: means."""
    each = table.groupby("arch_id")
    whole = table[each["seed"].transform("size") == table["seed"].nunique()]
    means = whole.groupby("arch_id")[_scored(table)].mean().reset_index()
    archs = whole.drop_duplicates("arch_id").drop(columns=["seed", "seconds", *_scored(table)])
    return archs.merge(means, on="arch_id")


def _scored(table: pd.DataFrame) -> list[str]:
    """The columns of scores."""
    return [f"{side}_{score}" for side in SIDES for score in SCORES if f"{side}_{score}" in table]


# --- searches -----------------------------------------------------------------------------------


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
        (out / f"{name}_{seed}.ckpt").unlink(missing_ok=True)
    runs = measured(runs, table, truth, options)
    report(table, truth, runs, options, told_of_noise(every, truth, options.score))


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
            "compare.json and runs.csv to compare anew"
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
    data = _images(DataConfig(**settings["data"]))
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


def training_of(table: pd.DataFrame, seed: int) -> int:
    """Seed of the trainings that a search with this seed sees: each in turn."""
    trainings = sorted(table["seed"].unique())
    return int(trainings[seed % len(trainings)])


def seen(table: pd.DataFrame, truth: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What a search with this seed measures: of every architecture the training with one seed."""
    one = table[table["seed"] == training_of(table, seed)]
    return one[one["arch_id"].isin(truth["arch_id"])].reset_index(drop=True)


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


def best_of(table: pd.DataFrame, arch_ids: list[str], score: str) -> tuple[str, float]:
    """The best of these that the table has, of equals the first; and what measuring would take."""
    own = table.set_index("arch_id")
    own = own.loc[[arch_id for arch_id in arch_ids if arch_id in own.index]]
    return str(own[f"val_{score}"].idxmax()), float(own["seconds"].sum())


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
    domain = TableDomain(space.encode(archs), space.feature_names)
    strategy = PROPOSERS["random" if name == "few" else name](domain)
    asked = []
    while len(asked) < min(queries, len(table)):
        rng = np.random.default_rng([seed, len(asked)])
        count = 1 if asked else min(INITIAL, queries, len(table))
        rows = strategy.propose(History(domain.X[asked], value[asked]), count, rng)
        asked += [domain.row_of[key] for key in row_keys(rows)]
    return best_of(table, table["arch_id"][asked].tolist(), score)


def evolved(
    space: CellsSpace, archs: list[dict[str, Any]], value: np.ndarray[Any, Any], seed: int
) -> dict[str, Any]:
    """What AnalogNAS's evolution finds on a surrogate of so many measurements."""
    # Digital networks: nothing varies over time or chips.
    nothing = np.zeros(len(value))
    scores = Scores.of(len(value), day1=value, avm=nothing, std=nothing)
    surrogate = XGBoostEvaluator(space).fit(archs, scores, seed, repeats=0)
    search = EAOptimizer(surrogate, nb_iter=GENERATIONS, seed=seed, progress=False)
    return search.run(space)[0]


def percentiles(values: Any) -> np.ndarray[Any, Any]:
    """Share of the others that each value beats, in percent; equal ones count half."""
    ranks = pd.Series(values).rank(method="average").to_numpy()
    found: np.ndarray[Any, Any] = 100.0 * (ranks - 1) / max(1, len(values) - 1)
    return found


def report(
    table: pd.DataFrame,
    truth: pd.DataFrame,
    runs: pd.DataFrame,
    options: argparse.Namespace,
    noise: str,
) -> None:
    """``README.md`` and ``ranks.png``; the same on the terminal."""
    out, score = Path(options.out), options.score
    sides = [side for side in SIDES if f"{side}_{score}" in truth]
    runs = runs[runs["strategy"].isin(options.strategies) & (runs["seed"] < options.seeds)]
    places = [placed(run, table, truth, score, sides) for run in runs.itertuples()]
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
    head = [f"{side} percentile, median (quartiles)" for side in sides]
    head += [f"of the best {100 - TOP:.0f} %, {side}" for side in sides]
    head += [f"{side} {score}, mean" for side in sides]
    lines += [
        "| strategy | " + " | ".join(head) + " | seconds |",
        "|---" * (len(head) + 2) + "|",
    ]
    figure, axes = plt.subplots(
        1, len(sides), figsize=(4.6 * len(sides), 3.4), sharey=True, squeeze=False,
        constrained_layout=True,
    )  # fmt: skip
    shown = [name for name in LABELS if name in set(runs["strategy"])]
    missing = runs[runs[f"place_{sides[0]}"].isna()]
    for row, name in enumerate(shown):
        own = runs[(runs["strategy"] == name) & runs[f"place_{sides[0]}"].notna()]
        cells = []
        for side, axis in zip(sides, axes[0], strict=True):
            places = own[f"place_{side}"].to_numpy()
            if not len(places):
                cells.append("not in the table")
                continue
            low, middle, high = np.quantile(places, (0.25, 0.5, 0.75))
            cells.append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
            # A little apart, so that equal ones are seen.
            y = row + np.linspace(-0.18, 0.18, len(places)) if len(places) > 1 else row
            axis.scatter(places, y, s=22, color=COLOURS[name], alpha=0.8, linewidths=0)
            axis.plot([middle, middle], [row - 0.32, row + 0.32], color="0.2", linewidth=1.5)
        for side in sides:
            best = (own[f"place_{side}"] >= TOP).sum()
            cells.append(f"{best} of {(runs['strategy'] == name).sum()}")
        for side in sides:
            cells.append(f"{own[f'value_{side}'].mean():.3f}" if len(own) else "")
        seconds = runs[runs["strategy"] == name]["seconds"].mean()
        lines.append(f"| {LABELS[name]} | {' | '.join(cells)} | {seconds:.0f} |")
    for side, axis in zip(sides, axes[0], strict=True):
        name = score.upper() if score == "auc" else score
        axis.set(xlabel=f"percentile of the {SIDE_NAMES[side]} {name}", xlim=(-2, 102))
        axis.axvline(50, color="0.8", linewidth=1, zorder=0)
        axis.axvline(TOP, color="0.8", linewidth=1, linestyle=":", zorder=0)
        axis.set_yticks(range(len(shown)), [LABELS[name] for name in shown])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].invert_yaxis()
    figure.savefig(out / "ranks.png", dpi=150)
    plt.close(figure)
    if len(missing):
        lines += ["", f"{len(missing)} choices are not in the table, which is not complete."]
    lines += ["", "A dot is a seed, a line the median.\n", "![ranks](ranks.png)", ""]
    write_text(out / "README.md", "\n".join(lines))
    sys.stdout.write("\n".join(lines))


def placed(
    run: Any, table: pd.DataFrame, truth: pd.DataFrame, score: str, sides: list[str]
) -> dict[str, float]:
    """Percentile and mean score of what a search chose, on each side, by trainings that it has not
    seen where there are any; nothing where its choice is not in the table."""
    unseen = table[table["seed"] != training_of(table, run.seed)]
    if len(unseen):
        truth = averaged(unseen[unseen["arch_id"].isin(truth["arch_id"])])
    rows = np.flatnonzero(truth["arch_id"] == run.arch_id)
    found: dict[str, float] = {}
    for side in sides:
        values = truth[f"{side}_{score}"].to_numpy()
        found[f"place_{side}"] = percentiles(values)[rows[0]] if len(rows) else np.nan
        found[f"value_{side}"] = values[rows[0]] if len(rows) else np.nan
    return found


def told_of_noise(table: pd.DataFrame, truth: pd.DataFrame, score: str) -> str:
    """How far the order of the architectures can be trusted, in words.

    ``table`` may have trainings of seeds that are not complete: these tell of the noise, too.
    """
    column = f"val_{score}"
    by_seed = table.pivot(index="arch_id", columns="seed", values=column)
    shared = [by_seed[[a, b]].dropna() for a, b in combinations(by_seed, 2)]
    pairs = [pair for pair in shared if len(pair) >= LEAST_SHARED]
    said = []
    if pairs:
        taus = [kendalltau(pair.iloc[:, 0], pair.iloc[:, 1]).statistic for pair in pairs]
        # Of those trained more than once: one-way analysis of variance.
        often = by_seed[by_seed.count(axis=1) > 1]
        times = often.count(axis=1)
        within = float((often.var(axis=1, ddof=1) * (times - 1)).sum() / (times - 1).sum())
        # What is left of the differences of means without what trainings add to them.
        among = max(0.0, often.mean(axis=1).var(ddof=1) - within * (1 / times).mean())
        said.append(
            f"Kendall tau of the validation {score} of two trainings {np.mean(taus):.2f}; "
            f"standard deviation over architectures {np.sqrt(among):.4f}, over the trainings of "
            f"one {np.sqrt(within):.4f} ({len(often)} architectures)"
        )
    if f"test_{score}" in truth:
        tau = kendalltau(truth[column], truth[f"test_{score}"]).statistic
        place = percentiles(truth[f"test_{score}"])[truth[column].to_numpy().argmax()]
        said.append(
            f"tau of validation and test {tau:.2f}; the best of all on validation is at "
            f"percentile {place:.0f} on test"
        )
    return f"How far the order can be told: {'; '.join(said)}.\n" if said else ""


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


if __name__ == "__main__":
    raise SystemExit(main())
