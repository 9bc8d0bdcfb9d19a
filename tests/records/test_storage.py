"""Settings as the files of a folder hold them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nasseg.config import LabelConfig, RunConfig, SearchConfig
from nasseg.records.folder import RunFolder

STORAGE = "postgresql://ann:hidden@host/studies"


@pytest.mark.parametrize(
    "config",
    [LabelConfig(storage=STORAGE), RunConfig(search=SearchConfig(measure=2, storage=STORAGE))],
    ids=["label", "run"],
)
def test_a_folder_never_holds_the_password_of_a_storage(
    config: LabelConfig | RunConfig, tmp_path: Path
) -> None:
    RunFolder(dataclasses.replace(config, out=str(tmp_path))).check_data("f", "images", {})
    written = (tmp_path / "config.yaml").read_text()
    assert "hidden" not in written
    assert "postgresql://ann@host/studies" in written
