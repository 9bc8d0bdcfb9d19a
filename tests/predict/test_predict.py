"""A run at native scale, and what it says of new images."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from PIL import Image

from nasseg import pipeline
from nasseg.analog.memory import EXAMPLE
from nasseg.cli import main
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    DriftConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
)
from nasseg.data.sources.synthetic_nuclei import draw_nuclei
from nasseg.errors import ConfigError, DataError, RunError
from nasseg.predict import predict
from nasseg.records.drift import DriftTable
from nasseg.records.folder import read_run_config
from nasseg.report import write_report
from nasseg.runs.aged import AgedChips, open_job
from nasseg.runs.panels import panels
from nasseg.search_spaces import get_space
from nasseg.tasks import get_task
from nasseg.text import parse_time


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run of ``unet_half`` on crops, through every stage."""
    out = tmp_path_factory.mktemp("native") / "run"
    space = get_space("unet_half")
    changes = {"out_channel0": 8, "M": 2, "R3": 0, "R4": 0}
    changes |= {f"{name}{i}": 0 for name in ("convblock", "widenfact", "B") for i in (3, 4)}
    arch = out.parent / "arch.json"
    arch.write_text(json.dumps(space.canonical({**space.default(), **changes})))
    config = RunConfig(
        out=str(out),
        threads=1,
        data=DataConfig(crop=64, synthetic_train=12, synthetic_val=3),
        search=SearchConfig(space="unet_half", arch=str(arch)),
        train=TrainConfig(epochs=4, batch_size=4, eval_every=4),
        analog=AnalogConfig(epochs=1, digital_layers="auto", target=0.2, sensitivity_chips=1),
        drift=DriftConfig(chips=2, times=(1.0, 86_400.0), sweep_chips=1, recalibrate_images=8),
    )
    pipeline.run(config, progress=False)
    return out


def test_an_evaluation_tells_kinds_of_images_apart(run, tmp_path, capsys, monkeypatch):
    kinds = iter(["stained", "fluorescence", "stained"] * 2)
    monkeypatch.setattr("nasseg.runs.images.image_kind", lambda pixels: next(kinds))
    flags = ["--at", "1day", "--chips", "2", "--out", str(tmp_path), "--quiet"]
    assert main(["evaluate", str(run), *flags]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "evaluation.json").read_text())
    light, stained = found["kinds"]
    assert (light["kind"], light["images"]) == ("fluorescence", 1)
    assert (stained["kind"], stained["images"]) == ("stained", 2)
    for name in ("ap50", "pq", "count_error"):
        mean = (light["metrics"][name]["mean"] + 2 * stained["metrics"][name]["mean"]) / 3
        assert mean == pytest.approx(found["metrics"][name]["mean"])
    assert "count error: 95th" in said
    assert "stained" in said
    assert len(pd.read_csv(tmp_path / "images.csv")) == 3
    assert (tmp_path / "fates.png").read_bytes().startswith(b"\x89PNG")


def test_an_evaluation_of_one_kind_of_images_has_no_table_of_kinds(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--out", str(tmp_path), "--quiet"]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    assert found["kinds"] == []
    assert "fluorescence" not in capsys.readouterr().out
    assert {k: v["mean"] for k, v in found["metrics"].items()} == pytest.approx(summary["digital"])


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k, side in enumerate((96, 130)):
        picture, _ = draw_nuclei(np.random.default_rng(k), 192)
        Image.fromarray(picture[:side, :120]).save(folder / f"p{k}.png")
    return folder


def test_the_run_scores_instances_and_measures_noisier_memories(run):
    summary = json.loads((run / "summary.json").read_text())
    assert {"dice", "iou", "iou_pooled", "ap50", "ap", "pq", "sq", "rq", "count_error"} <= set(
        summary["digital"]
    )
    day = summary["analog"]["86400"]["recalibrated"]
    assert set(day["ap50"]) == {"mean", "std", "p05", "p95", "min"}
    images = pd.read_csv(run / "images.csv")
    for name in ("dice", "ap50", "pq", "count_error"):
        assert images[name].mean() == pytest.approx(summary["digital"][name])
    page = (run / "report.html").read_text()
    assert "What becomes of the nuclei" in page
    assert (run / "figures" / "fates.png").is_file()
    sweep = pd.read_csv(run / "sweep.csv")
    assert sorted(set(sweep.noise_scale)) == [0.5, 2.0]
    sensitivity = json.loads((run / "sensitivity.json").read_text())
    coverage = json.loads((run / "coverage.json").read_text())
    assert sensitivity["digital_layers"] == []
    assert len(sensitivity["layers"]) == len(coverage["layers"])


def test_the_report_shows_the_new_parts(run):
    plan = [
        "drift", "--out", str(run), "--min-dice", "0.05", "--plan", "--plan-chips", "1",
        "--share", "1", "--quiet",
    ]  # fmt: skip
    assert main(plan) == 0
    text = write_report(run).read_text()
    for title in ("AP at IoU 0.5", "Share of the chips", "Noisier memory", "Refresh plan",
                  "Sensitivity of the layers"):  # fmt: skip
        assert title in text


def test_digital_predictions_are_instances_at_the_size_of_the_image(run, images, tmp_path):
    done = predict(run, [images], tmp_path / "out", progress=False)
    assert [entry.image.name for entry in done] == ["p0.png", "p1.png"]
    for entry, side in zip(done, (96, 130), strict=True):
        ids = tifffile.imread(entry.files[0])
        assert ids.shape == (side, 120)
        assert ids.dtype == np.uint16
        assert ids.max() == entry.instances == len(np.unique(ids)) - 1
        with Image.open(entry.files[1]) as overlay:
            assert overlay.size == (120, side)
    assert len(done[0].files) == 2


def test_an_aged_chip_is_shown_with_what_chips_disagree_on(run, images, tmp_path):
    command = ["predict", str(run), str(images / "p0.png"), "--at", "1day", "--quiet"]
    assert main([*command, "--chips", "3", "--out", str(tmp_path / "a")]) == 0
    assert main([*command, "--chips", "3", "--out", str(tmp_path / "b")]) == 0
    assert main([*command, "--chips", "1", "--chip-seed", "1", "--out", str(tmp_path / "c")]) == 0
    names = {"p0.tif", "p0_overlay.png", "p0_uncertainty.tif", "p0_uncertainty.png"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"p0.tif", "p0_overlay.png"}
    spread = tifffile.imread(tmp_path / "a" / "p0_uncertainty.tif")
    assert spread.dtype == np.float32
    assert 0 < spread.max() <= 0.6
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    uncalibrated = [*command, "--chips", "1", "--uncalibrated", "--out", str(tmp_path / "d")]
    assert main(uncalibrated) == 0


def test_a_bad_image_is_named_and_the_others_are_written(run, images, tmp_path, capsys):
    (images / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert main(["predict", str(run), str(images), "--out", str(out), "--quiet"]) == 1
    assert "broken.png: not readable" in capsys.readouterr().err
    assert (out / "p0.tif").exists()
    assert (out / "p1.tif").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN"], "which run and images?"),
        (["RUN", "IMAGES"], "out is missing"),
        (["RUN", "IMAGES", "--out", "o", "--at", "soon"], "at is 'soon'; allowed: a time"),
        (["RUN", "IMAGES", "--out", "o", "--chips", "0"], "chips is '0'"),
        (["RUN", "IMAGES", "--out", "o", "--at", "1e999"], "at is '1e999'"),
        (["RUN", "IMAGES", "--out", "IMAGES"], "where the images are"),
        (["RUN", "nowhere", "--out", "o"], "no such image or folder"),
        (["nowhere", "IMAGES", "--out", "o"], "is no run folder"),
    ],
)
def test_wrong_commands_say_what_is_allowed(run, images, words, message, capsys):
    given = [{"RUN": str(run), "IMAGES": str(images)}.get(word, word) for word in words]
    assert main(["predict", *given]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_an_older_run_predicts_but_is_not_continued(run, images, tmp_path, capsys):
    old = tmp_path / "old"
    shutil.copytree(run, old)
    settings = (old / "config.yaml").read_text().replace("  class_weights: as_train\n", "")
    (old / "config.yaml").write_text(settings)
    assert main(["drift", "--out", str(old), "--quiet"]) == 0  # which leaves all as it was
    settings = settings.replace("  clip_sigma: 2.5\n", "")
    (old / "config.yaml").write_text(settings)
    assert main(["predict", str(old), str(images), "--out", str(tmp_path / "o"), "--quiet"]) == 0
    assert main(["drift", "--out", str(old), "--quiet"]) == 1
    assert "older nasseg, which did not know analog.clip_sigma" in capsys.readouterr().err


def test_a_memory_file_belongs_to_its_run(run, tmp_path, capsys):
    """The run keeps a copy; a changed file is refused, a missing one does no harm."""
    cell = tmp_path / "cell.yaml"
    cell.write_text(EXAMPLE)
    out = tmp_path / "run"
    arch = json.loads((run / "best.json").read_text())["arch"]
    (tmp_path / "arch.json").write_text(json.dumps(arch))
    command = [
        "drift", "--out", str(out), "--analog.preset", str(cell), "--crop", "64",
        "--data.synthetic_train", "6", "--data.synthetic_val", "2", "--threads", "1",
        "--search.space", "unet_half", "--arch", str(tmp_path / "arch.json"),
        "--train.epochs", "1", "--train.batch_size", "4", "--analog.epochs", "1",
        "--drift.chips", "1", "--drift.times", "1,86400", "--drift.sweep_chips", "0", "--quiet",
    ]  # fmt: skip
    assert main(command) == 0
    cell.write_text(EXAMPLE.replace("25.0 ", "24.0 "))
    assert main(command) == 1
    assert "cell.yaml has changed since" in capsys.readouterr().err
    cell.unlink()
    assert main(command) == 0
    assert (out / "memory.yaml").read_text() == EXAMPLE


def test_asking_a_finished_run_writes_nothing(run, images, tmp_path):
    """A folder without a copy of its memory is used as it is."""
    cell = tmp_path / "cell.yaml"
    cell.write_text(EXAMPLE)
    old = tmp_path / "old"
    shutil.copytree(run, old)
    settings = yaml.safe_load((old / "config.yaml").read_text())
    settings["analog"]["preset"] = str(cell)
    (old / "config.yaml").write_text(yaml.safe_dump(settings))
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*")}
    for at in (None, 86_400.0):
        job = open_job(old, read_run_config(old), at, progress=False)
        assert next(job.digital.parameters()).isfinite().all()
    assert len(list(AgedChips(job, 86_400.0, recalibrate=False))) == 1
    predict(old, [images], tmp_path / "out", at=86_400.0, chips=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*")} == before


def test_panels_and_predictions_are_of_the_chips_of_the_drift_table(run):
    job = open_job(run, read_run_config(run), 86_400.0, progress=False)
    with np.load(run / "panels.npz", allow_pickle=False) as kept:
        shown = {name: kept[name] for name in kept}
    arrays, ask = panels(job.data, job.task_type(), job.config.train.batch_size, job.device)
    assert np.array_equal(arrays["images"], shown["images"])
    for chip, net in AgedChips(job, 86_400.0):
        assert chip == 0
        assert np.array_equal(ask(net), shown["analog_1day"])
    table = DriftTable.read(run / "drift.csv")
    loader = job.data.report_loader(job.config.train.batch_size)
    metric = job.task.monitor
    for chip, net in AgedChips(job, 86_400.0, count=2, recalibrate=False):
        value = table.values(metric, recalibrated=False, time_s=86_400.0)[chip]
        assert job.task.evaluate(net, loader)[metric] == value


def test_two_images_of_one_name_are_refused(run, images, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (64, 64)).save(other / "p0.png")
    with pytest.raises(DataError, match=r"both be written as p0\.tif"):
        predict(run, [images, other], tmp_path / "out", progress=False)


def test_times_are_read_in_the_units_people_write():
    assert parse_time("1day") == parse_time("24 h") == parse_time("86400") == 86_400.0
    assert parse_time("30 days") == parse_time("1month") == 2_592_000.0
    for text in ("", "day", "-1h", "0s", "1.2.3s", "3 fortnights"):
        with pytest.raises(ConfigError, match="allowed"):
            parse_time(text)


def test_a_run_that_is_not_trained_says_which_stage_is_missing(run, images, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(RunError, match="nasseg analog --out"):
        predict(bare, [images], tmp_path / "out", at=1.0, progress=False)


def test_one_channel_is_parted_by_the_shape_of_its_mask():
    yy, xx = np.mgrid[:40, :64]
    discs = [(yy - 20) ** 2 + (xx - c) ** 2 < 100 for c in (20, 37)]
    probability = (discs[0] | discs[1]).astype(np.float32)[None]
    assert get_task("segmentation").decode(probability).max() == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plan"], "--plan needs --min-dice X"),
        (["--min-dice", "high"], "min_dice is 'high'"),
        (["--min-dice", "0.8", "--plan", "--plan-chips", "no"], "plan_chips is 'no'"),
        (["--min-dice", "0.8", "--share", "2"], "share is '2'"),
    ],
)
def test_wrong_questions_about_drift_are_answered(run, words, message, capsys):
    assert main(["drift", "--out", str(run), *words]) == 2
    assert message in capsys.readouterr().err
