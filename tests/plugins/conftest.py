"""A package of six plug-ins, installed into a folder of its own, and commands that see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasseg.data.sources.synthetic_nuclei import draw_nuclei

PACKAGE = Path(__file__).parents[1] / "plugin_package"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed; nothing is downloaded for it."""
    root = tmp_path_factory.mktemp("package")
    shutil.copytree(PACKAGE, root / "source")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--no-build-isolation", "--target", root / "site", root / "source",
        ],
        check=True,
    )  # fmt: skip
    return root / "site"


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of the package alone: they can be imported, and are no entry points."""
    root = tmp_path_factory.mktemp("modules")
    for file in PACKAGE.glob("*.py"):
        shutil.copy(file, root)
    return root


def command(*paths: Path, **variables: str) -> Command:
    """A function that runs ``nasseg`` in a new process, with ``paths`` to import from."""
    kept = {key: value for key, value in os.environ.items() if key != "NASSEG_PLUGINS"}
    environment = {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "OMP_NUM_THREADS": "1",
        **variables,
    }

    def run(*words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "nasseg", *map(str, words)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic nuclei in the files that the package's source reads."""
    folder = tmp_path_factory.mktemp("pairs")
    for row in range(16):
        image, ids = draw_nuclei(np.random.default_rng(row), 96)
        grey = np.rint(image.mean(axis=2)).astype(np.int32)
        np.save(folder / f"{row:02}.pair.npy", np.stack([grey, ids]))
    return folder
