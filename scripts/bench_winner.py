"""Is what a search finds better than what luck finds, and than a U-Net that nobody searched for?

    python scripts/bench_winner.py --data DSB2018 --promote 8 --out runs/winner
    python scripts/bench_winner.py --data DSB2018 --surrogate auto --seeds 1 2 3 --out runs/winner_s
    python scripts/bench_winner.py --data DSB2018 --measure 30 --draw-seed 0 --seeds 1 2 3 4 5 \\
        --promote 5 --out runs/winner30

make the tables of ``docs/results/winner``: ``promoted``, ``surrogate`` and ``measured``.

Takes the best of NASSeg-Bench's randomly drawn architectures and the best with no more parameters
of those that a search proposed, and trains both at the full budget with several seeds, beside
MONAI's BasicUNet of the nearest width that has no fewer parameters than the one found. With
``--measure N`` a search that has seen none of the bench's long trainings makes N of its own, and
the random one is the best of N, drawn with ``--draw-seed``. With ``--promote K`` the K best that
the search proposed are trained at the full budget first, with another seed, and the best of them is
the one found. In a bench without a search, and with ``--surrogate``, a search on the surrogate
finds one. The folder keeps that (``search/``) and one labelling for each network and seed; the same
command continues.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nasseg.cli import main as nasseg
from nasseg.cli import script_main
from nasseg.errors import ConfigError, DataError, RunError
from nasseg.evaluators import NASSegBench, XGBoostEvaluator
from nasseg.evaluators.shipping import find_surrogate, shipped_low_fidelity
from nasseg.files.readers import read_json
from nasseg.io import write_bytes, write_text
from nasseg.report.style import new_figure, strip_axes, style, to_png
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.search_spaces.basicunet import WIDTHS
from nasseg.statistics import spread_text
from nasseg.text import markdown_table, time_name

TIMES = (1, 3600, 86_400, 2_592_000, 31_536_000)
SEARCHED, RANDOM, PLAIN = "searched", "best of the random ones", "MONAI BasicUNet"
DRAWS = 1000
"""Other draws that one is compared with."""
COLOURS = {SEARCHED: "C3", RANDOM: "0.5", PLAIN: "C0"}


def main(words: list[str] | None = None) -> int:
    """Search, train, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="images; none = synthetic ones")
    parser.add_argument("--bench", help="Parquet file of a bench; none = the shipped one")
    parser.add_argument("--surrogate", help="search on it; auto, a shipped name, or a folder")
    parser.add_argument("--arch", help="JSON file of an architecture that was found")
    parser.add_argument(
        "--measure",
        type=int,
        help="architectures that a search measures itself, and of which the random one is the best",
    )
    parser.add_argument(
        "--proxy", default="docs/bench.yaml", help="with --measure: budget, that of the bench"
    )
    parser.add_argument(
        "--draw-seed",
        type=int,
        default=100,
        help="with --measure: seed of the draw, and of the search and its trainings; none of "
        "--seeds (100)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="with --measure: processes of the search"
    )
    parser.add_argument(
        "--promote",
        type=int,
        default=1,
        help="candidates of the search that are trained at the full budget to choose one of them",
    )
    parser.add_argument(
        "--promote-seed", type=int, default=10, help="seed of these trainings; none of --seeds"
    )
    parser.add_argument("--config", default="docs/bench_full.yaml", help="budget of the trainings")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(words)
    if options.promote < 1:
        parser.error(f"--promote is {options.promote}; allowed: 1 or more")
    if options.promote > 1 and options.promote_seed in options.seeds:
        parser.error(f"--promote-seed is {options.promote_seed}, which is one of --seeds")
    if options.measure is not None and options.measure < 2:
        parser.error(f"--measure is {options.measure}; allowed: 2 or more")
    if options.measure and (options.arch or options.surrogate):
        parser.error("--measure goes with neither --arch nor --surrogate")
    if options.measure and (options.draw_seed < 0 or options.draw_seed in options.seeds):
        parser.error(
            f"--draw-seed is {options.draw_seed}; allowed: 0 or more, but none of --seeds "
            f"({', '.join(map(str, options.seeds))}), with which nothing shall have been chosen"
        )
    return script_main(lambda: search_and_train(options))


def search_and_train(options: argparse.Namespace) -> None:
    """Search, train, and write the page."""
    out = Path(options.out)
    bench = NASSegBench(options.bench)
    ours = networks(bench, options, out)
    rows = trained(ours, options, out)
    origin = origin_text(bench, options, out) + luck_text(bench, options)
    page = describe(rows, origin, "python " + " ".join(sys.argv))
    write_text(out / "README.md", page)
    with style():
        write_bytes(out / "drift.png", to_png(draw(rows)))
    rows.drop(columns="arch").to_csv(out / "trained.csv", index=False)
    sys.stdout.write(page)


def networks(
    bench: NASSegBench, options: argparse.Namespace, out: Path
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Space and architecture of each network that is compared, by its label."""
    space, searched = bench.space, bench.searched
    sizes = space.count_params(bench.matrix)
    luckiest = luck(bench, options)
    best, most = bench.archs[luckiest], int(sizes[luckiest])
    if from_bench(bench, options):
        found = bench.path
        possible = searched & (sizes <= most)
        if not possible.any():
            raise DataError(
                f"{found}: all {searched.sum()} architectures that a search proposed have more "
                f"than {most} parameters, those of the best random one; --surrogate auto searches"
            )
        arch = promoted(candidates(bench, possible, options.promote), options, bench.space, out)
    elif options.measure:
        found = measured_by_search(space, most, options, out)
        table = pd.read_csv(found).sort_values("day1", ascending=False, kind="stable")
        best_ones = [space.from_json(text) for text in table.arch[: options.promote]]
        arch = promoted(best_ones, options, space, out)
    elif options.promote > 1:
        raise ConfigError(
            f"promote is {options.promote}: it chooses among what a search measured; with "
            "--surrogate or --arch, and where the bench has no search, it is 1"
        )
    else:
        found = Path(options.arch) if options.arch else out / "search" / "best.json"
        if not options.arch:
            words = ["--out", str(out / "search"), "--quiet", "--search.space", space.name]
            words += ["--search.max_params", str(most)]
            words += ["--search.surrogate", options.surrogate or "auto"]
            run(["search", *(["--data", options.data] if options.data else []), *words])
        try:
            value = read_json(found)
        except (OSError, ValueError) as error:
            raise DataError(f"{found}: no architecture there ({error})") from None
        arch = space.canonical(value.get("arch", value))
    params = int(space.count_params(space.encode([arch]))[0])
    if params > most:
        raise DataError(
            f"{found}: {params} parameters; allowed: {most} or fewer, those of the best random one"
        )
    one, other = space.network_keys(space.encode([arch, best]))
    # A search that finds it by itself ties with it.
    if one == other and not options.measure:
        raise DataError(f"{found}: it is the best random one itself; nothing to compare")
    plain = get_space("basicunet")
    larger = [
        w for w in WIDTHS if plain.count_params(plain.encode([{"width": w}]))[0] >= params
    ] or [WIDTHS[-1]]
    return {
        SEARCHED: (space.name, arch),
        RANDOM: (space.name, best),
        PLAIN: ("basicunet", {"width": larger[0]}),
    }


def measured_by_search(
    space: SearchSpace, most: int, options: argparse.Namespace, out: Path
) -> Path:
    """Let a search measure; its table."""
    words = ["--config", options.proxy, "--space", space.name, "--sampler", "surrogate"]
    words += ["--count", str(options.measure), "--max_params", str(most)]
    words += ["--seed", str(options.draw_seed), "--threads", str(options.threads)]
    words += ["--workers", str(options.workers), "--out", str(out / "search"), "--quiet"]
    run(["label", *(["--data", options.data] if options.data else []), *words])
    return out / "search" / "table.csv"


def drawn(bench: NASSegBench, options: argparse.Namespace) -> NDArray[np.bool_]:
    """Which architectures of the bench the best random one is of: all that were drawn, or as many
    of them as the search measured."""
    possible = np.flatnonzero(~bench.searched)
    if not len(possible):
        raise DataError(f"{bench.path}: a search proposed all of it; nothing was drawn at random")
    count = options.measure or len(possible)
    if count > len(possible):
        raise ConfigError(
            f"--measure is {count}; allowed: at most {len(possible)}, the architectures of "
            f"{bench.path} that were drawn at random"
        )
    if options.measure:
        rng = np.random.default_rng(options.draw_seed)
        possible = rng.choice(possible, count, replace=False)
    mask = np.zeros(len(bench), dtype=np.bool_)
    mask[possible] = True
    return mask


def luck(bench: NASSegBench, options: argparse.Namespace) -> int:
    """Row of the best random one, by the mean of all trainings that the bench has of each: luck
    knows what it has better than a search, which sees one."""
    return int(np.argmax(np.where(drawn(bench, options), bench.values(), -np.inf)))


def luck_text(bench: NASSegBench, options: argparse.Namespace) -> str:
    """Where the best random one is from, in words."""
    some = drawn(bench, options)
    text = f"the best random one is the best of {some.sum()} at the proxy budget"
    if not options.measure:
        return text
    values, sizes = bench.values(), bench.space.count_params(bench.matrix)
    own = luck(bench, options)
    trainings = sum(len(bench.seeds(a)) for a, one in zip(bench.archs, some, strict=True) if one)
    possible = np.flatnonzero(~bench.searched)
    rng = np.random.default_rng([options.draw_seed, 1])
    bests = [values[rng.choice(possible, some.sum(), replace=False)].max() for _ in range(DRAWS)]
    low, middle, high = np.quantile(bests, (0.05, 0.5, 0.95))
    return (
        f"{text} ({trainings} trainings): one draw, in which it has {values[own]:.4f}; the best of "
        "as many has "
        f"{middle:.4f} in the median of {DRAWS} draws, {low:.4f} to {high:.4f} in nine of ten. "
        f"{(some & (sizes <= sizes[own])).sum()} of those drawn, and all that the search "
        "measured, have no more parameters than it. What is drawn is not in the ±"
    )


def from_bench(bench: NASSegBench, options: argparse.Namespace) -> bool:
    """Return True if the searched architecture is one of the bench."""
    elsewhere = options.arch or options.surrogate or options.measure
    return not elsewhere and bool(bench.searched.any())


def candidates(bench: NASSegBench, possible: NDArray[np.bool_], count: int) -> list[dict[str, Any]]:
    """The best of the possible architectures, at most ``count``; of several, only such as have
    several measurements, where any has, for the first of single ones owe that to luck."""
    if count > 1:
        several = np.array([len(bench.seeds(arch)) > 1 for arch in bench.archs])
        possible = possible & several if (possible & several).any() else possible
    order = np.argsort(-np.where(possible, bench.values(), -np.inf), kind="stable")
    return [bench.archs[i] for i in order[: min(count, int(possible.sum()))]]


def promoted(
    archs: list[dict[str, Any]], options: argparse.Namespace, space: SearchSpace, out: Path
) -> dict[str, Any]:
    """The architecture that a training at the full budget finds the best; of one, that one."""
    if len(archs) == 1:
        return archs[0]
    seed = options.promote_seed
    rows = pd.DataFrame([{**labelled(space, a, seed, options, out), "seed": seed} for a in archs])
    rows.drop(columns="arch").to_csv(out / "promoted.csv", index=False)
    return archs[int(rows.day1.to_numpy().argmax())]


def trained(
    ours: dict[str, tuple[str, dict[str, Any]]], options: argparse.Namespace, out: Path
) -> pd.DataFrame:
    """One row a network and seed: the columns of ``nasseg label``, ``network`` and ``seed``."""
    return pd.DataFrame(
        [
            {**labelled(get_space(name), arch, seed, options, out), "network": label, "seed": seed}
            for label, (name, arch) in ours.items()
            for seed in options.seeds
        ]
    )


def labelled(
    space: SearchSpace, arch: dict[str, Any], seed: int, options: argparse.Namespace, out: Path
) -> dict[str, Any]:
    """Return the row that ``nasseg label`` measures of an architecture at the full budget."""
    folder = out / f"{space.name}_{space.arch_id(arch)}_seed{seed}"
    archs = folder.with_suffix(".csv")
    archs.parent.mkdir(parents=True, exist_ok=True)
    with archs.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["arch"], [space.to_json(arch)]])
    words = ["--config", options.config, "--archs", str(archs), "--space", space.name]
    words += ["--count", "1", "--seed", str(seed), "--out", str(folder)]
    words += ["--max_params", "null", "--max_macs_per_pixel", "null", "--min_params", "1"]
    words += ["--threads", str(options.threads)]
    run(["label", *(["--data", options.data] if options.data else []), *words])
    row: dict[str, Any] = pd.read_csv(folder / "table.csv").iloc[0].to_dict()
    return row


def run(words: list[str]) -> None:
    """One command of nasseg, in this process; standard output is the page's."""
    with contextlib.redirect_stdout(sys.stderr):
        status = nasseg(words)
    if status:
        raise RunError(f"nasseg {' '.join(words)} failed; its error is above")


def origin_text(bench: NASSegBench, options: argparse.Namespace, out: Path) -> str:
    """Where the architecture that was found is from, in words."""
    if options.arch:
        return f"The one found is that of {Path(options.arch).name}; "
    chosen = "The one found is the best"
    if (file := out / "promoted.csv").exists() and options.promote > 1:
        several = ", of those with several measurements where there are any,"
        chosen = (
            f"`promoted.csv`: the {len(pd.read_csv(file))} best"
            f"{several if from_bench(bench, options) else ''} were trained at the full budget once "
            f"more (seed {options.promote_seed}), which the random ones were not; the one found "
            "is the best of these"
        )
    if from_bench(bench, options):
        return (
            f"{chosen}, with no more parameters than the best random one, of "
            f"{bench.searched.sum()} that a surrogate-assisted search proposed and measured at the "
            "proxy budget; "
        )
    if options.measure:
        table = pd.read_csv(out / "search" / "table.csv")
        short = shipped_low_fidelity(bench.space.name)
        knew = f" but {short.facts['n']} short trainings of others" if short else ""
        return (
            f"The search measured {len(table)} architectures at the proxy budget, the best of "
            f"which had {table.day1.max():.4f} there, and knew nothing before{knew}. {chosen}; "
        )
    name = options.surrogate or "auto"
    schema = XGBoostEvaluator.load(find_surrogate(name, bench.space)).schema
    short = schema.get("low_fidelity")
    more = f" and {short['n']} short trainings of others" if short else ""
    score = read_json(out / "search" / "best.json")["predicted"]["day1"]
    return (
        f"The search saw a surrogate fitted to measurements of {schema['n']} architectures{more}, "
        f"which promised {score:.4f} at their budget; "
    )


def describe(rows: pd.DataFrame, origin: str, command: str) -> str:
    """The page."""
    scores = ("digital", "day1", "p05", "day1_uncalibrated", f"mean_{TIMES[-1]}s")
    cells = []
    for label in COLOURS:
        own = rows[rows.network == label]
        first = own.iloc[0]
        sizes = [f"{int(first.params):,}", f"{int(first.macs):,}", int(first.tiles)]
        cells.append([label, *sizes, *(spread_text(own[name], 4) for name in scores)])
    columns = ["network", "parameters", "MACs", "tiles", "digital", "1 day", "p05 chip, 1 day"]
    table = markdown_table(cells, [*columns, "1 day, uncalibrated", "1 year"])
    return (
        f"# The winner of a search, trained to the end\n\n```\n{command}\n```\n\n"
        f"Dice, mean ± standard deviation over {rows.seed.nunique()} seeds. {origin}. `drift.png` "
        f"shows every seed.\n\n{table}\n\n![drift](drift.png)\n"
    )


def draw(rows: pd.DataFrame) -> Any:
    """Dice over time: a line a seed, thick for the mean."""
    figure = new_figure(6, 3.6)
    axis = strip_axes(figure.subplots())
    for label, colour in COLOURS.items():
        own = rows[rows.network == label]
        values = own[[f"mean_{t}s" for t in TIMES]].to_numpy(dtype=float)
        for line in values:
            axis.plot(TIMES, line, color=colour, lw=0.6, alpha=0.6)
        params = f"{label}, {int(own.params.iloc[0]):,} parameters"
        axis.plot(TIMES, values.mean(0), color=colour, lw=2, marker="o", label=params)
    axis.set_xscale("log")
    axis.set_xticks(TIMES, [time_name(t) for t in TIMES])
    axis.minorticks_off()
    axis.set_xlabel("time since programming")
    axis.set_ylabel("Dice, recalibrated")
    axis.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(main())
