"""The settings of a folder as its identity: those that bind it, may change, or have changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasseg.config._setting import Setting, leaves_of, settings


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain nested dicts and lists, as YAML and JSON take them."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(config))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted ones."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat |= {f"{prefix}{key}": value} if inner is None else inner
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line ``key: old -> new`` for every setting that differs, nested keys joined by dots."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        name = f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{name}.")
        elif a != b:
            lines.append(f"{name}: {a!r} -> {b!r}")
    return lines


def free_settings(config: type[Any]) -> frozenset[str]:
    """Keys of the settings that may change when a folder of that config is continued."""
    return _keys(config, lambda leaf: leaf.facts.free in ("always", config.KIND))


def repeated_settings(config: type[Any]) -> frozenset[str]:
    """Keys of the settings in which the repetitions of one experiment differ."""
    return _keys(config, lambda leaf: leaf.facts.repeat)


def shared_settings(config: type[Any]) -> tuple[str, ...]:
    """Keys of the settings that a measured search has in common with its run."""
    return tuple(key for key, leaf in settings(config).items() if leaf.facts.shared)


def _keys(config: type[Any], wanted: Callable[[Setting], bool]) -> frozenset[str]:
    return frozenset(key for key, leaf in settings(config).items() if wanted(leaf))


def with_young(saved: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """Return saved settings, completed by those that are younger than their folder.

    A young setting says what was done before there was any: its default, unless it has a value
    ``before``. Others, such as those of simulated chips, may have changed meaning and are not
    filled in.
    """
    completed = _copied(saved)
    for key, leaf in leaves_of(config()).items():
        if leaf.facts.young:
            _fill(completed, key.split("."), _plain(leaf.before))
    return completed


def older_values(saved: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """Return, by key, what settings that a folder lacks were where that is not their default."""
    known = flatten(saved)
    facts = {key: leaf.facts for key, leaf in leaves_of(config()).items()}
    return {
        key: of.before for key, of in facts.items() if of.before is not None and key not in known
    }


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, Mapping) else v for k, v in tree.items()}


def _fill(tree: dict[str, Any], path: list[str], default: Any) -> None:
    """Set a value that a tree lacks, unless the whole first section is missing."""
    for depth, group in enumerate(path[:-1]):
        inner = tree.get(group) if depth == 0 else tree.setdefault(group, {})
        if not isinstance(inner, dict):
            return
        tree = inner
    tree.setdefault(path[-1], default)


def young_defaults(config: type[Any], sections: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return young settings of some sections as they were before there were any, nested."""
    defaults = with_young({name: {} for name in sections}, config)
    return {name: defaults[name] for name in sections}


@dataclass(frozen=True)
class Changes:
    """Difference between the settings that a folder was begun with and those wanted now."""

    absent: list[str]
    """Keys of the settings that the folder does not know."""
    changed: list[str]
    """A line ``key: old -> new`` for each setting that differs."""


def changes(saved: Mapping[str, Any], wanted: Any) -> Changes:
    """Compare the settings that bind a folder with a config.

    Args:
        saved: nested, as ``config.yaml`` has them.
        wanted: the config with which the folder is to be continued.
    """
    config, tree = type(wanted), to_dict(wanted)
    saved = with_young(saved, config)
    free = free_settings(config) | _idle(saved, tree, config)
    old, new = _without(saved, free), _without(tree, free)
    return Changes(_absent(old, new), differences(old, new))


def experiment(saved: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """The settings, flat, that all repetitions of an experiment have in common."""
    complete = with_young(saved, config)
    return flatten(_without(complete, free_settings(config) | repeated_settings(config)))


def _idle(saved: Mapping[str, Any], wanted: Mapping[str, Any], config: type[Any]) -> frozenset[str]:
    """Keys of the settings that only a strategy uses which neither of two configs searches with.

    Their defaults may change from one version to the next.
    """
    searches = [tree.get("search") or {} for tree in (saved, wanted)]
    used = {search.get("strategy") for search in searches if search.get("arch") is None}
    return _keys(config, lambda leaf: leaf.facts.used_by not in ("", *used))


def _absent(saved: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keys of the settings that a saved configuration lacks."""
    lacking = []
    for key, value in wanted.items():
        if key not in saved:
            lacking.append(f"{prefix}{key}")
        elif isinstance(value, dict) and isinstance(saved[key], dict):
            lacking += _absent(saved[key], value, f"{prefix}{key}.")
    return lacking


def _without(tree: Mapping[str, Any], keys: Collection[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, keys, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if f"{prefix}{key}" not in keys
    }
