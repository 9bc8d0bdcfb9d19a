"""The command line: dispatch, settings, messages and exit statuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import nasseg
from nasseg.cli import main
from nasseg.cli._settings import read_config
from nasseg.config import (
    NATIVE_SCALE,
    AnalogConfig,
    DataConfig,
    LabelConfig,
    RunConfig,
    TrainConfig,
    flatten,
    to_dict,
)
from nasseg.errors import ConfigError, DataError, RunError
from nasseg.records.stages import STAGES
from nasseg.studies.proxy import check_measured_search

COMMANDS = (*("run", "search", "train", "analog", "drift"), *("report", "label", "fit", "spaces"))


class FakePipeline(types.ModuleType):
    """Stands in for ``nasseg.pipeline`` and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("nasseg.pipeline")
        self.calls: list[tuple[Any, Sequence[str] | None, bool]] = []
        self.raises: BaseException | None = None

    def run(
        self, config: RunConfig, stages: Sequence[str] | None = None, progress: bool = True
    ) -> dict[str, Any]:
        self.calls.append((config, stages, progress))
        if self.raises is not None:
            raise self.raises
        return {"digital": {"dice": 0.5}, "arch_id": "abc", "seed": config.seed}

    def label(self, config: LabelConfig, progress: bool = True) -> Path:
        self.calls.append((config, None, progress))
        return Path(config.out) / "table.csv"

    @property
    def config(self) -> Any:
        assert len(self.calls) == 1
        return self.calls[0][0]


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    fake = FakePipeline()
    monkeypatch.setitem(sys.modules, "nasseg.pipeline", fake)
    monkeypatch.setattr(nasseg, "pipeline", fake, raising=False)
    monkeypatch.chdir(tmp_path)
    return fake


def error_of(capsys: pytest.CaptureFixture[str], *words: str, status: int = 2) -> str:
    assert main(list(words)) == status
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("nasseg: error: ")
    return lines[0]


# -- help -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS, "doctor"])
def test_help_fits_a_terminal(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*([command] if command else []), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) < 80
    assert any(f"nasseg {command}".strip() in line for line in lines)


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from nasseg.cli import main; main(['--help']); main(['run', '--help']);"
        "heavy = {'torch', 'aihwkit', 'monai', 'numpy', 'jsonargparse', 'matplotlib', 'xgboost'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_listing_spaces_does_not_import_torch() -> None:
    program = (
        "import sys; from nasseg.cli import main; assert main(['spaces']) == 0;"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unet" in done.stdout


def test_module_is_runnable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nasseg", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout == f"nasseg {nasseg.__version__}\n"


def test_every_setting_has_a_flag_with_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    from nasseg.config import settings

    main(["run", "--help"])
    text = capsys.readouterr().out
    for key, setting in settings(RunConfig).items():
        assert f"--{key} " in text
        assert setting.help, f"{key} has no docstring in nasseg/config"


# -- settings -------------------------------------------------------------------------------


def test_flags_are_the_config_tree(pipeline: FakePipeline) -> None:
    words = ["run", "--train.epochs", "3", "--search.nb_iter=7", "--analog.preset", "reram"]
    words += ["--drift.chips", "4", "--drift.times", "1,60", "--search.max_params", "none"]
    words += ["--train.lr", "2e-3", "--train.amp", "false", "--device", "cpu", "--seed", "5"]
    assert main(words) == 0
    config = pipeline.config
    assert isinstance(config, RunConfig)
    assert (config.train.epochs, config.search.nb_iter, config.analog.preset) == (3, 7, "reram")
    assert (config.drift.chips, config.drift.times) == (4, (1.0, 60.0))
    assert config.search.max_params is None
    assert (config.train.lr, config.train.amp, config.device, config.seed) == (
        0.002,
        False,
        "cpu",
        5,
    )
    assert config.train.batch_size == TrainConfig().batch_size


def test_short_flags_and_hyphens(pipeline: FakePipeline) -> None:
    words = ["run", "--data", "nuclei", "--image-size", "32", "--channels", "1", "--arch", "a.json"]
    assert main([*words, "--train.batch-size", "8", "--out", "here"]) == 0
    config = pipeline.config
    assert config.data == DataConfig(path="nuclei", image_size=32, channels=1)
    assert (config.search.arch, config.train.batch_size, config.out) == ("a.json", 8, "here")


def native(pipeline: FakePipeline, *words: str) -> dict[str, object]:
    """What a command chooses of the settings that depend on ``data.crop``."""
    pipeline.calls.clear()
    assert main(list(words)) == 0
    flat = flatten(to_dict(pipeline.config))
    return {key: flat[key] for key in NATIVE_SCALE}


def test_the_recipe_at_native_scale_is_the_default_there(
    pipeline: FakePipeline, tmp_path: Path
) -> None:
    """Flags, files and saved settings say more than what follows from the crop."""
    plain = native(pipeline, "run")
    assert not set(plain.items()) & set(NATIVE_SCALE.items())
    assert native(pipeline, "run", "--crop", "128") == NATIVE_SCALE
    assert native(pipeline, "run", "--crop", "0") == plain
    # A value that is said holds, be it the one of resized images.
    said = native(pipeline, "run", "--crop", "128", "--analog.lr", "2e-3")
    assert said == {**NATIVE_SCALE, "analog.lr": 2e-3}
    file = tmp_path / "mine.yaml"
    file.write_text("data:\n  crop: 128\nanalog:\n  lr: 1.0e-3\n")
    said = native(pipeline, "run", "--config", str(file))
    assert said == {**NATIVE_SCALE, "analog.lr": 1e-3}
    said = native(pipeline, "run", "--config", str(file), "--crop", "0")
    assert said == {**plain, "analog.lr": 1e-3}
    # Measured architectures are trained shortly, at native scale too.
    assert native(pipeline, "label", "--crop", "128") == native(pipeline, "label")


def test_what_followed_from_a_slip_follows_anew(pipeline: FakePipeline, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["run", "--out", str(out)]
    plain = native(pipeline, "run")
    first = native(pipeline, *words, "--crop", "128", "--train.epochs", "7")
    assert first == {**NATIVE_SCALE, "train.epochs": 7}
    out.mkdir()
    saved = yaml.safe_dump(to_dict(pipeline.config))
    (out / "config.yaml").write_text(saved, encoding="utf-8")
    assert native(pipeline, *words, "--crop", "0") == {**plain, "train.epochs": 7}
    plainly = native(pipeline, *words, "--crop", "0")
    saved_plain = yaml.safe_dump(to_dict(pipeline.config))
    (out / "config.yaml").write_text(saved_plain, encoding="utf-8")
    assert native(pipeline, *words, "--crop", "128") == first
    assert plainly["train.epochs"] == 7
    (out / "config.yaml").write_text(saved, encoding="utf-8")
    # Settings of a run that was begun are what they were.
    (out / "stages.json").write_text('{"data": {}}', encoding="utf-8")
    assert native(pipeline, *words, "--crop", "0") == first
    # With its file said again too, where the version that began it had other defaults.
    older = {**yaml.safe_load(saved), "analog": {"lr": 2e-3}}
    (out / "config.yaml").write_text(yaml.safe_dump(older), encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text("data: {crop: 128}\ntrain: {epochs: 7}\n")
    again = native(pipeline, *words, "--config", str(file))
    assert again == {**first, "analog.lr": 2e-3}


def test_images_that_are_nowhere_are_said_to_be_of_the_folders_settings(
    pipeline: FakePipeline,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, images = tmp_path / "run", tmp_path / "images.npz"
    out.mkdir()
    (out / "config.yaml").write_text(f"data: {{task: breastmnist, path: {images}}}\n")
    assert main(["train", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"{out / 'config.yaml'}: data.path is '{images}'" in said
    assert "; --data says where" in said
    assert main(["train", "--out", str(out), "--data", "other.npz"]) == 0
    assert pipeline.config.data.path == "other.npz"
    images.touch()
    assert main(["train", "--out", str(out)]) == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("~/images.npz", "'null'"):
        (out / "config.yaml").write_text(f"data: {{task: breastmnist, path: {path}}}\n")
        assert main(["train", "--out", str(out)]) == 0


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(
            out="x",
            device="cpu",
            data=DataConfig(path="a b", image_size=32),
            train=TrainConfig(lr=1e-5, amp=False),
            analog=AnalogConfig(epochs=0),
        ),
    ],
)
def test_written_yaml_reads_back_equal(
    config: RunConfig, pipeline: FakePipeline, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(to_dict(config)), encoding="utf-8")
    assert main(["run", "--config", str(file)]) == 0
    assert pipeline.config == config


def test_flags_go_before_the_file(pipeline: FakePipeline, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: nuclei\nseed: 3\ntrain:\n  epochs: 9\n  lr: 1e-4\nanalog:\n")
    assert main(["run", "--config", str(file), "--train.epochs", "2"]) == 0
    config = pipeline.config
    assert (config.data.path, config.seed) == ("nuclei", 3)
    assert (config.train.epochs, config.train.lr) == (2, 1e-4)


def test_a_run_folder_keeps_the_settings_not_said(pipeline: FakePipeline, tmp_path: Path) -> None:
    saved = RunConfig(out="moved/from/elsewhere", seed=7, train=TrainConfig(epochs=2))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(saved)))
    assert main(["drift", "--out", str(folder), "--chips", "3"]) == 0
    expected = dataclasses.replace(
        saved, out=str(folder), drift=dataclasses.replace(saved.drift, chips=3)
    )
    assert pipeline.config == expected


def test_chips_of_no_run_are_not_asked_about(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", "--out", str(tmp_path / "misspelt"), "--drift.chips", "3"]) == 1
    assert "misspelt is no run folder" in capsys.readouterr().err
    assert main(["drift", "--min-dice", "0.8", "--out", str(tmp_path)]) == 1
    # Something to begin with.
    assert main(["drift", "--out", str(tmp_path / "new"), "--data", "nuclei"]) == 0
    assert pipeline.config.data.path == "nuclei"


def test_files_that_a_yaml_names_may_lie_beside_it(pipeline: FakePipeline, tmp_path: Path) -> None:
    there = tmp_path / "configs"
    there.mkdir()
    (there / "mine.yaml").write_text("search: {arch: net.json}\ndata: nowhere\n")
    (there / "net.json").write_text("{}")
    assert main(["run", "--config", str(there / "mine.yaml")]) == 0
    assert pipeline.config.search.arch == str(there / "net.json")
    assert pipeline.config.data.path == "nowhere"


def test_a_given_file_replaces_the_saved_settings(pipeline: FakePipeline, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text(yaml.safe_dump(to_dict(RunConfig(seed=7))))
    (tmp_path / "other.yaml").write_text("train: {epochs: 4}\n")
    assert main(["run", "--out", "mine", "--config", "other.yaml"]) == 0
    assert (pipeline.config.seed, pipeline.config.train.epochs) == (0, 4)


@pytest.mark.parametrize("command", STAGES[:-1])
def test_stage_commands_ask_for_the_stages_up_to_it(command: str, pipeline: FakePipeline) -> None:
    assert main([command]) == 0
    assert pipeline.calls[0][1] == STAGES[: STAGES.index(command) + 1]


def test_run_asks_for_all_stages(pipeline: FakePipeline) -> None:
    assert main(["run", "--quiet"]) == 0
    _, stages, progress = pipeline.calls[0]
    assert stages is None
    assert progress is False


def test_label_has_its_own_settings(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", "--count", "5", "--data", "nuclei", "--out", "t"]) == 0
    config = pipeline.config
    assert isinstance(config, LabelConfig)
    default = LabelConfig()
    assert config == dataclasses.replace(
        default, count=5, out="t", data=dataclasses.replace(default.data, path="nuclei")
    )
    assert str(Path("t") / "table.csv") in capsys.readouterr().out


def test_a_measured_search_has_short_flags(pipeline: FakePipeline) -> None:
    words = ["--measure", "5", "--sampler", "tpe", "--workers", "2", "--storage", "journal:j"]
    assert main(["search", *words, "--device", "cuda:1"]) == 0
    search = pipeline.config.search
    assert (search.measure, search.sampler, search.workers) == (5, "tpe", 2)
    assert (search.storage, search.study) == ("journal:j", "nasseg")
    assert pipeline.config.device == "cuda:1"


# -- messages -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rnu"], ["'rnu'", "did you mean 'run'"]),
        (["run", "--train.epoch", "3"], ["--train.epoch", "did you mean --train.epochs?"]),
        (["run", "--epochs", "3"], ["--train.epochs", "--analog.epochs"]),
        (["run", "--devise", "cpu"], ["did you mean --device?"]),
        (["run", "--train.epochs", "x"], ["train.epochs is 'x'", "allowed: a whole number"]),
        (["run", "--train.epochs", "0"], ["train.epochs is 0", "allowed: 1 or more"]),
        (["run", "--image-size", "3"], ["data.image_size is 3", "16 to 4096"]),
        (["run", "--analog.lr", "0"], ["analog.lr is 0.0", "above 0"]),
        (["run", "--device", "gpu"], ["device is 'gpu'", "auto, cpu or cuda"]),
        (["run", "--seed", "none"], ["seed is 'none'"]),
        (["run", "--seed"], ["--seed needs a value"]),
        (["run", "--seed", "--out", "x"], ["--seed needs a value"]),
        (["run", "--seed", "1", "--seed=2"], ["given twice"]),
        (["run", "-x"], ["no flag -x"]),
        (["run", "folder"], ["unexpected 'folder'"]),
        (["run", "--config", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
        (["label", "--count", "0"], ["count is 0"]),
        (["label", "--workers", "0"], ["workers is 0", "1 to 256"]),
        (["label", "--heartbeat", "0"], ["heartbeat is 0"]),
        (["search", "--measure", "-1"], ["search.measure is -1"]),
        (["run", "--device", "cuda:x"], ["device is 'cuda:x'", "cuda:1 for the second"]),
        (["fit"], ["which table?"]),
        (["fit", "nowhere.csv"], ["nowhere.csv"]),
        (["report"], ["which run?"]),
        (["spaces", "--seed", "x"], ["seed is 'x'"]),
        (["doctor", "--device", "tpu"], ["device is 'tpu'"]),
    ],
)
def test_a_wrong_command_is_one_clear_line(
    words: list[str],
    says: list[str],
    pipeline: FakePipeline,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = error_of(capsys, *words)
    assert all(text in line for text in says), line
    assert pipeline.calls == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {epoch: 3}", ["no setting 'train.epoch'", "did you mean train.epochs?"]),
        ("trian: {epochs: 3}", ["no setting 'trian'", "did you mean train?"]),
        ("train: 3", ["train is 3", "epochs"]),
        ("train: {epochs: many}", ["train.epochs is 'many'", "a whole number"]),
        ("train: {epochs: -1}", ["train.epochs is -1", "1 or more"]),
        ("seed: null", ["seed is None"]),
        ("- a\n- b", ["list"]),
        ("a: [", ["is not YAML"]),
    ],
)
def test_a_wrong_file_names_file_key_and_value(
    text: str,
    says: list[str],
    pipeline: FakePipeline,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    line = error_of(capsys, "run", "--config", "bad.yaml")
    assert "bad.yaml" in line
    assert all(part in line for part in says), line


def test_a_flag_mends_a_bad_value_of_the_file(pipeline: FakePipeline, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("train: {epochs: 0}")
    assert main(["run", "--config", "bad.yaml", "--train.epochs", "1"]) == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a setting"), 2),
        (DataError("a folder"), 1),
        (RunError("a run"), 1),
        (PermissionError(13, "Permission denied", "runs"), 1),
    ],
)
def test_errors_of_a_run_are_lines_not_tracebacks(
    error: Exception, status: int, pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.raises = error
    assert str(error) in error_of(capsys, "run", status=status)


def test_an_unforeseen_error_keeps_its_traceback(pipeline: FakePipeline) -> None:
    pipeline.raises = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        main(["run"])


def test_the_keyboard_stops_with_130(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.raises = KeyboardInterrupt()
    assert main(["run"]) == 130
    assert "stopped; the same command continues" in capsys.readouterr().err


# -- tools ----------------------------------------------------------------------------------


def test_spaces_shows_choices_and_an_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces", "unet"]) == 0
    out = capsys.readouterr().out
    assert "out_channel0" in out
    assert "concat" in out
    assert '"M": ' in out
    assert max(map(len, out.splitlines())) < 80


def test_an_unknown_space_gives_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'unet'" in error_of(capsys, "spaces", "unett", status=1)


def test_fit_reads_a_table_and_says_how_well_it_ranks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[list[Path], str, Path]] = []

    def fit_table(
        path: list[Path],
        space: Any,
        out: Path,
        *,
        tuned: bool,
        low_fidelity: Path | None,
        images: str | None,
    ) -> Any:
        asked.append((path, space.name, out))
        assert tuned
        assert low_fidelity is None
        assert images is None
        entry = {"tau_mean": 0.5, "tau_std": 0.1}
        schema = {"n": 48, "targets": {"day1": entry}, "uncertainty": {"coverage": 0.91}}
        return types.SimpleNamespace(schema=schema)

    import nasseg.evaluators

    monkeypatch.setattr(nasseg.evaluators, "fit_table", fit_table, raising=False)
    table = tmp_path / "table.csv"
    table.write_text("x\n")
    other = tmp_path / "other.csv"
    other.write_text("x\n")
    assert main(["fit", str(table), str(other), "--space", "resnet", "--tuned"]) == 0
    assert asked == [([table, other], "resnet", tmp_path / "surrogate")]
    out = capsys.readouterr().out
    assert "48 architectures" in out
    assert "0.500 ± 0.100" in out
    assert "hold 91.0% of held-out" in out


def test_report_needs_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none")
    assert missing in error_of(capsys, "report", missing, status=1)


def recipes():
    return sorted((Path(__file__).parents[2] / "docs").glob("*.yaml"))


@pytest.mark.parametrize("recipe", [f.name for f in recipes() if "measure:" in f.read_text()])
def test_a_recipe_with_a_search_takes_a_network_or_another_way_of_finding_one(recipe, tmp_path):
    file = next(f for f in recipes() if f.name == recipe)

    def read(*words):
        return read_config(RunConfig, ["--config", str(file), *words])[0]

    plain = read().search
    check_measured_search(read())  # its proxy is there, and fits
    assert (plain.space, Path(plain.proxy).name) == ("cells", f"{file.stem}_proxy.yaml")
    named = read("--arch", "resnet18").search
    assert (named.space, named.measure, named.proxy) == ("reference", 0, None)
    best = tmp_path / "best.json"
    best.write_text(json.dumps({"space": "resnet", "arch": {}}))
    assert read("--arch", str(best)).search.space == "resnet"
    best.write_text(json.dumps({"block1": "c3"}))
    assert read("--arch", str(best)).search.space == "cells"
    assert read("--arch", str(best), "--search.space", "resnet").search.space == "resnet"
    darts = read("--strategy", "darts").search
    assert (darts.space, darts.measure, darts.proxy) == ("cells", 0, None)
    darts = read("--strategy", "darts", "--measure", "3").search
    assert (darts.space, darts.measure, darts.proxy) == ("cells", 3, plain.proxy)


def test_an_architecture_brings_its_space_without_a_recipe_too(tmp_path):
    best = tmp_path / "best.json"
    best.write_text(json.dumps({"space": "cells", "arch": {}}))
    words = ["--task", "classification", "--arch", str(best)]
    assert read_config(RunConfig, words)[0].search.space == "cells"
    file = tmp_path / "run.yaml"
    file.write_text("data: {task: classification}\nsearch: {arch: best.json}\n")
    search = read_config(RunConfig, ["--config", str(file)])[0].search
    assert (search.arch, search.space) == (str(best), "cells")
    file.write_text("data: {task: classification}\nsearch: {arch: best.json, space: resnet}\n")
    assert read_config(RunConfig, ["--config", str(file)])[0].search.space == "resnet"
    best.write_text("no JSON")
    assert read_config(RunConfig, words)[0].search.space == "resnet"


@pytest.mark.parametrize(
    ("flag", "value", "key"),
    [("--measure", "5", "measure"), ("--strategy", "darts", "strategy")],
)
def test_a_network_given_and_one_to_be_found_are_refused(flag, value, key, tmp_path):
    words = ["--task", "classification", "--arch", "resnet18", flag, value]
    with pytest.raises(ConfigError, match=rf"search\.{key} is '{value}', but search\.arch gives"):
        read_config(RunConfig, words)
    # A flag comes before the file.
    file = tmp_path / "recipe.yaml"
    file.write_text("data: {task: classification}\nsearch: {arch: resnet18}\n")
    words = ["--config", str(file), flag, value]
    search = read_config(RunConfig, words)[0].search
    assert (search.arch, str(getattr(search, key))) == (None, value)
    assert search.space in ("resnet", "cells")


def test_what_a_recipe_says_of_its_search_holds_where_a_flag_does_not_change_it(tmp_path):
    file, best = tmp_path / "recipe.yaml", tmp_path / "best.json"
    best.write_text(json.dumps({"space": "cells", "arch": {}}))

    def read(search, *words):
        file.write_text(f"data: {{task: classification}}\nsearch: {{{search}}}\n")
        return read_config(RunConfig, ["--config", str(file), *words])[0].search

    # The strategy that it has already changes nothing; another one puts its samplers aside.
    found = read("strategy: darts, measure: 10", "--strategy", "darts")
    assert (found.strategy, found.measure) == ("darts", 10)
    recipe = "measure: 20, sampler: tpe"
    found = read(recipe, "--strategy", "darts", "--measure", "10")
    assert (found.measure, found.sampler) == (10, "surrogate")
    assert read(recipe, "--measure", "10").sampler == "tpe"
    # An architecture goes with its space.
    for words, space in ((["--strategy", "darts"], "cells"), (["--measure", "5"], "resnet")):
        found = read("arch: resnet18, space: reference", *words)
        assert (found.arch, found.space) == (None, space)
    found = read("arch: best.json", "--arch", "none")
    assert (found.arch, found.space) == (None, "resnet")
    # A proxy is how, not whether.
    found = read("arch: resnet18", "--search.proxy", str(file))
    assert found.arch == "resnet18"


def test_flags_decide_over_a_folder_in_which_nothing_was_made_yet(tmp_path):
    words = ["--task", "classification", "--out", str(tmp_path)]
    config = read_config(RunConfig, [*words, "--arch", "resnet18"])[0]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    found = read_config(RunConfig, [*words, "--strategy", "darts", "--measure", "3"])
    assert (found[0].search.arch, found[0].search.space) == (None, "cells")
    # Where something was, it is for the run to refuse.
    (tmp_path / "stages.json").write_text(json.dumps({"data": {"fingerprint": "f"}}))
    found = read_config(RunConfig, [*words, "--strategy", "darts"])
    assert found[0].search.arch == "resnet18"


def test_nothing_to_measure_goes_with_a_network():
    words = ["--task", "classification", "--arch", "resnet18", "--measure", "0"]
    assert read_config(RunConfig, words)[0].search.arch == "resnet18"
