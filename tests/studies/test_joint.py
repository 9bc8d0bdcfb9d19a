"""Settings that are searched together with the architecture."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import nasseg
from nasseg import pipeline
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    DriftConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
)
from nasseg.errors import ConfigError, RunError
from nasseg.evaluators import CostEvaluator, Hardware
from nasseg.records.run_files import load_run
from nasseg.search_spaces import get_space
from nasseg.studies import budget as budgets
from nasseg.studies.joint import (
    ChipCost,
    Joined,
    divided,
    joint_space,
    parse_joined,
    with_settings,
)
from nasseg.training.measure import OnChips, Trained

ALSO = "train.lr=1e-3..1e-2,analog.spec.adc_bits=5|6|8,analog.remap=true|false"


def test_settings_are_read():
    assert parse_joined([ALSO, "analog.spec.tile_rows=512|128"]) == (
        Joined("train.lr", (0.001, 0.001778, 0.003162, 0.005623, 0.01)),
        Joined("analog.spec.adc_bits", (5, 6, 8)),
        Joined("analog.remap", ("true", "false")),
        Joined("analog.spec.tile_rows", (128, 512)),
    )
    assert parse_joined(["train.warmup=0.1..0.2"])[0].choices == (0.1, 0.125, 0.15, 0.175, 0.2)
    assert parse_joined(["train.batch_size=8..64"])[0].choices == (8, 13, 23, 38, 64)
    assert parse_joined(()) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.lr", r"has 'train\.lr'; allowed: KEY=A\|B\|C or KEY=LOW\.\.HIGH"),
        ("train.rate=1|2", r"has 'train\.rate'; allowed: settings of train and analog"),
        ("train.epochs=5|9", "but for train.epochs"),
        ("data.zoom=1|2", r"has 'data\.zoom'"),
        ("train.lr=1e-2..1e-3", "LOW below HIGH"),
        ("train.lr=low..high", "numbers at both ends"),
        ("train.lr=-1|0.1", r"train\.lr is -1"),
        ("analog.spec.adc_bits=5|5", "each value once"),
        ("train.lr=0.1|0.2,train.lr=0.3|0.4", "twice"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_joined([text])


def test_a_space_takes_settings_beside_its_hyperparameters():
    space, joined = get_space("unet"), parse_joined([ALSO])
    edited = joint_space(space, joined)
    arch = edited.sample(np.random.default_rng(0))
    network, chosen = divided(arch, joined)
    assert space.canonical(network) == network
    assert set(chosen) == {"train.lr", "analog.spec.adc_bits", "analog.remap"}
    config = with_settings(RunConfig(), chosen)
    assert config.train.lr == chosen["train.lr"]
    assert config.analog.spec.adc_bits == chosen["analog.spec.adc_bits"]
    assert config.analog.remap is (chosen["analog.remap"] == "true")
    assert with_settings(RunConfig(), {}) == RunConfig()


def test_what_a_candidate_costs_follows_its_chip():
    space = get_space("unet")
    joined = parse_joined(["analog.spec.adc_bits=6|8,analog.spec.tile_rows=128|512,train.lr=0.1|1"])
    edited = joint_space(space, joined)
    cost = ChipCost(edited, joined, AnalogConfig(), None, input_size=(64, 64))
    plain = space.default()
    fixed = CostEvaluator(space, input_size=(64, 64)).evaluate([plain])
    chips = [(bits, rows) for bits in (6, 8) for rows in (128, 512)]
    archs = [
        {**plain, "analog.spec.adc_bits": bits, "analog.spec.tile_rows": rows, "train.lr": 0.1}
        for bits, rows in chips
    ]
    found = cost.evaluate(archs)
    energy, tiles = found.column("energy_uj"), found.column("tiles")
    # The default chip is as it was; fewer bits take less, smaller crossbars are more.
    assert energy[3] == pytest.approx(fixed.column("energy_uj")[0])
    assert tiles[3] == fixed.column("tiles")[0]
    assert energy[1] < energy[3]
    assert tiles[2] > tiles[3]
    own = Hardware.preset().replace(tile_rows=128, tile_columns=256)
    own = own.replace(adc_pj=own.adc_pj / 4)
    same = CostEvaluator(space, input_size=(64, 64), hardware=own).evaluate([plain])
    assert energy[0] == pytest.approx(same.column("energy_uj")[0])


def run_config(out: Path, **search) -> RunConfig:
    return RunConfig(
        out=str(out),
        threads=1,
        device="cpu",
        data=DataConfig(image_size=16, synthetic_train=20, synthetic_val=6),
        search=SearchConfig(
            space="unet", budget="0.5x", max_params=40_000, max_macs_per_pixel=3_000, **search
        ),
        train=TrainConfig(epochs=20, batch_size=8, eval_every=20),
        analog=AnalogConfig(epochs=1),
        drift=DriftConfig(chips=1, times=(86_400.0,)),
    )


def test_candidates_are_measured_with_their_settings_and_the_run_goes_on_with_them(
    tmp_path, monkeypatch
):
    seen = []

    def trained(build, data, task, train, **settings):
        seen.append(train.lr)
        return Trained(build(0), {"dice": 0.5 + train.lr}, 1, 1, 1.0)

    def chips(net, data, task, train, analog, drift, **settings):
        rows = [{"dice": 0.5 + train.lr, "recalibrated": True, "chip": 0, "time_s": 86400.0}]
        return OnChips(net, None, rows, 1.0)

    monkeypatch.setattr(budgets, "train_network", trained)
    monkeypatch.setattr(budgets, "put_on_chips", chips)
    monkeypatch.setattr(budgets, "seconds_per_epoch", lambda *a, **k: 1.0)
    config = run_config(tmp_path, also=("train.lr=0.001|0.01|0.1",))
    pipeline.run(config, stages=("search",), progress=False)
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["settings"] == {"train.lr": max(seen)}
    get_space("unet").validate(best["arch"])
    with (tmp_path / "search.csv").open(newline="", encoding="utf-8") as handle:
        archs = [json.loads(row["arch"]) for row in csv.DictReader(handle)]
    assert {arch["train.lr"] for arch in archs} == set(seen)
    monkeypatch.undo()
    short = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=20))
    pipeline.run(short, stages=("search", "train"), progress=False)
    rates = [json.loads(line)["lr"] for line in (tmp_path / "metrics.jsonl").open()]
    assert max(rates) == pytest.approx(max(seen), rel=0.2)
    assert load_run(tmp_path).setting("train.lr") == max(seen)
    assert nasseg.load(tmp_path).config.train.lr == max(seen)


def test_found_settings_that_cannot_be_are_refused(tmp_path):
    folder = tmp_path / "run"
    plain = dataclasses.replace(run_config(folder), search=SearchConfig(space="unet", nb_iter=1))
    pipeline.run(plain, stages=("search",), progress=False)
    best = json.loads((folder / "best.json").read_text())
    (folder / "best.json").write_text(json.dumps({**best, "settings": {"train.lr": "fast"}}))
    with pytest.raises(RunError, match=r"best\.json cannot be used: .*train\.lr is 'fast'"):
        pipeline.run(plain, stages=("search", "train"), progress=False)


def test_settings_join_a_search_with_a_budget_alone():
    with pytest.raises(ConfigError, match=r"search\.also .* none without search\.budget"):
        SearchConfig(also=("train.lr=0.1|0.2",))
