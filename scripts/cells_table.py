"""The table of ``bench_cells.py``: every architecture of a space, trained once with each seed."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau
from tqdm import tqdm

from nasseg.config import DataConfig, TrainConfig
from nasseg.data import ClassificationData, load_data
from nasseg.errors import ConfigError, DataError
from nasseg.io import write_text
from nasseg.records.bound import bind_settings
from nasseg.search_spaces import CellsSpace
from nasseg.tasks import task_for
from nasseg.training import evaluate
from nasseg.training.device import select_device
from nasseg.training.measure import builder, train_network

ORDER_SEED = 0
"""Of the order in which architectures are trained."""
SCORES = ("accuracy", "auc")
SPLITS = ("val", "test")
LEAST_SHARED = 10
"""Architectures that two seeds must share to tell how well they agree."""


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
    data = load_images(data_config)
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
    """One row: architecture, size, scores of both splits, seconds."""
    begun = time.perf_counter()
    task = task_for(data, train)
    build = builder(space, arch, data.in_channels, task.out_channels)
    found = train_network(build, data, task, train, seed=seed, device=device)
    scores = {"val": found.metrics}
    if "test" in data.ids:
        scores["test"] = evaluate(found.net.eval(), data.loader("test", train.batch_size), task)
    X = space.encode([arch])
    size = (data.size, data.size)
    table = space.layer_table(X, data.in_channels, task.out_channels, size)
    return {
        "arch_id": space.arch_id(arch),
        "seed": seed,
        **arch,
        "params": int(table.params()[0]),
        "macs": int(table.macs()[0]),
        **{f"{split}_{name}": scores[split][name] for split in scores for name in SCORES},
        "seconds": round(time.perf_counter() - begun, 3),
    }


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = (int(n) for n in match.groups()) if match else (0, 0)
    if not 0 <= part < parts:
        raise ConfigError(f"--shard is {text!r}; allowed: I/N with I from 0 to N - 1, as in 0/4")
    return part, parts


def load_images(config: DataConfig) -> ClassificationData:
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
    defaults = {
        "data": dataclasses.asdict(DataConfig()),
        "train": dataclasses.asdict(TrainConfig()),
    }
    # Where the images lie does not matter; what they are does.
    bind_settings(out, settings, "a table", defaults=defaults, free=["data.path"])


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
    return [
        f"{split}_{score}" for split in SPLITS for score in SCORES if f"{split}_{score}" in table
    ]


def training_of(table: pd.DataFrame, seed: int) -> int:
    """Seed of the trainings that a search with this seed sees: each in turn."""
    trainings = sorted(table["seed"].unique())
    return int(trainings[seed % len(trainings)])


def seen(table: pd.DataFrame, truth: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the rows that a search with this seed measures, one training of each architecture."""
    one = table[table["seed"] == training_of(table, seed)]
    return one[one["arch_id"].isin(truth["arch_id"])].reset_index(drop=True)


def best_of(table: pd.DataFrame, arch_ids: list[str], score: str) -> tuple[str, float]:
    """The best of these that the table has, of equals the first; and what measuring would take."""
    own = table.set_index("arch_id")
    own = own.loc[[arch_id for arch_id in arch_ids if arch_id in own.index]]
    return str(own[f"val_{score}"].idxmax()), float(own["seconds"].sum())


def percentiles(values: Any) -> np.ndarray[Any, Any]:
    """Share of the others that each value beats, in percent; equal ones count half."""
    ranks = pd.Series(values).rank(method="average").to_numpy()
    found: np.ndarray[Any, Any] = 100.0 * (ranks - 1) / max(1, len(values) - 1)
    return found


def placed(
    run: Any, table: pd.DataFrame, truth: pd.DataFrame, score: str, splits: list[str]
) -> dict[str, float]:
    """Percentile and mean score of what a search chose, on each split, by trainings that it has not
    seen where there are any; nothing where its choice is not in the table."""
    unseen = table[table["seed"] != training_of(table, run.seed)]
    if len(unseen):
        truth = averaged(unseen[unseen["arch_id"].isin(truth["arch_id"])])
    rows = np.flatnonzero(truth["arch_id"] == run.arch_id)
    found: dict[str, float] = {}
    for split in splits:
        values = truth[f"{split}_{score}"].to_numpy()
        found[f"place_{split}"] = percentiles(values)[rows[0]] if len(rows) else np.nan
        found[f"value_{split}"] = values[rows[0]] if len(rows) else np.nan
    return found


def noise_text(table: pd.DataFrame, truth: pd.DataFrame, score: str) -> str:
    """How far the order of the architectures can be trusted, in words.

    ``table`` may have trainings of seeds that are not complete: these tell of the noise, too.
    """
    column = f"val_{score}"
    by_seed = table.pivot(index="arch_id", columns="seed", values=column)
    shared = [by_seed[[a, b]].dropna() for a, b in combinations(by_seed, 2)]
    pairs = [pair for pair in shared if len(pair) >= LEAST_SHARED]
    parts = []
    if pairs:
        taus = [kendalltau(pair.iloc[:, 0], pair.iloc[:, 1]).statistic for pair in pairs]
        # Of those trained more than once: one-way analysis of variance.
        often = by_seed[by_seed.count(axis=1) > 1]
        times = often.count(axis=1)
        within = float((often.var(axis=1, ddof=1) * (times - 1)).sum() / (times - 1).sum())
        # What is left of the differences of means without what trainings add to them.
        among = max(0.0, often.mean(axis=1).var(ddof=1) - within * (1 / times).mean())
        parts.append(
            f"Kendall tau of the validation {score} of two trainings {np.mean(taus):.2f}; "
            f"standard deviation over architectures {np.sqrt(among):.4f}, over the trainings of "
            f"one {np.sqrt(within):.4f} ({len(often)} architectures)"
        )
    if f"test_{score}" in truth:
        tau = kendalltau(truth[column], truth[f"test_{score}"]).statistic
        place = percentiles(truth[f"test_{score}"])[truth[column].to_numpy().argmax()]
        parts.append(
            f"tau of validation and test {tau:.2f}; the best of all on validation is at "
            f"percentile {place:.0f} on test"
        )
    return f"How far the order can be told: {'; '.join(parts)}.\n" if parts else ""
