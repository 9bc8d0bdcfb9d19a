"""A search whose space, evaluator and sampler come from a module that is no part of nasseg."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasseg import _registry, search_spaces
from nasseg.cli import main
from nasseg.records.pareto import read_front

MODULE = """
import numpy as np
from optuna.samplers import RandomSampler

from nasseg.evaluators import Evaluator, Scores
from nasseg.search_spaces import UNetSpace


class Mine(UNetSpace):
    base_name = "mine"


class Scored(Evaluator):
    extra_columns = ("robustness",)

    def __init__(self, space):
        self.space = space

    def evaluate(self, archs):
        total = self.space.encode(list(archs)).sum(axis=1)
        day1 = 1 / (1 + np.exp(-total / 50))
        return Scores.of(len(total), day1=day1, avm=0.1).with_extra(robustness=np.sin(total))


def drawn(request):
    return RandomSampler(1000 * request.seed + request.slot)
"""
SMALL = [
    "--quiet", "--device=cpu", "--threads=1", "--data.synthetic_train=16",
    "--data.synthetic_val=8", "--image-size=32",
]  # fmt: skip


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(_registry, "_allowed", [])
    return "own_parts"


def test_a_search_over_a_space_and_an_evaluator_from_elsewhere(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = [
        "search", *SMALL, f"--out={out}", f"--search.space={module}:Mine",
        f"--search.surrogate={module}:Scored", "--maximize=day1,robustness",
        "--constraint=robustness>-0.9", "--search.nb_iter=3", "--search.population_size=10",
        "--search.runs=1",
    ]  # fmt: skip
    assert main(words) == 0
    front = read_front(out)
    assert front is not None
    assert all(row.scores["robustness"] > -0.9 for row in front.first)
    best = json.loads((out / "best.json").read_text())
    assert best["space"] == "mine"
    assert best["objectives"] == ["maximize day1", "maximize robustness"]
    # The folder alone makes nobody import the module.
    monkeypatch.setattr(_registry, "_allowed", [])
    monkeypatch.setattr(search_spaces._SPACES, "_references", {})
    assert main(["report", str(out)]) == 0
    assert main(["cost", str(out)]) == 2
    assert main(["cost", str(out), "--space", f"{module}:Mine"]) == 0
    monkeypatch.setattr(_registry, "_allowed", [])
    monkeypatch.setattr(search_spaces._SPACES, "_references", {})
    capsys.readouterr()
    assert main(["search", f"--out={out}", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert f"search space is '{module}:Mine', which a file alone does not make nasseg" in error
    monkeypatch.setenv("NASSEG_PLUGINS", module)
    assert main(["search", f"--out={out}", "--quiet"]) == 0


def test_workers_of_a_study_know_a_sampler_and_a_space_from_elsewhere(
    module: str, tmp_path: Path
) -> None:
    out, proxy = tmp_path / "run", tmp_path / "proxy.yaml"
    proxy.write_text("train: {epochs: 1}\nanalog: {epochs: 0}\ndrift: {chips: 2}\n")
    words = [
        "search", *SMALL, f"--out={out}", f"--search.space={module}:Mine", "--measure=2",
        f"--sampler={module}:drawn", "--workers=2", "--search.max_params=60000",
        f"--proxy={proxy}",
    ]  # fmt: skip
    assert main(words) == 0
    assert json.loads((out / "best.json").read_text())["measured"]["day1"] >= 0
