"""Which images a report shows: the best, the median and the worst, and one of every kind."""

from nasseg.records.images import KINDS, ImageRow, ImageTable
from nasseg.runs.images import pick


def table(*rows):
    return ImageTable(
        tuple(
            ImageRow(f"{k}", kind, {"ap50": ap50}, {"matched": nuclei})
            for k, (kind, ap50, nuclei) in enumerate(rows)
        )
    )


def test_best_median_and_worst_and_one_of_every_other_kind():
    light, stained, grey = KINDS
    found = table(
        (light, 0.9, 5),
        (stained, 0.4, 5),
        (light, 0.1, 5),
        (stained, 0.6, 5),
        (light, 0.7, 5),
        (stained, 0.5, 5),
        (light, 0.8, 5),
        (grey, 0.75, 5),
        (light, 0.95, 5),
    )
    assert pick(found) == [(8, "best"), (7, "typical"), (4, "median"), (5, "typical"), (2, "worst")]


def test_of_images_that_score_the_same_the_fullest_are_shown():
    light = KINDS[0]
    found = table((light, 1.0, 2), (light, 1.0, 9), (light, 0.0, 1), (light, 0.0, 7))
    assert [entry for entry in pick(found) if entry[1] != "median"] == [(1, "best"), (3, "worst")]


def test_few_images_are_shown_once_each():
    assert pick(table()) == []
    assert pick(table((KINDS[1], 0.5, 3))) == [(0, "best")]
    assert pick(table((KINDS[1], 0.5, 3), (KINDS[1], 0.2, 3))) == [(0, "best"), (1, "worst")]
