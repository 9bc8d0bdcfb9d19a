"""Scores of single images, their means by kind, and pictures of fates, as files of a run."""

from pathlib import Path

import numpy as np
import pytest

from nasseg.errors import RunError
from nasseg.records.fates import FatePicture, read_fates, write_fates
from nasseg.records.images import ImageRow, ImageTable
from nasseg.records.run_files import load_run
from nasseg.tasks.matching import Fates


def row(name, kind, ap50, missed=0):
    fates = {"matched": 3, "missed": missed, "badly outlined": 1, "false positive": 0}
    return ImageRow(name, kind, {"ap50": ap50, "count_error": 0.25}, fates)


TABLE = ImageTable(
    (
        row("a,b", "stained", 0.2, 4),
        row("c", "fluorescence", 0.5),
        row("d", "stained", 0.4),
        row("e", "of another package", 1.0),
    )
)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "images.csv")
    assert ImageTable.read(tmp_path / "images.csv") == TABLE
    head = (tmp_path / "images.csv").read_text().splitlines()[0]
    assert head.startswith("id,kind,ap50,count_error,nuclei_matched,nuclei_missed,")


def test_means_are_over_images_and_nuclei_are_summed() -> None:
    fluorescence, stained, other = TABLE.by_kind()
    assert [entry.kind for entry in (fluorescence, stained, other)] == [
        "fluorescence",
        "stained",
        "of another package",
    ]
    assert (stained.images, stained.scores["ap50"]) == (2, pytest.approx(0.3))
    assert stained.fates == {"matched": 6, "missed": 4, "badly outlined": 2, "false positive": 0}
    together = TABLE.together()
    assert (together.images, together.scores["ap50"]) == (4, pytest.approx(2.1 / 4))
    assert ImageTable(()).by_kind() == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x,stained,good,0.1,1,1,1,1", "row 6: ap50 is 'good', not a number"),
        ("x,stained,0.5,0.1,1.5,1,1,1", "row 6: nuclei_matched is '1.5', not a number"),
        ("x,stained", "row 6: ap50 is missing"),
        ("x,stained,0.5,0.1,1,1,1,1,1", "row 6 has more cells than the header"),
    ],
)
def test_a_bad_cell_is_named_with_file_and_row(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "images.csv"
    TABLE.write(path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RunError, match=r"images\.csv") as error:
        ImageTable.read(path)
    assert says in str(error.value)
    assert says in load_run(tmp_path).missing["images.csv"]


def test_pictures_are_read_as_they_were_written(tmp_path: Path) -> None:
    ids = np.arange(9, dtype=np.int32).reshape(3, 3) % 3
    fates = Fates(np.array([0, 3], np.int8), np.array([True, False]))
    pictures = [
        FatePicture(
            name, "stained", "worst", 0.5, np.full((3, 3, 3), 7, np.uint8), ids, ids[::-1], fates
        )
        for name in ("a", "b")
    ]
    write_fates(tmp_path / "fates.npz", pictures)
    first, second = read_fates(tmp_path / "fates.npz")
    assert (first.id, second.id, second.role, second.ap50) == ("a", "b", "worst", 0.5)
    np.testing.assert_array_equal(second.prediction, ids[::-1])
    assert second.fates.counts() == fates.counts()
    write_fates(tmp_path / "fates.npz", [])
    assert read_fates(tmp_path / "fates.npz") == []
