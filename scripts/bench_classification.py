#!/usr/bin/env python
"""Networks beside each other on one classification task: the same training, several seeds or folds.

    python scripts/bench_classification.py --config docs/breast.yaml --data breastmnist.npz \\
        --networks search resnet18 efficientnet-b2 --seeds 0 1 2 --drift.chips 5 --out runs/breast

makes a table as those of ``docs/results/classification``, which has the command of each.

Every network, seed and fold is a run folder below --out, digital, analog and aged; then they are
compared. ``search`` is whatever network a run finds by itself, as its settings are: each seed and
each fold has a search of its own. Where there are test images, or folds, a search sees none of what
it is scored on. Settings of ``nasseg run`` are taken as it takes them, after the words of this
script. The same command continues; several of them at once share the work.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from nasseg import pipeline
from nasseg.cli import Flag, script_main, setting_texts
from nasseg.compare import compare, format_comparison, write_comparison
from nasseg.config import RunConfig
from nasseg.config.reading import (
    FINDING,
    MEASURING,
    build_config,
    files_beside,
    read_yaml,
    with_network,
)
from nasseg.errors import ConfigError, RunError

SEARCH = "search"
"""Instead of an architecture: each run searches."""
PLANNED = {
    "search.arch": "--networks",
    "data.path": "--data",
    "data.folds": "--folds",
    "data.fold": "--folds",
    "seed": "--seeds",
}
"""Settings that differ from run to run, or have another flag here."""


def main(words: list[str] | None = None) -> int:
    """Run what is missing, then compare."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return script_main(lambda: _run_and_compare(_options(words)), "bench_classification")


def _run_and_compare(options: argparse.Namespace) -> None:
    runs = planned(options)
    busy = [folder for folder, config in runs if not _done(folder, config)]
    if busy:
        sys.stderr.write(f"others work on {len(busy)} runs; the same command compares then\n")
        return
    found = compare([folder for folder, _ in runs])
    write_comparison(found, options.out)
    sys.stdout.write(format_comparison(found) + "\n")


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="Settings of nasseg run are flags, too (--drift.chips 5); its --help lists them.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="YAML file of a run's settings")
    parser.add_argument("--data", help="as nasseg run takes it; none = as in the file")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=[SEARCH],
        help="architectures: JSON files, names, or 'search' (the default), one that each run finds",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", type=int, default=0, help="cross-validation; 0 = none")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device")
    parser.add_argument("--out", required=True)
    options, rest = parser.parse_known_args(words)
    # Its own flags are taken by now; a misspelt one is answered with the nearest.
    own = [Flag(name, "VALUE", "") for name in ("config", "data", "networks", "seeds", "folds")]
    options.settings = setting_texts(RunConfig, rest, own)
    for key in options.settings.keys() & PLANNED.keys():
        raise ConfigError(f"{key} is {options.settings[key]!r}; allowed here: {PLANNED[key]}")
    for key in (*FINDING, *MEASURING) if SEARCH not in options.networks else ():
        if key in options.settings:
            raise ConfigError(
                f"{key} is {options.settings[key]!r}, but all networks are given; allowed: "
                f"'{SEARCH}' among --networks"
            )
    return options


def planned(options: argparse.Namespace) -> list[tuple[Path, RunConfig]]:
    """Folder and settings of every run, the seeds of one network after those of the one before."""
    runs = []
    names = [Path(network).stem for network in options.networks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two networks are called {name!r}; their files must differ in name")
    for network in options.networks:
        for seed in options.seeds:
            for fold in range(max(1, options.folds)):
                name = f"{Path(network).stem}_seed{seed}"
                name += f"_fold{fold}" if options.folds else ""
                given: dict[str, Any] = {"out": str(Path(options.out) / name), "seed": seed}
                given["search.arch"] = None if network == SEARCH else network
                given |= {
                    key: getattr(options, key)
                    for key in ("threads", "device")
                    if getattr(options, key) is not None
                }
                if options.folds:
                    given |= {"data.folds": options.folds, "data.fold": fold}
                if options.data is not None:
                    given["data.path"] = options.data
                values = files_beside(
                    options.config, read_yaml(options.config, RunConfig), RunConfig
                )
                if network == SEARCH:
                    given = options.settings | given
                else:
                    # How a network is found is put aside for one that is given, as the file's is.
                    values |= options.settings
                values = with_network(values, given) | given
                flags = given.keys() | options.settings.keys()
                origins = dict.fromkeys(values.keys() - flags, options.config)
                config = build_config(RunConfig, values, origins)
                runs.append((Path(config.out), config))
    return runs


def _done(folder: Path, config: RunConfig) -> bool:
    """Bring one run to its end; False where another process works on it."""
    sys.stderr.write(f"{folder}\n")
    try:
        pipeline.run(config, progress=sys.stderr.isatty())
    except RunError as error:
        if "in use" not in str(error):
            raise
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
