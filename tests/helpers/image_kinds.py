"""Files of every kind of image and label, written from values that are known."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 24, 32
Write = Callable[[Path], object]
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class Kind:
    """A file, and what a viewer shows of it."""

    name: str
    suffix: str
    write: Write
    shown: np.ndarray | str
    """uint8 (H, W) or (H, W, 3); or a part of the message that refuses it."""
    tolerance: int = 0


def grey() -> np.ndarray:
    """Levels 0 to 255 without any symmetry; rows of black and white, so that the percentiles from
    which deeper values are stretched are the extremes."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = ((y * 5 + x * 3) % 200 + 20).astype(np.uint8)
    image[:2], image[-2:] = 0, 255
    image[4:9, 3:6] = 250
    return image


def colour() -> np.ndarray:
    """RGB with a different pattern in each channel."""
    image = np.stack([grey(), grey()[:, ::-1], 255 - grey()], axis=-1)
    return np.ascontiguousarray(image)


def write_png(
    path: Path, values: np.ndarray, bits: int, kind: int, *chunks: tuple[bytes, bytes]
) -> None:
    """Write a PNG of a bit depth and a colour type, with further chunks before the pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = values.shape[:2]
    rows = b""
    for row in values.reshape(height, -1).astype(np.uint16):
        if bits == 16:
            data = row.astype(">u2").tobytes()
        elif bits == 8:
            data = row.astype(np.uint8).tobytes()
        else:
            text = "".join(format(int(value), f"0{bits}b") for value in row)
            data = np.packbits(np.array([int(c) for c in text], dtype=np.uint8)).tobytes()
        rows += b"\0" + data
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(*more) for more in chunks)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _png(values: np.ndarray, bits: int, kind: int, *chunks: tuple[bytes, bytes]) -> Write:
    return lambda path: write_png(path, values, bits, kind, *chunks)


def _tiff(values: np.ndarray, **options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, values, metadata=None, **options)


def _pillow(image: Image.Image, **options: Any) -> Write:
    return lambda path: image.save(path, **options)


def _packed_tiff(
    values: np.ndarray, bits: int, photometric: int | None, colormap: np.ndarray | None = None
) -> Write:
    """A little-endian TIFF (H, W) of any number of bits a value, of one strip, uncompressed."""

    def write(path: Path) -> None:
        height, width = values.shape
        data = b""
        for row in values:
            text = "".join(format(int(value), f"0{bits}b") for value in row)
            data += np.packbits(np.array([int(c) for c in text], dtype=np.uint8)).tobytes()
        data += b"\0" * (len(data) % 2)
        fields = [(256, width), (257, height), (258, bits), (259, 1), (273, 8), (277, 1),
                  (278, height), (279, len(data))]  # fmt: skip
        if photometric is not None:
            fields.append((262, photometric))
        entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields)]
        if colormap is not None:
            behind = 8 + len(data) + 2 + 12 * (len(entries) + 1) + 4
            entries.append(struct.pack("<HHII", 320, 3, len(colormap), behind))
        tail = b"" if colormap is None else colormap.astype("<u2").tobytes()
        head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
        path.write_bytes(
            head + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4 + tail
        )

    return write


def with_alpha(values: np.ndarray, alpha: np.ndarray | int) -> np.ndarray:
    """Append an opacity, of 8 bits if ``values`` are."""
    values = values if values.ndim == 3 else values[..., None]
    plane = np.broadcast_to(np.asarray(alpha), values.shape[:2])[..., None]
    return np.concatenate([values, plane.astype(values.dtype)], axis=-1)


def deepen(values: np.ndarray, kind: str) -> np.ndarray:
    """The same levels over the whole range of another type."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return (values / 255).astype(dtype)
    span = np.iinfo(dtype)
    scaled = values.astype(np.float64) / 255 * (float(span.max) - float(span.min)) + float(span.min)
    return np.clip(scaled, float(span.min), float(span.max)).astype(dtype)


TRANSPARENT = "partly transparent"
UNNAMED = "nothing says that the last is an opacity"


def png_kinds() -> Iterator[Kind]:
    """PNG: every colour type at every depth that it has."""
    g, c = grey(), colour()
    for bits in (1, 2, 4):
        top = 2**bits - 1
        raw = np.rint(g / 255 * top).astype(np.uint8)
        yield Kind(f"grey{bits}", "png", _png(raw, bits, 0), raw * (255 // top))
        greys = np.repeat(np.arange(top + 1)[::-1] * (255 // top), 3).astype(np.uint8)
        yield Kind(
            f"palette{bits}", "png", _png(raw, bits, 3, (b"PLTE", greys.tobytes())),
            (top - raw) * (255 // top),
        )  # fmt: skip
    table = np.stack([np.arange(256)[::-1], np.arange(256), np.full(256, 7)], -1).astype(np.uint8)
    plte = (b"PLTE", table.tobytes())
    yield Kind("palette8", "png", _png(g, 8, 3, plte), table[g])
    yield Kind("palette_opaque", "png", _png(g, 8, 3, plte, (b"tRNS", b"\xff" * 256)), table[g])
    yield Kind("palette_clear", "png", _png(g, 8, 3, plte, (b"tRNS", b"\0")), TRANSPARENT)
    for bits, factor in ((8, 1), (16, 257)):
        deep = {0: g.astype(np.uint16) * factor, 2: c.astype(np.uint16) * factor}
        half = (2**bits - 1) // 2
        for kind, values, shown in ((0, deep[0], g), (2, deep[2], c)):
            name = {0: "grey", 2: "rgb"}[kind]
            yield Kind(f"{name}{bits}", "png", _png(values, bits, kind), shown)
            opaque, clear = (with_alpha(values, a) for a in (2**bits - 1, half))
            yield Kind(f"{name}a{bits}", "png", _png(opaque, bits, kind + 4), shown)
            yield Kind(f"{name}a{bits}_half", "png", _png(clear, bits, kind + 4), TRANSPARENT)
            key = (b"tRNS", np.atleast_1d(values[5, 4]).astype(">u2").tobytes())
            yield Kind(f"{name}{bits}_key", "png", _png(values, bits, kind, key), TRANSPARENT)
    dim = c.astype(np.uint16)  # 8 of 16 bits: a fixed division would leave black
    yield Kind("rgb16_dim", "png", _png(dim, 16, 2), c)
    frames = [Image.fromarray(g), Image.fromarray(255 - g)]
    yield Kind("animated", "png", _pillow(frames[0], save_all=True, append_images=frames[1:]),
               "animated")  # fmt: skip


def tiff_kinds() -> Iterator[Kind]:
    """TIFF: sample types, byte orders, compressions, photometric interpretations, planes."""
    g, c = grey(), colour()
    for order in "<>":
        side = {"<": "little", ">": "big"}[order]
        for dtype in ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"):
            for shown, photometric in ((g, "minisblack"), (c, "rgb")):
                yield Kind(
                    f"{photometric}_{dtype}_{side}", "tif",
                    _tiff(deepen(shown, dtype), byteorder=order, photometric=photometric), shown, 1,
                )  # fmt: skip
    for compression in ("lzw", "zlib", "packbits", "lzma", "zstd", "lerc", "png", "jpeg2000"):
        yield Kind(compression, "tif", _tiff(c, photometric="rgb", compression=compression), c)
    for dtype in ("u1", "u2", "f4"):
        options: dict[str, Any] = {"compression": "lzw", "predictor": True}
        values = deepen(c, dtype)
        yield Kind(f"lzw_predictor_{dtype}", "tif", _tiff(values, photometric="rgb", **options), c)
        options = {"photometric": "rgb", "planarconfig": "separate", "compression": "lzw"}
        yield Kind(f"planes_{dtype}", "tif", _tiff(np.moveaxis(values, -1, 0), **options), c)
    bits = g > 127
    yield Kind("bits1", "tif", _tiff(bits, photometric="minisblack"), bits * np.uint8(255))
    yield Kind("bits1_white", "tif", _tiff(bits, photometric="miniswhite"), ~bits * np.uint8(255))
    for depth in (2, 4):
        top = 2**depth - 1
        raw = np.rint(g / 255 * top).astype(np.uint8)
        shown = raw * (255 // top)
        yield Kind(f"bits{depth}", "tif", _packed_tiff(raw, depth, 1), shown)
        yield Kind(f"bits{depth}_white", "tif", _packed_tiff(raw, depth, 0), 255 - shown)
        greys = np.tile(np.arange(top + 1)[::-1] * (65535 // top), 3)
        yield Kind(f"palette{depth}", "tif", _packed_tiff(raw, depth, 3, greys), 255 - shown)
    deep = np.rint(g / 255 * 4095).astype(np.uint16)
    yield Kind("bits12", "tif", _packed_tiff(deep, 12, 1), g, 1)
    yield Kind("no_photometric", "tif", _packed_tiff(g, 8, None), g)
    for compression in ("group3", "group4"):
        yield Kind(compression, "tif", _pillow(Image.fromarray(bits), compression=compression),
                   bits * np.uint8(255))  # fmt: skip
    for dtype in ("u1", "u2", "u4", "f4"):
        yield Kind(f"white_is_zero_{dtype}", "tif",
                   _tiff(deepen(g, dtype), photometric="miniswhite"), 255 - g, 1)  # fmt: skip
    table = np.stack([np.arange(256)[::-1], np.arange(256), np.full(256, 7)]).astype(np.uint16)
    yield Kind("palette", "tif", _tiff(g, photometric="palette", colormap=table * 257),
               table.T.astype(np.uint8)[g])  # fmt: skip
    cmyk = np.concatenate([255 - c, np.zeros_like(c[..., :1])], axis=-1)
    yield Kind("cmyk8", "tif", _tiff(cmyk, photometric="separated"), c)
    yield Kind("cmyk16", "tif", _tiff(cmyk.astype(np.uint16) * 257, photometric="separated"), c)
    flat = np.full((HEIGHT, WIDTH, 3), (200, 90, 40), np.uint8)
    for name, write in {
        "tifffile": _tiff(flat, photometric="rgb", compression="jpeg"),
        "libtiff": _pillow(Image.fromarray(flat), compression="jpeg"),
    }.items():
        yield Kind(f"jpeg_{name}", "tif", write, flat, 6)
    yield Kind("ycbcr", "tif", _pillow(Image.fromarray(c).convert("YCbCr")), "YCBCR")
    yield Kind("lab", "tif", _pillow(Image.fromarray(c).convert("LAB")), "CIELAB")
    for dtype in ("u1", "u2", "f4"):
        for values, name in ((g, "minisblack"), (c, "rgb")):
            deep = deepen(values, dtype)
            top, half = deepen(np.array([255, 128], np.uint8), dtype)
            for extra in ("unassalpha", "assocalpha"):
                options = {"photometric": name, "planarconfig": "contig", "extrasamples": [extra]}
                yield Kind(f"{name}_{extra}_{dtype}", "tif",
                           _tiff(with_alpha(deep, top), **options), values, 1)  # fmt: skip
                yield Kind(f"{name}_{extra}_{dtype}_half", "tif",
                           _tiff(with_alpha(deep, half), **options), TRANSPARENT)  # fmt: skip
            options["extrasamples"] = ["unspecified"]
            other = with_alpha(deep, deepen(g[::-1], dtype))
            yield Kind(f"{name}_unspecified_{dtype}", "tif", _tiff(other, **options), UNNAMED)
    many = np.stack([g] * 6, -1)
    yield Kind("six", "tif", _tiff(many, photometric="minisblack", planarconfig="contig"),
               "6 channels")  # fmt: skip
    yield Kind("pages", "tif", _tiff(np.stack([g] * 3), photometric="minisblack"), "3 pages")
    yield Kind("imagej_stack", "tif",
               lambda path: tifffile.imwrite(path, np.stack([g] * 5), imagej=True),
               "5 p")  # fmt: skip
    yield Kind("volume", "tif", _tiff(np.stack([g] * 16), photometric="minisblack", volumetric=True,
                                      tile=(16, 16, 16)), "planes")  # fmt: skip
    yield Kind("tiles", "tif", _tiff(c, photometric="rgb", tile=(16, 16)), c)
    yield Kind("big", "tif", lambda path: tifffile.imwrite(path, c, bigtiff=True), c)
    yield Kind("pyramid", "tif", _write_pyramid, c)
    yield Kind("complex", "tif", _tiff(g.astype(np.complex64)), "complex64")
    hole = deepen(g, "f4")
    hole[3, 3] = np.nan
    yield Kind("nan", "tif", _tiff(hole), "not finite")


def _write_pyramid(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(colour(), photometric="rgb", metadata=None)
        half = np.ascontiguousarray(colour()[::2, ::2])
        file.write(half, photometric="rgb", subfiletype=1, metadata=None)


def other_kinds() -> Iterator[Kind]:
    """JPEG and BMP, and files of other formats under their names."""
    g, c = grey(), colour()
    flat = np.full((HEIGHT, WIDTH, 3), (200, 90, 40), np.uint8)
    smooth = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8) * 3
    exact = {"quality": 100, "subsampling": 0}
    yield Kind("grey", "jpg", _pillow(Image.fromarray(smooth), **exact), smooth, 3)
    yield Kind("rgb", "jpg", _pillow(Image.fromarray(flat), **exact), flat, 4)
    yield Kind("progressive", "jpg", _pillow(Image.fromarray(flat), progressive=True), flat, 6)
    yield Kind("cmyk", "jpg", _pillow(Image.fromarray(flat).convert("CMYK"), **exact), flat, 6)
    yield Kind("png_name", "png", _pillow(Image.fromarray(flat), format="JPEG"), flat, 6)
    bits = g > 127
    yield Kind("bits1", "bmp", _pillow(Image.fromarray(bits)), bits * np.uint8(255))
    yield Kind("grey8", "bmp", _pillow(Image.fromarray(g)), g)
    yield Kind("rgb24", "bmp", _pillow(Image.fromarray(c)), c)
    table = np.stack([np.arange(256)[::-1], np.arange(256), np.full(256, 7)], -1).astype(np.uint8)
    paletted = Image.fromarray(g).convert("L")
    paletted.putpalette(table.tobytes())
    yield Kind("palette", "bmp", _pillow(paletted), table[g])
    rgba = Image.fromarray(with_alpha(c, 255))
    yield Kind("rgba", "bmp", _pillow(rgba), c)
    yield Kind("tiff_name", "png", _pillow(Image.fromarray(c), format="TIFF"), c)
    for name in ("GIF", "WEBP", "EPS", "PPM"):
        message = "PNG, TIFF, JPEG or BMP is allowed"
        yield Kind(name.lower(), "png", _pillow(Image.fromarray(c), format=name), message)
    yield Kind("empty", "png", lambda path: path.write_bytes(b""), "the file is empty")
    yield Kind("apple", "png", lambda path: path.write_bytes(b"\0\5\x16\7" * 9), "of macOS")


def oriented_kinds() -> Iterator[Kind]:
    """Every orientation in EXIF of JPEG and PNG, and in the tag of TIFF."""
    c = colour()
    flat = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    flat[: HEIGHT // 2, : WIDTH // 4] = 220  # a corner, not square
    stored: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: np.transpose(a, (1, 0, 2)),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.transpose(a[::-1, ::-1], (1, 0, 2)),
        8: lambda a: np.rot90(a, -1),
    }
    for tag, turn in stored.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        lossy = Image.fromarray(np.ascontiguousarray(turn(flat)))
        options = {"quality": 100, "subsampling": 0, "exif": exif}
        yield Kind(f"orientation{tag}", "jpg", _pillow(lossy, **options), flat, 8)
        exact = np.ascontiguousarray(turn(c))
        yield Kind(f"orientation{tag}", "png", _pillow(Image.fromarray(exact), exif=exif), c)
        tags = [(274, "H", 1, tag, True)]
        yield Kind(f"orientation{tag}", "tif",
                   _tiff(exact, photometric="rgb", extratags=tags), c)  # fmt: skip
        deep = exact.astype(np.uint16) * 257
        chunk = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        yield Kind(f"orientation{tag}_16", "png", _png(deep, 16, 2, chunk), c)


KINDS = [*png_kinds(), *tiff_kinds(), *other_kinds(), *oriented_kinds()]
