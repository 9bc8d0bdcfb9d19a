"""Flags and YAML keys to a config dataclass: one name for each setting, one message for an error.

A setting is a leaf of the config tree, named by its dotted key (``train.epochs``): the flag is
``--train.epochs`` (a hyphen is as good as an underscore), the YAML is nested under the same keys.
jsonargparse converts values by the field's annotation; it is imported only when there is a value
to convert, so that ``--help`` stays cheap.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nasseg._registry import did_you_mean
from nasseg.config._setting import Setting, derived, following, leaves_of, settings
from nasseg.config.search import named_space
from nasseg.errors import ConfigError, FileError
from nasseg.files import readers

C = TypeVar("C")

NONE = ("none", "null", "")
"""Texts that stand for no value on a command line."""

MEASURING = ("search.measure", "search.proxy", "search.budget", "search.also")
"""Settings of how a network is found, which mean nothing where it is given or found otherwise."""
FINDING = ("search.strategy", "search.measure", "search.budget")
"""Flags that ask for a network to be found."""
PROPOSING = ("search.sampler", "search.stop_gain")
"""Settings of a measured search that only its samplers have."""


def following_defaults(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults, beside the given ``values``, of all settings that follow from others."""
    leaves = {key: leaf.default for key, leaf in leaves_of(config()).items()}
    found: dict[str, Any] = {}
    for key, defaults in following(config).items():
        plain = {name: leaves[name] for name in defaults}
        found |= defaults if values.get(key, leaves[key]) else plain
    return found


def explicit_values(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without those that follow from the others and are as they follow."""
    implied = following_defaults(config, values)
    return {
        key: value
        for key, value in values.items()
        if key not in derived(config) and (key not in implied or implied[key] != value)
    }


def followed(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of values those of settings that follow from others, or are made out from them."""
    keys = {key for defaults in following(config).values() for key in defaults}
    keys |= set(_made_out(config))
    return {key: value for key, value in values.items() if key in keys}


def _made_out(config: type[Any]) -> list[str]:
    """Keys of the settings that are made out from others, and were not in older versions."""
    leaves = settings(config)
    return [key for key in derived(config) if leaves[key].facts.before is not None]


def read_begun(path: str | Path, config: type[Any]) -> dict[str, Any]:
    """The settings that a folder was begun with, flat, from its ``config.yaml``.

    A setting that follows from others, or is made out from them, and is younger than the folder is
    as it was before there was any, not as it follows today.

    Raises:
        ConfigError: as :func:`read_yaml`.
    """
    leaves = settings(config)
    keys = [key for defaults in following(config).values() for key in defaults]
    before = {key: leaves[key].before for key in keys if leaves[key].facts.young}
    before |= {key: leaves[key].before for key in _made_out(config)}
    return {**before, **read_yaml(path, config)}


def read_yaml(path: str | Path, config: type[Any]) -> dict[str, Any]:
    """The settings in a YAML file, flat: ``{"train.epochs": 80}``; values are as YAML gives them.

    ``data: FOLDER`` is short for ``data: {path: FOLDER}``.

    Raises:
        ConfigError: the file cannot be read, or has a key that is no setting.
    """
    try:
        content = readers.read_yaml(path, error=ConfigError)
    except FileNotFoundError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; allowed: keys with values")
    if isinstance(content.get("data"), str):
        content = {**content, "data": {"path": content["data"]}}
    return dict(_flat(content, config, str(path), ""))


def files_beside(path: str | Path, values: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """The settings of a YAML file, files that it names found beside it where they are not here."""
    leaves = settings(config)
    return {
        key: _beside(Path(path), leaves[key].facts.file, value) for key, value in values.items()
    }


def _beside(path: Path, kind: str, value: Any) -> Any:
    if not kind or not isinstance(value, str):
        return value
    # A folder of that name says nothing where names stand for other things too.
    there = Path.exists if kind == "path" else Path.is_file
    try:
        other = path.parent / value
        return str(other) if not Path(value).exists() and there(other) else value
    except OSError:  # too long for a name
        return value


def with_network(values: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a YAML file under flags that say where the network comes from.

    A recipe with a search can so be run with a network that is given (``search.arch``) or with
    another way of finding one (``search.strategy``), without a flag for each setting of its search;
    and one with a network can be made to search.

    Raises:
        ConfigError: the flags both give a network and say how to find one.
    """
    arch = flags.get("search.arch")
    given = _asks(arch)
    for key in dict.fromkeys((*FINDING, *MEASURING)) if given else ():
        if _asks(flags.get(key)):
            raise ConfigError(
                f"{key} is {flags[key]!r}, but search.arch gives the network: {arch!r}; allowed: "
                "one of the two"
            )
    asked = [key for key in FINDING if _asks(flags.get(key))]
    aside: set[str] = set(MEASURING) if given else set()
    strategy = flags.get("search.strategy")
    if "search.strategy" in asked and strategy != values.get("search.strategy"):
        # Asked to measure after all, it measures as the recipe says.
        measured = {"search.measure", "search.budget"} & set(asked)
        aside |= set() if measured else set(MEASURING)
        aside |= set(PROPOSING) if strategy != "evolution" else set()
    if "search.budget" in asked:
        # Another way of measuring than that of the recipe.
        aside |= {"search.measure", "search.proxy"}
    before = values.get("search.arch")
    if asked and _asks(before):
        aside.add("search.arch")
        if values.get("search.space") == _space_of(str(before)):
            aside.add("search.space")
    kept = {key: value for key, value in values.items() if key not in aside}
    # A file may name an architecture beside its space; a flag comes before what the file says.
    named = flags.get("search.arch", kept.get("search.arch"))
    if given or (_asks(named) and kept.get("search.space", "auto") == "auto"):
        space = _space_of(str(named))
        if space is not None:
            kept["search.space"] = space
    return kept


def _asks(value: Any) -> bool:
    """Return True if a setting asks for anything: False where it is unset, none or 0."""
    return value is not None and str(value).lower() not in {*NONE, "0"}


def _space_of(arch: str) -> str | None:
    """The space of a reference network, or that which a ``best.json`` names; None: neither."""
    if (named := named_space(arch)) is not None:
        return named
    try:
        value = readers.read_json(arch)
    except (OSError, FileError):
        return None  # an error of whoever reads it
    space = value.get("space") if isinstance(value, dict) else None
    return space if isinstance(space, str) else None


def _flat(
    content: dict[Any, Any], config: type[Any], path: str, prefix: str
) -> Iterator[tuple[str, Any]]:
    leaves = settings(config)
    groups = {leaf.group for leaf in leaves.values() if leaf.group}
    for name, value in content.items():
        key = f"{prefix}{name}"
        if key in leaves:
            yield key, value
        elif key in groups:
            if value is not None and not isinstance(value, dict):
                inner = [k.removeprefix(f"{key}.") for k in leaves if k.startswith(f"{key}.")]
                raise ConfigError(f"{path}: {key} is {value!r}; allowed: keys {', '.join(inner)}")
            yield from _flat(value or {}, config, path, f"{key}.")
        else:
            raise ConfigError(f"{path}: no setting {key!r}{did_you_mean(key, {*leaves, *groups})}")


def build_config(config: type[C], values: Mapping[str, Any], origins: Mapping[str, str]) -> C:
    """Convert values by their annotations and make the dataclass tree.

    Args:
        config: the dataclass of the whole tree.
        values: dotted keys to values, text where they come from a flag.
        origins: dotted keys to the file that gives the value, for messages.

    Raises:
        ConfigError: a value of a wrong kind or outside its bounds.
    """
    leaves = settings(config)
    converted = {
        key: _convert(leaves[key], value, origins.get(key, "")) for key, value in values.items()
    }
    converted = {**derived(config), **following_defaults(config, converted), **converted}
    made: C = _instantiate(config(), converted, "", origins)
    return made


def _convert(setting: Setting, value: Any, origin: str) -> Any:
    if isinstance(value, str) and setting.optional and value.lower() in NONE:
        value = None
    if isinstance(value, str) and setting.texts:
        # Not read as YAML: a text may hold any character but a comma.
        words = tuple(word.strip() for word in value.strip("[]()").split(",") if word.strip())
        return () if words in (("none",), ("null",)) else words
    if isinstance(value, str) and typing.get_origin(setting.type) is tuple:
        value = f"[{value.strip().strip('[]()')}]"
    where = f"{origin}: " if origin else ""
    complaint = f"{where}{setting.key} is {value!r}; allowed: {setting.allowed}"
    if value is None:
        # jsonargparse takes a None for "not given", whatever the type.
        if setting.optional:
            return None
        raise ConfigError(complaint)
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--value", type=setting.type)
    try:
        return parser.parse_object({"value": value}, defaults=False)["value"]
    except ArgumentError:
        raise ConfigError(complaint) from None


def _instantiate(base: Any, values: Mapping[str, Any], prefix: str, origins: Any) -> Any:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(base):
        name, key = field.name, f"{prefix}{field.name}"
        current = getattr(base, name)
        if dataclasses.is_dataclass(current):
            changes[name] = _instantiate(current, values, f"{key}.", origins)
        elif key in values:
            changes[name] = values[key]
    try:
        return dataclasses.replace(base, **changes)
    except ConfigError as error:
        key = str(error).split(" ", 1)[0]
        where = f"{origins[key]}: " if origins.get(key) else ""
        raise ConfigError(f"{where}{error}") from None
