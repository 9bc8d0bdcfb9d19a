"""Every Python snippet of README and docs runs as it stands."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets() -> list[Any]:
    """Return every Python block as a parameter set: page, first line, code."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            name = str(page.relative_to(ROOT))
            found.append(pytest.param(name, match[1], id=f"{name}:{line}"))
    return found


def population() -> dict[str, Any]:
    """Return an architecture and an encoded population of ``unet_half``."""
    from nasseg.search_spaces import get_space

    space = get_space("unet_half")
    archs = [space.sample(np.random.default_rng(seed)) for seed in range(4)]
    return {"arch": archs[0], "X": space.encode(archs)}


def study() -> dict[str, Any]:
    """Make an empty study where a labelling keeps it, and something to optimise."""
    import optuna

    Path("runs/labels").mkdir(parents=True)
    optuna.create_study(study_name="nasseg", storage="sqlite:///runs/labels/study.db")
    return {"my_score": lambda arch: float(arch["out_channel0"])}


def images() -> dict[str, Any]:
    """Return small images with classes, as an .npz file takes them."""
    rng = np.random.default_rng(0)
    return {
        "np": np,
        "images": rng.integers(0, 255, (6, 16, 16, 3), dtype=np.uint8),
        "labels": np.arange(6) % 2,
        "names": np.array(["a", "b"]),
        "patients": np.arange(6),
    }


def trained() -> dict[str, Any]:
    """Copy a finished run to runs/demo; open it, with an image and labelled images beside it."""
    import nasseg

    shutil.copytree(ROOT / "tests" / "runs" / "older" / "finished", "runs/demo")
    net = nasseg.load("runs/demo")
    rng = np.random.default_rng(0)
    labels = np.zeros((8, 32, 32), dtype=np.int32)
    for label in labels:
        top, left = rng.integers(0, 16, 2)
        label[top : top + 14, left : left + 12] = 1
    shades = rng.integers(20, 90, (8, 1, 1))
    images = np.where(labels > 0, 200, shades) + rng.integers(0, 40, labels.shape)
    return {
        "nasseg": nasseg,
        "net": net,
        "aged": net.age("1 year", chips=2),
        "image": images[0].astype(np.uint8),
        "images": images.astype(np.uint8),
        "labels": labels,
    }


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/hardware.md": population,
    "docs/measured_study.md": study,
    "docs/data.md": images,
    "docs/python.md": trained,
    "README.md": trained,
}
"""Names that a page's text, not its snippets, speaks of."""


@pytest.mark.parametrize(("page", "code"), snippets())
def test_a_snippet_runs(page, code, tmp_path, monkeypatch):
    if "analogainas" in code and importlib.util.find_spec("analogainas") is None:
        pytest.skip("IBM's analog-nas is not installed")
    monkeypatch.chdir(tmp_path)
    code = code.replace("n_trials=100", "n_trials=12")
    names = GIVEN[page]() if page in GIVEN else {}
    exec(compile(code, page, "exec"), names)  # noqa: S102 - the pages are our own
