"""``nasseg doctor``: versions, devices, and one analog forward."""

from __future__ import annotations

from nasseg.cli._command import Command, say
from nasseg.cli._flags import DEVICE, Given


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
    flags=(DEVICE,),
    run=_doctor,
)
