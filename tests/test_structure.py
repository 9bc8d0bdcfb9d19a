"""The package keeps its shape: small modules, few at the top, private ones at home."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "nasseg": ROOT / "nasseg",
    "nasseg.search_spaces": ROOT / "search_spaces",
    "nasseg.evaluators": ROOT / "evaluators",
}
SOURCES = [path for folder in ROOMS.values() for path in sorted(folder.rglob("*.py"))]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports from the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] == "nasseg"}


def test_no_module_is_too_large_to_read():
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in [*SOURCES, *SCRIPTS]}
    assert {name: size for name, size in sizes.items() if size > 25_000} == {}
    assert statistics.median(path.stat().st_size for path in SOURCES) <= 6_000


def test_the_top_level_is_no_corridor():
    assert len(list((ROOT / "nasseg").glob("*.py"))) <= 17


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_public_names_only(script):
    private = [
        name for name in imported(script) if any(part.startswith("_") for part in name.split("."))
    ]
    assert private == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("nasseg", {"torch", "numpy", "pandas", "monai", "aihwkit", "yaml"}),
        ("nasseg.cli", {"torch", "pandas", "monai", "aihwkit", "xgboost", "optuna"}),
        ("nasseg.config", {"torch", "pandas", "monai", "aihwkit", "xgboost", "optuna", "scipy"}),
        ("nasseg.analog", {"torch", "pandas", "monai", "aihwkit"}),
        ("nasseg.search_spaces", {"torch", "pandas", "monai", "scipy", "yaml", "xgboost"}),
    ],
)
def test_heavy_packages_are_imported_when_needed(module, heavy):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert heavy & {name.split(".")[0] for name in loaded.stdout.split()} == set()
