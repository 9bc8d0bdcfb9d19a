"""``nasseg label``: measure sampled architectures into a table."""

from __future__ import annotations

from nasseg.cli._command import say, start_logging
from nasseg.cli._flags import Given
from nasseg.cli._settings import SettingsCommand
from nasseg.config import LabelConfig


def _label(config: LabelConfig, given: Given) -> int:
    start_logging(given["quiet"])
    from nasseg import pipeline

    table = pipeline.label(config, progress=not given["quiet"])
    say(f"table: {table}")
    return 0


COMMAND = SettingsCommand(
    name="label",
    purpose="measure sampled architectures into a table",
    description=(
        "Measure sampled architectures (short training, hardware-aware retraining, drift) "
        "into a table, from which `nasseg fit` makes a surrogate."
    ),
    notes=(
        "The same command continues the table in --out. Started again while it runs, here or "
        "with the same --storage on another machine, it is one more worker of the same study."
    ),
    config=LabelConfig,
    run=_label,
)
