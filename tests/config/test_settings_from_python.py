"""Settings of configs that are made in Python are checked as those of flags and files are."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing
from typing import Any

import pytest

from nasseg._fields import field_types
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    DriftConfig,
    LabelConfig,
    RunConfig,
    SearchConfig,
    Setting,
    TrainConfig,
    settings,
)
from nasseg.errors import ConfigError
from nasseg.tasks import get_task

LEAVES = [
    (config, leaf) for config in (RunConfig, LabelConfig) for leaf in settings(config).values()
]


def made(config: type[Any], key: str, value: Any) -> Any:
    """The config with one setting, made from the innermost section outwards."""
    sections = [config()]
    *groups, name = key.split(".")
    for group in groups:
        sections.append(getattr(sections[-1], group))
    for section, field in zip(reversed(sections), (name, *reversed(groups)), strict=True):
        value = dataclasses.replace(section, **{field: value})
    return value


def choices(leaf: Setting) -> tuple[Any, ...]:
    kinds = [leaf.type, *typing.get_args(leaf.type)]
    literals = [typing.get_args(k) for k in kinds if typing.get_origin(k) is typing.Literal]
    return literals[0] if literals else leaf.facts.choices


def plain(leaf: Setting) -> set[Any]:
    return {leaf.type, *typing.get_args(leaf.type)} & {int, float, bool, str}


def identifier(value: Any) -> str:
    return value.key if isinstance(value, Setting) else getattr(value, "__name__", str(value))


@pytest.mark.parametrize(
    ("config", "leaf"), [pair for pair in LEAVES if choices(pair[1])], ids=identifier
)
def test_a_value_that_is_no_choice_is_refused(config: type[Any], leaf: Setting) -> None:
    allowed = choices(leaf)
    wrong = ["Gaussian", None] if isinstance(allowed[0], str) else [2, 17]
    wrong += [allowed[0].upper()] if isinstance(allowed[0], str) else [str(allowed[0])]
    for value in wrong:
        if value is None and leaf.optional:
            continue
        with pytest.raises(ConfigError, match=rf"^{leaf.key} is {value!r}; allowed: ") as caught:
            made(config, leaf.key, value)
        assert str(allowed[-1]) in str(caught.value)


@pytest.mark.parametrize(("config", "leaf"), LEAVES, ids=identifier)
def test_a_value_of_a_wrong_type_is_refused(config: type[Any], leaf: Setting) -> None:
    wrong: list[Any] = [object(), {"a": 1}]
    kinds = plain(leaf)
    if kinds & {int, float}:
        wrong += ["1", True]
    if float in kinds:
        wrong.append(float("nan"))
    if int in kinds:
        wrong.append(1.5)
    if bool in kinds:
        wrong += [1, "true"]
    if str in kinds:
        wrong += [3, b"text"]
    if not leaf.optional:
        wrong.append(None)
    if typing.get_origin(leaf.type) is tuple:
        wrong += ["text", (object(),), (True,)]
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"^{leaf.key} is .*; allowed: "):
            made(config, leaf.key, value)


@pytest.mark.parametrize(("config", "leaf"), LEAVES, ids=identifier)
def test_a_value_outside_its_bounds_is_refused(config: type[Any], leaf: Setting) -> None:
    facts = leaf.facts
    outside = [bound - 1 for bound in (facts.ge,) if bound is not None]
    outside += [bound + 1 for bound in (facts.le,) if bound is not None]
    outside += [bound for bound in (facts.gt, facts.lt) if bound is not None]
    whole = int in plain(leaf)
    for value in [int(bound) if whole else float(bound) for bound in outside]:
        if not (facts.zero and value == 0):
            with pytest.raises(ConfigError, match=rf"^{leaf.key} is .*; allowed: "):
                made(config, leaf.key, value)


def test_a_noise_of_the_retraining_with_another_spelling_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"analog.noise is 'Gaussian'; allowed: memory or gauss"):
        AnalogConfig(noise="Gaussian")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["data", "search", "train", "analog", "drift"])
def test_a_section_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is {{}}; allowed: a "):
        RunConfig(**{name: {}})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "section",
    [
        DataConfig(crop=0, max_cache_gb=1),
        DataConfig(task="classification", folds=2, fold=1),
        SearchConfig(max_params=None, max_avm=3),
        TrainConfig(lr=1, weights="w.safetensors", freeze_until="conv1"),
        DriftConfig(times=(1, 2.5), noise_scales=()),
    ],
)
def test_whole_numbers_none_and_zero_are_taken_where_they_mean_something(section: object) -> None:
    assert dataclasses.replace(section) == section  # type: ignore[type-var]


def test_the_settings_come_without_torch_and_without_numpy() -> None:
    program = (
        "import sys; import nasseg.config, nasseg.config.reading, nasseg.analog;"
        "sys.exit(', '.join({'torch', 'aihwkit', 'numpy', 'yaml'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_modules_of_analog_do_not_hide_its_functions() -> None:
    program = (
        "import importlib, pkgutil, nasseg.analog as analog\n"
        "for module in pkgutil.iter_modules(analog.__path__):\n"
        "    importlib.import_module(f'nasseg.analog.{module.name}')\n"
        "from nasseg.analog import convert\n"
        "assert callable(convert) and analog.convert is convert\n"
        "import types\n"
        "assert not [n for n in analog.__all__ if isinstance(getattr(analog, n), types.ModuleType)]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_annotations_of_a_config_are_resolved_once():
    # A search for settings makes configs by the dozen.
    assert field_types(RunConfig) is field_types(RunConfig)


def test_a_run_is_scored_by_a_metric_of_its_task():
    crops = DataConfig(crop=64)
    config = RunConfig(data=crops, train=TrainConfig(monitor="ap50"))
    assert get_task(config.data.kind).bind(None, config.train).monitor == "ap50"
    assert get_task("instances").bind().monitor == "dice"
    for data, monitor, allowed in (
        (crops, "count_error", "dice, iou, iou_pooled, ap50, ap, pq, sq, rq$"),
        (DataConfig(), "ap50", "auto, dice, iou, iou_pooled$"),
        (DataConfig(task="classification"), "dice", "auto, accuracy, auc, balanced_accuracy, f1$"),
    ):
        with pytest.raises(ConfigError, match=rf"train\.monitor is '{monitor}'; .*{allowed}"):
            RunConfig(data=data, train=TrainConfig(monitor=monitor))
