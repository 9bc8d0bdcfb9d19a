"""Registries: registered names, entry points of installed packages, and ``module:Name``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasseg import _registry
from nasseg._registry import Registry, allow, is_allowed, is_reference, plugin_environment
from nasseg.errors import ConfigError, MissingDependencyError, UnknownName

MODULE = """
class Thing:
    size = 3

class Other:
    pass

NOT_A_THING = 7
"""


class Base:
    """What plug-ins of these tests must be."""


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_allowed", [])
    monkeypatch.delenv("NASSEG_PLUGINS", raising=False)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package ``toy_plugin`` with three entry points; nothing of it is imported yet."""
    (tmp_path / "toy_plugin.py").write_text(MODULE)
    (tmp_path / "toy_broken.py").write_text("import no_such_package_at_all\n")
    info = tmp_path / "toy_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[toy.things]\nthing = toy_plugin:Thing\nbroken = toy_broken:Thing\n"
        "[toy.numbers]\nseven = toy_plugin:NOT_A_THING\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "toy_plugin"
    for name in ("toy_plugin", "toy_broken"):
        sys.modules.pop(name, None)


def test_a_name_is_registered_by_call_or_decorator_and_only_once() -> None:
    known: Registry[object] = Registry("thing")
    known.register("a", 1)

    @known.register("b")
    class B:
        pass

    assert known["a"] == 1
    assert known["b"] is B
    assert list(known) == ["a", "b"]
    assert "a" in known
    assert "c" not in known
    with pytest.raises(ValueError, match="thing 'a' is registered already"):
        known.register("a", 2)
    with pytest.raises(UnknownName, match=r"no thing named 'bb'; did you mean 'b'\?"):
        known["bb"]


def test_an_entry_is_made_of_what_a_decorator_or_a_plug_in_gives(plugin: str) -> None:
    known: Registry[tuple[str, type]] = Registry(
        "thing", group="toy.things", adopt=lambda name, made: (name, made)
    )

    @known.register("own")
    class Own:
        pass

    assert known["own"] == ("own", Own)
    assert known["thing"][0] == "thing"


def test_entry_points_are_imported_at_the_first_miss_and_not_before(plugin: str) -> None:
    known: Registry[object] = Registry("thing", group="toy.things")
    known.register("own", 1)
    assert known["own"] == 1
    assert plugin not in sys.modules
    assert known["thing"].size == 3  # type: ignore[attr-defined]
    assert plugin in sys.modules
    with pytest.raises(UnknownName, match="did you mean 'thing'"):
        known["thinng"]


def test_a_broken_plug_in_is_left_out_of_the_list_and_named_when_asked_for(
    plugin: str, caplog: pytest.LogCaptureFixture
) -> None:
    known: Registry[object] = Registry("thing", group="toy.things")
    assert known.names() == ["thing"]
    assert len(known) == 1
    assert len(caplog.records) == 1
    with pytest.raises(MissingDependencyError, match="'broken' of the package toy-plugin"):
        known["broken"]


def test_what_a_plug_in_gives_must_be_of_the_registrys_kind(plugin: str) -> None:
    known: Registry[object] = Registry("number", group="toy.numbers", base=Base)
    with pytest.raises(ConfigError, match="number 'seven' of the package toy-plugin is 7; allowed"):
        known["seven"]


def test_a_reference_is_imported_only_where_the_user_gave_it(plugin: str) -> None:
    known: Registry[object] = Registry("thing")
    with pytest.raises(ConfigError, match="NASSEG_PLUGINS=toy_plugin"):
        known["toy_plugin:Thing"]
    with pytest.raises(ConfigError, match="a file alone does not"):
        known.resolve("toy_plugin:Thing")
    assert "toy_plugin:Thing" not in known
    assert plugin not in sys.modules
    entry = known.resolve("toy_plugin:Thing", said_by_user=True)
    assert known["toy_plugin:Thing"] is entry
    assert known.names() == []
    with pytest.raises(ConfigError, match="a file alone does not"):
        known["toy_plugin:Other"]


def test_the_environment_allows_modules_with_what_is_in_them(
    plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASSEG_PLUGINS", "other.package, toy_plugin")
    allow("more:Name")
    assert is_allowed("toy_plugin:Thing")
    assert is_allowed("other.package.inner:Thing")
    assert is_allowed("more:Name")
    assert not is_allowed("more:Other")
    assert not is_allowed("other:Thing")
    assert not is_allowed("toy_plugin_evil:Thing")
    known: Registry[object] = Registry("thing")
    assert "toy_plugin:Thing" in known
    assert known["toy_plugin:Thing"].size == 3  # type: ignore[attr-defined]
    assert plugin_environment() == {"NASSEG_PLUGINS": "other.package,toy_plugin,more:Name"}


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        (
            "no_such_module:Thing",
            MissingDependencyError,
            "'no_such_module', which is not",
        ),
        ("toy_broken:Thing", MissingDependencyError, "'no_such_package_at_all'"),
        ("toy_plugin:Thingy", ConfigError, "has no 'Thingy'; did you mean 'Thing'"),
        ("toy_plugin:NOT_A_THING", ConfigError, "is 7; allowed: a Base"),
    ],
)
def test_a_reference_that_leads_nowhere_names_what_is_missing(
    plugin: str, name: str, error: type[Exception], text: str
) -> None:
    known: Registry[object] = Registry("thing", base=Base)
    with pytest.raises(error, match=text):
        known.resolve(name, said_by_user=True)


@pytest.mark.parametrize("name", ["a:b", "a.b:C", "a.b:C.d"])
def test_references_are_module_and_name(name: str) -> None:
    assert is_reference(name)


@pytest.mark.parametrize("name", ["a", "a:", ":b", "a:b:c", "../a:b", "C:\\data", "a b:c", "/a:b"])
def test_paths_and_plain_names_are_no_references(name: str) -> None:
    assert not is_reference(name)
