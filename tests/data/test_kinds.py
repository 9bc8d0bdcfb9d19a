"""Fluorescence, stained and grey bright-field images are told apart by their pixels."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasseg.data.pixels.kinds import image_kind

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def picture(ground, nuclei, share=0.3):
    """An image (64, 64, C) of nuclei over a share of a ground."""
    pixels = np.empty((64, 64, len(ground)), np.uint8)
    pixels[:] = ground
    pixels[: round(64 * share)] = nuclei
    return pixels


@pytest.mark.parametrize(
    ("ground", "nuclei", "kind"),
    [
        ((8, 8, 8), (90, 90, 90), "fluorescence"),
        ((0, 0, 0), (20, 30, 255), "fluorescence"),  # DAPI in its own colour
        ((0, 40, 10), (60, 250, 90), "fluorescence"),
        ((10,), (200,), "fluorescence"),
        ((8, 8, 8, 255), (90, 90, 90, 255), "fluorescence"),
        ((240, 225, 235), (110, 60, 140), "stained"),
        ((150, 90, 160), (70, 20, 110), "stained"),
        ((240, 225, 235, 255), (110, 60, 140, 255), "stained"),
        ((210, 210, 210), (120, 120, 120), "grey bright field"),
        ((210, 210, 210, 0), (120, 120, 120, 0), "grey bright field"),
        ((210,), (120,), "grey bright field"),
    ],
)
def test_the_kind_of_an_image(ground, nuclei, kind):
    assert image_kind(picture(ground, nuclei)) == kind


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 2), np.uint8), np.zeros((8, 8, 3), np.float32)],
)
def test_what_is_no_image_of_bytes_is_refused(pixels):
    with pytest.raises(ValueError, match="uint8"):
        image_kind(pixels)


def test_real_images_are_of_the_kinds_that_they_were_taken_as():
    folder = SHARED / "dsb2018"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    splits = json.loads((folder / "splits.json").read_text())
    kinds = Counter()
    for name in splits["val"]:
        with Image.open(folder / "images" / f"{Path(name).stem}.png") as image:
            kinds[image_kind(np.asarray(image.convert("RGB")))] += 1
    assert kinds == {"fluorescence": 80, "stained": 16, "grey bright field": 2}
