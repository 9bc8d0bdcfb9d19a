"""One table and one picture of several runs that differ by their seed.

    python scripts/collect.py runs/native0 runs/native1 runs/native2 \
        --baseline runs/baseline0.json runs/baseline1.json --out docs/results/dsb_native

Writes ``README.md``, ``drift.png`` and a ``drift.csv`` of all chips and seeds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nasseg.cli import script_main
from nasseg.errors import RunError
from nasseg.io import read_json, write_bytes, write_text
from nasseg.records.folder import read_run_config
from nasseg.report.style import BLUE, INK, ORANGE, new_figure, strip_axes, style, to_png
from nasseg.text import time_name

STATES = (
    (True, "recalibrated", BLUE, "o"),
    (False, "drift compensation alone", ORANGE, "s"),
)


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="run folders of one configuration")
    parser.add_argument("--baseline", nargs="*", default=[], help="JSON files of baseline.py")
    parser.add_argument("--title", default="Results")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    out = Path(options.out)
    try:
        summaries = [read_json(Path(run) / "summary.json") for run in options.runs]
    except ValueError as error:
        raise RunError(str(error)) from None
    commands = [_command(Path(run)) for run in options.runs]
    seeds = [summary["seed"] for summary in summaries]
    for run, summary in zip(options.runs, summaries, strict=True):
        trouble = ""
        if "digital" not in summary or not (Path(run) / "drift.csv").exists():
            trouble = "its drift stage is not done"
        elif seeds.count(summary["seed"]) > 1:
            trouble = f"another run has seed {summary['seed']} too; runs must differ by it"
        if trouble:
            raise RunError(f"{run}: {trouble}")
    table = pd.concat(
        [
            pd.read_csv(Path(run) / "drift.csv").assign(seed=summary["seed"])
            for run, summary in zip(options.runs, summaries, strict=True)
        ],
        ignore_index=True,
    )
    digital = {summary["seed"]: summary["digital"] for summary in summaries}
    baselines = [read_json(path) for path in options.baseline]
    text = "\n".join(
        [
            f"# {options.title}\n",
            "```",
            *commands,
            f"python scripts/collect.py {' '.join(options.runs)} --out {options.out}",
            "```\n",
            *_digital(summaries, baselines),
            "",
            *_analog(table, digital),
            "",
            _cost(summaries),
            "",
            "![drift](drift.png)",
            "",
        ]
    )
    write_text(out / "README.md", text)
    write_text(out / "drift.csv", table.to_csv(index=False, float_format="%.5f"))
    with style():
        write_bytes(out / "drift.png", to_png(_picture(table, digital)))
    sys.stdout.write(text)
    return 0


def _command(run: Path) -> str:
    from nasseg.records.run_files import load_run
    from nasseg.report import command_words

    read_run_config(run)
    return command_words(load_run(run))


def _spread(values: Any, digits: int = 3) -> str:
    values = np.asarray(list(values), dtype=float)
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def _digital(summaries: list[dict[str, Any]], baselines: list[dict[str, Any]]) -> list[str]:
    names = [n for n in ("dice", "iou_pooled", "ap50", "ap") if n in summaries[0]["digital"]]
    titles = {
        "dice": "Dice",
        "iou_pooled": "pooled IoU",
        "ap50": "AP at IoU 0.5",
        "ap": "AP 0.5 to 0.95",
    }
    lines = [
        f"Digital, mean ± standard deviation over {len(summaries)} seeds.\n"
        if len(summaries) > 1
        else "Digital.\n",
        "| network | parameters | " + " | ".join(titles[n] for n in names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    cells = " | ".join(_spread(s["digital"][n] for s in summaries) for n in names)
    lines.append(f"| nasseg | {summaries[0]['params']:,} | {cells} |")
    if baselines:
        cells = " | ".join(_spread(b["digital"][n] for b in baselines) for n in names)
        lines.append(
            f"| {baselines[0]['network']}, same training, {len(baselines)} "
            f"seed{'s' if len(baselines) > 1 else ''} | "
            f"{baselines[0]['params']:,} | {cells} |"
        )
    return lines


def _analog(table: pd.DataFrame, digital: dict[int, dict[str, float]]) -> list[str]:
    names = [n for n in ("dice", "ap50") if n in table]
    chips = table.groupby("seed").chip.nunique().min()
    lines = [
        f"Analog, {chips} chips a seed: Dice, its multiple of the digital network's, the same of "
        "the 5th percentile chip and of the worst"
        + ("; average precision at IoU 0.5" if "ap50" in names else "")
        + (". ± is over seeds." if len(digital) > 1 else ". ± is over chips."),
        "",
        "| | Dice | x digital | p05 chip x digital | worst chip x digital |"
        + (" AP at IoU 0.5 |" if "ap50" in names else ""),
        "|---" * (6 if "ap50" in names else 5) + "|",
    ]
    for recalibrated, state, _, _ in STATES:
        for time_s in sorted(table.time_s.unique()):
            part = table[(table.recalibrated == recalibrated) & (table.time_s == time_s)]
            if part.empty:
                continue
            by_seed = dict(list(part.groupby("seed")))
            if len(digital) == 1:
                (scores,) = digital.values()
                ratio = part.dice / scores["dice"]
                lines.append(
                    f"| {time_name(time_s)}, {state} | {_spread(part.dice)} | "
                    f"{_spread(ratio, 4)} | {ratio.quantile(0.05):.4f} | {ratio.min():.4f} |"
                    + (f" {_spread(part.ap50)} |" if "ap50" in names else "")
                )
                continue
            ratios = [own.dice.mean() / digital[seed]["dice"] for seed, own in by_seed.items()]
            low = [own.dice.quantile(0.05) / digital[s]["dice"] for s, own in by_seed.items()]
            worst = min(own.dice.min() / digital[s]["dice"] for s, own in by_seed.items())
            few = (
                "" if len(by_seed) == len(digital) else f" ({len(by_seed)} of {len(digital)} seeds)"
            )
            row = (
                f"| {time_name(time_s)}, {state}{few} | "
                f"{_spread(own.dice.mean() for own in by_seed.values())} | "
                f"{_spread(ratios, 4)} | {_spread(low, 4)} | {worst:.4f} |"
            )
            if "ap50" in names:
                row += f" {_spread(own.ap50.mean() for own in by_seed.values())} |"
            lines.append(row)
    return lines


def _cost(summaries: list[dict[str, Any]]) -> str:
    seconds = [summary["seconds"] for summary in summaries]
    stages = ("train", "analog", "drift")
    mean = {stage: float(np.mean([s.get(stage, 0.0) for s in seconds])) for stage in stages}
    total = sum(mean.values())
    return (
        f"Cost: digital training {mean['train'] / 60:.1f} min, hardware-aware retraining "
        f"{mean['analog'] / mean['train']:.2f} x that, drift evaluation "
        f"{mean['drift'] / mean['train']:.2f} x, all together {total / mean['train']:.2f} x."
    )


def _picture(table: pd.DataFrame, digital: dict[int, dict[str, float]]) -> Any:
    metrics = [("dice", "Dice"), ("ap50", "AP at IoU 0.5")]
    metrics = [(name, title) for name, title in metrics if name in table]
    figure = new_figure(9.6, 3.9)
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    # A time that only some seeds were measured at would bend the curve between seeds.
    seeds = table.seed.nunique()
    times = [t for t, own in table.groupby("time_s") if own.seed.nunique() == seeds]
    for ax, (name, title) in zip(axes, metrics, strict=True):
        for recalibrated, state, colour, marker in STATES:
            groups = [
                table[(table.recalibrated == recalibrated) & (table.time_s == t)][name]
                for t in times
            ]
            if any(group.empty for group in groups):
                continue
            low, high = ([g.quantile(q) for g in groups] for q in (0.05, 0.95))
            ax.fill_between(times, low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(times, [g.mean() for g in groups], color=colour, marker=marker, ms=4.5,
                    label=state)  # fmt: skip
        value = float(np.mean([scores[name] for scores in digital.values()]))
        ax.axhline(value, color=INK, linestyle=(0, (5, 3)), linewidth=1.2, label="digital")
        # At least a twentieth of the value, so that a non-event looks like one.
        ax.set_ylim(bottom=min(ax.get_ylim()[0], 0.95 * value))
        ax.set_xscale("log")
        ax.set_xticks(times, [time_name(t) for t in times])
        ax.minorticks_off()
        ax.set_title(title)
        ax.set_xlabel("time since programming")
        strip_axes(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


if __name__ == "__main__":
    sys.exit(script_main(main))
