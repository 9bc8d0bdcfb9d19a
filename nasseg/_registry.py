"""Names to objects: registered ones, those of installed plug-ins, and ``module:Name``.

A registry knows three kinds of name:

- what was registered, by nasseg itself or by a decorator in code that was imported;
- entry points of its group in installed packages (``[project.entry-points."nasseg.tasks"]``),
  imported on the first look at a name that is not registered, or at the list of names;
- ``module:Name``, imported only where the user allowed it (:func:`allow`): a name that a file
  carries must not make nasseg run code that nobody asked for.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from nasseg.errors import ConfigError, MissingDependencyError, UnknownName

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
Made = TypeVar("Made")

log = logging.getLogger(__name__)

VARIABLE = "NASSEG_PLUGINS"
"""Environment variable of modules, or ``module:Name``, that may be imported, commas between."""
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(rf"({_DOTTED}):({_DOTTED})")
_allowed: list[str] = []
_former: dict[tuple[str, str], Former] = {}
"""Plug-ins that folders used, by group and name."""


@dataclass(frozen=True)
class Former:
    """A plug-in as a folder recorded it."""

    folder: str
    package: str
    version: str


def is_reference(name: str) -> bool:
    """True if ``name`` has the form ``module:Name``."""
    return _REFERENCE.fullmatch(name) is not None


def allow(name: str) -> None:
    """Allow ``module:Name``, or all of ``module``, to be imported by this process.

    Call it only with what the user gave: a flag, an argument, never with a value of a file.
    """
    if name not in _allowed:
        _allowed.append(name)


def is_allowed(name: str) -> bool:
    """True if ``module:Name`` may be imported: it, its module or a package of it was allowed."""
    module = name.partition(":")[0]
    return any(
        name == entry or module == entry or module.startswith(f"{entry}.")
        for entry in _all_allowed()
    )


def plugin_environment() -> dict[str, str]:
    """Environment variables that give another process what this one may import."""
    names = _all_allowed()
    return {VARIABLE: ",".join(names)} if names else {}


def _all_allowed() -> list[str]:
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return list(dict.fromkeys([*filter(None, given), *_allowed]))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to ``name``, or None where nothing is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return match[0] if match else None


def near_name(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean '...'?`` with the nearest known name; empty where none is near."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """``; did you mean ...?`` with the keys of the same last part, or else the nearest key."""
    known = sorted(names)
    last = name.rpartition(".")[2]
    near = [key for key in known if key.rpartition(".")[2] == last]
    if not near:
        one = nearest(name, known)
        near = [one] if one else []
    # Flags are written as the help writes them.
    shown = [
        prefix + (key if "." in key else key.replace("_", "-")) if prefix else key for key in near
    ]
    return f"; did you mean {' or '.join(shown)}?" if near else ""


def note_former(group: str, name: str, former: Former) -> None:
    """Note the package that had a plug-in of a group when a folder was made, for messages."""
    _former[group, name] = former


def lost_plugin(kind: str, group: str | None, name: str) -> MissingDependencyError | None:
    """The error for a plug-in that a folder used and that is gone; None: no folder used it."""
    former = _former.get((group or "", name))
    if former is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        why = f"version {version(former.package)}, which is installed, has none of that name"
    except PackageNotFoundError:
        why = "which is not installed"
    return MissingDependencyError(
        f"{former.folder} needs the plug-in {kind} {name!r} of the package {former.package} "
        f"{former.version}, {why}"
    )


def package_of(group: str, name: str) -> dict[str, str] | None:
    """Distribution and version of a plug-in: ``package`` and ``version``.

    Of ``module:Name`` they are empty where the module belongs to no distribution.

    Returns:
        None for what is no plug-in.
    """
    from importlib.metadata import entry_points, packages_distributions, version

    if is_reference(name):
        top = name.partition(":")[0].partition(".")[0]
        (package, *_) = packages_distributions().get(top) or [""]
        return {"package": package, "version": version(package) if package else ""}
    registry = _registries.get(group)
    if registry is not None and registry.is_own(name):
        return None
    for point in entry_points(group=group, name=name):
        if point.dist is not None:
            return {"package": point.dist.name, "version": point.dist.version}
    return None


def unknown_name(
    kind: str, name: str, known: Iterable[str], group: str | None = None
) -> UnknownName | MissingDependencyError:
    """The error for an unknown ``name`` of ``kind``, with the nearest match.

    With a ``group`` of entry points it is that for a plug-in that is gone, where a folder had it.
    """
    if (lost := lost_plugin(kind, group, name)) is not None:
        return lost
    names = sorted(known)
    return UnknownName(
        f"no {kind} named {name!r}{near_name(name, names)} (known: {', '.join(names)})"
    )


def factories(kind: str, allowed: str) -> Callable[[str, Any], Any]:
    """Return an ``adopt`` for a registry of factories: it refuses what cannot be called.

    Args:
        kind: how messages call an entry.
        allowed: what a plug-in may give, in words.
    """

    def adopt(name: str, made: Any) -> Any:
        if not callable(made):
            raise ConfigError(f"{kind} {name!r} is {made!r}; allowed: {allowed}")
        return made

    return adopt


class Registry(Mapping[str, T], Generic[T]):
    """An ordered mapping whose unknown keys raise :class:`~nasseg.errors.UnknownName`.

    Args:
        kind: how messages call an entry.
        group: of the entry points that add to it; None: none do.
        base: class that what plug-ins give must be an instance or a subclass of; None: anything.
        adopt: turns (name, what a plug-in gives) into an entry; None: it is one already.
    """

    def __init__(
        self,
        kind: str,
        *,
        group: str | None = None,
        base: type[Any] | None = None,
        adopt: Callable[[str, Any], T] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._adopt = adopt
        self._entries: dict[str, T] = {}
        self._references: dict[str, T] = {}
        self._points: dict[str, EntryPoint] | None = None
        self._broken: set[str] = set()
        self._loaded: set[str] = set()
        if group is not None:
            _registries[group] = self

    @overload
    def register(self, name: str, entry: T) -> T: ...
    @overload
    def register(self, name: str) -> Callable[[Made], Made]: ...
    def register(self, name: str, entry: Any = None) -> Any:
        """Add ``entry`` under ``name``; without an entry, a decorator that adds what it decorates.

        Raises:
            ValueError: the name is taken.
        """
        if entry is None:

            def add(made: Made) -> Made:
                self.register(name, self._adopted(name, made))
                return made

            return add
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._entries[name] = entry
        return entry

    def resolve(self, name: str, *, said_by_user: bool = False) -> T:
        """The entry of a name; ``module:Name`` is imported if it may be.

        Args:
            name: registered, of an entry point, or ``module:Name``.
            said_by_user: the name comes from the user (a flag, an argument in Python), not from a
                file: it may be imported, now and later in this process.

        Raises:
            UnknownName: no such entry.
            ConfigError: ``module:Name`` that is not allowed, or gives something else.
            MissingDependencyError: the module is not installed.
        """
        if said_by_user and is_reference(name):
            allow(name)
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name in self._entries:
            return self._entries[name]
        if is_reference(name):
            return self._referenced(name)
        point = self._entry_points().get(name)
        if point is None:
            known = {*self._entries, *self._entry_points()}
            raise unknown_name(self.kind, name, known, self.group)
        return self._load(point)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        if is_reference(name):
            return name in self._references or is_allowed(name)
        return name in self._entries or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        self._load_all()
        return iter(list(self._entries))

    def __len__(self) -> int:
        self._load_all()
        return len(self._entries)

    def registered(self) -> list[str]:
        """Names of what was registered so far; no plug-in is imported for it."""
        return list(self._entries)

    def referenced(self) -> list[T]:
        """Entries that were imported as ``module:Name`` so far."""
        return list(self._references.values())

    def is_own(self, name: str) -> bool:
        """True if the name was registered by code, and not by an entry point."""
        return name in self._entries and name not in self._loaded

    def names(self, pattern: str = "*") -> list[str]:
        """Registered names that match a shell pattern, sorted."""
        return sorted(fnmatch.filter(self, pattern))

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._points is None:
            # Only here: finding the packages takes longer than all else that a hit needs.
            from importlib.metadata import entry_points

            found = entry_points(group=self.group) if self.group else ()
            self._points = {point.name: point for point in found}
        return self._points

    def _load_all(self) -> None:
        """Load every entry point; those that cannot be are warned of and left out of the list."""
        for name, point in self._entry_points().items():
            if name not in self._entries and name not in self._broken:
                try:
                    self._load(point)
                except (ConfigError, MissingDependencyError) as error:
                    self._broken.add(name)
                    log.warning("%s", error)

    def _load(self, point: EntryPoint) -> T:
        self._loaded.add(point.name)
        where = f"{self.kind} {point.name!r}"
        if point.dist is not None:
            where += f" of the package {point.dist.name}"
        try:
            made = point.load()
        except Exception as error:  # whatever a plug-in raises while it is imported
            raise MissingDependencyError(
                f"{where} cannot be imported from {point.value}: {error}"
            ) from error
        if point.name not in self._entries:  # importing it may have registered it
            self._entries[point.name] = self._checked(where, point.name, made)
        return self._entries[point.name]

    def _referenced(self, name: str) -> T:
        if name in self._references:
            return self._references[name]
        if not is_allowed(name):
            raise ConfigError(
                f"{self.kind} is {name!r}, which a file alone does not make nasseg import; give "
                f"it by its flag, or allow it by --plugins {name.partition(':')[0]} or "
                f"{VARIABLE}={name.partition(':')[0]}"
            )
        where, (module, _, path) = f"{self.kind} {name!r}", name.partition(":")
        try:
            made: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{where} needs the module {error.name!r}, which is not installed"
            ) from error
        except Exception as error:  # whatever a plug-in raises while it is imported
            raise ConfigError(f"{where} cannot be imported: {error}") from error
        for part in path.split("."):
            if not hasattr(made, part):
                hint = near_name(part, [key for key in vars(made) if not key.startswith("_")])
                raise ConfigError(f"{where}: {module} has no {path!r}{hint}")
            made = getattr(made, part)
        self._references[name] = self._checked(where, name, made)
        return self._references[name]

    def _checked(self, where: str, name: str, made: Any) -> T:
        base = self._base
        if base is not None:
            fits = issubclass(made, base) if isinstance(made, type) else isinstance(made, base)
            if not fits:
                raise ConfigError(f"{where} is {made!r}; allowed: a {base.__name__}")
        return self._adopted(name, made)

    def _adopted(self, name: str, made: Any) -> T:
        entry: T = made if self._adopt is None else self._adopt(name, made)
        return entry


_registries: dict[str, Registry[Any]] = {}
"""Registries by the group of their entry points, as far as their modules were imported."""
