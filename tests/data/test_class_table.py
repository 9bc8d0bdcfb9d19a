"""Classified images that a table lists."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from helpers.class_images import REAL, load, refusal, write, write_csv

from nasseg.data.sources.class_table import list_csv_images
from nasseg.errors import DataError


def test_csv_as_of_kaggle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(12):
        write(tmp_path / f"fold_{index % 2}" / "all" / f"{index}.bmp", index)
    rows = [[f"p{i // 4}", f"{i}.bmp", str(i % 2)] for i in range(12)]
    path = write_csv(tmp_path / "labels.csv", [["Patient_ID", "new_names", "labels"], *rows])
    data = load(path, group_column="Patient_ID")
    assert data.classes == ("0", "1")
    patients = {side: {int(name[:-4]) // 4 for name in ids} for side, ids in data.ids.items()}
    assert not patients["train"] & patients["val"]
    files, ids = list_csv_images(path)
    assert ids == [f"{i}.bmp" for i in range(12)]
    assert files[3] == tmp_path / "fold_1/all/3.bmp"


def test_csv_columns_by_name_and_its_split(tmp_path: Path) -> None:
    for index in range(8):
        write(tmp_path / "pictures" / f"{index:03d}.png", index)
    sides = ["train", "train", "Training", "train", "valid", "val", "test", "test"]
    rows = [[f"{i:03d}", "xy"[i % 2], "uv"[i % 2], sides[i]] for i in range(8)]
    path = write_csv(tmp_path / "t.csv", [["code", "kind", "Label", "Split"], *rows])
    data = load(path, path_column="code", label_column="kind")
    assert data.classes == ("x", "y")
    assert data.ids == {
        "train": ("000", "001", "002", "003"),
        "val": ("004", "005"),
        "test": ("006", "007"),
    }
    assert load(path, path_column="code").classes == ("u", "v")
    message = refusal(path)
    assert "columns code, kind, Label, Split" in message
    assert "--data.path_column" in message
    assert "data.label_column is 'sort'" in refusal(path, path_column="code", label_column="sort")


def test_semicolons_byte_order_marks_and_files_of_one_name(tmp_path: Path) -> None:
    for folder_ in ("a", "b"):
        for index in range(4):
            write(tmp_path / folder_ / f"{index}.png", index + 10 * (folder_ == "b"))
    text = "\ufeffimage;class\r\n" + "".join(f"{f}/{i};{f}\r\n" for f in "ab" for i in range(4))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert load(tmp_path / "t.csv").classes == ("a", "b")
    write_csv(tmp_path / "t.csv", [["image"], ["0"]])
    with pytest.raises(DataError, match=r"several files of one name.*\n.*a/0\.png, b/0\.png"):
        list_csv_images(tmp_path / "t.csv")


def test_index_with_images_leaves_out_what_cannot_be_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(9):
        write(tmp_path / "images" / f"{index:03d}.png", index)
        write(tmp_path / "labels" / f"{index:03d}.png", index)  # of pixels: not looked at
    rows = [[f"{i:03d}", 20, "rare" if i == 8 else "xy"[i % 2]] for i in range(9)]
    write_csv(tmp_path / "index.csv", [["id", "width", "class_name"], *rows])
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        data = load(tmp_path)
    assert data.classes == ("x", "y")
    assert "008" not in data.train_ids + data.val_ids
    assert "class 'rare' has only 1 image" in caplog.text


def test_bad_tables_name_lines_and_values(tmp_path: Path) -> None:
    for index in range(6):
        write(tmp_path / f"{index}.png", index)
    (tmp_path / "5.png").write_bytes(b"no picture")
    rows = [
        ["0", "a", "train"],
        ["1", "", "train"],
        ["2", "nan", "train"],
        ["9", "a", "train"],
        ["", "a", "train"],
        ["3", "b", "holdout"],
        ["0.png", "a", "train"],
        ["5", "b", "val"],
    ]
    path = write_csv(tmp_path / "t.csv", [["file", "label", "split"], *rows])
    message = refusal(path)
    for part in (
        "line 3 ('1'): column 'label' is ''",
        "line 4 ('2'): column 'label' is 'nan'",
        "line 5 ('9'): no such file",
        "line 6: column 'file' is ''",
        "line 7 ('3'): column 'split' is 'holdout'; train, val or test is allowed",
        "line 8 ('0.png') is that of line 2",
        "5: not readable",
    ):
        assert part in message
    strange = ["/", "..", "x" * 3000, "a\0b", "other/0.png", "http://x.org/1"]
    write_csv(path, [["file", "label"], *([name, "a"] for name in strange)])
    assert "image missing (6)" in refusal(path)
    path.write_text("file,label\n0,a,b\n1,a\n")
    assert "line 2 has 3 values for 2 columns" in refusal(path)
    path.write_text("file,label\n")
    assert "has no rows" in refusal(path)
    path.write_text("file,label,file\n0,a,b\n")
    assert "column twice" in refusal(path)
    path.write_bytes(b"\xff\xfe\x00\x81")
    assert "not readable as a CSV table" in refusal(path)
    write_csv(path, [["file", "label"], ["0", "a"]])
    assert "data.group_column is 'patient'" in refusal(path, group_column="patient")


@pytest.mark.skipif(not (REAL / "wbc").is_dir(), reason="the white blood cells are not there")
def test_real_white_blood_cells(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="nasseg.data"):
        data = load(REAL / "wbc", size=16, folds=5)
    assert data.classes == ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
    assert "class 'basophil' has only 1 image" in caplog.text
    side = {name: side for side, ids in data.ids.items() for name in ids}
    assert side["112"] == side["139"]
    pixels_ = load(REAL / "wbc", "semantic", 16)
    assert pixels_.classes == ("background", "class1", "class2")


def test_a_table_reads_nothing_outside_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "private" / "x.png", 0)
    outside = (tmp_path / "private" / "x.png").resolve()
    for value in (str(outside), "../private/x.png"):
        table = write_csv(tmp_path / "set" / "t.csv", [["path", "label"], [value, "a"]])
        assert "no such file at or below" in refusal(table)


def test_a_class_may_be_called_none_and_a_set_be_no_split(tmp_path: Path) -> None:
    rows: list[list[object]] = [["path", "label", "set"]]
    for k in range(8):
        write(tmp_path / f"{k}.png", k)
        rows.append([f"{k}.png", "None" if k % 2 else "Mild", "aptos"])
    assert load(write_csv(tmp_path / "t.csv", rows)).classes == ("Mild", "None")


def test_columns_without_a_table_are_refused(folder: Path) -> None:
    assert "no table with columns" in refusal(folder, group_column="patient")
