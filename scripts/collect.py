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
from nasseg.files.readers import read_json
from nasseg.io import write_bytes, write_text
from nasseg.records.drift import DriftTable
from nasseg.records.folder import read_run_config
from nasseg.records.images import ImageTable, KindScores
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
    "pq": "PQ",
    "count_error": "count error",
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
            *_kinds([run.images for run in runs if run.images is not None]),
            *(
                part
                for metric in ("dice", "ap50")
                if all(metric in table.metrics for table in tables.values())
                for part in (_analog(tables, digital, metric), "")
            ),
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


def _kinds(tables: Sequence[ImageTable]) -> list[str]:
    """The digital networks by kind of image, means over seeds; nothing where there is one kind."""
    found: dict[str, list[KindScores]] = {}
    for table in tables:
        for scores in table.by_kind():
            found.setdefault(scores.kind, []).append(scores)
    if len(found) < 2:
        return []
    names = [
        name for name in TITLES if all(name in s.scores for own in found.values() for s in own)
    ]
    rows = [
        [kind, str(own[0].images), *(spread_text(s.scores[name] for s in own) for name in names)]
        for kind, own in found.items()
    ]
    columns = ["", "images", *(TITLES[name] for name in names)]
    return ["Digital, by kind of image.\n\n" + markdown_table(rows, columns), ""]


def _analog(tables: Tables, digital: Mapping[int, Mapping[str, float]], metric: str) -> str:
    """The chips by one metric, a row for each state and time."""
    alone = len(tables) == 1
    rows = []
    for recalibrated, state in STATES:
        for time_s in sorted({time_s for table in tables.values() for time_s in table.times}):
            values, ratios = [], []
            for seed, table in tables.items():
                chips = table.values(metric, recalibrated=recalibrated, time_s=time_s)
                if not chips:
                    continue
                values.append(chips)
                # Of a network that found nothing, there is no multiple.
                ratios.append([value / (digital[seed][metric] or math.nan) for value in chips])
            if not values:
                continue
            few = "" if len(values) == len(tables) else f" ({len(values)} of {len(tables)} seeds)"
            rows.append(
                [
                    f"{time_name(time_s)}, {state}{few}",
                    spread_text(values[0] if alone else map(fmean, values)),
                    spread_text(ratios[0] if alone else map(fmean, ratios), 4),
                    spread_text((spread(chips).p05 for chips in ratios), 4),
                    number(min(map(min, ratios)), 4),
                ]
            )
    title = TITLES[metric]
    head = (
        f"Analog, {min(len(table.chips) for table in tables.values())} chips a seed: {title}, its "
        "multiple of the digital network's, the same of the 5th percentile chip and of the worst. "
        f"± is over {'chips' if alone else 'seeds'}.\n\n"
    )
    columns = ["", title, "x digital", "p05 chip x digital", "worst chip x digital"]
    return head + markdown_table(rows, columns)


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
