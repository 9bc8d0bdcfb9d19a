"""One table and one picture of several runs that differ by their seed.

    python scripts/collect.py runs/nuc0 runs/nuc1 runs/nuc2 \\
        --baseline runs/baseline0.json runs/baseline1.json runs/baseline2.json \\
        --out docs/results/dsb_native
    python scripts/collect.py runs/dsb32 --out docs/results/dsb32

Each writes ``README.md``, ``drift.png`` and a ``drift.csv`` of all chips and seeds.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from nasseg.cli import script_main
from nasseg.errors import RunError
from nasseg.io import read_json, write_bytes, write_text
from nasseg.records.drift import DriftTable
from nasseg.records.folder import read_run_config
from nasseg.records.run_files import RunFiles, load_run
from nasseg.report import command_words
from nasseg.report.sections.drift import draw_drift
from nasseg.report.style import style, to_png
from nasseg.statistics import spread, spread_text
from nasseg.text import markdown_table, number, time_name

Tables = Mapping[int, DriftTable]
"""Seed to its chips."""

STATES = ((True, "recalibrated"), (False, "drift compensation alone"))
TITLES = {
    "dice": "Dice",
    "iou_pooled": "pooled IoU",
    "ap50": "AP at IoU 0.5",
    "ap": "AP 0.5 to 0.95",
}


def main(words: list[str] | None = None) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="run folders of one configuration")
    parser.add_argument("--baseline", nargs="*", default=[], help="JSON files of baseline.py")
    parser.add_argument("--title", default="Results")
    parser.add_argument("--out", required=True)
    options = parser.parse_args(words)
    return script_main(lambda: collect(options))


def collect(options: argparse.Namespace) -> None:
    """Read the runs; write the page, the chips and the picture.

    Raises:
        RunError: a run is not done, or two have the same seed.
    """
    out = Path(options.out)
    runs = [_read(run) for run in options.runs]
    summaries = [run.summary or {} for run in runs]
    seeds = [summary["seed"] for summary in summaries]
    for run, seed in zip(options.runs, seeds, strict=True):
        if seeds.count(seed) > 1:
            raise RunError(f"{run}: another run has seed {seed} too; runs must differ by it")
    tables = {seed: run.drift for seed, run in zip(seeds, runs, strict=True)}
    digital = {summary["seed"]: summary["digital"] for summary in summaries}
    text = "\n".join(
        [
            f"# {options.title}\n",
            "```",
            *(command_words(run) for run in runs),
            f"python scripts/collect.py {' '.join(options.runs)} --out {options.out}",
            "```\n",
            _digital(summaries, [read_json(path) for path in options.baseline]),
            "",
            _analog(tables, digital),
            "",
            _cost([summary["seconds"] for summary in summaries]),
            "",
            "![drift](drift.png)",
            "",
        ]
    )
    write_text(out / "README.md", text)
    write_text(out / "drift.csv", _csv(tables))
    with style():
        figure = draw_drift(_pooled(out, tables, digital, summaries[0].get("monitor")))
        if figure is not None:
            write_bytes(out / "drift.png", to_png(figure))
    sys.stdout.write(text)


def _read(folder: str) -> RunFiles:
    read_run_config(folder)
    run = load_run(Path(folder))
    for name in ("summary.json", "drift.csv"):
        reason = run.missing.get(name, "is not there")
        if reason != "is not there":
            raise RunError(f"{run.folder / name} {reason}")
    if "digital" not in (run.summary or {}) or not run.drift:
        raise RunError(f"{folder}: its drift stage is not done")
    return run


def _digital(summaries: Sequence[Mapping[str, Any]], baselines: Sequence[Any]) -> str:
    """The digital networks, a row for nasseg's and one for the baseline."""
    names = [name for name in TITLES if name in summaries[0]["digital"]]
    several = f", mean ± standard deviation over {len(summaries)} seeds"

    def row(title: str, results: Sequence[Any]) -> list[str]:
        cells = (spread_text(result["digital"][name] for result in results) for name in names)
        return [title, f"{results[0]['params']:,}", *cells]

    rows = [row("nasseg", summaries)]
    if baselines:
        count = f"{len(baselines)} seed{'s' if len(baselines) > 1 else ''}"
        rows.append(row(f"{baselines[0]['network']}, same training, {count}", baselines))
    columns = ["network", "parameters", *(TITLES[name] for name in names)]
    head = f"Digital{several if len(summaries) > 1 else ''}.\n\n"
    return head + markdown_table(rows, columns)


def _analog(tables: Tables, digital: Mapping[int, Mapping[str, float]]) -> str:
    """The chips, a row for each state and time."""
    precise = any("ap50" in table.metrics for table in tables.values())
    alone = len(tables) == 1
    rows = []
    for recalibrated, state in STATES:
        for time_s in sorted({time_s for table in tables.values() for time_s in table.times}):
            dice, ratios, ap50 = [], [], []
            for seed, table in tables.items():
                chips = table.values("dice", recalibrated=recalibrated, time_s=time_s)
                if not chips:
                    continue
                dice.append(chips)
                # Of a network that found nothing, there is no multiple.
                ratios.append([value / (digital[seed]["dice"] or math.nan) for value in chips])
                ap50.append(table.values("ap50", recalibrated=recalibrated, time_s=time_s))
            if not dice:
                continue
            few = "" if len(dice) == len(tables) else f" ({len(dice)} of {len(tables)} seeds)"
            rows.append(
                [
                    f"{time_name(time_s)}, {state}{few}",
                    spread_text(dice[0] if alone else map(fmean, dice)),
                    spread_text(ratios[0] if alone else map(fmean, ratios), 4),
                    spread_text((spread(chips).p05 for chips in ratios), 4),
                    number(min(map(min, ratios)), 4),
                    *([spread_text(ap50[0] if alone else map(fmean, ap50))] if precise else ()),
                ]
            )
    columns = ["", "Dice", "x digital", "p05 chip x digital", "worst chip x digital"]
    head = (
        f"Analog, {min(len(table.chips) for table in tables.values())} chips a seed: Dice, its "
        "multiple of the digital network's, the same of the 5th percentile chip and of the worst"
        f"{'; average precision at IoU 0.5' if precise else ''}. ± is over "
        f"{'chips' if alone else 'seeds'}.\n\n"
    )
    return head + markdown_table(rows, [*columns, *([TITLES["ap50"]] if precise else ())])


def _cost(seconds: Sequence[Mapping[str, float]]) -> str:
    train, analog, drift = (
        fmean(stages.get(name, 0.0) for stages in seconds) for name in ("train", "analog", "drift")
    )
    return (
        f"Cost: digital training {train / 60:.1f} min, hardware-aware retraining "
        f"{analog / train:.2f} x that, drift evaluation {drift / train:.2f} x, all together "
        f"{(train + analog + drift) / train:.2f} x."
    )


def _pooled(
    out: Path, tables: Tables, digital: Mapping[int, Mapping[str, float]], monitor: str | None
) -> RunFiles:
    """The chips of all seeds as those of one run, for the report's picture."""
    # A time that only some seeds were measured at would bend the curve between seeds.
    times = set.intersection(*(set(table.times) for table in tables.values()))
    rows = tuple(row for table in tables.values() for row in table if row.time_s in times)
    names = next(iter(digital.values()))
    means = {name: fmean(scores[name] for scores in digital.values()) for name in names}
    return RunFiles(out, summary={"digital": means, "monitor": monitor}, drift=DriftTable(rows))


def _csv(tables: Tables) -> str:
    import pandas as pd

    frames = [pd.DataFrame(table.to_rows()).assign(seed=seed) for seed, table in tables.items()]
    text: str = pd.concat(frames, ignore_index=True).to_csv(index=False, float_format="%.5f")
    return text


if __name__ == "__main__":
    sys.exit(main())
