"""Nuclei in the colours of their fates: the right ones, and such as everybody tells apart."""

import itertools

import numpy as np
from skimage.color import rgb2lab

from nasseg.records.fates import FatePicture
from nasseg.records.images import KINDS
from nasseg.report import fates_png
from nasseg.report._fates import COLOURS, DIM, draw_fates, fate_heading, fate_picture, fate_text
from nasseg.tasks.matching import FALSE_POSITIVE, FATES, fates, overlap_table

MACHADO = {
    "all colours": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Linear RGB to what is seen of it (Machado, Oliveira and Fernandes, IEEE TVCG 2009)."""


def example(kind=KINDS[0]):
    label, prediction = np.zeros((2, 40, 40), np.int32)
    label[2:12, 2:12], label[2:12, 20:30], label[20:30, 2:12] = 1, 2, 3
    prediction[2:11, 2:12], prediction[20:30, 20:30] = 1, 2
    image = np.full((40, 40, 3), 3, np.uint8)
    image[label > 0] = 10
    found = fates(overlap_table(prediction, label))
    return FatePicture("x", kind, "worst", 0.25, image, label, prediction, found)


def test_true_nuclei_have_the_colour_of_their_fate_and_false_positives_theirs():
    picture = fate_picture(example())
    assert tuple(picture[2, 5]) == COLOURS["matched"]
    assert tuple(picture[2, 25]) == COLOURS["missed"]
    assert tuple(picture[20, 25]) == COLOURS[FALSE_POSITIVE]
    assert tuple(picture[10, 5]) != COLOURS["matched"]  # of what matches, the true outline is drawn
    assert set(COLOURS) == {*FATES, FALSE_POSITIVE}


def test_dim_fluorescence_is_seen():
    inside, outside = fate_picture(example())[6, 6], fate_picture(example())[38, 38]
    assert int(inside[0]) - int(outside[0]) > 60


def test_texts_count_the_whole_image():
    assert fate_text(example()) == "1 matched, 2 missed, 1 false positive"
    assert fate_heading(example()) == "worst: fluorescence, AP50 0.25"


def test_pictures_are_one_figure_with_the_numbers_of_all_images():
    figure = draw_fates([example(kind) for kind in (*KINDS, *KINDS)], {"missed": 1234})
    assert figure is not None
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "missed (1,234)" in texts
    assert "split (0)" in texts
    assert draw_fates([], {}) is None
    assert fates_png([example()], {}).startswith(b"\x89PNG")


def test_colour_blind_people_tell_the_colours_apart():
    brightest = 255 * DIM
    palette = [*COLOURS.values(), (0, 0, 0), (brightest,) * 3]
    values = np.array(palette) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    for eyes, matrix in MACHADO.items():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1)
        display = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
        colours = rgb2lab(display[None])[0]
        for a, b in itertools.combinations(range(len(palette)), 2):
            assert np.linalg.norm(colours[a] - colours[b]) > 30, (eyes, palette[a], palette[b])
