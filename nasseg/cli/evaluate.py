"""``nasseg evaluate``: score the network of a run, digital or on aged chips."""

from __future__ import annotations

from nasseg.cli._command import Command, exactly_one, say, start_logging
from nasseg.cli._flags import (
    DEVICE,
    QUIET,
    THREADS,
    TTA,
    UNCALIBRATED,
    Flag,
    Given,
    age,
    one_of,
    whole,
)
from nasseg.errors import ConfigError


def _evaluate(given: Given, words: list[str]) -> int:
    if "chips" in given and "at" not in given:
        raise ConfigError("chips needs --at TIME, the age of the chips")
    start_logging(given["quiet"])
    from nasseg.evaluation import evaluate_run, format_evaluation
    from nasseg.training.device import set_threads

    set_threads(given["threads"])
    found = evaluate_run(
        words[0],
        side=given["side"],
        at=given["at"],
        chips=given["chips"],
        recalibrate=not given["uncalibrated"],
        tta=True if given["tta"] else None,
        out=given["out"],
        device=given["device"],
        progress=not given["quiet"],
    )
    say(format_evaluation(found))
    say(f"written: {', '.join(map(str, found.files))}")
    return 0


COMMAND = Command(
    name="evaluate",
    purpose="score the network of a run, digital or on aged chips",
    usage="RUN [--at TIME --chips N]",
    description=(
        "Print the scores of a run's network; of classification also precision and recall of "
        "each class, the confusion matrix and how reliable the probabilities are, as pictures; of "
        "single nuclei also the scores by kind of image (fluorescence, stained, grey bright field) "
        "and of every image, and a picture of which nuclei are missed, split and merged."
    ),
    flags=(
        Flag("side", "val|test", "Which images. [test where there are any]", one_of("val", "test")),
        Flag(
            "at",
            "TIME",
            "Age of the chips: 1s, 1h, 1day, 30days, 1year. [the digital network]",
            age,
        ),
        Flag("chips", "N", "Chips scored, with --at.", whole(1), 1),
        UNCALIBRATED,
        TTA,
        Flag("out", "FOLDER", "Folder for evaluation.json, tables and pictures. [RUN/evaluation]"),
        DEVICE,
        THREADS,
        QUIET,
    ),
    run=_evaluate,
    check_words=exactly_one("which run? nasseg evaluate RUN, RUN being a run folder"),
)
