"""The ``nasseg`` command: dispatch, one clean line for an error, exit statuses.

0 = done, 1 = it could not be done, 2 = the command or its settings are wrong, 130 = stopped by
the keyboard. Nothing heavy is imported before a command has been understood.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nasseg._registry import nearest
from nasseg._version import __version__
from nasseg.cli._flags import split_flags
from nasseg.cli._help import LABEL_ALIASES, RUN_ALIASES, config_help, main_help, simple_help
from nasseg.config import LabelConfig, RunConfig
from nasseg.config.reading import (
    Setting,
    build_config,
    files_beside,
    followed,
    read_yaml,
    said_only,
    settings,
    with_network,
)
from nasseg.errors import ConfigError, NassegError, RunError
from nasseg.text import format_measured, format_summary

C = TypeVar("C", RunConfig, LabelConfig)

STAGES = ("search", "train", "analog", "drift", "report")
"""Stages of a run, in order."""

_RUNS = {
    "run": "search, train, analog, drift and report: a whole run",
    "search": "find an architecture with the surrogate, or by measuring (--measure N)",
    "train": "the same, then train it digitally",
    "analog": "the same, then convert to tiles and retrain hardware-aware",
    "drift": "the same, then evaluate programmed chips over time",
}
_TOOLS = {
    "predict": "segment or classify images with a run's network, digital or on an aged chip",
    "evaluate": "score the network of a run, digital or on aged chips",
    "compare": "several runs in one table and one picture",
    "report": "write the HTML report of a run folder again",
    "label": "measure sampled architectures into a table",
    "fit": "fit a surrogate to such a table",
    "spaces": "list the search spaces, or show one",
    "cost": "energy and time of an architecture on a crossbar chip",
    "doctor": "versions, devices, and one analog forward",
}
_RUN_NOTES = (
    "A run lives in its --out folder. The same command continues what is there; where the folder "
    "has a config.yaml, its settings are the ones not said, so that a later stage needs only "
    "--out."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except ConfigError as error:
        return _complain(error, 2)
    except (NassegError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader (head, less) has left: nothing to say, and nobody to say it to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _complain(error, 1)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command continues\n")
        return 130


def _complain(error: Exception, status: int) -> int:
    sys.stderr.write(f"nasseg: error: {error}\n")
    return status


def _say(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        _say(
            main_help(
                __version__,
                (
                    ("a run, or as far as one of its stages", tuple(_RUNS.items())),
                    ("parts and tools", tuple(_TOOLS.items())),
                ),
            )
        )
        return 0
    if words[0] in ("-V", "--version"):
        _say(f"nasseg {__version__}")
        return 0
    command, rest = words[0], words[1:]
    helped = any(word in ("-h", "--help") for word in rest)
    if command in _RUNS:
        return _run(command, rest, helped)
    tools: dict[str, Callable[[list[str], bool], int]] = {
        "predict": _predict,
        "evaluate": _evaluate,
        "compare": _compare,
        "report": _report,
        "label": _label,
        "fit": _fit,
        "spaces": _spaces,
        "cost": _cost,
        "doctor": _doctor,
    }
    if command not in tools:
        near = nearest(command, [*_RUNS, *_TOOLS])
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(
            f"no command {command!r}{hint} (commands: {', '.join([*_RUNS, *_TOOLS])})"
        )
    return tools[command](rest, helped)


def read_config(
    config: type[C],
    words: Sequence[str],
    aliases: dict[str, str],
    names: Sequence[str] = (),
    switches: Sequence[str] = (),
) -> tuple[C, dict[str, str]]:
    """The config of a command line, and the flags that are no settings (``quiet``).

    ``names`` and ``switches`` are more such flags, with and without a value.

    Later wins: defaults; ``config.yaml`` of the run folder, only where no ``--config`` is given;
    the ``--config`` file; flags.

    Raises:
        ConfigError: an unknown flag or key, or a value that is not allowed.
    """
    leaves: dict[str, Setting] = settings(config)
    own = [*names, *switches, "quiet", "config"]
    flags, extra = split_flags(
        words,
        [*leaves, *names, "config"],
        aliases,
        [*switches, "quiet"],
        [key for key, leaf in leaves.items() if leaf.texts],
    )
    if extra:
        raise ConfigError(f"unexpected {extra[0]!r}; settings are given as --name value")
    other = {name: flags.pop(name) for name in own if name in flags}
    file = other.pop("config", None)
    out = Path(flags.get("out", leaves["out"].default))
    saved = out / "config.yaml"
    if file is None and saved.is_file():
        file = str(saved)
    values: dict[str, Any] = read_yaml(file, config) if file is not None else {}
    if file == str(saved):
        # The folder may have been moved since its settings were written.
        values["out"] = str(out)
        if not _bound(out):
            # What followed from other settings follows anew: these may have been a slip.
            values = with_network(said_only(config, values), flags)
    else:
        if file is not None:
            values = files_beside(file, values)
        # Not over what a folder was begun with.
        values = with_network(values, flags)
        if file is not None and saved.is_file() and _bound(out):
            # What follows from others may follow otherwise in this version than when it was begun.
            values = {**followed(config, read_yaml(saved, config)), **values}
    origins = {key: file for key in values if key not in flags and file is not None}
    made = build_config(config, {**values, **flags}, origins)
    if origins.get("data.path") == str(saved) and not _bound(out):
        _refuse_lost_data(saved, made.data.path)
    return made, other


def _refuse_lost_data(saved: Path, path: str | None) -> None:
    """Say where a path comes from that no flag of this command names, and no images are at.

    Raises:
        ConfigError: the path is of the folder's settings, and there is nothing.
    """
    if path is not None and not Path(path).expanduser().exists():
        raise ConfigError(f"{saved}: data.path is {path!r}, where no images are; --data says where")


def _bound(folder: Path) -> bool:
    """Whether a folder's settings hold: its images have been found good."""
    from nasseg.io import read_json

    try:
        return "data" in read_json(folder / "stages.json")
    except (OSError, ValueError, TypeError):
        return False


def _run(command: str, words: list[str], helped: bool) -> int:
    if helped:
        stages = ", ".join(_stages(command) or STAGES)
        purpose = f"{_RUNS[command].capitalize()}. Stages: {stages}."
        own = _DRIFT_FLAGS if command == "drift" else ()
        _say(config_help(command, purpose, RunConfig, RUN_ALIASES, _RUN_NOTES, own))
        return 0
    if command == "drift":
        names, switches = ["min_score", "min_dice", "share", "plan_chips"], ["plan"]
        config, flags = read_config(RunConfig, words, RUN_ALIASES, names, switches)
        question = _drift_question(flags)
        _refuse_nothing_to_age(config, asked=question is not None)
    else:
        config, flags = read_config(RunConfig, words, RUN_ALIASES)
        question = None
    progress = _start_logging(flags)
    from nasseg import pipeline

    summary = pipeline.run(config, stages=_stages(command), progress=progress)
    _say(f"\n{format_summary(summary)}")
    out = Path(config.out)
    if command == "search" and (out / "best.json").is_file():
        from nasseg.records.best import Best

        best = Best.read(out / "best.json").to_dict()
        _say(format_measured(best, summary.get("monitor")))
    if question is not None:
        _answer(config, question, summary, progress)
    if command == "search":
        from nasseg.records.pareto import format_front, read_front

        if front := read_front(out):
            _say("\n" + format_front(front))
    report = out / "report.html"
    _say(f"report: {report}" if command == "run" and report.is_file() else f"run folder: {out}")
    return 0


_DRIFT_FLAGS = (
    (
        "--min-dice X, --min-score X",
        "Say which share of the chips has a Dice (accuracy, ...) of X or more, at each time.",
    ),
    (
        "--plan",
        "With --min-dice: when to recalibrate and to reprogram so that chips stay above it for "
        "a year; written to plan.json.",
    ),
    ("--share X", "With --plan: share of the chips that must stay above. [0.95]"),
    ("--plan-chips N", "With --plan: chips simulated. [10]"),
)


@dataclasses.dataclass(frozen=True)
class _Question:
    """What ``nasseg drift`` is asked beside its scores."""

    min_score: float
    plan: bool
    share: float
    chips: int


def _drift_question(flags: dict[str, str]) -> _Question | None:
    # Two names for one thing: the score of a segmentation is its Dice.
    if "min_score" in flags:
        flags = {**flags, "min_dice": flags["min_score"]}
    if "min_dice" not in flags:
        lone = [name for name in ("plan", "share", "plan_chips") if name in flags]
        if lone:
            raise ConfigError(
                f"--{lone[0].replace('_', '-')} needs --min-dice X, the Dice to stay above"
            )
        return None
    values = {}
    for name, default in (("min_dice", 0.0), ("share", 0.95)):
        try:
            values[name] = float(flags.get(name, default))
        except ValueError:
            values[name] = -1.0
        if not 0 < values[name] <= 1:
            raise ConfigError(
                f"{name} is {flags.get(name)!r}; allowed: a number above 0, at most 1"
            )
    chips = flags.get("plan_chips", "10")
    if not chips.isdecimal() or int(chips) < 1:
        raise ConfigError(f"plan_chips is {chips!r}; allowed: a whole number, 1 or more")
    return _Question(values["min_dice"], "plan" in flags, values["share"], int(chips))


def _refuse_nothing_to_age(config: RunConfig, asked: bool) -> None:
    """Refuse to begin a run where one is asked about: its folder is likely misspelt."""
    default = RunConfig()
    same = ("out", "seed", "device", "threads", "drift")
    plain = dataclasses.replace(default, **{key: getattr(config, key) for key in same})
    named = asked or config.out != default.out
    if named and config == plain and not (Path(config.out) / "config.yaml").is_file():
        raise RunError(
            f"{config.out} is no run folder: it has no config.yaml. `nasseg run` makes one; with "
            "--data, --config or other settings this command begins one there"
        )


def _answer(
    config: RunConfig, question: _Question, summary: dict[str, Any], progress: bool
) -> None:
    from nasseg import pipeline
    from nasseg.text import format_plan, format_shares

    rows = pipeline.read_drift(Path(config.out))
    _say("\n" + format_shares(rows, question.min_score, summary.get("monitor")))
    if question.plan:
        plan = pipeline.plan(
            config,
            min_value=question.min_score,
            share=question.share,
            chips=question.chips,
            progress=progress,
        )
        _say("\n" + format_plan(plan))


def _stages(command: str) -> tuple[str, ...] | None:
    return None if command == "run" else STAGES[: STAGES.index(command) + 1]


def _start_logging(flags: dict[str, str]) -> bool:
    """Send the package's log to stderr; whether progress is shown."""
    quiet = "quiet" in flags
    logger = logging.getLogger("nasseg")
    if not any(getattr(handler, "of_nasseg_cli", False) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        handler.of_nasseg_cli = True  # type: ignore[attr-defined]
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    return not quiet


def _label(words: list[str], helped: bool) -> int:
    if helped:
        purpose = (
            "Measure sampled architectures (short training, hardware-aware retraining, drift) "
            "into a table, from which `nasseg fit` makes a surrogate."
        )
        notes = (
            "The same command continues the table in --out. Started again while it runs, here or "
            "with the same --storage on another machine, it is one more worker of the same study."
        )
        _say(config_help("label", purpose, LabelConfig, LABEL_ALIASES, notes))
        return 0
    config, flags = read_config(LabelConfig, words, LABEL_ALIASES)
    progress = _start_logging(flags)
    from nasseg import pipeline

    table = pipeline.label(config, progress=progress)
    _say(f"table: {table}")
    return 0


def _simple(
    words: list[str], names: Sequence[str], positional: str | None = None
) -> tuple[dict[str, str], str | None]:
    """Flags and the one positional word of a command without a config."""
    flags, extra = split_flags(words, names)
    if len(extra) > (positional is not None):
        raise ConfigError(f"unexpected {extra[-1]!r}; --help lists what is taken")
    return flags, extra[0] if extra else None


def _report(words: list[str], helped: bool) -> int:
    if helped:
        flags = [("--out FOLDER", "The run folder; the same as RUN.")]
        _say(simple_help("report RUN", "Write RUN/report.html and RUN/figures/ again.", flags))
        return 0
    given, run = _simple(words, ["out"], "RUN")
    if (folder := given.get("out", run)) is None:
        raise ConfigError("which run? nasseg report RUN, RUN being a run folder")
    from nasseg.report import write_report

    _say(f"report: {write_report(Path(folder))}")
    return 0


def _predict(words: list[str], helped: bool) -> int:
    if helped:
        flags = [
            ("--out FOLDER", "Folder for the results; needed."),
            ("--at TIME", "Age of the chip: 1s, 1h, 1day, 30days, 1year. [the digital network]"),
            ("--chip-seed N", "Number of the chip, as in drift.csv. [0]"),
            ("--chips N", "Chips over which the uncertainty is taken; 1 = none. [8]"),
            ("--uncalibrated", "No recalibration of BatchNorm on the aged chip."),
            ("--tta", "Classification: mean over an image and its mirror images."),
            ("--device D", "auto, cpu or cuda. [auto]"),
            ("--quiet", "No progress."),
        ]
        purpose = (
            "Segmentation: write NAME.tif (instance ids) and NAME_overlay.png for every image; "
            "with --at also NAME_uncertainty.tif and .png: where chips of that age disagree. "
            "Classification: write id, label and probabilities of every image into --csv FILE. "
            "IMAGES are files, folders, or CSV files that list them."
        )
        flags[0] = ("--out FOLDER", "Segmentation: folder for the results; needed.")
        flags.insert(1, ("--csv FILE", "Classification: file for the results; needed."))
        _say(simple_help("predict RUN IMAGES... --out FOLDER | --csv FILE", purpose, flags))
        return 0
    names = ["out", "csv", "at", "chip_seed", "chips", "device"]
    given, paths = split_flags(words, names, switches=["uncalibrated", "tta", "quiet"])
    if len(paths) < 2:
        raise ConfigError(
            "which run and images? nasseg predict RUN IMAGES... --out FOLDER, or --csv FILE"
        )
    if "csv" in given:
        return _predict_classes(given, paths)
    if "out" not in given:
        raise ConfigError(
            "out is missing: --out FOLDER says where segmentations go, --csv FILE where classes do"
        )
    numbers = _whole_numbers(given, (("chip_seed", 0), ("chips", 1)))
    progress = _start_logging(given)
    from nasseg.predict import parse_time, predict

    done = predict(
        paths[0],
        paths[1:],
        given["out"],
        at=parse_time(given["at"]) if "at" in given else None,
        recalibrate="uncalibrated" not in given,
        device=given.get("device", "auto"),
        progress=progress,
        **numbers,
    )
    for entry in done:
        _say(f"{entry.image.name}: {entry.instances} nuclei")
    _say(f"results: {given['out']}")
    return 0


def _predict_classes(given: dict[str, str], paths: Sequence[str]) -> int:
    if "out" in given:
        raise ConfigError("out and csv: one of them is allowed")
    numbers = _whole_numbers(given, (("chip_seed", 0), ("chips", 1)))
    progress = _start_logging(given)
    from nasseg.predict import parse_time
    from nasseg.predict_classes import predict_classes

    done = predict_classes(
        paths[0],
        paths[1:],
        given["csv"],
        at=parse_time(given["at"]) if "at" in given else None,
        recalibrate="uncalibrated" not in given,
        tta=True if "tta" in given else None,
        device=given.get("device", "auto"),
        progress=progress,
        **numbers,
    )
    _say(f"{len(done)} images classified: {given['csv']}")
    return 0


def _evaluate(words: list[str], helped: bool) -> int:
    if helped:
        flags = [
            ("--side val|test", "Which images. [test where there are any]"),
            ("--at TIME", "Age of the chips: 1s, 1h, 1day, 30days, 1year. [the digital network]"),
            ("--chips N", "Chips scored, with --at. [1]"),
            ("--uncalibrated", "No recalibration of BatchNorm on the aged chip."),
            ("--tta", "Classification: mean over an image and its mirror images."),
            ("--out FOLDER", "Folder for evaluation.json and pictures. [RUN/evaluation]"),
            ("--device D", "auto, cpu or cuda. [auto]"),
            ("--threads N", "CPU threads of torch; 0 = as many as it finds. [0]"),
            ("--quiet", "No progress."),
        ]
        purpose = (
            "Print the scores of a run's network; of classification also precision and recall of "
            "each class, the confusion matrix and how reliable the probabilities are, as pictures."
        )
        _say(simple_help("evaluate RUN [--at TIME --chips N]", purpose, flags))
        return 0
    names = ["side", "at", "chips", "out", "device", "threads"]
    given, runs = split_flags(words, names, switches=["uncalibrated", "tta", "quiet"])
    if len(runs) != 1:
        raise ConfigError("which run? nasseg evaluate RUN, RUN being a run folder")
    if "chips" in given and "at" not in given:
        raise ConfigError("chips needs --at TIME, the age of the chips")
    if given.get("side", "val") not in ("val", "test"):
        raise ConfigError(f"side is {given['side']!r}; allowed: val, test")
    numbers = _whole_numbers(given, (("chips", 1), ("threads", 0)))
    progress = _start_logging(given)
    from nasseg.evaluation import evaluate_run, format_evaluation
    from nasseg.predict import parse_time
    from nasseg.studies.label import set_threads

    set_threads(numbers.pop("threads", 0))
    found = evaluate_run(
        runs[0],
        side=given.get("side"),  # type: ignore[arg-type]
        at=parse_time(given["at"]) if "at" in given else None,
        recalibrate="uncalibrated" not in given,
        tta=True if "tta" in given else None,
        out=given.get("out"),
        device=given.get("device", "auto"),
        progress=progress,
        **numbers,
    )
    _say(format_evaluation(found))
    _say(f"written: {', '.join(map(str, found.files))}")
    return 0


def _compare(words: list[str], helped: bool) -> int:
    if helped:
        flags = [("--out FOLDER", "Also write compare.csv, compare.md and compare.png there.")]
        purpose = (
            "Runs in one table, those that differ only by seed or fold together, as mean and "
            "standard deviation; and their curves in one picture."
        )
        _say(simple_help("compare RUN RUN ... [--out FOLDER]", purpose, flags))
        return 0
    given, runs = split_flags(words, ["out"])
    if not runs:
        raise ConfigError("which runs? nasseg compare RUN RUN ...")
    from nasseg.compare import compare, format_comparison, write_comparison

    found = compare(runs)
    _say(format_comparison(found))
    if "out" in given:
        _say(f"written: {', '.join(map(str, write_comparison(found, given['out'])))}")
    return 0


def _whole_numbers(given: dict[str, str], least: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Those of the named flags that are given, as numbers."""
    numbers = {}
    for name, lowest in least:
        if name in given:
            if not given[name].isdecimal() or int(given[name]) < lowest:
                raise ConfigError(
                    f"{name} is {given[name]!r}; allowed: a whole number, {lowest} or more"
                )
            numbers[name] = int(given[name])
    return numbers


def _fit(words: list[str], helped: bool) -> int:
    if helped:
        flags = [
            ("--space NAME", "Search space of the table's architectures. [unet]"),
            ("--out FOLDER", "Folder of the surrogate. [surrogate/ beside the table]"),
            (
                "--low-fidelity TABLE",
                "Also learn from short trainings of many other architectures (docs/surrogates.md).",
            ),
            ("--tuned", "Choose the hyperparameters by cross-validation; takes minutes."),
        ]
        purpose = (
            "Fit a surrogate to tables of measured architectures (`nasseg label` makes them) and "
            "write it with its model card (card.md): rank correlations, coverage of its "
            "intervals, what it looks at. "
            "`--search.surrogate FOLDER` of `nasseg run` then uses it."
        )
        _say(simple_help("fit TABLE.csv ... [--space NAME] [--out FOLDER]", purpose, flags))
        return 0
    given, words = split_flags(words, ["space", "out", "low_fidelity"], switches=["tuned"])
    if not words:
        raise ConfigError("which table? nasseg fit TABLE.csv")
    tables = [_table_of(word) for word in words]
    short = _table_of(given["low_fidelity"]) if "low_fidelity" in given else None
    out = Path(given.get("out", tables[0].parent / "surrogate"))
    from nasseg.evaluators import fit_table
    from nasseg.search_spaces import get_space

    evaluator = fit_table(
        tables,
        get_space(given.get("space", "unet")),
        out,
        tuned="tuned" in given,
        low_fidelity=short,
    )
    schema = evaluator.schema
    if short is not None:
        facts = schema["low_fidelity"]
        known = _tau(facts)
        _say(f"short trainings of {facts['n']} other architectures (tau {known}) are an input")
    _say(f"fitted to {schema['n']} architectures; cross-validated Kendall tau:")
    for target, entry in schema["targets"].items():
        _say(f"  {target:6}{_tau(entry)}")
    held = schema["uncertainty"]["coverage"]
    if held is not None:
        _say(f"intervals of 90 % for day1 hold {held:.1%} of held-out architectures")
    _say(f"surrogate: {out}, described in {out / 'card.md'}")
    return 0


def _tau(entry: dict[str, Any]) -> str:
    """A cross-validated rank correlation, in words."""
    tau, spread = entry["tau_mean"], entry["tau_std"]
    return "unknown" if tau is None else f"{tau:.3f} ± {spread:.3f}"


def _table_of(word: str) -> Path:
    """A table, or that of a folder of `nasseg label`."""
    table = Path(word) / "table.csv" if Path(word).is_dir() else Path(word)
    if not table.is_file():
        raise ConfigError(f"no table {table}; `nasseg label` writes table.csv")
    return table


def _spaces(words: list[str], helped: bool) -> int:
    if helped:
        flags = [("--seed N", "Seed of the architecture shown as an example. [0]")]
        purpose = "List the search spaces; with NAME, its hyperparameters and one architecture."
        _say(simple_help("spaces [NAME]", purpose, flags))
        return 0
    given, name = _simple(words, ["seed"], "NAME")
    from nasseg.cli._spaces_text import describe_space, list_all

    seed = given.get("seed", "0")
    if not seed.isdecimal():
        raise ConfigError(f"seed is {seed!r}; allowed: a whole number, 0 or more")
    _say(list_all() if name is None else describe_space(name, int(seed)))
    return 0


def _cost(words: list[str], helped: bool) -> int:
    if helped:
        flags = [
            ("--space NAME", "Search space of a file's architecture. [unet; a run's own]"),
            ("--image-size N", "Side of the image in pixels. [256; what a run is trained on]"),
            ("--channels N", "Image channels. [3; a run's own]"),
            ("--out-channels N", "Output channels. [1; a run's own]"),
            ("--hardware CHIP", "hermes, hermes_1phase, isaac, or a YAML file. [hermes]"),
            ("--figure FILE.png", "Also draw the energy of every layer."),
        ]
        purpose = (
            "Estimate crossbars, energy and time of an architecture (a JSON file, that of a run "
            "folder, or a reference network such as resnet18) on a chip, in all and layer by "
            "layer. No measurement: docs/hardware.md says how, and what is left out."
        )
        _say(simple_help("cost ARCH.json|RUN|NAME [--hardware CHIP]", purpose, flags))
        return 0
    names = ["space", "image_size", "channels", "out_channels", "hardware", "figure"]
    given, source = _simple(words, names, "ARCH")
    if source is None:
        raise ConfigError("which architecture? nasseg cost ARCH.json, a run folder, or a name")
    if not given.get("figure", ".png").endswith(".png"):
        raise ConfigError(f"figure is {given['figure']!r}; allowed: a name that ends in .png")
    from nasseg.cli._cost_text import describe_cost, read_subject
    from nasseg.evaluators import CostEvaluator, Hardware

    chip = Hardware.load(given.get("hardware", "hermes"))
    subject = read_subject(source, given)
    evaluator = CostEvaluator(
        subject.space,
        subject.in_channels,
        subject.out_channels,
        hardware=chip,
        input_size=(subject.image_size, subject.image_size),
    )
    layers = evaluator.layer_costs(subject.arch)
    _say(describe_cost(subject, evaluator, layers))
    if "figure" in given:
        from nasseg.io import write_bytes
        from nasseg.report import cost_png

        title = f"{chip.name}: energy of one image of {subject.image_size} x {subject.image_size}"
        write_bytes(Path(given["figure"]), cost_png(layers, title))
        _say(f"figure: {given['figure']}")
    return 0


def _doctor(words: list[str], helped: bool) -> int:
    if helped:
        purpose = "Versions, devices, and one analog forward. Exit status 1 where something fails."
        _say(simple_help("doctor", purpose, [("--device D", "auto, cpu or cuda. [auto]")]))
        return 0
    given, _ = _simple(words, ["device"])
    device = given.get("device", "auto")
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device is {device!r}; allowed: auto, cpu or cuda")
    from nasseg.doctor import diagnose

    diagnosis = diagnose(device)
    _say(diagnosis.text)
    return 0 if diagnosis.ok else 1
