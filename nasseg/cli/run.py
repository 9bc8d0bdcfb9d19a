"""``nasseg run`` and its stages: ``search``, ``train``, ``analog``, ``drift``."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from nasseg.cli._command import say, start_logging
from nasseg.cli._flags import Flag, Given, fraction, whole
from nasseg.cli._settings import SettingsCommand
from nasseg.config import RunConfig
from nasseg.errors import ConfigError, RunError
from nasseg.records.stages import STAGES

NOTES = (
    "A run lives in its --out folder. The same command continues what is there; where the folder "
    "has a config.yaml, its settings are the ones not said, so that a later stage needs only "
    "--out."
)
DRIFT_FLAGS = (
    Flag(
        "min_dice",
        "X",
        "Say which share of the chips has a Dice (accuracy, ...) of X or more, at each time.",
        fraction,
        # The score of a segmentation is its Dice.
        other_names=("min_score",),
    ),
    Flag(
        "plan",
        "",
        "With --min-dice: when to recalibrate and to reprogram so that chips stay above it for "
        "a year; written to plan.json.",
    ),
    Flag("share", "X", "With --plan: share of the chips that must stay above.", fraction, 0.95),
    Flag("plan_chips", "N", "With --plan: chips simulated.", whole(1), 10),
)


def _stages(command: str) -> tuple[str, ...] | None:
    """Stages that a command asks for; None for all."""
    return None if command == "run" else STAGES[: STAGES.index(command) + 1]


def _run(command: str, config: RunConfig, given: Given) -> int:
    if command == "drift":
        _check_question(given)
        _refuse_nothing_to_age(config, asked="min_dice" in given)
    progress = not given["quiet"]
    start_logging(given["quiet"])
    from nasseg import pipeline
    from nasseg.records.tables import format_measured, format_predicted, format_summary

    summary = pipeline.run(config, stages=_stages(command), progress=progress)
    say(f"\n{format_summary(summary)}")
    out = Path(config.out)
    if command == "search" and (out / "best.json").is_file():
        from nasseg.records.best import Best

        best = Best.read(out / "best.json").to_dict()
        monitor = summary.get("monitor")
        say(format_measured(best, monitor) or format_predicted(best, monitor))
    if command == "drift" and "min_dice" in given:
        _answer(config, given, summary, progress)
    if command == "search":
        from nasseg.records.front_table import format_front
        from nasseg.records.pareto import read_front

        if front := read_front(out):
            say("\n" + format_front(front))
    report = out / "report.html"
    say(f"report: {report}" if command == "run" and report.is_file() else f"run folder: {out}")
    return 0


def _check_question(given: Given) -> None:
    """Refuse flags of a plan where the score to stay above is not given."""
    lone = [name for name in ("plan", "share", "plan_chips") if name in given]
    if lone and "min_dice" not in given:
        raise ConfigError(
            f"--{lone[0].replace('_', '-')} needs --min-dice X, the Dice to stay above"
        )


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


def _answer(config: RunConfig, given: Given, summary: dict[str, Any], progress: bool) -> None:
    """Print the share of chips above a score and, where it is asked for, a plan to stay there."""
    from nasseg import pipeline
    from nasseg.records.tables import format_plan, format_shares

    rows = pipeline.read_drift(Path(config.out))
    say("\n" + format_shares(rows, given["min_dice"], summary.get("monitor")))
    if given["plan"]:
        plan = pipeline.plan(
            config,
            min_value=given["min_dice"],
            share=given["share"],
            chips=given["plan_chips"],
            progress=progress,
        )
        say("\n" + format_plan(plan))


def _command(name: str, purpose: str, flags: tuple[Flag, ...] = ()) -> SettingsCommand[RunConfig]:
    stages = ", ".join(_stages(name) or STAGES)
    return SettingsCommand(
        name=name,
        purpose=purpose,
        description=f"{purpose.capitalize()}. Stages: {stages}.",
        notes=NOTES,
        config=RunConfig,
        run=partial(_run, name),
        flags=flags,
    )


COMMANDS = (
    _command("run", "search, train, analog, drift and report: a whole run"),
    _command("search", "find an architecture with the surrogate, or by measuring (--measure N)"),
    _command("train", "the same, then train it digitally"),
    _command("analog", "the same, then convert to tiles and retrain hardware-aware"),
    _command("drift", "the same, then evaluate programmed chips over time", DRIFT_FLAGS),
)
