"""``nasseg doctor``: versions, devices, and one analog forward."""

from __future__ import annotations

from nasseg.cli._command import Command, say
from nasseg.cli._flags import Flag, Given
from nasseg.errors import ConfigError


def _device(name: str, value: str) -> str:
    if value not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"{name} is {value!r}; allowed: auto, cpu or cuda")
    return value


def _doctor(given: Given, _words: list[str]) -> int:
    from nasseg.doctor import diagnose

    diagnosis = diagnose(given["device"])
    say(diagnosis.text)
    return 0 if diagnosis.ok else 1


COMMAND = Command(
    name="doctor",
    purpose="versions, devices, and one analog forward",
    usage="",
    description="Versions, devices, and one analog forward. Exit status 1 where something fails.",
    flags=(Flag("device", "D", "auto, cpu or cuda.", _device, "auto"),),
    run=_doctor,
)
