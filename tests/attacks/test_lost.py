"""Nothing is lost in silence: checkpoints, and outputs that would take another file's place."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nasseg import evaluation
from nasseg.cli import main
from nasseg.config import AnalogConfig, DriftConfig, TrainConfig
from nasseg.errors import ConfigError, DataError, NassegError, RunError
from nasseg.files.outputs import refuse_inputs, refuse_run_files, same_names
from nasseg.predict.pixels import _check_results, result_names
from nasseg.training.checkpoint import (
    before,
    has_checkpoint,
    remove_checkpoint,
    resume,
    save_checkpoint,
)


def resumed(file: Path) -> int:
    found: list[Any] = []
    assert resume(file, lambda state, _: found.append(state["epoch"]))
    return int(found[-1])


@pytest.mark.parametrize("damage", ["half", "empty", "byte", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("nasseg"), "propagate", True)
    file = tmp_path / "train.ckpt"
    for epoch in (1, 2, 3):
        save_checkpoint(file, {"epoch": epoch, "net": {"w": torch.full((64,), float(epoch))}})
        assert resumed(file) == epoch
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.ckpt", "train.ckpt.before"]
    data = file.read_bytes()
    changed = data[:400] + bytes([data[400] ^ 1]) + data[401:]
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"half": data[: len(data) // 2], "empty": b"", "byte": changed}[damage])
    assert has_checkpoint(file)
    assert resumed(file) == 2
    assert ("is damaged" in caplog.text) is (damage != "gone")
    before(file).write_bytes(b"")
    if damage != "gone":
        with pytest.raises(RunError, match=r"train\.ckpt cannot be read.*delete it"):
            resumed(file)
    remove_checkpoint(file)
    assert not list(tmp_path.iterdir())
    assert not resume(file, lambda *_: None)


def test_a_checkpoint_of_an_older_version_has_no_hash_and_is_read(tmp_path: Path) -> None:
    file = tmp_path / "train.ckpt"
    torch.save({"epoch": 7}, file)
    assert resumed(file) == 7
    with pytest.raises(RunError, match=r"cannot be used \(KeyError: 'net'\); delete it"):
        resume(file, lambda state, _: state["net"])


# -- outputs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "a_uncertainty"), ("a_overlay", "A_overlay"), ("x", "X")],
)
def test_results_of_two_images_that_are_one_file_are_refused(
    first: str, second: str, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.png" for name in (first, second)]
    with pytest.raises(DataError, match="would both be written as"):
        _check_results(files, tmp_path / "out", uncertain=True, data=None)


def test_names_that_only_look_alike_are_no_clash() -> None:
    names = [(Path(f"{stem}.png"), result_names(stem, True)) for stem in ("a", "b", "a_overlay")]
    assert same_names(names) is None


def test_results_do_not_replace_labels_or_files_of_a_run(tmp_path: Path) -> None:
    labels = tmp_path / "data" / "labels"
    labels.mkdir(parents=True)
    (labels / "a.tif").write_text("a label")
    image = [tmp_path / "elsewhere" / "a.png"]
    with pytest.raises(ConfigError, match="images and labels"):
        _check_results(image, labels, uncertain=False, data=str(tmp_path / "data"))
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "digital.safetensors"):
        (run / name).write_text("of the run")
    with pytest.raises(ConfigError, match="a file of the run"):
        refuse_run_files("csv", run / "digital.safetensors")
    refuse_run_files("csv", run / "new.csv")
    (tmp_path / "link.csv").symlink_to(image[0])
    (tmp_path / "elsewhere").mkdir()
    image[0].write_text("an image")
    with pytest.raises(ConfigError, match="which is read"):
        refuse_inputs("csv", tmp_path / "link.csv", image)


def test_an_evaluation_of_another_age_is_written_beside_the_first(tmp_path: Path) -> None:
    def found(side: str, at: float | None, chips: int) -> Any:
        return SimpleNamespace(side=side, at=at, chips=chips)

    first = evaluation._folder(found("val", None, 1), tmp_path, None)
    assert first == tmp_path / "evaluation"
    first.mkdir()
    facts = {"side": "val", "at_s": None, "chips": 1}
    (first / "evaluation.json").write_text(json.dumps(facts))
    assert evaluation._folder(found("val", None, 1), tmp_path, None) == first
    aged = evaluation._folder(found("val", 86400.0, 3), tmp_path, None)
    assert aged == tmp_path / "evaluation-val-86400s-3chips"
    with pytest.raises(ConfigError, match="holds the evaluation of side val"):
        evaluation._folder(found("test", None, 1), tmp_path, first)
    (first / "evaluation.json").write_text("{")
    with pytest.raises(RunError, match=r"evaluation\.json cannot be read"):
        evaluation._folder(found("val", None, 1), tmp_path, first)


@pytest.mark.parametrize("name", ["schema.json", "table.csv", "card.md", "config.yaml"])
def test_a_surrogate_replaces_no_other_files(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "tables" / "table.csv"
    other = tmp_path / "mine"
    for folder in (table.parent, other):
        folder.mkdir()
    table.write_text("arch,day1\n")
    (other / name).write_text('{"mine": 1}')
    for out in (other, table.parent):
        assert main(["fit", str(table), "--out", str(out)]) == 2
        assert "choose another folder" in capsys.readouterr().err
    assert (other / name).read_text() == '{"mine": 1}'
    assert table.read_text() == "arch,day1\n"


# -- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_values_that_are_not_finite_are_refused_where_they_are_set(value: Any) -> None:
    for make in (
        lambda: TrainConfig(lr=value),
        lambda: TrainConfig(weight_decay=value),
        lambda: AnalogConfig(weight_noise=value),
        lambda: DriftConfig(times=(1.0, value)),
        lambda: DriftConfig(noise_scales=(value,)),
    ):
        with pytest.raises((NassegError, ValueError)):
            make()


@pytest.mark.parametrize(
    "key",
    [
        "data.synthetic_train",
        "data.synthetic_val",
        "search.population_size",
        "search.nb_iter",
        "search.runs",
        "search.measure",
        "drift.chips",
        "drift.sweep_chips",
    ],
)
@pytest.mark.parametrize("value", ["1000000000000", "9" * 5000])
def test_sizes_that_no_machine_holds_are_refused_at_once(
    key: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--out", str(tmp_path / "run"), f"--{key}", value]) == 2
    assert f"{key} is " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
