"""Runs whose architecture a supernet, or random drawing, chooses."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time

import numpy as np
import pytest
from helpers.stripes import SHORT, SPACE, TRAIN, stripes

from nasseg import pipeline
from nasseg.cli import main
from nasseg.config import DataConfig, RunConfig, SearchConfig
from nasseg.errors import ConfigError, RunError
from nasseg.records.folder import Timer
from nasseg.runs import job
from nasseg.runs.stages import search as search_stage
from nasseg.search import search
from nasseg.search.darts import search as darts
from nasseg.studies import study as studies
from nasseg.training.checkpoint import load_checkpoint


def settings(out, **search):
    return RunConfig(
        out=str(out),
        threads=1,
        data=DataConfig(task="classification", image_size=16, channels=1),
        search=dataclasses.replace(SHORT, strategy="darts", **search),
        train=TRAIN,
    )


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.setattr(job, "load_data", lambda _: stripes())


@pytest.mark.usefixtures("drawn")
def test_a_run_searches_cells_and_writes_what_the_choice_rests_on(tmp_path):
    config = settings(tmp_path / "run")
    assert config.search.space == "cells"
    pipeline.run(config, stages=("search",), progress=False)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    SPACE.validate(best["arch"])
    assert best["space"] == "cells"
    assert best["out_channels"] == 2
    said = best["darts"]["probabilities"]
    assert list(said) == SPACE.feature_names
    assert sum(said["block1"].values()) == pytest.approx(1)
    assert best["darts"]["ranked"][0]["arch_id"] == best["arch_id"]
    assert best["budget"]["strategy"] == "darts"
    assert best["runs"]["best"] == [[best["arch_id"], best["runs"]["mean"]]]
    assert [entry["generation"] for entry in best["history"]] == [0, 1, 2, 3]
    assert not (tmp_path / "run" / "search.ckpt").exists()


@pytest.mark.usefixtures("drawn")
def test_a_run_interrupted_within_its_search_continues_to_the_same_choice(tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pipeline.run(settings(whole), stages=("search",), progress=False)

    def interrupting(timer, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(Timer, "on_epoch", interrupting)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings(broken), stages=("search",), progress=False)
    assert load_checkpoint(broken / "search.ckpt")["epoch"] == 2
    assert not (broken / "best.json").exists()
    pipeline.run(settings(broken), stages=("search",), progress=False)
    assert (broken / "best.json").read_bytes() == (whole / "best.json").read_bytes()


def measured(monkeypatch, out, **search):
    """A run whose supernet proposes three; the last of them measures best."""
    asked = []

    def measure(space, arch, data, task, budget):
        asked.append(space.arch_id(arch))
        return {
            "arch_id": asked[-1],
            "arch": space.to_json(arch),
            "day1": 0.5 + 0.1 * len(asked),
            "avm": 0.0,
            "std": 0.01,
            "digital": 0.9,
        }

    monkeypatch.setattr(studies, "measure", measure)
    pipeline.run(settings(out, measure=3, **search), stages=("search",), progress=False)
    return asked


@pytest.mark.usefixtures("drawn")
def test_what_the_supernet_proposes_is_measured_and_the_best_of_it_taken(tmp_path, monkeypatch):
    asked = measured(monkeypatch, tmp_path / "run")
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    ranked = [entry["arch_id"] for entry in best["darts"]["ranked"]]
    assert asked == ranked[:3]
    assert best["arch_id"] == asked[-1]
    assert best["measured"]["day1"] == pytest.approx(0.8)
    assert best["runs"]["best"] == [[asked[-1], pytest.approx(0.8)]]
    assert (best["budget"]["strategy"], best["budget"]["measure"]) == ("darts", 3)
    assert "sampler" not in best["budget"]
    assert [entry["generation"] for entry in best["history"]] == [0, 1, 2, 3]
    assert len((tmp_path / "run" / "proposed.csv").read_text().splitlines()) == 4
    # Alone, the supernet takes the first.
    pipeline.run(settings(tmp_path / "alone"), stages=("search",), progress=False)
    assert json.loads((tmp_path / "alone" / "best.json").read_text())["arch_id"] == asked[0]


def stopped(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("at", ["measured_search", "write_json"])
def test_measuring_proposals_continues_without_a_second_supernet(tmp_path, monkeypatch, at):
    """Interrupted while they are measured, or between the two files that say what they are."""
    whole = measured(monkeypatch, tmp_path / "whole")
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(search_stage, at, stopped)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings(out, measure=3), stages=("search",), progress=False)
    assert (out / "proposed.csv").exists()
    assert (out / "darts.json").exists() == (at == "measured_search")
    with monkeypatch.context() as patch:
        patch.setattr(darts.Search, "train_epoch", None)
        if at == "measured_search":
            patch.setattr(darts.Search, "derive", None)
        assert measured(monkeypatch, out) == whole
    both = [json.loads((folder / "best.json").read_text()) for folder in (tmp_path / "whole", out)]
    assert both[0]["arch_id"] == both[1]["arch_id"]
    assert both[0]["darts"] == both[1]["darts"]


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_proposals_that_cannot_be_read_are_said_with_what_to_do(tmp_path, monkeypatch, text):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(search_stage, "measured_search", stopped)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings(out, measure=3), stages=("search",), progress=False)
    (out / "darts.json").write_text(text)
    with pytest.raises(RunError, match=r"darts\.json cannot be used: .*delete it"):
        measured(monkeypatch, out)


@pytest.mark.usefixtures("drawn")
def test_a_bound_that_nothing_keeps_does_not_bind_the_folder(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"search\.max_params 1 "):
        measured(monkeypatch, out, max_params=1)
    assert len(measured(monkeypatch, out)) == 3


@pytest.mark.usefixtures("drawn")
def test_two_workers_in_one_folder_train_one_supernet_and_share_its_proposals(
    tmp_path, monkeypatch
):
    out, asked = tmp_path / "run", []
    second = []

    def and_another(self, within, propose, progress):
        # The other worker begins while this one holds the folder.
        monkeypatch.setattr(darts.Search, "derive", derive)
        second.append(threading.Thread(target=lambda: asked.extend(measured(monkeypatch, out))))
        second[0].start()
        time.sleep(0.3)
        assert not asked
        return derive(self, within, propose, progress)

    derive = darts.Search.derive
    epochs = []
    trained = darts.Search.train_epoch
    monkeypatch.setattr(
        darts.Search, "train_epoch", lambda self: (epochs.append(self.epoch), trained(self))
    )
    monkeypatch.setattr(darts.Search, "derive", and_another)
    first = measured(monkeypatch, out)
    second[0].join()
    assert epochs == [0, 1, 2, 3]
    best = json.loads((out / "best.json").read_text())
    ranked = [entry["arch_id"] for entry in best["darts"]["ranked"]]
    assert set(first) | set(asked) == set(ranked[:3])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strategy", "darts"], "search.space is 'unet'.*allowed: cells"),
        (
            [
                "--strategy",
                "darts",
                "--measure",
                "3",
                "--sampler",
                "tpe",
                "--task",
                "classification",
            ],
            "search.sampler is 'tpe'.*which proposes what is.*allowed: the default, 'surrogate'",
        ),
        (
            [
                "--strategy",
                "darts",
                "--measure",
                "3",
                "--search.stop-gain",
                "0.1",
                "--task",
                "classification",
            ],
            "search.stop_gain is 0.1.*allowed: the default, 0.0",
        ),
        (
            [
                "--strategy=darts",
                "--measure=3",
                "--task=classification",
                "--storage=sqlite:///s.db",
            ],
            "search.storage is 'sqlite:///s.db'.*allowed: the default, None",
        ),
        (["--strategy", "random", "--maximize", "day1"], r"objectives or constraints \(day1\)"),
        (["--strategy", "random", "--measure", "3"], "search.measure is 3"),
        (["--strategy", "lucky"], "strategy"),
        (
            ["--strategy", "darts", "--task", "classification", "--search.space", "resnet"],
            "search.space is 'resnet'.*allowed: cells",
        ),
    ],
)
def test_strategies_that_cannot_be_are_one_line_and_write_nothing(tmp_path, capsys, words, said):
    out = tmp_path / "run"
    assert main(["search", *words, "--out", str(out)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0])
    assert not out.exists()


class Widths:
    """Scores an architecture by its channels, in AnalogNAS's protocol."""

    def __init__(self):
        self.asked = 0

    def query_pop(self, population):
        self.asked += len(population)
        day1 = [(arch["width1"] + arch["width2"]) / 100 for (arch,) in population]
        return np.array(day1), np.zeros(len(population))


def test_random_is_as_many_random_architectures_as_evolution_scores():
    config = SearchConfig(population_size=10, nb_iter=5, runs=2)
    found = {}
    for strategy in ("evolution", "random"):
        own = dataclasses.replace(config, strategy=strategy)
        found[strategy] = search(SPACE, Widths(), own, seed=1, progress=False)
        assert found[strategy].budget["strategy"] == strategy
        assert [run.history[-1].queries for run in found[strategy].runs] == [60, 60]
    assert found["random"].arch["width1"] == found["random"].arch["width2"] == 32
    assert found["random"].runs != found["evolution"].runs
    again = search(SPACE, Widths(), dataclasses.replace(config, strategy="random"), 1, False)
    assert again.to_dict() == found["random"].to_dict()
    with pytest.raises(ConfigError, match="allowed here: evolution, random"):
        search(SPACE, Widths(), dataclasses.replace(config, strategy="darts"), progress=False)
