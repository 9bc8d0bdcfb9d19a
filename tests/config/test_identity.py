"""Which settings bind a folder, and which may differ when it is continued or compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nasseg.compare import compare
from nasseg.config import LabelConfig, RunConfig, aliases, settings, to_dict
from nasseg.config.identity import changes, experiment, free_settings, repeated_settings
from nasseg.config.reading import build_config
from nasseg.errors import RunError
from nasseg.records.folder import RunFolder


def run_folder(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (path / "summary.json").write_text(json.dumps({"digital": {"dice": 0.9}}), encoding="utf-8")
    return path


def config_of(**values: Any) -> dict[str, Any]:
    keys = {key.replace("__", "."): value for key, value in values.items()}
    return to_dict(build_config(RunConfig, keys, {}))


def test_runs_that_differ_by_seed_and_by_where_they_were_computed_are_one_group(
    tmp_path: Path,
) -> None:
    one = run_folder(tmp_path / "a", config_of(search__workers=1, out="a"))
    other = run_folder(
        tmp_path / "b",
        config_of(
            search__workers=4,
            search__storage="sqlite:///s.db",
            search__study="mine",
            search__proxy="proxy.yaml",
            drift__chips=5,
            data__path="images",
            data__fold=0,
            seed=1,
            out="b",
            threads=2,
            device="cpu",
        ),
    )
    third = run_folder(tmp_path / "c", config_of(train__epochs=3))
    assert [len(group.runs) for group in compare([one, other, third]).groups] == [2, 1]


def test_a_run_from_before_a_setting_is_of_the_group_of_its_default(tmp_path: Path) -> None:
    older = config_of()
    del older["analog"]["class_weights"], older["train"]["tta"]
    folders = [run_folder(tmp_path / "a", older), run_folder(tmp_path / "b", config_of(seed=1))]
    assert len(compare(folders).groups) == 1


def test_what_may_change_differs_between_a_run_and_a_labelling() -> None:
    places = {"out", "device", "threads", "data.path"}
    shared = {"search.proxy", "search.storage", "search.study", "search.workers"}
    assert free_settings(RunConfig) == places | shared | {"drift.chips", "drift.precision"}
    study = {"count", "storage", "study", "workers", "sampler", "heartbeat", "stop_gain", "archs"}
    assert free_settings(LabelConfig) == places | study
    assert repeated_settings(RunConfig) == {"seed", "data.fold"}


@pytest.mark.parametrize("config", [RunConfig, LabelConfig])
def test_every_setting_binds_unless_it_is_free(config: type[Any], tmp_path: Path) -> None:
    saved = to_dict(config())
    for key, leaf in settings(config).items():
        other = json.loads(json.dumps(saved))
        *groups, name = key.split(".")
        section = other
        for group in groups:
            section = section[group]
        section[name] = "another value"
        found = changes(other, config())
        unused = leaf.facts.used_by == "darts" and config is RunConfig
        bound = key not in free_settings(config) and not unused
        assert bool(found.changed) == bound, key
        assert not found.absent
        assert (key in experiment(other, config)) == (
            key not in free_settings(config) | repeated_settings(config)
        )


def test_settings_of_darts_bind_a_search_with_darts() -> None:
    wanted = build_config(
        RunConfig, {"search.strategy": "darts", "data.task": "classification"}, {}
    )
    saved = to_dict(wanted)
    saved["search"]["darts_epochs"] = 7
    assert changes(saved, wanted).changed == ["search.darts_epochs: 7 -> 60"]


def test_a_folder_from_before_a_setting_is_continued_where_that_changes_nothing(
    tmp_path: Path,
) -> None:
    config = RunConfig(out=str(tmp_path / "run"))
    for section, name, absent in (
        ("analog", "class_weights", False),
        ("train", "tta", False),
        ("analog", "noise_ramp", True),
        ("drift", "sweep_chips", True),
    ):
        older = to_dict(config)
        del older[section][name]
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(older), encoding="utf-8")
        (folder / "stages.json").write_text('{"data": {}}', encoding="utf-8")
        if absent:
            with pytest.raises(RunError, match=rf"did not know {section}.{name}:"):
                RunFolder(config)
        else:
            RunFolder(config)


def test_short_flags_stand_for_settings_of_the_sections_that_a_command_names() -> None:
    run, label = aliases(RunConfig), aliases(LabelConfig)
    assert run["constraint"] == "search.constraints"
    assert run["data"] == label["data"] == "data.path"
    assert len(run) == 22
    assert set(label) == {"task", "data", "image_size", "crop", "channels"}
