"""Plug-ins that a folder used, with their packages: ``plugins`` of ``stages.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasseg._registry import Former, note_former, package_of
from nasseg.config import LabelConfig, RunConfig, flatten, settings, to_dict
from nasseg.errors import NassegError
from nasseg.files.readers import read_json

PLUGINS = "plugins"
"""Key in ``stages.json``."""


def used_plugins(config: RunConfig | LabelConfig) -> dict[str, dict[str, str]]:
    """Return the plug-ins that settings name.

    Returns:
        Key of the setting to ``name``, ``package`` and ``version``; the last two are empty where
        the part belongs to no package.
    """
    values = flatten(to_dict(config))
    found = {}
    for key, leaf in settings(type(config)).items():
        name = values.get(key)
        if leaf.facts.plugin and isinstance(name, str):
            package = package_of(leaf.facts.plugin, name)
            if package is not None:
                found[key] = {"name": name, **package}
    return found


def remember_plugins(folder: Path, config: type[RunConfig] | type[LabelConfig]) -> None:
    """Let messages name the package of a plug-in that is gone, as the folder recorded it.

    Nothing is imported for it, and a record of another form is passed over.
    """
    try:
        stages = read_json(folder / "stages.json")
    except (FileNotFoundError, NassegError):
        return
    record = stages.get(PLUGINS) if isinstance(stages, dict) else None
    leaves = settings(config)
    for key, facts in record.items() if isinstance(record, dict) else ():
        if key in leaves and isinstance(facts, dict) and _texts(facts):
            former = Former(str(folder), facts["package"], facts["version"])
            note_former(leaves[key].facts.plugin, facts["name"], former)


def _texts(facts: dict[str, Any]) -> bool:
    known = [facts.get(key) for key in ("name", "package", "version")]
    return all(isinstance(text, str) and text for text in known)
