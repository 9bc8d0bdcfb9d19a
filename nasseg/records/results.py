"""Results of a run that are JSON objects: ``summary.json``, ``coverage.json`` and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasseg.errors import RunError
from nasseg.files.forms import is_number, is_text, is_truth, is_whole
from nasseg.files.readers import checked, read_object

_NUMBER, _WHOLE, _TEXT = (is_number,), (is_whole,), (is_text,)
_METRICS = ({"*": _NUMBER},)

SUMMARY: dict[str, Any] = {
    **dict.fromkeys(("seed", "params", "macs", "tiles", "chips", "images_each"), _WHOLE),
    **dict.fromkeys(("data", "arch_id", "task", "monitor"), _TEXT),
    "images": ({"*": is_whole},),
    "seconds": ({"*": is_number},),
    "passes": _NUMBER,
    "digital": _METRICS,
    # Time, state, metric, statistic.
    "analog": ({"*": {"*": {"*": _METRICS}}},),
    "standard_errors": ({"*": {"*": {"*": is_number}}},),
}
COVERAGE: dict[str, Any] = {
    "!layers": [
        {
            "!name": is_text,
            "!type": is_text,
            **dict.fromkeys(("!macs", "!weights", "!tiles"), is_whole),
            "!analog": is_truth,
            "why": _TEXT,
        }
    ],
    "input_shape": [is_whole],
    **dict.fromkeys(("mac_fraction", "weight_fraction"), is_number),
    **dict.fromkeys(("tiles", "macs"), is_whole),
}
PLAN: dict[str, Any] = {
    "metric": _TEXT,
    **dict.fromkeys(("!share", "!min_value", "!horizon_s"), is_number),
    "!chips": is_whole,
    "!feasible": is_truth,
    "!reprogram_every_s": _NUMBER,
    "!actions": [{"!time_s": is_number, "!kind": is_text}],
    "!looks": [dict.fromkeys(("!time_s", "!value", "!mean", "!worst"), is_number)],
}
SENSITIVITY: dict[str, Any] = {
    "digital_layers": ([is_text],),
    "layers": ([{"name": _TEXT, "macs": _WHOLE, "loss": is_number}],),
}
_KNOWN = {
    "summary.json": (SUMMARY, "`nasseg report` writes it again"),
    "coverage.json": (COVERAGE, "delete it; the networks and chips are kept"),
    "plan.json": (PLAN, "delete it, and `nasseg drift --plan` writes it again"),
    "sensitivity.json": (SENSITIVITY, "delete it; the networks and chips are kept"),
}


def read_result(path: Path) -> dict[str, Any]:
    """Return the content of one of these files, which is told by its name.

    Raises:
        FileNotFoundError: there is no file.
        RunError: it is damaged, or a value in it is of another kind.
    """
    form, fix = _KNOWN[path.name]
    found: dict[str, Any] = read_object(path, error=RunError, fix=fix)
    checked(path, found, form, error=RunError, fix=fix)
    for time_s in (found.get("analog") or {}) if path.name == "summary.json" else ():
        try:
            age = float(time_s)
        except ValueError:
            age = -1.0
        if not 0 < age < float("inf"):
            raise RunError(f"{path} cannot be read: analog has the time {time_s!r}; {fix}")
    return found
