"""The ``nasseg`` command: dispatch, one clean line for an error, exit statuses.

0 = done, 1 = it could not be done, 2 = the command or its settings are wrong, 130 = stopped by
the keyboard. Nothing heavy is imported before a command has been understood.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nasseg._cli_config import Setting, build_config, read_yaml, settings, split_flags
from nasseg._cli_help import LABEL_ALIASES, RUN_ALIASES, config_help, main_help, simple_help
from nasseg._cli_summary import format_summary
from nasseg._registry import nearest
from nasseg._version import __version__
from nasseg.config import LabelConfig, RunConfig
from nasseg.errors import ConfigError, NassegError

C = TypeVar("C", RunConfig, LabelConfig)

STAGES = ("search", "train", "analog", "drift", "report")
"""Stages of a run, in order."""

_RUNS = {
    "run": "search, train, analog, drift and report: a whole run",
    "search": "find an architecture with the surrogate",
    "train": "the same, then train it digitally",
    "analog": "the same, then convert to tiles and retrain hardware-aware",
    "drift": "the same, then evaluate programmed chips over time",
}
_TOOLS = {
    "report": "write the HTML report of a run folder again",
    "label": "measure sampled architectures into a table",
    "fit": "fit a surrogate to such a table",
    "spaces": "list the search spaces, or show one",
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
        "report": _report,
        "label": _label,
        "fit": _fit,
        "spaces": _spaces,
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
    config: type[C], words: Sequence[str], aliases: dict[str, str]
) -> tuple[C, dict[str, str]]:
    """The config of a command line, and the flags that are no settings (``quiet``).

    Later wins: defaults; ``config.yaml`` of the run folder, only where no ``--config`` is given;
    the ``--config`` file; flags.

    Raises:
        ConfigError: an unknown flag or key, or a value that is not allowed.
    """
    leaves: dict[str, Setting] = settings(config)
    flags, extra = split_flags(words, [*leaves, "config"], aliases, ["quiet"])
    if extra:
        raise ConfigError(f"unexpected {extra[0]!r}; settings are given as --name value")
    other = {name: flags.pop(name) for name in ("quiet", "config") if name in flags}
    file = other.pop("config", None)
    out = Path(flags.get("out", leaves["out"].default))
    saved = out / "config.yaml"
    if file is None and saved.is_file():
        file = str(saved)
    values: dict[str, Any] = read_yaml(file, config) if file is not None else {}
    if file == str(saved):
        # The folder may have been moved since its settings were written.
        values["out"] = str(out)
    origins = {key: file for key in values if key not in flags and file is not None}
    return build_config(config, {**values, **flags}, origins), other


def _run(command: str, words: list[str], helped: bool) -> int:
    if helped:
        stages = ", ".join(_stages(command) or STAGES)
        purpose = f"{_RUNS[command].capitalize()}. Stages: {stages}."
        _say(config_help(command, purpose, RunConfig, RUN_ALIASES, _RUN_NOTES))
        return 0
    config, flags = read_config(RunConfig, words, RUN_ALIASES)
    progress = _start_logging(flags)
    from nasseg import pipeline

    summary = pipeline.run(config, stages=_stages(command), progress=progress)
    _say(f"\n{format_summary(summary)}")
    out = Path(config.out)
    report = out / "report.html"
    _say(f"report: {report}" if command == "run" and report.is_file() else f"run folder: {out}")
    return 0


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
        notes = "The same command continues the table in --out."
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


def _fit(words: list[str], helped: bool) -> int:
    if helped:
        flags = [
            ("--space NAME", "Search space of the table's architectures. [unet]"),
            ("--out FOLDER", "Folder of the surrogate. [surrogate/ beside the table]"),
        ]
        purpose = (
            "Fit a surrogate to tables of measured architectures (`nasseg label` makes them) and "
            "write it with its schema and its cross-validated rank correlation. "
            "`--search.surrogate FOLDER` of `nasseg run` then uses it."
        )
        _say(simple_help("fit TABLE.csv ... [--space NAME] [--out FOLDER]", purpose, flags))
        return 0
    given, tables = split_flags(words, ["space", "out"])
    if not tables:
        raise ConfigError("which table? nasseg fit TABLE.csv")
    tables = [str(Path(table) / "table.csv") if Path(table).is_dir() else table for table in tables]
    for table in tables:
        if not Path(table).is_file():
            raise ConfigError(f"no table {table}; `nasseg label` writes table.csv")
    out = Path(given.get("out", Path(tables[0]).parent / "surrogate"))
    from nasseg.evaluators import fit_table
    from nasseg.search_spaces import get_space

    evaluator = fit_table(
        [Path(table) for table in tables], get_space(given.get("space", "unet")), out
    )
    schema = evaluator.schema
    _say(f"fitted to {schema['n']} architectures; cross-validated Kendall tau:")
    for target, entry in schema["targets"].items():
        tau, spread = entry["tau_mean"], entry["tau_std"]
        known = "unknown" if tau is None else f"{tau:.3f} ± {spread:.3f}"
        _say(f"  {target:6}{known}")
    _say(f"surrogate: {out}")
    return 0


def _spaces(words: list[str], helped: bool) -> int:
    if helped:
        flags = [("--seed N", "Seed of the architecture shown as an example. [0]")]
        purpose = "List the search spaces; with NAME, its hyperparameters and one architecture."
        _say(simple_help("spaces [NAME]", purpose, flags))
        return 0
    given, name = _simple(words, ["seed"], "NAME")
    from nasseg._cli_spaces import describe_space, list_all

    seed = given.get("seed", "0")
    if not seed.isdecimal():
        raise ConfigError(f"seed is {seed!r}; allowed: a whole number, 0 or more")
    _say(list_all() if name is None else describe_space(name, int(seed)))
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
