"""Results of a folder are of one set of settings."""

from __future__ import annotations

import json

import pytest

from nasseg.errors import ConfigError, RunError
from nasseg.records.bound import bind_settings

SETTINGS = {"data": {"path": "a.npz", "size": 28}, "train": {"times": (1.0, 2.0)}, "table": "x"}


def test_a_folder_takes_the_settings_it_began_with_and_no_others(tmp_path):
    bind_settings(tmp_path / "new", SETTINGS, "rows")
    file = tmp_path / "new" / "settings.json"
    before = file.read_bytes()
    bind_settings(tmp_path / "new", SETTINGS, "rows")
    moved = {**SETTINGS, "data": {"path": "b.npz", "size": 28}}
    bind_settings(tmp_path / "new", moved, "rows", free=["data.path"])
    for wrong, key in ((moved, "data.path"), ({**SETTINGS, "table": "y"}, "table")):
        with pytest.raises(ConfigError, match=f"rows of other settings \\({key}: "):
            bind_settings(tmp_path / "new", wrong, "rows")
    assert file.read_bytes() == before


def test_a_setting_that_an_older_folder_lacks_is_its_default(tmp_path):
    bind_settings(tmp_path, {"table": "x"}, "rows")
    bind_settings(tmp_path, SETTINGS, "rows", defaults=SETTINGS)
    with pytest.raises(ConfigError, match=r"data\.size"):
        bind_settings(
            tmp_path, SETTINGS, "rows", defaults={**SETTINGS, "data": {"path": "a.npz", "size": 32}}
        )


@pytest.mark.parametrize("text", ["{", json.dumps([1])])
def test_damaged_settings_are_named(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(RunError, match=r"settings\.json cannot be read"):
        bind_settings(tmp_path, SETTINGS, "rows")
