"""``nasseg predict``: segment or classify images with a run's network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasseg.cli._command import Command, at_least, say, start_logging
from nasseg.cli._flags import DEVICE, QUIET, THREADS, TTA, UNCALIBRATED, Flag, Given, age, whole
from nasseg.errors import ConfigError


def _predict(given: Given, words: list[str]) -> int:
    if "csv" in given and "out" in given:
        raise ConfigError("out and csv: one of them is allowed")
    if "csv" not in given and "out" not in given:
        raise ConfigError(
            "out is missing: --out FOLDER says where segmentations go, --csv FILE where classes do"
        )
    start_logging(given["quiet"])
    options = {
        "at": given["at"],
        "chip_seed": given["chip_seed"],
        "chips": given["chips"],
        "recalibrate": not given["uncalibrated"],
        "device": given["device"],
        "progress": not given["quiet"],
    }
    from nasseg.training.device import set_threads

    set_threads(given["threads"])
    run, *images = words
    if "csv" in given:
        options["tta"] = True if given["tta"] else None
        _classify(run, images, given["csv"], options)
    else:
        _segment(run, images, given["out"], options)
    return 0


def _segment(run: str, images: Sequence[str], out: str, options: dict[str, Any]) -> None:
    from nasseg.predict import predict

    for entry in predict(run, images, out, **options):
        say(f"{entry.image.name}: {entry.instances} {entry.noun}")
    say(f"results: {out}")


def _classify(run: str, images: Sequence[str], file: str, options: dict[str, Any]) -> None:
    from nasseg.predict.classes import predict_classes

    done = predict_classes(run, images, file, **options)
    say(f"{len(done)} images classified: {file}")


COMMAND = Command(
    name="predict",
    purpose="segment or classify images with a run's network, digital or on an aged chip",
    usage="RUN IMAGES... --out FOLDER | --csv FILE",
    description=(
        "Segmentation: write NAME.tif (instance ids) and NAME_overlay.png for every image; "
        "with --at also NAME_uncertainty.tif and .png: where chips of that age disagree. "
        "Classification: write id, label and probabilities of every image into --csv FILE. "
        "IMAGES are files, folders, or CSV files that list them."
    ),
    flags=(
        Flag("out", "FOLDER", "Segmentation: folder for the results; needed."),
        Flag("csv", "FILE", "Classification: file for the results; needed."),
        Flag(
            "at",
            "TIME",
            "Age of the chip: 1s, 1h, 1day, 30days, 1year. [the digital network]",
            age,
        ),
        Flag("chip_seed", "N", "Number of the chip, as in drift.csv.", whole(0), 0),
        Flag("chips", "N", "Chips over which the uncertainty is taken; 1 = none.", whole(1), 8),
        UNCALIBRATED,
        TTA,
        DEVICE,
        THREADS,
        QUIET,
    ),
    run=_predict,
    check_words=at_least(
        2, "which run and images? nasseg predict RUN IMAGES... --out FOLDER, or --csv FILE"
    ),
)
