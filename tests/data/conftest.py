"""Folders of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.class_images import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 10, 6 and 4 images."""
    root = tmp_path / "cells"
    for number, (name, count) in enumerate((("b2", 10), ("b10", 6), ("A", 4))):
        for index in range(count):
            write(root / name / f"{index}.png", 100 * number + index)
    return root
