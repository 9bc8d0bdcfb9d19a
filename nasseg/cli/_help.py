"""Help texts of the command line, at most 80 columns wide, made without importing anything slow."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from nasseg.config import Setting, aliases, settings

WIDTH = 79
INDENT = 26

HELP = ("-h, --help", "This text.")


def rows(entries: Iterable[tuple[str, str]], indent: int = INDENT) -> str:
    """Return two columns: a flag or a name, and its wrapped explanation."""
    lines = []
    for left, right in entries:
        wrapped = textwrap.wrap(right, WIDTH - indent) or [""]
        head = f"  {left}"
        if len(head) > indent - 2:
            lines.append(head)
            head = ""
        lines.append(f"{head:<{indent}}{wrapped[0]}".rstrip())
        lines += [" " * indent + line for line in wrapped[1:]]
    return "\n".join(lines)


_METAVARS = (
    ("texts", "TEXT,TEXT"),
    ("whole", "N"),
    ("numbers", "X,X"),
    ("number", "X"),
    ("text", "TEXT"),
)
"""Words for the kind of a setting, and what stands for its value; the first that fits."""


def _metavar(setting: Setting) -> str:
    kind = setting.allowed.removesuffix(", or null")
    for words, short in _METAVARS:
        if words in kind:
            return short
    return kind.replace(" or ", "|").replace(", ", "|")


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        texts = [item if isinstance(item, str) else f"{item:.16g}" for item in value]
        return ",".join(texts) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag(setting: Setting) -> tuple[str, str]:
    text = setting.help.replace("``", "").rstrip(".")
    also = "".join(f"; {_default(value)} with {key}" for key, value in setting.following)
    default = setting.facts.unset or _default(setting.default)
    return f"--{setting.key} {_metavar(setting)}", f"{text} [{default}{also}]"


def config_help(
    command: str,
    purpose: str,
    config: type[Any],
    notes: str = "",
    own: Sequence[tuple[str, str]] = (),
    common: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the help of a command whose flags are the settings of a config dataclass.

    ``own`` and ``common`` are entries of its other flags, before and after the short names.
    """
    leaves = settings(config)
    short = [
        (f"--{name.replace('_', '-')} {leaves[key].facts.metavar}", f"Short for --{key}.")
        for name, key in aliases(config).items()
    ]
    parts = [
        f"usage: nasseg {command} [--data FOLDER] [--out FOLDER] [--SETTING VALUE ...]",
        textwrap.fill(purpose, WIDTH),
    ]
    if notes:
        parts.append(textwrap.fill(notes, WIDTH))
    parts.append(rows([*own, *short, *common, HELP]))
    groups = list(dict.fromkeys(leaf.group for leaf in leaves.values()))
    for group in groups:
        own = [_flag(leaf) for leaf in leaves.values() if leaf.group == group]
        parts.append(f"{group or 'settings'} [value if not given]\n{rows(own)}")
    parts.append(
        textwrap.fill(
            "The same names, nested, are the keys of the YAML file. Hyphens and underscores are "
            "the same in a flag.",
            WIDTH,
        )
    )
    return "\n\n".join(parts) + "\n"


def simple_help(usage: str, purpose: str, flags: Sequence[tuple[str, str]]) -> str:
    """Return the help of a command with a few flags of its own."""
    listed = rows([*flags, HELP])
    return f"usage: nasseg {usage}\n\n{textwrap.fill(purpose, WIDTH)}\n\n{listed}\n"


def main_help(version: str, groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Return the help of ``nasseg``: every command with its purpose."""
    parts = [
        f"nasseg {version}: networks that keep their accuracy on analog in-memory hardware",
        "usage: nasseg COMMAND [options]\n       nasseg COMMAND --help",
    ]
    parts += [f"{title}\n{rows(entries, 12)}" for title, entries in groups]
    parts.append(
        "first steps\n"
        "  nasseg doctor                                is this machine ready?\n"
        "  nasseg run --out runs/first                  on synthetic nuclei\n"
        "  nasseg run --data FOLDER --out runs/mine     on images/ and labels/ in FOLDER"
    )
    parts.append(
        "exit status\n"
        "  0 done, 1 it could not be done, 2 the command or a setting is wrong,\n"
        "  130, 143 and 129 stopped by Ctrl-C, SIGTERM and SIGHUP: the same command\n"
        "  continues"
    )
    return "\n\n".join(parts) + "\n"
