"""A setting: a field of a config dataclass, with everything that is known of it on the field."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from nasseg._fields import Facts, facts_of, field_docstrings, field_types, in_words
from nasseg.errors import ConfigError


@dataclass(frozen=True)
class SettingFacts(Facts):
    """Facts of a setting: its allowed values, its short flag, and when it may change."""

    alias: str = ""
    """Short flag of it."""
    metavar: str = "N"
    """Stands for its value in the help of the short flag."""
    file: Literal["", "file", "path"] = ""
    """Its text names, or may name, a ``file``; a ``path`` is a file or a folder."""
    free: Literal["", "always", "run"] = ""
    """It may change when a folder is continued, ``always`` or only where that is a ``run``: it is
    where results are computed, or how many of them, not which."""
    repeat: bool = False
    """Runs that differ in it alone are repetitions of one experiment."""
    young: bool = False
    """A folder may be from before there was this setting; it is as with ``before``."""
    before: Any = None
    """Of a young setting, the value that such a folder was begun with; None: the default."""
    shared: bool = False
    """A measured search has it in common with its run: a proxy cannot change it."""
    budget: bool = False
    """It is reported with the result of a search."""
    only_for: str = ""
    """The kind of task that has it."""
    unset: str = ""
    """Words for None in the help, where that is the default."""
    spec: str = ""
    """The field of ``AnalogSpec`` that it sets."""
    plugin: str = ""
    """The group of entry points that add names which it takes."""
    used_by: str = ""
    """The search strategy that has it; without that its value means nothing."""


def setting(default: Any, **facts: Any) -> Any:
    """A field of a config dataclass, with :class:`SettingFacts`."""
    return dataclasses.field(default=default, metadata={"facts": SettingFacts(**facts)})


def setting_facts(field: dataclasses.Field[Any]) -> SettingFacts:
    """The facts of a field; those of a plain one are empty."""
    facts = facts_of(field)
    return facts if isinstance(facts, SettingFacts) else SettingFacts(**vars(facts))


@dataclass(frozen=True)
class Setting:
    """One leaf of a config tree."""

    key: str
    """Dotted name, as in ``train.epochs``."""
    type: Any
    """The resolved annotation."""
    default: Any
    """Value where none is given."""
    help: str
    """The docstring that follows the field."""
    facts: SettingFacts = SettingFacts()
    """Everything else on its field."""
    following: tuple[tuple[str, Any], ...] = ()
    """Other defaults: ``(key, value)`` where the setting of that key is set."""

    @property
    def group(self) -> str:
        """Name of the dataclass field that holds the leaf; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def before(self) -> Any:
        """Of a young setting, the value that a folder without it was begun with."""
        return self.default if self.facts.before is None else self.facts.before

    @property
    def optional(self) -> bool:
        """True if ``null`` is a value."""
        return type(None) in typing.get_args(self.type)

    @property
    def texts(self) -> bool:
        """True if it is a list of texts; its flag may be given more than once."""
        return typing.get_origin(self.type) is tuple and str in typing.get_args(self.type)

    @cached_property
    def allowed(self) -> str:
        """The kinds of value taken, in words."""
        return in_words(self.type)


def settings(config: type[Any]) -> dict[str, Setting]:
    """Every leaf of the config tree under a dataclass, by its dotted key."""
    leaves = leaves_of(config())
    for key, default in derived(config).items():
        leaves[key] = dataclasses.replace(leaves[key], default=default)
    for other, defaults in following(config).items():
        for key, value in defaults.items():
            also = (*leaves[key].following, (other, value))
            leaves[key] = dataclasses.replace(leaves[key], following=also)
    return leaves


def leaves_of(config: Any) -> dict[str, Setting]:
    """Every leaf of a config, by its dotted key; its values are the defaults."""
    return {leaf.key: leaf for leaf in _walk(config, "", young=False)}


def derived(config: type[Any]) -> dict[str, Any]:
    """Defaults of settings that are made out from others, and are so no more once they are set."""
    found: dict[str, Any] = getattr(config, "DERIVED", {})
    return found


def following(config: type[Any]) -> dict[str, dict[str, Any]]:
    """Defaults that hold where another setting is set, by that setting's key."""
    found: dict[str, dict[str, Any]] = getattr(config, "FOLLOWING", {})
    return found


def aliases(config: type[Any]) -> dict[str, str]:
    """Short flags of a command, and the keys that they stand for.

    They are those of the sections that the dataclass names in ``SHORT``.
    """
    return {
        leaf.facts.alias: key
        for key, leaf in settings(config).items()
        if leaf.facts.alias and leaf.group in config.SHORT
    }


def check_only_for(section: Any, prefix: str, kind: str, task: str) -> None:
    """Refuse settings of a section that only another kind of task has.

    Args:
        section: of a config.
        prefix: of a field's name in the message, as in ``train.``.
        kind: of the task.
        task: its name, for the message.
    """
    for field in dataclasses.fields(section):
        only, value = setting_facts(field).only_for, getattr(section, field.name)
        if only not in ("", kind) and value != field.default:
            check(False, f"{prefix}{field.name}", value, f"not for {task}, only for {only}")


def check(ok: bool, key: str, value: object, allowed: str) -> None:
    """Refuse the value of a setting.

    Raises:
        ConfigError: not ``ok``.
    """
    if not ok:
        raise ConfigError(f"{key} is {value!r}; allowed: {allowed}")


def _walk(config: Any, prefix: str, young: bool) -> Iterator[Setting]:
    cls = type(config)
    types: Mapping[str, Any] = field_types(cls)
    helps = field_docstrings(cls)
    young = young or getattr(cls, "YOUNG", False)
    for field in dataclasses.fields(cls):
        value = getattr(config, field.name)
        key = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{key}.", young)
            continue
        facts = setting_facts(field)
        if young and not facts.young:
            facts = dataclasses.replace(facts, young=True)
        yield Setting(key, types[field.name], value, helps[field.name], facts)
