"""``nasseg cost``: an architecture's crossbars, energy and time in words and in a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from nasseg.cli import main
from nasseg.config import AnalogConfig, DataConfig, RunConfig, SearchConfig, to_dict
from nasseg.evaluators import CostEvaluator, Hardware
from nasseg.report import cost_png
from nasseg.search_spaces import get_space

SPACE = get_space("unet_half")
ARCH = SPACE.repair({**SPACE.default(), "M": 2})


@pytest.fixture
def arch_file(tmp_path: Path) -> Path:
    file = tmp_path / "arch.json"
    file.write_text(json.dumps(ARCH))
    return file


def total(out: str, name: str) -> float:
    line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
    return float(line[12:].split()[0].rstrip(",").replace(",", ""))


def test_totals_and_layers_are_printed(arch_file, capsys):
    words = ["cost", str(arch_file), "--space", "unet_half", "--hardware", "isaac"]
    assert main([*words, "--image-size", "64", "--channels", "1", "--out-channels", "2"]) == 0
    out = capsys.readouterr().out
    chip = Hardware.preset("isaac")
    cost = CostEvaluator(SPACE, 1, 2, hardware=chip).estimate([ARCH])
    assert f"unet_half/{SPACE.arch_id(ARCH)}, one image of 64 x 64, 1 to 2 channels" in out
    assert chip.name in out
    assert total(out, "parameters") == cost.params[0]
    assert total(out, "MACs") == cost.macs[0]
    assert total(out, "crossbars") == cost.tiles[0]
    assert total(out, "energy") == pytest.approx(cost.energy_uj[0], rel=0.01)
    assert total(out, "latency") == pytest.approx(cost.latency_us[0], rel=0.01)
    rows = out.split("\n\n")[2].splitlines()
    assert len(rows) == 1 + len(CostEvaluator(SPACE).layer_costs(ARCH))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[1].split()[:2] == ["stem.0", "9x16"]


def test_a_run_brings_its_own_settings(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    config = RunConfig(
        data=DataConfig(image_size=48, channels=1), search=SearchConfig(space="unet_half")
    )
    (run / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    (run / "best.json").write_text(json.dumps({"arch": ARCH, "arch_id": "x"}))
    assert main(["cost", str(run)]) == 0
    assert "one image of 48 x 48, 1 to 1 channels" in capsys.readouterr().out
    assert main(["cost", str(run), "--image-size", "32"]) == 0
    out = capsys.readouterr().out
    assert "one image of 32 x 32, 1 to 1 channels" in out
    assert "two passes" not in out
    (run / "stages.json").write_text(json.dumps({"train": {"done": True, "passes": 1.5}}))
    assert main(["cost", str(run), "--image-size", "32"]) == 0
    assert "two passes  1.50 times that, " in capsys.readouterr().out


def test_digital_layers_are_marked_and_cost_no_crossbars(arch_file, capsys):
    words = ["cost", str(arch_file), "--space", "unet_half", "--image-size", "64"]
    assert main(words) == 0
    before = capsys.readouterr().out
    assert "digital  " not in before.split("\n\n")[1]
    assert main([*words, "--digital-layers", "last"]) == 0
    out = capsys.readouterr().out
    assert total(out, "crossbars") == total(before, "crossbars") - 1
    assert total(out, "energy") < total(before, "energy")
    assert total(out, "digital") == 1
    rows = out.split("\n\n")[2].splitlines()
    assert [row.split()[:2] for row in rows if " digital " in row][1:] == [["head.0", "digital"]]


def test_the_head_of_the_nuclei_network_is_cheap_if_digital(capsys):
    file = Path(__file__).parents[2] / "docs" / "nuclei_half.json"
    words = ["cost", str(file), "--space", "unet_half", "--out-channels", "2"]
    assert main(words) == 0
    assert total(capsys.readouterr().out, "energy") == 2683
    assert main([*words, "--digital-layers", "head.0"]) == 0
    out = capsys.readouterr().out
    assert total(out, "energy") == 2530
    head = next(line for line in out.splitlines() if line.startswith("head.0"))
    # 128 x 128 positions of 16 x 8 multiply-accumulates, 0.3 pJ each; 16 + 8 bytes, 5 pJ each.
    assert head.split()[6:] == ["2.6", "0", "0", "0", "0", "0.629", "1.97", "32.768"]


def test_a_run_brings_its_digital_layers(tmp_path, capsys):
    config = RunConfig(
        data=DataConfig(image_size=48),
        search=SearchConfig(space="unet_half"),
        analog=AnalogConfig(digital_layers="stem.0"),
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    (tmp_path / "best.json").write_text(json.dumps({"arch": ARCH, "arch_id": "x"}))

    def kept(*words: str) -> list[str]:
        assert main(["cost", str(tmp_path), *words]) == 0
        rows = capsys.readouterr().out.split("\n\n")[2].splitlines()[1:]
        return [row.split()[0] for row in rows if row.split()[1] == "digital"]

    assert kept() == ["stem.0"]
    assert kept("--digital-layers", "none") == []
    assert kept("--digital-layers", "first, last") == ["stem.0", "head.0"]
    stages = {"analog": {"digital_layers": ["head.0"], "done": True}}
    (tmp_path / "stages.json").write_text(json.dumps(stages))
    assert kept() == ["head.0"]


def test_the_picture_is_written(arch_file, tmp_path, capsys):
    file = tmp_path / "cost.png"
    words = ["cost", str(arch_file), "--space", "unet_half", "--image-size", "32"]
    assert main([*words, "--figure", str(file)]) == 0
    assert f"figure: {file}" in capsys.readouterr().out
    layers = CostEvaluator(SPACE).layer_costs(ARCH)
    assert file.read_bytes()[:8] == cost_png(layers)[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        ([], "which architecture?", 2),
        (["none.json"], "there is no file 'none.json'", 2),
        (["{arch}", "--space", "unet_hlaf"], "did you mean 'unet_half'", 1),
        (["{arch}", "--space", "resnet"], "--space names the search space", 2),
        (["{arch}", "--image-size", "8"], "image_size is '8'; allowed: a whole number, 16", 2),
        (["{arch}", "--hardware", "hermse"], "did you mean 'hermes'", 1),
        (["{arch}", "--hardware", "none.yaml"], "none.yaml cannot be read as YAML", 2),
        (["{arch}", "--figure", "cost.jpg"], "allowed: a name that ends in .png", 2),
        (["{arch}", "--digital-layers", "auto"], "'auto'; allowed: none, first, last, or", 2),
        (["{arch}", "--space", "unet_half", "--digital-layers", "haed"], "mean 'head'", 1),
        (["{arch}", "more"], "unexpected 'more'", 2),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arch_file, words, said, status, capsys):
    assert main(["cost", *(word.format(arch=arch_file) for word in words)]) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert "JSON" not in lines[0]


def test_help_fits_a_terminal(capsys):
    assert main(["cost", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) < 80
    assert "usage: nasseg cost ARCH.json|RUN|NAME [--hardware CHIP]" in lines
