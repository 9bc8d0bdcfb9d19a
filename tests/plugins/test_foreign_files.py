"""Files of others import nothing: not a run folder, not a YAML file, not an architecture."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import nasseg
from nasseg import _registry
from nasseg.cli import main
from nasseg.config import DataConfig, LabelConfig, RunConfig, settings, to_dict
from nasseg.data import load_data
from nasseg.errors import NassegError
from nasseg.search_spaces import get_space

EVIL = "evil_parts:Thing"
KEYS = sorted(key for key, leaf in settings(RunConfig).items() if leaf.facts.plugin)
LABEL_KEYS = sorted(key for key, leaf in settings(LabelConfig).items() if leaf.facts.plugin)
DATA = DataConfig(image_size=32, synthetic_train=4, synthetic_val=2)
SMALL: dict[str, Any] = to_dict(RunConfig(threads=1, device="cpu", data=DATA))


@pytest.fixture(autouse=True)
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that appears once the module is imported."""
    path = tmp_path / "imported"
    (tmp_path / "evil_parts.py").write_text(f"open({str(path)!r}, 'w').close()\nThing = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("NASSEG_PLUGINS", raising=False)
    monkeypatch.setattr(_registry, "_allowed", [])
    monkeypatch.delitem(sys.modules, "evil_parts", raising=False)
    return path


def with_evil(key: str, settings: dict[str, Any] = SMALL) -> dict[str, Any]:
    """Settings of which one names the module."""
    values: dict[str, Any] = json.loads(json.dumps(settings))
    section = values
    *groups, name = key.split(".")
    for group in groups:
        section = section.setdefault(group, {})
    section[name] = EVIL
    if key == "search.sampler":
        values["search"]["measure"] = 1
    return values


def folder_of(root: Path, settings: dict[str, Any]) -> Path:
    """A run folder of someone else, whose files all name the module."""
    run = root / "run"
    run.mkdir()
    space = get_space("unet")
    arch = space.default()
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    best = {"space": EVIL, "arch": arch, "arch_id": space.arch_id(arch), "out_channels": 1}
    (run / "best.json").write_text(json.dumps({**best, "surrogate": {"metric": EVIL}}))
    summary = {"task": EVIL, "monitor": EVIL, "digital": {"dice": 0.5}, "seconds": {}}
    (run / "summary.json").write_text(json.dumps(summary))
    data = load_data(DATA)
    record = {"search.space": {"name": EVIL, "package": "evil_parts", "version": "1"}}
    bound = {"fingerprint": data.fingerprint, "source": EVIL, "images": data.counts}
    stages = {"data": bound, "plugins": record, "train": {"done": True, "metrics": {}}}
    (run / "stages.json").write_text(json.dumps(stages))
    return run


def refused(words: Sequence[object], marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(word) for word in words]) in (1, 2)
    assert capsys.readouterr().err.count("nasseg: error:") == 1
    assert not marker.exists()


@pytest.mark.parametrize("key", KEYS)
def test_a_run_folder_imports_nothing(
    key: str, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder_of(tmp_path, with_evil(key))
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "image.png")
    for command in ("search", "drift"):
        refused([command, "--out", run, "--quiet"], marker, capsys)
    refused(["predict", run, tmp_path / "image.png", "--out", tmp_path / "o"], marker, capsys)
    refused(["evaluate", run, "--at", "1day"], marker, capsys)
    assert main(["report", str(run)]) == 0
    assert main(["compare", str(run)]) == 0
    main(["cost", str(run)])
    main(["fit", str(run)])
    with pytest.raises(NassegError):
        nasseg.load(run).age("1 day").predict(np.zeros((32, 32), np.uint8))
    assert not marker.exists()


@pytest.mark.parametrize("key", KEYS)
def test_a_yaml_file_imports_nothing(
    key: str, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(with_evil(key)))
    refused(["search", "--config", file, "--out", tmp_path / "a", "--quiet"], marker, capsys)
    with pytest.raises(NassegError):
        nasseg.run(config=file, out=tmp_path / "b", stages=["search"], progress=False)
    assert not marker.exists()


@pytest.mark.parametrize("key", LABEL_KEYS)
def test_settings_of_a_labelling_import_nothing(
    key: str, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    values = to_dict(LabelConfig(count=1, threads=1, device="cpu", data=DATA))
    file.write_text(yaml.safe_dump(with_evil(key, values)))
    refused(["label", "--config", file, "--out", tmp_path / "a", "--quiet"], marker, capsys)


@pytest.mark.parametrize(
    "proxy", [{"space": EVIL}, {"analog": {"preset": EVIL}}, {"data": {"task": EVIL}}]
)
def test_a_proxy_imports_nothing(
    proxy: dict[str, Any], tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SMALL))
    (tmp_path / "proxy.yaml").write_text(yaml.safe_dump(proxy))
    words = ["search", "--config", tmp_path / "settings.yaml", "--out", tmp_path / "a"]
    words += ["--quiet", "--measure=1", "--proxy", tmp_path / "proxy.yaml"]
    refused(words, marker, capsys)


def test_an_architecture_imports_nothing(
    tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder_of(tmp_path, SMALL)
    best = run / "best.json"
    words = ["search", "--search.arch", best, "--out", tmp_path / "a", "--quiet", "--image-size=32"]
    refused(words, marker, capsys)
    main(["cost", str(best)])
    assert not marker.exists()


def test_the_word_of_the_user_imports_it(
    tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder_of(tmp_path, with_evil("data.task"))
    assert main(["cost", str(run), "--plugins", "evil_parts"]) == 2
    assert "task 'evil_parts:Thing' is None; allowed: a TaskType" in capsys.readouterr().err
    assert marker.exists()
