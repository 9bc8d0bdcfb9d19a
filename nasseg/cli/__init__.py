"""The ``nasseg`` command: dispatch, one clean line for an error, exit statuses.

0 = done, 1 = it could not be done, 2 = the command or its settings are wrong, 130 = stopped by
Ctrl-C, 143 = by SIGTERM, 129 = by SIGHUP. Nothing heavy is imported before a command has been
understood.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nasseg._registry import near_name
from nasseg._version import __version__
from nasseg.cli import compare, cost, doctor, evaluate, fit, label, predict, report, run, spaces
from nasseg.cli._command import say, script_main
from nasseg.cli._flags import Flag
from nasseg.cli._help import main_help
from nasseg.cli._settings import setting_texts
from nasseg.cli._streams import tell
from nasseg.errors import ConfigError

__all__ = ["Flag", "main", "script_main", "setting_texts", "tell"]

_GROUPS = (
    ("a run, or as far as one of its stages", run.COMMANDS),
    (
        "parts and tools",
        (
            predict.COMMAND,
            evaluate.COMMAND,
            compare.COMMAND,
            report.COMMAND,
            label.COMMAND,
            fit.COMMAND,
            spaces.COMMAND,
            cost.COMMAND,
            doctor.COMMAND,
        ),
    ),
)
_COMMANDS = {command.name: command for _, commands in _GROUPS for command in commands}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    return script_main(lambda: _dispatch(words), "nasseg")


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        purposes = [
            (title, [(command.name, command.purpose) for command in commands])
            for title, commands in _GROUPS
        ]
        say(main_help(__version__, purposes))
        return 0
    if words[0] in ("-V", "--version"):
        say(f"nasseg {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in _COMMANDS:
        hint = near_name(name, _COMMANDS)
        raise ConfigError(f"no command {name!r}{hint} (commands: {', '.join(_COMMANDS)})")
    command = _COMMANDS[name]
    if any(word in ("-h", "--help") for word in rest):
        say(command.help())
        return 0
    return command(rest)
