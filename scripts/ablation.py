"""What each ingredient of hardware-aware training is worth: one table, one ingredient a row.

Trains a digital network a seed, retrains it under every variant of the recipe, and measures each on
programmed chips. Rows are written as they come; the same command continues.

    python scripts/ablation.py --data ../shared/data/dsb2018 --image-size 32 --out runs/ablation
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nasseg.analog import chip_evaluator
from nasseg.analog.noise import derive_seed
from nasseg.cli import script_main
from nasseg.config import AnalogConfig, DataConfig, DriftConfig, TrainConfig
from nasseg.data import load_data
from nasseg.errors import ConfigError
from nasseg.io import write_bytes, write_text
from nasseg.report.style import BLUE, MUTED, new_figure, strip_axes, style, to_png
from nasseg.search_spaces import get_space
from nasseg.tasks import task_for
from nasseg.text import time_name
from nasseg.training import load_weights, save_weights
from nasseg.training.recipe import (
    SEED_DRIFT,
    drift_metrics,
    initialise,
    recalibration_loader,
    train_analog,
    train_digital,
)

ARCH = {"out_channel0": 8, "M": 3}
"""The default architecture of ``unet`` with these changes: 31,000 parameters."""
TIMES = (86_400.0, 2_592_000.0, 31_536_000.0)
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


def main() -> int:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of images and labels; none = synthetic nuclei")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--space", default="unet", help="unet, or unet_group (GroupNorm)")
    parser.add_argument("--epochs", type=int, default=40, help="digital epochs")
    parser.add_argument("--analog-epochs", type=int, default=20)
    parser.add_argument("--set", default="{}", help="JSON of analog settings for every row")
    parser.add_argument("--only", nargs="*", help="names of rows; none = all")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", default="runs/ablation")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    measure_all(options)
    rows = Path(options.out) / "rows.csv"
    sys.stdout.write(to_markdown(rows))
    if len(_whole(rows)) < 2:
        return 0
    with style():
        write_bytes(Path(options.out) / "curves.png", to_png(draw(rows)))
    return 0


def measure_all(options: argparse.Namespace) -> None:
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    free = ["out", "only", "seeds", "threads"]
    # Folders from before there was a choice know nothing of it.
    free += ["space"] if options.space == "unet" else []
    settings = {key: value for key, value in vars(options).items() if key not in free}
    space = get_space(options.space)
    file = out / "settings.json"
    if file.exists() and json.loads(file.read_text()) != settings:
        raise ConfigError(f"{out} holds rows of other settings ({file}); choose another --out")
    write_text(file, json.dumps(settings, indent=2))
    source = DataConfig(path=options.data, image_size=options.image_size, crop=options.crop)
    data = load_data(source)
    task = task_for(data)
    arch = space.canonical({**space.default(), **_stages(ARCH)})
    train = TrainConfig(epochs=options.epochs, eval_every=options.epochs)
    base = AnalogConfig(epochs=options.analog_epochs, **json.loads(options.set))
    drift = DriftConfig(chips=options.chips, recalibrate_images=128)
    for seed in options.seeds:
        net = initialise(
            lambda s: space.build(arch, in_channels=3, out_channels=task.out_channels, seed=s),
            seed,
            torch.device("cpu"),
        )
        weights = out / f"digital{seed}.safetensors"
        facts = out / f"digital{seed}.json"
        if not weights.exists():
            begun = time.perf_counter()
            result = train_digital(net, data, task, train, seed=seed)
            seconds = time.perf_counter() - begun
            write_text(facts, json.dumps({"seconds": seconds, **result.metrics}))
            save_weights(weights, net, {"arch": space.to_json(arch)})
        load_weights(weights, net)
        digital = json.loads(facts.read_text())
        for name, analog_changes, train_changes in VARIANTS:
            done = (out / "rows.csv").exists() and _has(out / "rows.csv", name, seed)
            if done or (options.only and name not in options.only):
                continue
            changes = dict(analog_changes)
            for key in ("epochs", "lr"):
                if isinstance(changes.get(key), float):
                    changes[key] = type(getattr(base, key))(getattr(base, key) * changes[key])
            config = dataclasses.replace(base, **changes)
            own = dataclasses.replace(train, **train_changes)
            begun = time.perf_counter()
            analog, _, _ = train_analog(net.eval(), data, task, own, config, seed=seed)
            seconds = time.perf_counter() - begun
            rows = []
            with chip_evaluator(
                analog,
                data.val_loader(train.batch_size),
                drift_metrics(task),
                times=TIMES,
                recalibrate_with=recalibration_loader(data, train, drift, seed),
                seed=derive_seed(seed, SEED_DRIFT),
            ) as evaluate:
                for chip in range(options.chips):
                    rows += evaluate(chip)
            _append(
                out / "rows.csv",
                [
                    {
                        "variant": name,
                        "seed": seed,
                        "digital": digital["dice"],
                        "cost": seconds / digital["seconds"],
                        **row,
                    }
                    for row in rows
                ],
            )
            table = pd.DataFrame(rows)
            day = table[(table.time_s == 86_400.0)].groupby("recalibrated").dice.mean()
            sys.stderr.write(
                f"seed {seed} {name}: {seconds:.0f} s, digital {digital['dice']:.4f}, 1 day "
                f"{day[True]:.4f} recalibrated, {day[False]:.4f} not\n"
            )


def _stages(changes: dict[str, Any]) -> dict[str, Any]:
    """``changes``, and 0 for the hyperparameters of stages that are not there."""
    names = ("R", "convblock", "widenfact", "B")
    gone = {f"{name}{i}": 0 for i in range(changes["M"] + 1, 6) for name in names}
    return {**gone, **changes}


def _has(path: Path, name: str, seed: int) -> bool:
    with path.open(newline="", encoding="utf-8") as handle:
        return any(r["variant"] == name and r["seed"] == str(seed) for r in csv.DictReader(handle))


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    before = pd.read_csv(path) if path.exists() else pd.DataFrame()
    write_text(path, pd.concat([before, pd.DataFrame(rows)]).to_csv(index=False))


def _whole(path: Path) -> list[str]:
    """Variants that all seeds were measured with, in order."""
    table = pd.read_csv(path)
    seeds = table.groupby("variant").seed.nunique()
    return [name for name, *_ in VARIANTS if seeds.get(name) == table.seed.nunique()]


def draw(path: Path) -> Any:
    """Dice over the digital network's against time, recalibrated: a panel for each variant that
    all seeds were measured with, beside the recipe. Lines are means over seeds and chips, bands
    the 5th to the 95th percentile chip."""
    table = pd.read_csv(path)
    table["ratio"] = table.dice / table.digital
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


def to_markdown(path: Path) -> str:
    """The table: Dice as multiples of the digital network's, mean and standard deviation over
    seeds, and the mean over seeds of the 5th percentile chip."""
    table = pd.read_csv(path)
    table["ratio"] = table.dice / table.digital
    order = [name for name, *_ in VARIANTS if name in set(table.variant)]
    cells = [
        ("1 day", True, 86_400.0),
        ("30 days", True, 2_592_000.0),
        ("1 year", True, 31_536_000.0),
        ("1 day, uncal.", False, 86_400.0),
        ("30 days, uncal.", False, 2_592_000.0),
        ("1 year, uncal.", False, 31_536_000.0),
    ]
    names = [name for name, *_ in cells]
    lines = [
        "| | seeds | " + " | ".join(names) + " | p05 chip, 1 day | cost |",
        "|---" * (len(cells) + 4) + "|",
    ]
    for name in order:
        own = table[table.variant == name]
        texts = []
        for _, recalibrated, time_s in cells:
            part = own[(own.recalibrated == recalibrated) & (own.time_s == time_s)]
            seeds = part.groupby("seed").ratio.mean()
            spread = f" ± {seeds.std(ddof=1):.4f}" if len(seeds) > 1 else ""
            texts.append(f"{seeds.mean():.4f}{spread}")
        day = own[own.recalibrated & (own.time_s == 86_400.0)]
        p05 = day.groupby("seed").ratio.quantile(0.05).mean()
        count = own.seed.nunique()
        lines.append(
            f"| {name} | {count} | {' | '.join(texts)} | {p05:.4f} | {own.cost.mean():.2f} |"
        )
    digital = table.groupby("seed").digital.first()
    head = (
        f"Dice over the Dice of the digital network ({digital.mean():.4f} ± "
        f"{digital.std(ddof=1) if len(digital) > 1 else 0:.4f}), {table.chip.nunique()} chips, "
        f"{len(digital)} seeds.\n\n"
    )
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(script_main(main))
