"""The bench of networks on a classification task: which runs it plans, and what a search among
them is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nasseg.errors import ConfigError
from nasseg.search_spaces import get_space


@pytest.fixture
def bench(load_script):
    return load_script("bench_classification")


@pytest.fixture
def ran(bench, monkeypatch):
    """The settings of every run that was brought to its end."""
    configs = []
    monkeypatch.setattr(bench.pipeline, "run", lambda config, progress: configs.append(config))
    monkeypatch.setattr(bench, "compare", len)
    monkeypatch.setattr(bench, "write_comparison", lambda found, out: None)
    monkeypatch.setattr(bench, "format_comparison", lambda found: f"{found} runs")
    return configs


def settings(folder: Path) -> Path:
    (folder / "proxy.yaml").write_text("train: {epochs: 1}\n")
    file = folder / "small.yaml"
    file.write_text(
        "data: {task: classification}\n"
        "search: {space: cells, measure: 3, proxy: proxy.yaml}\n"
        "train: {epochs: 2}\n"
    )
    return file


def test_each_seed_and_fold_searches_anew_unless_a_network_is_given(bench, ran, tmp_path, capsys):
    space = get_space("resnet")
    best = tmp_path / "found.json"
    arch = space.sample(np.random.default_rng(0))
    best.write_text(json.dumps({"arch": arch, "space": "resnet"}))
    words = ["--config", str(settings(tmp_path)), "--out", str(tmp_path / "runs")]
    words += ["--seeds", "3", "4", "--folds", "2"]
    assert bench.main([*words, "--networks", "search", str(best), "resnet18"]) == 0
    assert capsys.readouterr().out == "12 runs\n"
    names = ["search", "found", "resnet18"]
    folders = [f"{n}_seed{s}_fold{f}" for n in names for s in (3, 4) for f in (0, 1)]
    assert [Path(config.out).name for config in ran] == folders
    assert [(c.seed, c.data.folds, c.data.fold) for c in ran[:4]] == [
        (3, 2, 0), (3, 2, 1), (4, 2, 0), (4, 2, 1),
    ]  # fmt: skip
    for config in ran[:4]:
        assert (config.search.arch, config.search.space) == (None, "cells")
        # Beside the settings, wherever the bench is run from.
        assert (config.search.measure, config.search.proxy) == (3, str(tmp_path / "proxy.yaml"))
    assert (ran[4].search.arch, ran[4].search.space) == (str(best), "resnet")
    assert (ran[8].search.arch, ran[8].search.space) == ("resnet18", "reference")
    # Nothing of a search is left in their settings, which say what may stand in one group.
    assert {(c.search.measure, c.search.proxy) for c in ran[4:]} == {(0, None)}


def test_an_architecture_alone_is_of_the_space_of_the_settings(bench, ran, tmp_path):
    arch = next(get_space("cells").enumerate())
    for name, text in (("bare.json", arch), ("own.JSON", {"arch": arch, "space": "cells"})):
        (tmp_path / name).write_text(json.dumps(text))
    words = ["--config", str(settings(tmp_path)), "--out", str(tmp_path / "runs"), "--seeds", "0"]
    both = [str(tmp_path / name) for name in ("bare.json", "own.JSON")]
    assert bench.main([*words, "--networks", *both]) == 0
    assert [config.search.space for config in ran] == ["cells", "cells"]


def test_without_networks_it_searches_whatever_network_the_settings_name(bench, ran, tmp_path):
    file = settings(tmp_path)
    file.write_text(file.read_text().replace("{space:", "{arch: found.json, space:"))
    words = ["--config", str(file), "--out", str(tmp_path / "runs"), "--seeds", "0"]
    assert bench.main(words) == 0
    (config,) = ran
    assert config.search.arch is None
    assert config.data.folds == 0
    assert Path(config.out).name == "search_seed0"


def test_settings_of_a_run_are_taken_for_all_of_them(bench, ran, tmp_path, capsys):
    words = ["--config", str(settings(tmp_path)), "--out", str(tmp_path / "runs"), "--seeds", "0"]
    words += ["--networks", "search", "resnet18"]
    own = ["--drift.chips", "5", "--train.epochs=9", "--search.measure", "4"]
    own += ["--search.space", "resnet"]
    assert bench.main([*words, *own]) == 0
    assert [(c.drift.chips, c.train.epochs) for c in ran] == [(5, 9), (5, 9)]
    # How to find a network is asked of the runs that find one.
    assert [(c.search.measure, c.search.space) for c in ran] == [(4, "resnet"), (0, "reference")]
    for wrong, said in (
        (["--drift.chip", "5"], "did you mean --drift.chips"),
        (["--network", "resnet18"], "did you mean --networks"),
        (["--networks", "resnet18", "--measure", "5"], "search.measure is '5', but all networks"),
        (["--data.fold", "1"], "data.fold is '1'; allowed here: --folds"),
        (["--arch", "resnet18"], "search.arch is 'resnet18'; allowed here: --networks"),
        (["--drift.chips", "many"], "drift.chips is 'many'; allowed: a whole number"),
        (["--drift.chips", "5", "6"], "unexpected '6'"),
    ):
        assert bench.main([*words, *wrong]) == 2
        assert said in capsys.readouterr().err
    assert len(ran) == 2


def test_networks_of_one_name_are_refused_and_a_run_in_use_is_left_to_its_process(
    bench, ran, tmp_path, monkeypatch, capsys
):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "best.json").write_text("{}")
    words = ["--config", str(settings(tmp_path)), "--out", str(tmp_path / "runs")]
    both = [str(tmp_path / folder / "best.json") for folder in ("a", "b")]
    assert bench.main([*words, "--networks", *both]) == 2
    assert "two networks are called 'best'" in capsys.readouterr().err
    assert not ran

    def busy(config, progress):
        raise bench.RunError(f"{config.out} is in use by another process")

    monkeypatch.setattr(bench.pipeline, "run", busy)
    assert bench.main([*words, "--seeds", "0"]) == 0
    said = capsys.readouterr()
    assert "others work on 1 runs" in said.err
    assert not said.out


def test_settings_that_are_wrong_name_their_file(bench, tmp_path):
    file = settings(tmp_path)
    file.write_text("train: {epochs: -1}\n")
    options = bench._options(["--config", str(file), "--out", str(tmp_path / "runs")])
    with pytest.raises(ConfigError, match=r"small\.yaml"):
        bench.planned(options)
