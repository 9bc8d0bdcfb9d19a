"""``nasseg compare``: several runs in one table and one picture."""

from __future__ import annotations

from nasseg.cli._command import Command, at_least, say
from nasseg.cli._flags import Flag, Given


def _compare(given: Given, words: list[str]) -> int:
    from nasseg.compare import compare, format_comparison, write_comparison

    found = compare(words)
    say(format_comparison(found))
    if "out" in given:
        say(f"written: {', '.join(map(str, write_comparison(found, given['out'])))}")
    return 0


COMMAND = Command(
    name="compare",
    purpose="several runs in one table and one picture",
    usage="RUN RUN ... [--out FOLDER]",
    description=(
        "Runs in one table, those that differ only by seed or fold together, as mean and "
        "standard deviation; and their curves in one picture."
    ),
    flags=(Flag("out", "FOLDER", "Also write compare.csv, compare.md and compare.png there."),),
    run=_compare,
    check_words=at_least(1, "which runs? nasseg compare RUN RUN ..."),
)
