"""Chips measured on a share of the images: parts, what follows from them, and how far it is off."""

import numpy as np
import pytest
import torch
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    calibrate_input_ranges,
    chip_evaluator,
    convert,
    evaluate_drift,
)
from nasseg.analog.sampled import PARTS_EACH, REFERENCE, Sample, estimate
from nasseg.errors import ConfigError


def batches(count: int = 40, size: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images of two sizes, each with its number as its label."""
    made = []
    for first in range(0, count, size):
        side = 8 if first % 4 else 12
        draws = torch.Generator().manual_seed(first)
        made.append(
            (torch.randn(size, 1, side, side, generator=draws), torch.arange(first, first + size))
        )
    return made


def numbers(part) -> list[int]:
    return [int(n) for _, labels in part for n in labels]


def test_every_image_is_in_one_part_and_parts_are_alike():
    sample = Sample.of(batches(), images=8)
    assert len(sample.parts) == PARTS_EACH * 40 / 8
    assert sorted(n for part in sample.parts for n in numbers(part)) == list(range(40))
    assert set(sample.sizes) == {4}
    large = [sum(x.shape[-1] == 12 for x, y in part for _ in y) for part in sample.parts]
    assert max(large) - min(large) <= 1
    assert max(len(y) for part in sample.parts for _, y in part) <= 2
    shown = {
        n: x
        for part in sample.parts
        for xs, ys in part
        for x, n in zip(xs, ys.tolist(), strict=True)
    }
    for image, label in batches():
        for x, n in zip(image, label.tolist(), strict=True):
            assert torch.equal(shown[n], x)


def test_chips_take_all_parts_equally_often():
    sample = Sample.of(batches(), images=8)
    counts = np.bincount([part for chip in range(25) for part in sample.of_chip(chip)])
    assert counts.sum() == 50
    assert counts.max() - counts.min() <= 1
    assert all(len(set(sample.of_chip(chip))) == PARTS_EACH for chip in range(25))


@pytest.mark.parametrize("images", [0, 40, 39, 1000])
def test_a_sample_of_all_images_is_none(images):
    assert Sample.of(batches(), images) is None


def test_a_single_image_is_refused():
    with pytest.raises(ConfigError, match="images is 1; allowed: 0, or 2 or more"):
        Sample.of(batches(), 1)


def test_batches_of_another_kind_are_kept_together():
    given = [{"pixels": torch.zeros(2, 1, 4, 4)} for _ in range(8)]
    sample = Sample.of(given, images=2)
    assert len(sample.parts) == 8
    assert all(len(part) == 1 and any(part[0] is batch for batch in given) for part in sample.parts)
    named = [(torch.zeros(2, 1, 4, 4), ["a", "b"]), (torch.zeros(2, 1, 4, 4), ["c", "d"])]
    parts = Sample.of(named, images=2).parts
    assert sorted(name for part in parts for _, names in part for name in names) == list("abcd")


def made_up(
    chips: int = 25,
    images: int = 96,
    parts: int = 12,
    own: float = 0.01,
    chance: float = 0.05,
    seed: int = 0,
):
    """Rows of chips and reference, and the score of each chip on all images."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.2, 1.0, images)
    drop = rng.normal(-0.02, 0.02, images)
    true = base + drop + rng.normal(0, own, (chips, 1)) + rng.normal(0, chance, (chips, images))
    part = np.arange(images) % parts
    rows = [
        {"chip": REFERENCE, "time_s": 0.0, "recalibrated": False, "part": p,
         "images": int((part == p).sum()), "score": float(base[part == p].mean())}
        for p in range(parts)
    ]  # fmt: skip
    rows.append({**rows[0], "part": REFERENCE, "images": images, "score": float(base.mean())})
    for chip in range(chips):
        for p in ((2 * chip) % parts, (2 * chip + 1) % parts):
            score = float(true[chip, part == p].mean())
            rows.append({"chip": chip, "time_s": 60.0, "recalibrated": True, "part": p,
                         "images": int((part == p).sum()), "score": score})  # fmt: skip
    return rows, true.mean(axis=1)


def test_the_mean_and_its_error_are_right_and_so_is_the_spread():
    means, stds, errors = [], [], []
    for seed in range(300):
        rows, truth = made_up(seed=seed)
        found = estimate(rows)
        values = np.array([row["score"] for row in found.rows])
        assert len(values) == 25
        means.append(values.mean() - truth.mean())
        stds.append(values.std(ddof=1) - truth.std(ddof=1))
        errors.append(found.errors[60.0, True]["score"])
    assert abs(np.mean(means)) < 0.0005
    # The error is that of an estimate of all chips there are, the truth that of these 25.
    assert np.std(means) == pytest.approx(0.0023, rel=0.15)
    assert np.mean(errors) == pytest.approx(np.sqrt(0.0023**2 + 0.01**2 / 25), rel=0.15)
    assert abs(np.mean(stds)) < 0.002


def test_without_differences_between_chips_the_spread_is_that_of_chance():
    found = [estimate(made_up(own=0.0, seed=seed)[0]).rows for seed in range(100)]
    stds = [np.std([row["score"] for row in rows], ddof=1) for rows in found]
    assert np.mean(stds) == pytest.approx(0.05 / np.sqrt(96), rel=0.5)


def test_few_chips_have_a_mean_too():
    rows, truth = made_up(chips=3, chance=0.0, own=0.0)
    found = estimate(rows)
    assert np.mean([row["score"] for row in found.rows]) == pytest.approx(truth.mean(), abs=0.01)
    assert 0 < found.errors[60.0, True]["score"] < 0.02
    alone = estimate(made_up(chips=1)[0])
    assert len(alone.rows) == 1
    assert alone.errors[60.0, True]["score"] > 0


def test_undefined_scores_are_left_out():
    rows, _ = made_up()
    for row in rows:
        row["nowhere"] = float("nan")
        row["sometimes"] = row["score"] if row["part"] != 3 else float("nan")
    found = estimate(rows)
    assert all(np.isnan(row["nowhere"]) for row in found.rows)
    assert all(np.isfinite(row["sometimes"]) for row in found.rows)


@pytest.fixture
def analog() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)
    )
    converted, _ = convert(net, AnalogSpec.preset("pcm", out_noise=0.01), example=batches()[0][0])
    calibrate_input_ranges(converted, batches())
    return converted


def mean_output(net: nn.Module, loader) -> float:
    return float(np.mean([float(net(x).abs().mean()) for xs, _ in loader for x in xs[:, None]]))


def test_a_network_on_chips_scores_as_on_all_images(analog):
    args = {"times": (60.0, 86_400.0), "chips": 20, "recalibrate_with": batches(), "seed": 1}
    exact = evaluate_drift(analog, batches(), mean_output, **args)
    found = evaluate_drift(analog, batches(), mean_output, images=8, **args)
    assert list(found.columns) == list(exact.columns)
    assert len(found) == len(exact)
    assert "errors" not in exact.attrs
    for state, errors in found.attrs["errors"].items():
        time_s, recalibrated = state
        mean, truth = (
            table[(table.time_s == time_s) & (table.recalibrated == recalibrated)].value.mean()
            for table in (found, exact)
        )
        assert mean == pytest.approx(truth, abs=4 * errors["value"] + 1e-9)
        assert errors["value"] < 0.1 * truth
    again = evaluate_drift(analog, batches(), mean_output, images=8, **args)
    assert again.equals(found)


def test_rows_of_parts_depend_on_the_chip_alone(analog):
    args = {"times": (60.0,), "images": 8, "seed": 1}
    with chip_evaluator(analog, batches(), mean_output, **args) as evaluate:
        rows = {chip: evaluate(chip) for chip in (2, REFERENCE, 0)}
    with chip_evaluator(analog, batches(), mean_output, **args) as evaluate:
        assert rows == {chip: evaluate(chip) for chip in (REFERENCE, 0, 2)}
    assert [row["part"] for row in rows[2]] == [4, 5]
    *parts, whole = rows[REFERENCE]
    assert [row["part"] for row in parts] == list(range(10))
    assert whole["part"] == REFERENCE
    # Without noise all images are the sum of their parts.
    assert np.mean([row["value"] for row in parts]) == pytest.approx(whole["value"], rel=1e-5)
