"""``nasseg fit``: fit a surrogate to tables of measured architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasseg.cli._command import Command, at_least, say
from nasseg.cli._flags import Flag, Given
from nasseg.errors import ConfigError, NassegError
from nasseg.files.outputs import RUN_MARK


def _fit(given: Given, words: list[str]) -> int:
    tables = [_table_of(word) for word in words]
    short = _table_of(given["low_fidelity"]) if "low_fidelity" in given else None
    out = Path(given.get("out", tables[0].parent / "surrogate"))
    _check_out(out, [*tables, *([] if short is None else [short])])
    from nasseg.evaluators import fit_table
    from nasseg.search_spaces import get_space

    space = get_space(given["space"])
    images = given.get("images", None)
    evaluator = fit_table(
        tables, space, out, tuned=given["tuned"], low_fidelity=short, images=images
    )
    schema = evaluator.schema
    if short is not None:
        facts = schema["low_fidelity"]
        known = _tau(facts)
        say(f"short trainings of {facts['n']} other architectures (tau {known}) are an input")
    say(f"fitted to {schema['n']} architectures; cross-validated Kendall tau:")
    for target, entry in schema["targets"].items():
        say(f"  {target:6}{_tau(entry)}")
    held = schema["uncertainty"]["coverage"]
    if held is not None:
        say(f"intervals of 90 % for day1 hold {held:.1%} of held-out architectures")
    say(f"surrogate: {out}, described in {out / 'card.md'}")
    return 0


def _check_out(out: Path, tables: list[Path]) -> None:
    """Refuse a folder whose files are not those of a surrogate.

    Raises:
        ConfigError: it is one of the tables' or of a run, or has other files of these names.
    """
    if any(out.resolve() == table.parent.resolve() for table in tables):
        raise ConfigError(f"out is {str(out)!r}, where a table is; choose another folder")
    names = ("schema.json", "table.csv", "card.md", "importance.png", "day1.ubj")
    found = [name for name in names if (out / name).exists()]
    if found and not _is_surrogate(out):
        raise ConfigError(
            f"out is {str(out)!r}, which holds {found[0]} and no surrogate; choose another folder"
        )
    if (out / RUN_MARK).exists():
        raise ConfigError(f"out is {str(out)!r}, a run folder; choose another folder")


def _is_surrogate(folder: Path) -> bool:
    from nasseg.files.readers import read_object

    try:
        schema = read_object(folder / "schema.json")
    except (FileNotFoundError, NassegError):
        return False
    return "format" in schema and "targets" in schema


def _tau(entry: dict[str, Any]) -> str:
    """Return a cross-validated rank correlation as text."""
    tau, spread = entry["tau_mean"], entry["tau_std"]
    return "unknown" if tau is None else f"{tau:.3f} ± {spread:.3f}"


def _table_of(word: str) -> Path:
    """Return the path of a table, or of that in a folder of `nasseg label`."""
    table = Path(word) / "table.csv" if Path(word).is_dir() else Path(word)
    if not table.is_file():
        raise ConfigError(f"no table {table}; `nasseg label` writes table.csv")
    return table


COMMAND = Command(
    name="fit",
    purpose="fit a surrogate to such a table",
    usage="TABLE.csv ... [--space NAME] [--out FOLDER]",
    description=(
        "Fit a surrogate to tables of measured architectures (`nasseg label` makes them) and "
        "write it with its model card (card.md): rank correlations, coverage of its "
        "intervals, what it looks at. "
        "`--search.surrogate FOLDER` of `nasseg run` then uses it."
    ),
    flags=(
        Flag("space", "NAME", "Search space of the table's architectures.", default="unet"),
        Flag("out", "FOLDER", "Folder of the surrogate. [surrogate/ beside the table]"),
        Flag(
            "low_fidelity",
            "TABLE",
            "Also learn from short trainings of many other architectures (docs/surrogates.md).",
        ),
        Flag(
            "images",
            "TEXT",
            'Images that the table was measured on, in words, as in "DSB2018 at 32 x 32"; '
            "predictions are reported with it.",
        ),
        Flag("tuned", "", "Choose the hyperparameters by cross-validation; takes minutes."),
    ),
    run=_fit,
    check_words=at_least(1, "which table? nasseg fit TABLE.csv"),
)
