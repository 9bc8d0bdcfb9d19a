"""``nasseg report``: write the HTML report of a run folder again."""

from __future__ import annotations

from pathlib import Path

from nasseg.cli._command import Command, at_most, say
from nasseg.cli._flags import Flag, Given
from nasseg.errors import ConfigError


def _report(given: Given, words: list[str]) -> int:
    folder = given.get("out", next(iter(words), None))
    if folder is None:
        raise ConfigError("which run? nasseg report RUN, RUN being a run folder")
    from nasseg.report import write_report

    say(f"report: {write_report(Path(folder))}")
    return 0


COMMAND = Command(
    name="report",
    purpose="write the HTML report of a run folder again",
    usage="RUN",
    description="Write RUN/report.html and RUN/figures/ again.",
    flags=(Flag("out", "FOLDER", "The run folder; the same as RUN."),),
    run=_report,
    check_words=at_most(1),
)
