"""Every kind of label is read as a viewer shows it, or refused with what to do."""

from __future__ import annotations

import io
import json
import logging
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.image_kinds import deepen, with_alpha, write_png
from PIL import Image

from nasseg.config import DataConfig
from nasseg.data import load_arrays, load_data, read
from nasseg.data.problems import Problems
from nasseg.data.sources.class_base import number_names
from nasseg.data.sources.find import open_source
from nasseg.data.sources.semantic import read_classes
from nasseg.errors import DataError

SIDE = 48


def ids() -> np.ndarray:
    """Numbers of three nuclei (H, W); 0 = background."""
    y, x = np.mgrid[:SIDE, :SIDE]
    found = np.zeros((SIDE, SIDE), np.uint8)
    for number, (cy, cx, radius) in enumerate([(12, 12, 7), (12, 25, 6), (34, 30, 9)], 1):
        found[((y - cy) ** 2 + (x - cx) ** 2 < radius**2) & (found == 0)] = number
    return found


def mask() -> np.ndarray:
    """The same as foreground."""
    return ids() > 0


def save(path: Path, values: np.ndarray, palette: list[int] | None = None, **options: object):
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette + [0] * (768 - len(palette)))
    image.save(path, **options)
    return path


def same_parts(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two labels have the same instances, whatever their numbers."""
    pairs = set(zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True))
    count = len(np.unique(expected))
    return len(pairs) == count == len(np.unique(found)) and ((found > 0) == (expected > 0)).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "i4", "f4", "f8"])
def test_ids_of_every_type(tmp_path: Path, kind: str, order: str) -> None:
    for factor in (1, 30, 60):
        values = (ids().astype(kind) * np.dtype(kind).type(factor)).astype(kind)
        tifffile.imwrite(tmp_path / "l.tif", values, byteorder=order, compression="lzw")
        found, what = read.read_ids(tmp_path / "l.tif")
        assert what == "instances"
        assert same_parts(found, ids())


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("indexed", [False, True])
def test_png_ids_of_every_depth(tmp_path: Path, bits: int, indexed: bool) -> None:
    if indexed and bits == 16:
        return
    expected = mask().astype(np.uint8) if bits == 1 else ids()
    palette = np.array([[0, 0, 0], [9, 200, 0], [255, 0, 0], [0, 80, 255]], np.uint8)
    chunks = [(b"PLTE", palette[: 2**bits].tobytes())] if indexed else []
    write_png(tmp_path / "l.png", expected, bits, 3 if indexed else 0, *chunks)
    found, _ = read.read_ids(tmp_path / "l.png")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(read_classes(tmp_path / "l.png", allowed=4)[0], expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_colours_are_instances(tmp_path: Path, suffix: str) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [255, 255, 0], [9, 0, 200]], np.uint8)
    found, what = read.read_ids(save(tmp_path / f"l.{suffix}", colours[ids()]))
    assert what == "instances"
    assert same_parts(found, ids())


def test_colours_of_16_bits_are_instances(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [60000, 0, 0], [60000, 900, 0], [9, 0, 60000]], np.uint16)
    write_png(tmp_path / "l.png", colours[ids()], 16, 2)
    assert same_parts(read.read_ids(tmp_path / "l.png")[0], ids())


BACKGROUNDS = {
    "white is foreground": ([255, 255, 255, 0, 0, 0], [1, 0]),
    "black is foreground in no reading": ([0, 0, 0, 255, 255, 255], [0, 1]),
    "red on black, sorted the other way": ([255, 0, 0, 0, 0, 0], [1, 0]),
}


@pytest.mark.parametrize(("palette", "order"), BACKGROUNDS.values(), ids=BACKGROUNDS.keys())
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_palettes_are_read_by_their_colours(
    tmp_path: Path, palette: list[int], order: list[int], suffix: str
) -> None:
    indices = np.array(order, np.uint8)[mask().astype(int)]
    foreground, _ = read.read_label(save(tmp_path / f"l.{suffix}", indices, palette))
    np.testing.assert_array_equal(foreground, mask())


def test_palettes_that_are_not_clear_are_refused(tmp_path: Path) -> None:
    purple = [68, 1, 84, 253, 231, 37, 30, 150, 138, 90, 200, 100]
    with pytest.raises(DataError, match=r"shows index 0 as \(68, 1, 84\)"):
        read.read_ids(save(tmp_path / "l.png", ids(), purple))
    with pytest.raises(DataError, match="both index 0, the background, and index 2 as black"):
        read.read_ids(save(tmp_path / "l.png", ids(), [0, 0, 0, 255, 0, 0]))
    swapped = [255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0]
    with pytest.raises(DataError, match=r"shows index 0 as \(255, 255, 255\)"):
        read_classes(save(tmp_path / "l.png", ids(), swapped), allowed=4)


def test_palettes_of_greys_are_grey_values(tmp_path: Path) -> None:
    # As programs make them that store a grey image in fewer bits: classes 0, 1, 2 and 5.
    path = save(tmp_path / "l.png", ids(), [0, 0, 0, 1, 1, 1, 2, 2, 2, 5, 5, 5])
    expected = np.array([0, 1, 2, 5])[ids()]
    np.testing.assert_array_equal(read_classes(path, allowed=6)[0], expected)
    shown = save(tmp_path / "l.png", ids(), [0, 0, 0, 80, 80, 80, 160, 160, 160, 255, 255, 255])
    with pytest.raises(DataError, match="index 3 as grey level 255"):
        read_classes(shown, allowed=6)
    assert same_parts(read.read_ids(shown)[0], ids())


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("hidden", [0, 255])
def test_transparent_pixels_are_background(tmp_path: Path, hidden: int, kind: str) -> None:
    drawn = np.where(mask()[..., None], (255, 0, 0), hidden).astype(np.uint8)
    opacity = (mask() * 255).astype(np.uint8)
    values = deepen(with_alpha(drawn, opacity), kind)
    for path, write in (
        (tmp_path / "l.png", lambda p: write_png(p, values, 8 * int(kind[1]), 6)),
        (tmp_path / "l.tif", lambda p: tifffile.imwrite(p, values, extrasamples=["unassalpha"])),
    ):
        write(path)
        np.testing.assert_array_equal(read.read_label(path)[0], mask())
    key = (b"tRNS", np.array([0], ">u2").tobytes())
    write_png(tmp_path / "k.png", ids(), 8, 0, key)
    np.testing.assert_array_equal(read.read_ids(tmp_path / "k.png")[0], ids())
    write_png(tmp_path / "p.png", ids(), 8, 3, (b"PLTE", bytes([255] * 12)), (b"tRNS", b"\0"))
    np.testing.assert_array_equal(read.read_ids(tmp_path / "p.png")[0], ids())


def test_black_on_transparent_is_refused(tmp_path: Path) -> None:
    values = with_alpha(np.zeros((SIDE, SIDE, 3), np.uint8), (mask() * 255).astype(np.uint8))
    with pytest.raises(DataError, match="black and transparent"):
        read.read_ids(save(tmp_path / "l.png", values))


def test_channels_that_nobody_names_are_refused(tmp_path: Path) -> None:
    values = np.stack([ids(), 9 - ids()], -1)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "l.tif", values, **options)
    with pytest.raises(DataError, match="nothing says that the last is an opacity"):
        read.read_ids(tmp_path / "l.tif")
    with pytest.raises(DataError, match="nothing says that the last is an opacity"):
        read.as_ids(values)


def soft() -> np.ndarray:
    image = Image.fromarray((mask() * 255).astype(np.uint8))
    small = image.resize((SIDE - 9, SIDE - 9), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def jpeg_traces() -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray((mask() * 255).astype(np.uint8)).save(stream, "JPEG", quality=80)
    return np.asarray(Image.open(stream))


SOFT = {
    "resized": soft(),
    "resized, colour": np.stack([soft(), soft() * 0, soft() * 0], -1),
    "resized, 16 bits": soft().astype(np.uint16) * 257,
    "resized, float": soft().astype(np.float32) / 255,
    "traces of JPEG": jpeg_traces(),
    "impure black and white": np.where(mask(), 254, 1).astype(np.uint8),
    "one step": np.where(mask(), 255, np.pad(mask(), 1)[2:, 1:-1] * 128).astype(np.uint8),
}


@pytest.mark.parametrize("values", SOFT.values(), ids=SOFT.keys())
def test_soft_masks_are_masks(values: np.ndarray, tmp_path: Path) -> None:
    found, what = read.as_ids(values)
    assert what == "soft"
    assert (found.astype(bool) == mask()).mean() > 0.97
    tifffile.imwrite(tmp_path / "l.tif", values)
    np.testing.assert_array_equal(read.read_ids(tmp_path / "l.tif")[0], found)


def test_soft_masks_are_warned_of_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        save(tmp_path / f"images/n{index}.png", rng.integers(0, 255, (SIDE, SIDE), np.uint8))
        save(tmp_path / f"labels/n{index}.png", soft())
    with caplog.at_level(logging.WARNING, logger="nasseg.data"):
        data = load_data(DataConfig(path=str(tmp_path), crop=32, val_fraction=0.34))
    assert "labels/n1.png" in caplog.text
    assert {int(image.ids.max()) for image in data.images["train"]} == {3}


def test_a_mask_of_one_nucleus_is_no_other_kind_of_label(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        label = ids() if index else ((ids() == 1) * 255).astype(np.uint8)
        save(tmp_path / f"images/n{index}.png", rng.integers(0, 255, (SIDE, SIDE), np.uint8))
        save(tmp_path / f"labels/n{index}.png", label)
    assert load_data(DataConfig(path=str(tmp_path), image_size=24)).counts["train"] == 3
    save(tmp_path / "labels/n0.png", (mask() * 255).astype(np.uint8))
    with pytest.raises(DataError, match=r"n0.png is binary .*; allowed: all of one kind"):
        load_data(DataConfig(path=str(tmp_path), image_size=24))


def test_blended_ids_are_refused() -> None:
    image = Image.fromarray(ids() * 40).resize((SIDE + 20, SIDE + 20), Image.Resampling.BILINEAR)
    with pytest.raises(DataError, match="nearest neighbour"):
        read.as_ids(np.asarray(image))


def test_a_thin_border_of_another_class_is_no_blend(tmp_path: Path) -> None:
    numbers = np.zeros((SIDE, SIDE), np.uint8)
    numbers[10:30, 10:30] = 1
    numbers[11:29, 11:29] = 2
    found, _ = read_classes(save(tmp_path / "l.png", numbers), allowed=3)
    np.testing.assert_array_equal(found, numbers)


def test_small_and_touching_nuclei_are_no_soft_edge() -> None:
    points = np.zeros((SIDE, SIDE), np.uint16)
    points[::3, ::3] = np.arange(256).reshape(16, 16)
    assert read.as_ids(points)[1] == "instances"
    tiles = np.kron(np.arange(1, 257).reshape(16, 16), np.ones((3, 3), int)).astype(np.uint16)
    found, what = read.as_ids(tiles)
    assert what == "instances"
    np.testing.assert_array_equal(found, tiles)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(mask(), 2, 1).astype(np.uint8), "holds no 0, which is the background, but 1"),
        (np.where(mask(), ids().astype(int), -1).astype(np.int16), "holds -1"),
    ],
)
def test_labels_without_background_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read.as_ids(values)


def test_white_is_zero_labels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "bits.tif", ~mask(), photometric="miniswhite")
    np.testing.assert_array_equal(read.read_label(tmp_path / "bits.tif")[0], mask())
    tifffile.imwrite(tmp_path / "bytes.tif", ids(), photometric="miniswhite")
    for reader in (read.read_ids, lambda path: read_classes(path, allowed=4)):
        with pytest.raises(DataError, match="WhiteIsZero"):
            reader(tmp_path / "bytes.tif")


def test_jpeg_labels_are_masks_whatever_their_name(tmp_path: Path) -> None:
    path = save(tmp_path / "l.png", (mask() * 255).astype(np.uint8), format="JPEG")
    assert (read.read_label(path)[0] == mask()).mean() > 0.97
    with pytest.raises(DataError, match="JPEG"):
        read_classes(path, allowed=4)
    for values in (ids(), ids() * 80, np.stack([(ids() == k) * 255 for k in (1, 2, 3)], -1)):
        path = save(tmp_path / "l.jpg", values.astype(np.uint8), quality=95)
        with pytest.raises(DataError, match="JPEG"):
            read.read_ids(path)


def test_label_with_the_tag_of_its_image_matches_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    label = ids()[:, :30]
    image = np.repeat((label > 0)[..., None] * np.uint8(200), 3, axis=-1)
    turned = np.ascontiguousarray(np.rot90(image))
    save(tmp_path / "images/a.jpg", turned, exif=exif, quality=100)
    save(tmp_path / "labels/a.png", np.ascontiguousarray(np.rot90(label)), exif=exif)
    save(tmp_path / "images/b.jpg", turned, exif=exif, quality=100)
    save(tmp_path / "labels/b.png", label)
    save(tmp_path / "images/c.jpg", turned, exif=exif, quality=100)
    save(tmp_path / "labels/c.png", np.ascontiguousarray(np.rot90(label)))
    items = {item.id: item for item in open_source(DataConfig(path=str(tmp_path))).items}
    for name in "ab":
        pair = items[name].read(Problems())
        np.testing.assert_array_equal(pair.ids, label)
        assert ((pair.image[..., 0] > 100) == (label > 0)).all()
    problems = Problems()
    assert items["c"].read(problems) is None
    assert "images/c.jpg is turned by its orientation tag" in problems.message("x")


def test_class_numbers_may_be_whole_floats(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "l.tif", ids().astype(np.float32))
    np.testing.assert_array_equal(read_classes(tmp_path / "l.tif", allowed=4)[0], ids())
    tifffile.imwrite(tmp_path / "l.tif", ids() + np.float32(0.5) * mask())
    with pytest.raises(DataError, match=r"holds 1\.5; whole class numbers"):
        read_classes(tmp_path / "l.tif", allowed=4)


def test_a_class_is_one_however_it_is_written() -> None:
    accents = unicodedata.normalize("NFD", "café")
    classes, numbers = number_names(["1", "1.0", "2.0", "café", accents, "2.5", "10"])
    assert classes == ("1", "2.0", "2.5", "10", "café")
    assert numbers.tolist() == [0, 0, 1, 4, 4, 2, 3]
    images = np.zeros((8, 20, 20), np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None]
    config = DataConfig(task="classification", val_fraction=0.25)
    data = load_arrays((images, np.array([0.0, 1.0] * 4)), config)
    assert data.classes == ("0", "1")


def test_system_files_and_marks_and_decomposed_names(tmp_path: Path) -> None:
    for folder in ("images", "labels", "__MACOSX", "@eaDir"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    names = ["zelle_ä", "naïve", "plain"]
    for name in names:
        nfd = unicodedata.normalize("NFD", name)
        save(tmp_path / f"images/{name}.png", rng.integers(0, 255, (SIDE, SIDE), np.uint8))
        save(tmp_path / f"labels/{nfd}.png", ids())
        (tmp_path / f"images/._{name}.png").write_bytes(b"\0\5\x16\7")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / "images" / name).write_bytes(b"x")
    split = json.dumps({"train": [unicodedata.normalize("NFD", n) for n in names[:2]],
                        "val": names[2:]}, ensure_ascii=False)  # fmt: skip
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "splits.json").write_text(split, encoding=encoding)
        data = load_data(DataConfig(path=str(tmp_path), image_size=24))
        assert set(data.train_ids) == set(names[:2])
        (tmp_path / "classes.txt").write_text("background\na\nb\nc\n", encoding=encoding)
        semantic = load_data(DataConfig(path=str(tmp_path), image_size=24, task="semantic"))
        assert semantic.classes == ("background", "a", "b", "c")


def test_what_is_no_file_and_bombs_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(DataError, match="no regular file"):
        read.read_image(tmp_path / "x.png", 3)
    deep = np.zeros((4, 4, 3), np.uint16)
    write_png(tmp_path / "big.png", deep, 16, 2)
    data = bytearray((tmp_path / "big.png").read_bytes())
    data[16:24] = (9000).to_bytes(4, "big") * 2
    (tmp_path / "big.png").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"would decode to|not readable"):
        read.read_image(tmp_path / "big.png", 3)
    tifffile.imwrite(tmp_path / "tile.tif", deep, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "tile.tif", mode="r+b") as file:
        for name in ("TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(60000)
    with pytest.raises(DataError, match="60000 x 60000"):
        read.read_image(tmp_path / "tile.tif", 3)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    tifffile.imwrite(
        tmp_path / "x.tif", noise, photometric="rgb", compression="jpeg", rowsperstrip=16
    )
    write_png(tmp_path / "x.png", noise.astype(np.uint16) * 257, 16, 2)
    for path in (tmp_path / "x.tif", tmp_path / "x.png"):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - 40])
        with pytest.raises(DataError, match="not readable"):
            read.read_image(path, 3)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(DataError, match="not readable: its part b'IDAT' is damaged"):
        read.read_image(path, 3)
