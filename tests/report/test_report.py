"""The report of a run folder: complete, safe in what it quotes, calm about what is missing."""

from __future__ import annotations

import csv
import html.parser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nasseg.cli._settings import read_config
from nasseg.config import DRIFT_TIMES, DataConfig, RunConfig, TrainConfig, to_dict
from nasseg.config.reading import build_config
from nasseg.errors import RunError
from nasseg.records.best import Best
from nasseg.records.run_files import load_run
from nasseg.records.tables import format_measured
from nasseg.report import _write, command_words, write_report
from nasseg.report._classes import draw_classified
from nasseg.report._panels import (
    CLASS_COLOURS,
    FALSE_POSITIVE,
    MISSED,
    class_dice,
    class_picture,
    dice,
    draw_panels,
    error_picture,
)
from nasseg.report._write import render
from nasseg.report.sections import SECTIONS, Picture, Section
from nasseg.report.sections.architecture import draw_architecture
from nasseg.report.sections.predictions import PredictionsSection
from nasseg.report.sections.search import SearchSection, draw_search
from nasseg.report.style import style, to_png
from nasseg.search_spaces import Diagram, ResNetSpace, SearchSpace, Stage, get_space
from nasseg.statistics import Spread

CHIPS = 5
FILES = (
    "config.yaml",
    "summary.json",
    "best.json",
    "metrics.jsonl",
    "coverage.json",
    "drift.csv",
    "panels.npz",
)
NASTY = "<script>alert('x')</script>&\""


def write_run(folder: Path, space: str = "unet") -> Path:
    """A run folder as the pipeline leaves it, with invented numbers."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    config = RunConfig(
        out="runs/x", data=DataConfig(path=NASTY, image_size=32), train=TrainConfig(epochs=4)
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    arch = get_space(space).sample(rng)
    history = [
        {"run": r, "generation": g, "best": 0.7 + 0.01 * g, "mean": 0.6, "queries": 50 * g}
        for r in range(2)
        for g in range(4)
    ]
    best: dict[str, Any] = {
        "arch": arch,
        "arch_id": NASTY,
        "space": space,
        "predicted": {"day1": 0.81, "avm": 1.5, "std": 0.004},
        "params": 12345,
        "macs": 2_000_000,
        "tiles": 17,
        "seed": 0,
        "history": history,
        "runs": {"mean": 0.8, "std": 0.01},
        "surrogate": {"n": 48, "tau": {"day1": 0.61, "avm": None}, "table": {"file": "t"}},
        "budget": {"queries": 400},
    }
    (folder / "best.json").write_text(json.dumps(best))
    metrics = [
        {"stage": stage, "epoch": e, "loss": 1 / e, "lr": 1e-3, "val_dice": 0.2 * e}
        for stage in ("train", "analog")
        for e in range(1, 5)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    layer = {"name": NASTY, "type": "Conv2d", "macs": 10, "weights": 9, "tiles": 1}
    layers = [
        {**layer, "analog": True, "why": ""},
        {**layer, "analog": False, "why": f"digital for {NASTY}"},
    ]
    coverage = {"layers": layers, "mac_fraction": 0.995, "weight_fraction": 0.9}
    (folder / "coverage.json").write_text(json.dumps(coverage))
    rows = [
        {"chip": c, "time_s": t, "recalibrated": r, "dice": 0.8, "iou": 0.7, "iou_pooled": 0.71}
        for t in DRIFT_TIMES
        for r in (True, False)
        for c in range(CHIPS)
    ]
    with (folder / "drift.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    value = {"mean": 0.8123, "std": 0.0045, "p05": 0.7901}
    scores = {"dice": value, "iou": value, "iou_pooled": value}
    summary = {
        "digital": {"dice": 0.9012, "iou": 0.8, "iou_pooled": 0.81},
        "analog": {str(t): {"recalibrated": scores, "uncalibrated": scores} for t in DRIFT_TIMES},
        "arch_id": NASTY,
        "params": 12345,
        "seed": 0,
        "seconds": {"search": 1.0, "train": 70.0},
        "data": NASTY,
        "images": {"train": 470, "val": 98},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    np.savez(
        folder / "panels.npz",
        images=rng.integers(0, 255, (2, 16, 20, 3), dtype=np.uint8),
        labels=rng.integers(0, 2, (2, 16, 20)),
        digital=rng.random((2, 16, 20)),
        analog_1day=rng.random((2, 16, 20)),
        ids=np.array(["first", NASTY]),
    )
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run <b>")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its report: drawing takes seconds, so it is done once."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "run <b>")
    assert write_report(folder) == folder / "report.html"
    return folder


def page(folder: Path) -> str:
    """The report of a folder without its drawings."""
    return render(load_run(folder), {})


class Tags(html.parser.HTMLParser):
    """Collects tags and references of a page; complains of tags that do not close in order."""

    VOID = frozenset({"meta", "img", "use", "path", "link", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parse(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert tags.open == []
    return tags


def test_report_holds_every_part(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    for part in (
        "0.9012",
        "0.8123 ± 0.0045",
        "p05 0.7901",
        "99.50 % of the multiply-accumulates",
        "predicted for the winner",
        "fitted to 48 measured architectures; cross-validated Kendall tau: day1 0.61",
        "470 training, 98 validation images",
        f"{CHIPS} programmed chips",
        "--train.epochs 4",
        "1 min 10 s",
    ):
        assert part in text, part
    assert 'class="missing"' not in text
    assert parse(text).seen.count("svg") == 4


def test_a_prediction_is_named_after_what_the_surrogate_learned(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert "Dice after a day 0.810" in SearchSection().html(load_run(run))
    best = json.loads((run / "best.json").read_text())
    best["surrogate"]["metric"] = "auc"
    (run / "best.json").write_text(json.dumps(best))
    said = SearchSection().html(load_run(run))
    assert "AUC after a day 0.810" in said
    assert "Dice" not in said
    figure = draw_search(load_run(run))
    assert figure is not None
    assert figure.axes[0].get_title() == "predicted AUC after a day"


def test_a_measured_value_is_named_after_what_the_search_compared_by(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    best = json.loads((run / "best.json").read_text())
    best["measured"] = {"day1": 0.81, "std": 0.02, "metric": "auc"}
    (run / "best.json").write_text(json.dumps(best))
    figure = draw_search(load_run(run))
    assert figure is not None
    assert figure.axes[0].get_title() == "measured AUC after a day, short training"
    assert "AUC after a day 0.810" in SearchSection().html(load_run(run))
    # The run itself is scored by Dice.
    assert "AUC after a day 0.8100" in format_measured(best, "dice")
    del best["measured"]["metric"]
    assert "Dice after a day 0.8100" in format_measured(best, "dice")


def test_pixels_of_several_classes_have_a_colour_each(tmp_path: Path) -> None:
    label = np.uint8([[0, 1, 1], [0, 2, 2]])
    said = np.uint8([[0, 1, 2], [0, 2, 2]])
    assert class_dice(said, label) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert class_dice(label, label) == class_dice(0 * label, 0 * label) == 1
    assert class_dice(label, 0 * label) == 0
    picture = class_picture(said, label)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [
        [[0, 0, 0], list(CLASS_COLOURS[0]), list(FALSE_POSITIVE)],
        [[0, 0, 0], list(CLASS_COLOURS[1]), list(CLASS_COLOURS[1])],
    ]
    run = write_run(tmp_path / "run")
    np.savez(
        run / "panels.npz",
        images=np.zeros((1, 2, 3, 3), np.uint8),
        labels=label[None],
        digital=label[None],
        analog_1day=said[None],
        ids=np.array(["one"]),
        pixel_classes=np.array(["background", "_$cytoplasm$", "<nucleus>"]),
    )
    told = PredictionsSection().html(load_run(run))
    assert "Dice 1.000" in told
    assert "Dice 0.733" in told
    for name in ("_$cytoplasm$", "&lt;nucleus&gt;", "other than the label"):
        assert f"</span>{name}" in told
    with style():
        figure = draw_panels(load_run(run).panels)
        assert figure is not None
        assert to_png(figure).startswith(b"\x89PNG")
    (legend,) = figure.legends
    texts = legend.get_texts()
    assert [text.get_text() for text in texts] == [
        " _$cytoplasm$", "<nucleus>", "other than the label",
    ]  # fmt: skip
    # As it is written, and no formula.
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize("shown", [3, 6, 7, 12])
def test_no_text_below_classified_images_is_cut(shown: int) -> None:
    said = np.tile(np.float32([[0.9, 0.1]]), (shown, 1))
    figure = draw_classified(
        {
            "images": np.zeros((shown, 28, 28, 3), np.uint8),
            "shown": np.arange(shown),
            "labels": np.zeros(shown, np.int64),
            "ids": np.array([f"test{i}" for i in range(shown)]),
            "classes": np.array(["normal (benign)", "malignant"]),
            "digital": said,
            "analog_1day": said,
        }
    )
    assert figure is not None
    figure.set_dpi(160)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for ax in figure.axes for text in ax.texts]
    assert len(texts) == 2 * shown
    assert min(text.get_window_extent(canvas.get_renderer()).y0 for text in texts) > 0


def test_pictures_are_written_as_files(written: Path) -> None:
    names = {path.name for path in (written / "figures").iterdir()}
    assert names == {"architecture.png", "search.png", "curves.png", "drift.png", "panels.png"}
    for path in (written / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_report_refers_to_nothing_outside(written: Path) -> None:
    tags = parse((written / "report.html").read_text(encoding="utf-8"))
    assert "script" not in tags.seen
    assert "link" not in tags.seen
    assert tags.references
    assert all(ref.startswith(("#", "data:image/png;base64,")) for ref in tags.references)


def test_names_from_files_are_escaped(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<title>nasseg: run &lt;b&gt;</title>" in text


def test_names_of_metrics_are_escaped(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    scores = {NASTY: 0.5, "dice": 0.8}
    value = {NASTY: {"mean": 0.5, "std": NASTY, "p05": None}}
    summary |= {"digital": scores, "monitor": NASTY, "analog": {"1.0": {"recalibrated": value}}}
    (run / "summary.json").write_text(json.dumps(summary))
    text = page(run)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    parse(text)


def test_a_new_section_is_one_class_with_a_template(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(Section):
        title = "Own <numbers>"
        template = "training.html.j2"
        files = ("own.json",)
        pictures = (Picture("curves", None, lambda run: None),)

    loaded = load_run(run)
    loaded.missing["own.json"] = "is <not> there"
    monkeypatch.setattr(_write, "SECTIONS", (*SECTIONS, Own()))
    text = _write.render(loaded, {})
    assert "<h2>Own &lt;numbers&gt;</h2>" in text
    assert "own.json is &lt;not&gt; there" in text
    parse(text)


def test_a_space_gives_its_own_diagram(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = (Stage("stem", (), 8, 0), Stage("body", ("2 blocks",), 16, 1))
    drawn = Diagram(boxes, output="classes")
    monkeypatch.setattr(ResNetSpace, "diagram", lambda self, arch: drawn)
    arch = get_space("resnet").default()
    with style():
        figure = draw_architecture(Best(space="resnet", arch=arch), 32)
    assert figure is not None
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"classes", "stem", "body\n2 blocks", "16"} <= texts
    # Edited spaces are drawn as the one that they were made of, unknown ones not at all.
    assert draw_architecture(Best(space="resnet-custom", arch=arch), 32) is not None
    assert draw_architecture(Best(space="package:Space", arch=arch), 32) is None
    assert draw_architecture(Best(space="package:Space", arch=arch), 32, "resnet") is not None


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_said(run: Path, name: str) -> None:
    (run / name).unlink()
    text = page(run)
    assert f"{name} is not there" in text
    parse(text)


@pytest.mark.parametrize("name", [name for name in FILES if name != "metrics.jsonl"])
def test_a_damaged_file_is_said(run: Path, name: str) -> None:
    (run / name).write_bytes(b"chip,dice\n{[half a li")
    assert f"{name} cannot be read" in page(run)


def test_an_empty_folder_gives_a_report(tmp_path: Path) -> None:
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert all(f"{name} is not there" in text for name in FILES)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        write_report(tmp_path / "none")


def test_pickled_panels_are_not_loaded(run: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(
        run / "panels.npz",
        images=objects,
        labels=objects,
        digital=objects,
        analog_1day=objects,
        ids=objects,
    )
    assert "panels.npz cannot be read" in page(run)


def test_a_picture_that_can_no_longer_be_drawn_is_removed(tmp_path: Path) -> None:
    stale = tmp_path / "figures" / "drift.png"
    stale.parent.mkdir()
    stale.write_bytes(b"of an earlier run")
    write_report(tmp_path)
    assert not stale.exists()


def test_without_a_summary_numbers_come_from_the_chips(run: Path) -> None:
    (run / "summary.json").unlink()
    text = page(run)
    assert "0.8000 ± 0.0000" in text


def test_a_given_architecture_was_not_searched(run: Path) -> None:
    best = json.loads((run / "best.json").read_text())
    for key in ("history", "predicted", "runs", "surrogate", "budget"):
        best[key] = None
    (run / "best.json").write_text(json.dumps(best))
    assert "nothing was searched" in page(run)


def test_a_space_without_a_picture_lists_its_hyperparameters(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", "resnet")
    assert "out_channel0" in page(folder)
    assert draw_architecture(load_run(folder).best, 32) is None


def test_the_same_run_gives_the_same_report(written: Path) -> None:
    first = (written / "report.html").read_bytes()
    assert write_report(written).read_bytes() == first


def test_a_continued_run_counts_each_epoch_once(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as handle:
        handle.write('{"stage": "train", "epoch": 2, "loss": 9.0}\n{"stage": "tr')
    losses = [m["loss"] for m in load_run(run).metrics if m["stage"] == "train"]
    assert losses == [1.0, 9.0, 1 / 3, 0.25]


def test_chip_statistics_are_over_chips(tmp_path: Path) -> None:
    lines = ["chip,time_s,recalibrated,dice"]
    lines += [f"{c},1.0,True,{0.5 + 0.1 * c}" for c in range(3)] + ["0,1.0,False,0.1"]
    (tmp_path / "drift.csv").write_text("\n".join(lines))
    rows = load_run(tmp_path).drift
    ((time, over),) = rows.by_time("dice", recalibrated=True)
    assert (time, over.mean) == (1.0, pytest.approx(0.6))
    assert over.std == pytest.approx(0.1)
    assert over.p05 == pytest.approx(0.51)
    assert rows.by_time("dice", recalibrated=False) == [(1.0, Spread(0.1, 0.0, 0.1, 0.1, 0.1))]
    assert rows.by_time("iou", recalibrated=True) == []


def test_errors_are_coloured_by_kind() -> None:
    probability, label = np.array([[0.9, 0.9], [0.1, 0.1]]), np.array([[1, 0], [1, 0]])
    picture = error_picture(probability, label)
    assert tuple(picture[0, 1]) == FALSE_POSITIVE
    assert tuple(picture[1, 0]) == MISSED
    assert tuple(picture[1, 1]) == (0, 0, 0)
    assert dice(probability, label) == 0.5
    assert dice(np.zeros((2, 2)), np.zeros((2, 2))) == 1.0


def boxes(space: SearchSpace, arch: dict[str, Any]) -> tuple[Any, Any]:
    diagram = space.diagram(arch)
    assert diagram is not None
    return diagram.encoder, diagram.decoder


@pytest.mark.parametrize("seed", range(12))
def test_every_unet_architecture_is_drawn(seed: int) -> None:
    space = get_space("unet")
    arch = space.sample(np.random.default_rng(seed))
    encoder, decoder = boxes(space, arch)
    assert len(encoder) == arch["M"] + 1
    assert len(decoder) == encoder[-1].level
    assert [box.level for box in decoder] == list(range(len(decoder) - 1, -1, -1))
    assert draw_architecture(Best(space="unet", arch=arch), 32) is not None


def test_drawn_channels_are_those_of_the_network() -> None:
    pytest.importorskip("torch")
    space = get_space("unet")
    for seed in range(4):
        arch = space.sample(np.random.default_rng(seed))
        network: Any = space.build(arch)
        encoder, decoder = boxes(space, arch)
        assert network.factor == 2 ** encoder[-1].level
        widths = [level.convs[-1][0].out_channels for level in network.decoder]
        assert widths == [box.channels for box in decoder]


def test_svg_colours_follow_the_page(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--ink)" in drawn
    assert "#1f2933" not in drawn


@pytest.mark.parametrize("crop", [0, 128])
def test_the_command_of_a_run_makes_its_settings_again(run: Path, crop: int) -> None:
    """Also those that are the default elsewhere and not where images keep their scale."""
    values = {"data.crop": crop, "data.path": "my nuclei", "analog.lr": 2e-3, "train.epochs": 180}
    config = build_config(RunConfig, values, {})
    (run / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    words = shlex.split(command_words(load_run(run)))
    assert words[:2] == ["nasseg", "run"]
    assert read_config(RunConfig, words[2:])[0] == config
    # What follows anyway is not said.
    assert ("--analog.lr" in words, "--train.epochs" in words) == (crop > 0, crop == 0)
    assert "--analog.input_quantile" not in words
