"""Flags and YAML keys to a config dataclass: one name for each setting, one message for an error.

A setting is a leaf of the config tree, named by its dotted key (``train.epochs``): the flag is
``--train.epochs`` (a hyphen is as good as an underscore), the YAML is nested under the same keys.
jsonargparse converts values by the field's annotation; it is imported only when there is a value
to convert, so that ``--help`` stays cheap.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from nasseg._registry import did_you_mean
from nasseg.errors import ConfigError

C = TypeVar("C")

NONE = ("none", "null", "")
"""What stands for no value on a command line."""

FILE_KEYS = (
    "data.path",
    "search.arch",
    "search.surrogate",
    "search.hardware",
    "search.proxy",
    "train.weights",
    "analog.preset",
    "archs",
)
"""Settings that name, or may name, a file or a folder."""
MEASURING = ("search.measure", "search.proxy")
"""Settings of how a network is found, which mean nothing where it is given or found otherwise."""
FINDING = ("search.strategy", "search.measure")
"""Flags that ask for a network to be found."""
PROPOSING = ("search.sampler", "search.stop_gain")
"""Settings of a measured search that only its samplers have."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One leaf of a config tree."""

    key: str
    """Dotted name, as in ``train.epochs``."""
    type: Any
    """The resolved annotation."""
    default: Any
    """Value where nothing is said."""
    help: str
    """The docstring that follows the field."""
    following: tuple[tuple[str, Any], ...] = ()
    """Other defaults: ``(key, value)`` where the setting of that key is set."""

    @property
    def group(self) -> str:
        """Name of the dataclass field that holds the leaf; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def optional(self) -> bool:
        """Whether ``null`` is a value."""
        return type(None) in typing.get_args(self.type)

    @property
    def texts(self) -> bool:
        """Whether it is a list of texts; its flag may be said more than once."""
        return typing.get_origin(self.type) is tuple and str in typing.get_args(self.type)

    @property
    def allowed(self) -> str:
        """The kinds of value taken, in words."""
        return _in_words(self.type)


def _in_words(annotation: Any) -> str:
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return " or ".join([", ".join(map(str, arguments[:-1])), str(arguments[-1])])
    if origin in (typing.Union, types.UnionType):
        kinds = [_in_words(a) for a in arguments if a is not type(None)]
        return ", ".join([*kinds, "or null"])
    if origin is tuple:
        named = str in arguments
        return "texts with commas between" if named else "numbers, as in 1,3600,86400"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words[annotation]


def settings(config: type[Any]) -> dict[str, Setting]:
    """Every leaf of the config tree under a dataclass, by its dotted key."""
    leaves = {leaf.key: leaf for leaf in _walk(config(), "")}
    for key, default in _derived(config).items():
        leaves[key] = dataclasses.replace(leaves[key], default=default)
    for other, defaults in _following(config).items():
        for key, value in defaults.items():
            following = (*leaves[key].following, (other, value))
            leaves[key] = dataclasses.replace(leaves[key], following=following)
    return leaves


def _derived(config: type[Any]) -> dict[str, Any]:
    """Defaults of settings that are made out from others, and are so no more once they are set."""
    found: dict[str, Any] = getattr(config, "DERIVED", {})
    return found


def _following(config: type[Any]) -> dict[str, dict[str, Any]]:
    """Defaults that depend on whether another setting is set, by that setting's key."""
    found: dict[str, dict[str, Any]] = getattr(config, "FOLLOWING", {})
    return found


def following_defaults(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults, where ``values`` are said, of all settings that follow from others."""
    leaves = {leaf.key: leaf.default for leaf in _walk(config(), "")}
    found: dict[str, Any] = {}
    for key, defaults in _following(config).items():
        plain = {name: leaves[name] for name in defaults}
        found |= defaults if values.get(key, leaves[key]) else plain
    return found


def said_only(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without those that follow from the others, where nothing else is said."""
    implied = following_defaults(config, values)
    return {
        key: value
        for key, value in values.items()
        if key not in _derived(config) and (key not in implied or implied[key] != value)
    }


def followed(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of values those of settings that follow from others."""
    keys = {key for defaults in _following(config).values() for key in defaults}
    return {key: value for key, value in values.items() if key in keys}


def _walk(config: Any, prefix: str) -> Iterator[Setting]:
    cls = type(config)
    hints = typing.get_type_hints(cls)
    helps = field_docstrings(cls)
    for field in dataclasses.fields(cls):
        value = getattr(config, field.name)
        key = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{key}.")
        else:
            yield Setting(key, hints[field.name], value, helps.get(field.name, ""))


@cache
def _module_classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def field_docstrings(cls: type[Any]) -> dict[str, str]:
    """The string that follows each annotated field in the class body, on one line."""
    body = _module_classes(cls.__module__)[cls.__name__].body
    found = {}
    for field, after in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found[field.target.id] = " ".join(after.value.value.split())
    return found


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted ones, which :func:`build_config` takes."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat |= {f"{prefix}{key}": value} if inner is None else inner
    return flat


def read_yaml(path: str | Path, config: type[Any]) -> dict[str, Any]:
    """The settings in a YAML file, flat: ``{"train.epochs": 80}``; values are as YAML gives them.

    ``data: FOLDER`` is short for ``data: {path: FOLDER}``.

    Raises:
        ConfigError: the file cannot be read, or has a key that is no setting.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; allowed: keys with values")
    if isinstance(content.get("data"), str):
        content = {**content, "data": {"path": content["data"]}}
    return dict(_flat(content, config, str(path), ""))


def files_beside(path: str | Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a YAML file, files that it names found beside it where they are not here."""
    return {key: _beside(Path(path), key, value) for key, value in values.items()}


def _beside(path: Path, key: str, value: Any) -> Any:
    if key not in FILE_KEYS or not isinstance(value, str):
        return value
    # A folder of that name says nothing where names stand for other things too.
    there = Path.exists if key == "data.path" else Path.is_file
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
    given = _says(arch)
    for key in dict.fromkeys((*FINDING, *MEASURING)) if given else ():
        if _says(flags.get(key)):
            raise ConfigError(
                f"{key} is {flags[key]!r}, but search.arch gives the network: {arch!r}; allowed: "
                "one of the two"
            )
    asked = [key for key in FINDING if _says(flags.get(key))]
    aside: set[str] = set(MEASURING) if given else set()
    strategy = flags.get("search.strategy")
    if "search.strategy" in asked and strategy != values.get("search.strategy"):
        # Asked to measure after all, it measures as the recipe says.
        aside |= set() if "search.measure" in asked else set(MEASURING)
        aside |= set(PROPOSING) if strategy != "evolution" else set()
    before = values.get("search.arch")
    if asked and _says(before):
        aside.add("search.arch")
        if values.get("search.space") == _space_of(str(before)):
            aside.add("search.space")
    kept = {key: value for key, value in values.items() if key not in aside}
    # A file may name an architecture beside its space; a flag comes before what the file says.
    named = flags.get("search.arch", kept.get("search.arch"))
    if given or (_says(named) and kept.get("search.space", "auto") == "auto"):
        space = _space_of(str(named))
        if space is not None:
            kept["search.space"] = space
    return kept


def _says(value: Any) -> bool:
    """Whether a setting asks for anything: it does not where it is unset, none or 0."""
    return value is not None and str(value).lower() not in {*NONE, "0"}


def _space_of(arch: str) -> str | None:
    """The space of a reference network, or that which a ``best.json`` names; None = not said."""
    from nasseg.config import named_space

    if (named := named_space(arch)) is not None:
        return named
    try:
        value = json.loads(Path(arch).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # whoever reads it says what is wrong
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
                inner = ", ".join(k.rpartition(".")[2] for k in leaves if k.startswith(f"{key}."))
                raise ConfigError(f"{path}: {key} is {value!r}; allowed: keys {inner}")
            yield from _flat(value or {}, config, path, f"{key}.")
        else:
            raise ConfigError(f"{path}: no setting {key!r}{did_you_mean(key, {*leaves, *groups})}")


def build_config(config: type[C], values: Mapping[str, Any], origins: Mapping[str, str]) -> C:
    """Convert values by their annotations and make the dataclass tree.

    Args:
        config: the dataclass of the whole tree.
        values: dotted keys to values, text where they come from a flag.
        origins: dotted keys to where the value was said (a file name), for messages.

    Raises:
        ConfigError: a value of a wrong kind or outside its bounds.
    """
    leaves = settings(config)
    converted = {
        key: _convert(leaves[key], value, origins.get(key, "")) for key, value in values.items()
    }
    converted = {**_derived(config), **following_defaults(config, converted), **converted}
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
    names = [field.name for field in dataclasses.fields(base)]
    for name in names:
        key = f"{prefix}{name}"
        current = getattr(base, name)
        if dataclasses.is_dataclass(current):
            changes[name] = _instantiate(current, values, f"{key}.", origins)
        elif key in values:
            changes[name] = values[key]
    try:
        return dataclasses.replace(base, **changes)
    except ConfigError as error:
        # A section does not know under which name it hangs in the tree: TrainConfig says "epochs".
        message = str(error)
        first = message.split(" ", 1)[0]
        key = f"{prefix}{first}" if first in names else first
        where = f"{origins[key]}: " if origins.get(key) else ""
        raise ConfigError(where + key + message[len(first) :]) from None
