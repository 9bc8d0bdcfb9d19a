"""Every field of ``AnalogSpec`` is a setting of a run, of a labelling and of a proxy."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from nasseg.analog import PRESETS, AnalogSpec, programmable
from nasseg.analog.chips import all_tiles
from nasseg.analog.memory import EXAMPLE
from nasseg.cli import main
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    LabelConfig,
    RunConfig,
    SearchConfig,
    SpecConfig,
    analog_spec,
    settings,
    to_dict,
)
from nasseg.config.identity import changes, experiment
from nasseg.config.reading import build_config, read_yaml
from nasseg.errors import ConfigError, SpecError
from nasseg.search_spaces import get_space
from nasseg.studies.proxy import proxy_config
from nasseg.studies.study import study_defaults, study_settings, study_task_type
from nasseg.tasks import get_task
from nasseg.training.recipe import to_analog

OTHER: dict[str, Any] = {
    "memory": "reram",
    "g_max_us": 20.0,
    "prog_noise_scale": 0.5,
    "read_noise_scale": 0.5,
    "drift_scale": 0.5,
    "dac_bits": 7,
    "adc_bits": 6,
    "adc_bound": 12.0,
    "out_noise": 0.02,
    "tile_rows": 128,
    "tile_cols": 64,
    "column_scaling": False,
    "drift_compensation": "column",
    "learn_input_range": True,
    "input_range_decay": 0.01,
    "weight_noise": 0.1,
    "clip_sigma": 2.0,
    "remap": False,
}


def keys_of_fields() -> dict[str, str]:
    return {leaf.facts.spec: key for key, leaf in settings(RunConfig).items() if leaf.facts.spec}


def test_every_field_of_the_hardware_has_one_setting() -> None:
    fields = {field.name for field in dataclasses.fields(AnalogSpec)} - {"coefficients"}
    assert set(keys_of_fields()) == fields == set(OTHER)
    assert len([leaf for leaf in settings(RunConfig).values() if leaf.facts.spec]) == len(fields)


@pytest.mark.parametrize("config", [RunConfig, LabelConfig])
@pytest.mark.parametrize("field", sorted(OTHER))
def test_a_setting_of_the_hardware_arrives_in_the_specification(
    config: type[Any], field: str
) -> None:
    key, value = keys_of_fields()[field], OTHER[field]
    needed: dict[str, Any] = {key: value}
    if field == "column_scaling":
        needed["analog.remap"] = False
    if field == "input_range_decay":
        needed["analog.learn_input_range"] = True
    if field == "weight_noise":
        needed["analog.noise"] = "gaussian"
    texts = {name: str(item) for name, item in needed.items()}
    found = analog_spec(build_config(config, texts, {}).analog)
    plain = analog_spec(
        build_config(config, needed | {key: getattr(PRESETS["pcm"], field)}, {}).analog
    )
    assert getattr(found, field) == value
    assert dataclasses.replace(plain, **{field: value}) == found


def test_a_default_is_the_same_in_the_specification_and_in_the_settings() -> None:
    gaussian = AnalogConfig(noise="gaussian")
    assert analog_spec(gaussian) == AnalogSpec() == PRESETS["pcm"]
    assert analog_spec(AnalogConfig()) == AnalogSpec(weight_noise=0.0)
    for name in ("hermes", "reram"):
        assert analog_spec(dataclasses.replace(gaussian, preset=name)) == PRESETS[name]


def test_exact_arithmetic_stays_exact_unless_it_is_given_a_memory() -> None:
    ideal = AnalogConfig(preset="ideal", compensation="column", noise="gaussian")
    assert analog_spec(ideal) == PRESETS["ideal"]
    bits = SpecConfig(adc_bits=6, adc_bound=10.0)
    assert analog_spec(dataclasses.replace(ideal, spec=bits)) == PRESETS["ideal"].replace(
        adc_bits=6, adc_bound=10.0
    )
    cells = analog_spec(dataclasses.replace(ideal, spec=SpecConfig(memory="pcm")))
    assert (cells.drift_compensation, cells.weight_noise, cells.adc_bits) == ("column", 0.06, 0)
    # A memory without noise is not trained for with a noise that was not asked for.
    assert analog_spec(AnalogConfig(spec=SpecConfig(memory="ideal"))).weight_noise == 0.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--analog.spec.adc_bits", "1"], "analog.spec.adc_bits is 1; allowed: 2 to 16, or 0 for"),
        (["--analog.spec.adc_bits", "x"], "analog.spec.adc_bits is 'x'; allowed: a whole number"),
        (["--analog.spec.memory", "pcn"], "analog.spec.memory is 'pcn'; allowed: pcm, hermes"),
        (["--analog.spec.adc_bound", "0"], "analog.spec.adc_bits is 8 with adc_bound 0"),
        (["--analog.spec.tile_rows", "0"], "analog.spec.tile_rows is 0 and tile_cols is 256"),
        (["--analog.spec.g_max_us", "99"], "analog.spec.g_max_us is 99.0; allowed: above 0, at"),
        (["--analog.spec.column_scaling", "false"], "analog.remap is on with column_scaling off"),
        (["--analog.spec.memory", "custom"], "analog.spec.memory is 'custom' and coefficients"),
        (["--analog.input_range_decay", "0.1"], "analog.input_range_decay is 0.1 with learn_inp"),
        (["--analog.adc_bits", "6"], "did you mean --analog.spec.adc_bits"),
        (["--analog.spec.weight_noise", "0.1"], "did you mean --analog.weight_noise"),
        (
            ["--analog.preset", "ideal", "--analog.spec.drift_scale", "2"],
            "analog.spec.drift_scale set with memory 'ideal'",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "label"])
def test_hardware_that_cannot_be_is_refused_before_anything_begins(
    command: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([command, "--out", str(tmp_path / "new"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_file_may_set_the_hardware_beside_a_memory_of_its_own(tmp_path: Path) -> None:
    cell, recipe = tmp_path / "cell.yaml", tmp_path / "recipe.yaml"
    cell.write_text(EXAMPLE, encoding="utf-8")
    recipe.write_text(
        yaml.safe_dump({"analog": {"preset": str(cell), "spec": {"adc_bits": 6}}}),
        encoding="utf-8",
    )
    config = build_config(RunConfig, read_yaml(recipe, RunConfig), {})
    spec = analog_spec(config.analog)
    assert (spec.memory, spec.adc_bits, spec.g_max_us) == ("custom", 6, 25.0)
    exact = dataclasses.replace(config.analog, spec=SpecConfig(adc_bound=0.0))
    with pytest.raises(ConfigError, match=r"^analog\.spec\.adc_bits is 8 with adc_bound 0"):
        analog_spec(exact)
    cell.unlink()
    assert build_config(RunConfig, read_yaml(recipe, RunConfig), {}) == config
    with pytest.raises(SpecError, match="cannot be read"):
        analog_spec(config.analog)


def test_a_proxy_has_the_hardware_of_its_run_and_may_change_it(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text("analog: {spec: {out_noise: 0.0}}\n", encoding="utf-8")
    config = RunConfig(
        search=SearchConfig(measure=2, proxy=str(file)),
        analog=AnalogConfig(spec=SpecConfig(adc_bits=6)),
    )
    assert proxy_config(config).analog.spec == SpecConfig(adc_bits=6, out_noise=0.0)


def test_a_folder_from_before_these_settings_is_as_with_the_preset() -> None:
    older = to_dict(RunConfig())
    assert older["analog"].pop("spec") == dict.fromkeys(
        key.rpartition(".")[2] for key in settings(RunConfig) if "analog.spec." in key
    )
    assert changes(older, RunConfig()).absent == changes(older, RunConfig()).changed == []
    assert experiment(older, RunConfig) == experiment(to_dict(RunConfig(seed=3)), RunConfig)
    other = RunConfig(analog=AnalogConfig(spec=SpecConfig(adc_bits=6)))
    assert changes(older, other).changed == ["analog.spec.adc_bits: None -> 6"]


def test_a_study_knows_its_hardware_by_its_content() -> None:
    space = get_space("unet")
    plain = study_settings(LabelConfig(), space, "f")
    changed = LabelConfig(analog=AnalogConfig(spec=SpecConfig(adc_bits=6)))
    assert plain["analog"]["hardware"]["adc_bits"] == 8
    assert study_settings(changed, space, "f")["analog"]["hardware"]["adc_bits"] == 6
    # As a study from before there were settings of the specification has them.
    assert "spec" not in plain["analog"]
    assert "spec" not in study_defaults("segmentation")["analog"]
    same = LabelConfig(analog=AnalogConfig(epochs=4, spec=SpecConfig(adc_bits=8)))
    assert study_settings(same, space, "f") == plain


def test_a_study_that_was_begun_with_an_older_decoder_keeps_it(tmp_path):
    config = LabelConfig(out=str(tmp_path), data=DataConfig(crop=64))
    space, task = get_space("unet_half"), get_task("instances")
    now = study_settings(config, space, "f")["data"]["decoder"]
    assert now == task.decoder
    saved = to_dict(config)
    del saved["train"]["keep"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    (tmp_path / "stages.json").write_text('{"data": {}}')
    then = study_settings(config, space, "f")["data"]["decoder"]
    assert then == study_defaults("instances")["data"]["decoder"] == task.as_before().decoder
    assert study_task_type(config).masks_of_logits
    assert "decoder" not in study_settings(LabelConfig(), space, "f")["data"]
    assert "decoder" not in study_defaults("segmentation")["data"]


@pytest.mark.parametrize(
    "config",
    [
        AnalogConfig(spec=SpecConfig(memory="ideal")),
        AnalogConfig(preset="ideal", spec=SpecConfig(memory="pcm")),
        AnalogConfig(spec=SpecConfig(adc_bits=6, tile_rows=16, tile_cols=4, out_noise=0.0)),
    ],
)
def test_tiles_are_of_the_hardware_that_is_set(config: AnalogConfig) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
    spec = analog_spec(config)
    analog, coverage = to_analog(net, config, channels=3, size=16, seed=0)
    rows = 27 if spec.tile_rows == 0 else spec.tile_rows
    assert coverage.tiles == math.ceil(27 / rows) * math.ceil(8 / (spec.tile_cols or 8))
    for tile in all_tiles(analog):
        forward = tile.rpu_config.forward
        assert forward.out_noise == spec.out_noise
        assert forward.out_res == (1 / (2**spec.adc_bits - 2) if spec.adc_bits else -1)
    with programmable(analog) as crossbars:
        crossbars.program(0, 0)
        crossbars.drift(86_400.0)
        assert analog(torch.rand(2, 3, 16, 16)).isfinite().all()
