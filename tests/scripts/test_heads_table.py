"""Heads of instances side by side: one run each, and one table."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk
from skimage.io import imsave

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with two discs each, and a configuration of runs that take seconds."""
    root = tmp_path_factory.mktemp("heads")
    for name in ("images", "labels"):
        (root / "data" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(4):
        ids = np.zeros((32, 32), np.uint8)
        ids[disk((9 + number, 9), 6)] = 1
        ids[disk((20, 22 - number), 6)] = 2
        noise = rng.integers(0, 30, (32, 32, 3)) + 150 * (ids > 0)[..., None]
        imsave(root / f"data/images/{number}.png", noise.astype(np.uint8), check_contrast=False)
        imsave(root / f"data/labels/{number}.png", ids, check_contrast=False)
    shutil.copy(DOCS / "nuclei_quarter.json", root)
    text = (DOCS / "heads.yaml").read_text(encoding="utf-8")
    for long, short in (
        ("crop: 128", "crop: 32"),
        ("epochs: 60", "batch_size: 2\n  epochs: 1"),
        ("epochs: 8", "epochs: 1"),
        ("chips: 3", "chips: 1"),
    ):
        assert long in text
        text = text.replace(long, short, 1)
    (root / "heads.yaml").write_text(text, encoding="utf-8")
    return root


def test_every_head_is_run_once_and_has_its_row(load_script, folder, capsys):
    script = load_script("heads")
    out = folder / "out"
    words = ["--config", str(folder / "heads.yaml"), "--data", str(folder / "data")]
    words += ["--out", str(out), "--threads", "1", "--seeds", "0", "--heads"]
    assert script.main([*words, "instances_boundary", "instances_star"]) == 0
    text = (out / "README.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert text.count("| instances_boundary |") == text.count("| instances_star |") == 2
    assert "1 year, compensation alone" in text
    assert (out / "instances_star0" / "report.html").exists()
    script.nasseg = None  # whatever ran now would fail
    assert script.main([*words, "instances_star"]) == 0
    assert script.main([*words[:-1], "--table"]) == 0


def test_a_failed_run_is_named(load_script, folder, capsys, tmp_path):
    script = load_script("heads")
    words = ["--config", str(folder / "heads.yaml"), "--data", str(folder / "none")]
    words += ["--out", str(tmp_path), "--heads", "instances_star", "--seeds", "0"]
    assert script.main(words) != 0
    assert "instances_star0: the run failed" in capsys.readouterr().err
