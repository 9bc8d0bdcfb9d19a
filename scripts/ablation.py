"""Hardware-aware training without each of its ingredients: one table, one ingredient a row.

Trains a digital network a seed, retrains it under every variant of the recipe, and measures each on
programmed chips. Rows are written as they come; the same command continues.

    python scripts/ablation.py --data DSB2018 --epochs 100 --analog-epochs 25 --out runs/ablation

makes the table and the picture of ``docs/results/ablation``; with ``--space unet_group`` and
``--only "the recipe" "no hardware-aware training"``, the rows of GroupNorm.

    python scripts/ablation.py --like runs/nuc0 runs/nuc1 --metric ap50 --out runs/ablation_nuclei

takes the digital networks of these runs, with their images, their recipe and their decoder, and
compares the average precision of their nuclei.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nasseg.cli import script_main
from nasseg.config import AnalogConfig, DataConfig, DriftConfig, TrainConfig
from nasseg.data import Data, load_data
from nasseg.errors import RunError
from nasseg.files.readers import read_json
from nasseg.io import write_bytes, write_json, write_text
from nasseg.records.bound import bind_settings
from nasseg.records.folder import read_run_config
from nasseg.report.style import BLUE, MUTED, new_figure, strip_axes, style, to_png
from nasseg.runs.aged import open_job
from nasseg.search_spaces import get_space
from nasseg.statistics import DAY, MONTH, YEAR, spread, spread_text
from nasseg.tasks import Task, task_for
from nasseg.text import markdown_table, time_name
from nasseg.training import load_weights, save_weights
from nasseg.training.measure import builder, new_network, put_on_chips, train_network
from nasseg.training.recipe import recalibration_loader

ARCH = {"out_channel0": 8, "M": 3}
"""The default architecture of ``unet`` with these changes: 31,000 parameters."""
TIMES = (DAY, MONTH, YEAR)
"""Seconds after programming."""
FLOOR = 0.94
"""Multiple of the digital Dice at which the pictures end."""

# Name, what changes in the analog settings, what changes in the training's.
VARIANTS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("the recipe", {}, {}),
    ("no hardware-aware training", {"epochs": 0}, {}),
    ("no weight noise", {"noise": "gaussian", "weight_noise": 0.0}, {}),
    ("noise of the memory x 0.5", {"noise_scale": 0.5}, {}),
    ("noise of the memory x 1.5", {"noise_scale": 1.5}, {}),
    ("noise of the memory x 2", {"noise_scale": 2.0}, {}),
    ("Gaussian noise 0.03", {"noise": "gaussian", "weight_noise": 0.03}, {}),
    ("Gaussian noise 0.06", {"noise": "gaussian", "weight_noise": 0.06}, {}),
    ("Gaussian noise 0.12", {"noise": "gaussian", "weight_noise": 0.12}, {}),
    ("no ramp", {"noise_ramp": 0.0}, {}),
    ("no output noise in training", {"output_noise": False}, {}),
    ("no clipping", {"clip_sigma": 0.0}, {}),
    ("clipping at 2 sigma", {"clip_sigma": 2.0}, {}),
    ("clipping at 3 sigma", {"clip_sigma": 3.0}, {}),
    ("no remapping", {"remap": False}, {}),
    ("no distillation", {"distill": 0.0}, {}),
    ("distillation alone", {"distill": 1.0}, {}),
    ("no moving average", {}, {"ema_decay": 0.0}),
    ("input ranges at 99.95 %", {"input_quantile": 0.9995}, {}),
    ("input ranges at 99.5 %", {"input_quantile": 0.995}, {}),
    ("input ranges at 98 %", {"input_quantile": 0.98}, {}),
    ("learned input ranges", {"learn_input_range": True}, {}),
    (
        "learned input ranges with decay",
        {"learn_input_range": True, "input_range_decay": 0.01},
        {},
    ),
    ("BatchNorm statistics of the target weights", {"statistics_chips": 0}, {}),
    ("last layer digital", {"digital_layers": "last"}, {}),
    ("first and last layer digital", {"digital_layers": "first,last"}, {}),
    ("no layer digital", {"digital_layers": "none"}, {}),
    ("no drift compensation", {"compensation": "none"}, {}),
    ("compensation by column", {"compensation": "column"}, {}),
    ("half the epochs", {"epochs": 0.5}, {}),
    ("twice the epochs", {"epochs": 2.0}, {}),
    ("learning rate x 0.25", {"lr": 0.25}, {}),
    ("learning rate x 2", {"lr": 2.0}, {}),
    (
        "noise from the start (no digital training)",
        {"start": "random", "distill": 0.0, "learn_input_range": True, "epochs": 3.0},
        {},
    ),
)


FREE = ("out", "only", "seeds", "threads", "metric")
"""Options that may change when a folder is continued."""
METRICS = {"dice": "Dice", "ap50": "AP at IoU 0.5", "ap": "AP 0.5 to 0.95"}
"""Metrics that variants may be compared by."""


@dataclass(frozen=True)
class Start:
    """A digital network, and what its retraining is a variant of."""

    seed: int
    net: torch.nn.Module
    digital: Mapping[str, float]
    """Its metrics, and ``seconds`` of its training."""
    data: Data
    task: Task
    train: TrainConfig
    analog: AnalogConfig
    drift: DriftConfig


def main(words: list[str] | None = None) -> int:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of images and labels; none = synthetic nuclei")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--like", nargs="+", help="run folders; networks, images and recipe are theirs"
    )
    parser.add_argument("--metric", choices=METRICS, default="dice", help="of table and picture")
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--space", default="unet", help="unet, or unet_group (GroupNorm)")
    parser.add_argument("--epochs", type=int, default=40, help="digital epochs")
    parser.add_argument("--analog-epochs", type=int, default=20)
    parser.add_argument("--set", default="{}", help="JSON of analog settings for every row")
    parser.add_argument("--only", nargs="*", help="names of rows; none = all")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", default="runs/ablation")
    options = parser.parse_args(words)
    return script_main(lambda: run(options), threads=options.threads)


def run(options: argparse.Namespace) -> None:
    """Measure, then write the table and the picture."""
    measure_all(options)
    rows = Path(options.out) / "rows.csv"
    sys.stdout.write(to_markdown(rows, options.metric))
    if len(_whole(rows)) >= 2:
        with style():
            write_bytes(Path(options.out) / "curves.png", to_png(draw(rows, options.metric)))


def measure_all(options: argparse.Namespace) -> None:
    """Append the rows that ``rows.csv`` does not have."""
    out = Path(options.out)
    settings = {key: value for key, value in vars(options).items() if key not in FREE}
    bind_settings(out, settings, "rows", defaults={"space": "unet", "like": None})
    file = out / "rows.csv"

    def missing(seed: int) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        known = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["variant", "seed"])
        done = set(known.variant[known.seed == seed])
        return [v for v in VARIANTS if v[0] not in done and v[0] in (options.only or [v[0]])]

    for start in _of_runs(options) if options.like else _trained_here(options, missing):
        todo, seed, digital = missing(start.seed), start.seed, start.digital
        if not todo:
            continue
        images = recalibration_loader(start.data, start.train, start.drift, seed)
        for name, analog_changes, train_changes in todo:
            found = put_on_chips(
                start.net.eval(),
                start.data,
                start.task,
                dataclasses.replace(start.train, **train_changes),
                dataclasses.replace(start.analog, **_scaled(analog_changes, start.analog)),
                start.drift,
                seed=seed,
                images=images,
            )
            facts = {"variant": name, "seed": seed, "digital": digital["dice"]}
            facts["cost"] = found.seconds / digital["seconds"]
            more = {f"digital_{key}": digital[key] for key in METRICS if key in digital}
            more.pop("digital_dice", None)
            rows = pd.DataFrame([{**facts, **row, **more} for row in found.rows])
            known = pd.concat([pd.read_csv(file), rows]) if file.exists() else rows
            write_text(file, known.to_csv(index=False))
            day = rows[rows.time_s == DAY].groupby("recalibrated")[options.metric].mean()
            sys.stderr.write(
                f"seed {seed} {name}: {found.seconds:.0f} s, digital "
                f"{digital[options.metric]:.4f}, 1 day {day[True]:.4f} recalibrated, "
                f"{day[False]:.4f} not\n"
            )


def _trained_here(
    options: argparse.Namespace, missing: Callable[[int], list[Any]]
) -> Iterator[Start]:
    """A small network for each seed that rows are missing of, trained here."""
    out = Path(options.out)
    data = load_data(
        DataConfig(path=options.data, image_size=options.image_size, crop=options.crop)
    )
    task = task_for(data)
    train = TrainConfig(epochs=options.epochs, eval_every=options.epochs)
    base = AnalogConfig(epochs=options.analog_epochs, **json.loads(options.set))
    drift = DriftConfig(chips=options.chips, times=TIMES, recalibrate_images=128)
    for seed in options.seeds:
        if missing(seed):
            net, digital = trained(options.space, data, task, train, seed, out / f"digital{seed}")
            yield Start(seed, net, digital, data, task, train, base, drift)


def _of_runs(options: argparse.Namespace) -> Iterator[Start]:
    """The digital networks of run folders, with their recipe.

    Raises:
        RunError: a run is not trained, or two have the same seed.
    """
    configs = {path: read_run_config(path) for path in options.like}
    seeds = [configs[path].seed for path in options.like]
    for path, seed in zip(options.like, seeds, strict=True):
        if seeds.count(seed) > 1:
            raise RunError(f"{path}: another run has seed {seed} too; runs must differ by it")
    for path, config in configs.items():
        job = open_job(path, config, None, progress=False)
        done = job.folder.stages["train"]
        yield Start(
            seed=config.seed,
            net=job.digital,
            digital={**done["metrics"], "seconds": done["seconds"]},
            data=job.data,
            task=job.task,
            train=config.train,
            analog=dataclasses.replace(config.analog, **json.loads(options.set)),
            drift=dataclasses.replace(config.drift, chips=options.chips, times=TIMES),
        )


def trained(
    name: str, data: Data, task: Task, train: TrainConfig, seed: int, stem: Path
) -> tuple[torch.nn.Module, dict[str, float]]:
    """The digital network of a seed with its metrics and ``seconds``, kept in files beside
    ``stem``."""
    space = get_space(name)
    arch = space.canonical({**space.default(), **_stages(ARCH)})
    weights, facts = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
    channels, cpu = (data.in_channels, task.out_channels), torch.device("cpu")
    if not weights.exists():
        build = builder(space, arch, *channels)
        found = train_network(build, data, task, train, seed=seed, device=cpu)
        write_json(facts, {"seconds": found.seconds, **found.metrics})
        save_weights(weights, found.net, {"arch": space.to_json(arch)})
    net = new_network(
        space, arch, in_channels=channels[0], out_channels=channels[1], seed=seed, device=cpu
    )
    load_weights(weights, net)
    return net, read_json(facts)


def _scaled(changes: dict[str, Any], base: AnalogConfig) -> dict[str, Any]:
    """``changes`` with epochs and learning rate, which are multiples, as numbers."""
    changes = dict(changes)
    for key in ("epochs", "lr"):
        if isinstance(changes.get(key), float):
            value = getattr(base, key)
            changes[key] = type(value)(value * changes[key])
    return changes


def _stages(changes: dict[str, Any]) -> dict[str, Any]:
    """``changes``, and 0 for the hyperparameters of stages that are not there."""
    names = ("R", "convblock", "widenfact", "B")
    gone = {f"{name}{i}": 0 for i in range(changes["M"] + 1, 6) for name in names}
    return {**gone, **changes}


def _whole(path: Path) -> list[str]:
    """Variants that all seeds were measured with, in order."""
    table = pd.read_csv(path)
    seeds = table.groupby("variant").seed.nunique()
    return [name for name, *_ in VARIANTS if seeds.get(name) == table.seed.nunique()]


def _ratios(path: Path, metric: str) -> pd.DataFrame:
    """The rows, with the ``ratio`` of a metric to that of the digital network, ``reference``."""
    table = pd.read_csv(path)
    # Rows name the digital Dice as they did when there was no other metric.
    table["reference"] = table["digital" if metric == "dice" else f"digital_{metric}"]
    return table.assign(ratio=table[metric] / table.reference)


def draw(path: Path, metric: str = "dice") -> Any:
    """A metric over the digital network's against time, recalibrated: a panel for each variant that
    all seeds were measured with, beside the recipe. Lines are means over seeds and chips, bands
    the 5th to the 95th percentile chip."""
    table = _ratios(path, metric)
    table = table[table.recalibrated]
    names = [name for name in _whole(path) if name != VARIANTS[0][0]]
    across = 5
    down = -(-len(names) // across)
    figure = new_figure(2.3 * across, 1.9 * down)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names, strict=False):
        for variant, colour in ((VARIANTS[0][0], MUTED), (name, BLUE)):
            groups = dict(list(table[table.variant == variant].groupby("time_s").ratio))
            low, high = ([g.quantile(q) for g in groups.values()] for q in (0.05, 0.95))
            ax.fill_between(list(groups), low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(list(groups), [g.mean() for g in groups.values()], color=colour, marker="o",
                    ms=3)  # fmt: skip
        last = groups[TIMES[-1]].mean()
        if last < FLOOR:
            text = f"{time_name(TIMES[-1])}: {last:.3f}"
            ax.annotate(text, (0.5, 0.1), xycoords="axes fraction", ha="center", fontsize=8,
                        color=BLUE)  # fmt: skip
        ax.set_xscale("log")
        ax.set_xticks(list(groups), [time_name(t) for t in groups], fontsize=7)
        ax.minorticks_off()
        ax.set_title("\n".join(textwrap.wrap(name, 24)), fontsize=8, pad=4)
        strip_axes(ax)
    # One variant that fails would flatten all others.
    bottom, top = axes.flat[0].get_ylim()
    axes.flat[0].set_ylim(bottom=max(bottom, min(FLOOR, top - 0.05)))
    figure.supxlabel("grey: the recipe", fontsize=8, color=MUTED)
    return figure


def to_markdown(path: Path, metric: str = "dice") -> str:
    """The table: a metric as multiples of the digital network's, mean and standard deviation over
    seeds, and the mean over seeds of the 5th percentile chip."""
    table = _ratios(path, metric)
    states = [(time_s, recalibrated) for recalibrated in (True, False) for time_s in TIMES]
    rows = []
    for name in [name for name, *_ in VARIANTS if name in set(table.variant)]:
        own = table[table.variant == name]
        parts = [own[(own.time_s == t) & (own.recalibrated == r)] for t, r in states]
        day = parts[0].groupby("seed").ratio
        rows.append(
            [
                name,
                own.seed.nunique(),
                *(spread_text(part.groupby("seed").ratio.mean(), 4) for part in parts),
                f"{day.apply(lambda chips: spread(chips).p05).mean():.4f}",
                f"{own.cost.mean():.2f}",
            ]
        )
    titles = [f"{time_name(t)}{'' if r else ', uncal.'}" for t, r in states]
    digital = table.groupby("seed").reference.first()
    title = METRICS[metric]
    head = (
        f"{title} over the {title} of the digital network ({spread_text(digital, 4)}), "
        f"{table.chip.nunique()} chips, {len(digital)} seeds.\n\n"
    )
    columns = ["", "seeds", *titles, "p05 chip, 1 day", "cost"]
    return f"{head}{markdown_table(rows, columns)}\n"


if __name__ == "__main__":
    sys.exit(main())
