"""Every chip is programmed anew, time matters, and measuring leaves no trace."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    calibrate_input_ranges,
    convert,
    evaluate_chip,
    evaluate_drift,
    recalibrate_batch_norms,
    summarise_drift,
)
from nasseg.analog.chips import all_tiles, drift_chip, preserved_weights, program_chip
from nasseg.analog.state import load_tensors, named_tensors
from nasseg.errors import ConfigError, ConversionError, RunError

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(3))
LOADER = [(X, X)]


@pytest.fixture
def analog() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)
    )
    converted, _ = convert(net, AnalogSpec.preset("pcm", out_noise=0.01), example=X)
    calibrate_input_ranges(converted, LOADER)
    return converted


def mean_output(net: nn.Module, loader) -> float:
    assert not net.training
    return float(torch.cat([net(x) for x, _ in loader]).double().mean())


def test_table_has_a_row_for_every_chip_time_and_state(analog):
    table = evaluate_drift(analog, LOADER, mean_output, times=(1.0, 60.0), chips=3)
    assert list(table.columns) == ["chip", "time_s", "recalibrated", "value"]
    assert len(table) == 6
    both = evaluate_drift(
        analog, LOADER, mean_output, times=(1.0, 60.0), chips=3, recalibrate_with=LOADER
    )
    assert len(both) == 12
    plain = both[~both.recalibrated].reset_index(drop=True)
    assert np.array_equal(plain.value, table.value)


def test_every_chip_has_programming_noise_of_its_own(analog):
    with preserved_weights(analog):
        weights = []
        for chip in (0, 1, 0):
            program_chip(analog, seed=0, chip=chip)
            weights.append(all_tiles(analog)[0].tile.weight.detach().clone())
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_programming_starts_from_the_target_weights_every_time(analog):
    """Noise must not pile up from chip to chip, nor from time to time."""
    target = all_tiles(analog)[0].tile.weight.detach().clone()
    with preserved_weights(analog):
        for chip in range(40):
            program_chip(analog, seed=0, chip=chip)
            drift_chip(analog, 1.0, seed=0, chip=chip)
        off = (all_tiles(analog)[0].tile.weight - target).abs().mean()
    assert float(off) < 0.05
    assert torch.equal(all_tiles(analog)[0].tile.weight, target)


def test_conductances_fall_with_time(analog):
    with preserved_weights(analog):
        program_chip(analog, seed=0, chip=0)
        sizes = []
        for time_s in (1.0, 86_400.0, 31_536_000.0):
            drift_chip(analog, time_s, seed=0, chip=0)
            sizes.append(float(all_tiles(analog)[0].tile.weight.abs().mean()))
    assert sizes[0] > sizes[1] > sizes[2]


def test_same_seed_same_table_whatever_the_order_of_chips(analog):
    args = {"times": (1.0, 3600.0), "recalibrate_with": LOADER, "seed": 4}
    table = evaluate_drift(analog, LOADER, mean_output, chips=3, **args)
    alone = pd.DataFrame(evaluate_chip(analog, LOADER, mean_output, chip=2, **args))
    pd.testing.assert_frame_equal(table[table.chip == 2].reset_index(drop=True), alone)
    other = evaluate_drift(analog, LOADER, mean_output, chips=3, **{**args, "seed": 5})
    assert not np.array_equal(table.value, other.value)


def test_measuring_leaves_network_statistics_and_random_state_as_they_were(analog):
    analog.train()
    before = {name: t.clone() for name, t in named_tensors(analog).items()}
    noise = dict(analog[0].noise.state_dict().items())
    rng = torch.random.get_rng_state()
    evaluate_drift(analog, LOADER, mean_output, chips=2, recalibrate_with=LOADER)
    assert analog.training
    after = named_tensors(analog)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.random.get_rng_state(), rng)
    restored = analog[0].noise.state_dict()
    assert all(torch.equal(torch.as_tensor(noise[k]), torch.as_tensor(restored[k])) for k in noise)


def test_weights_changed_by_training_are_what_is_programmed_next(analog):
    """AIHWKit keeps the reference of the first programming; measuring must not."""
    evaluate_drift(analog, LOADER, mean_output, times=(1.0,), chips=1)
    with torch.no_grad():
        for tile in all_tiles(analog):
            tile.tile.weight.zero_()
    with preserved_weights(analog):
        program_chip(analog, seed=0, chip=0)
        assert float(all_tiles(analog)[0].tile.weight.abs().mean()) < 0.05


def test_recalibration_estimates_the_statistics_of_the_images_given(analog):
    norm = analog[1]
    used = recalibrate_batch_norms(analog, LOADER)
    assert used == 4
    with torch.no_grad():
        analog[0].noise.reseed(0)
        maps = analog.eval()[0](X)
    assert torch.allclose(norm.running_mean, maps.mean((0, 2, 3)), atol=0.02)
    assert norm.momentum == 0.1


def test_summary_is_mean_sample_std_and_fifth_percentile():
    table = pd.DataFrame(
        {"chip": range(5), "time_s": 1.0, "recalibrated": True, "dice": [0.1, 0.2, 0.3, 0.4, 0.5]}
    )
    summary = summarise_drift(table)["1"]["recalibrated"]["dice"]
    assert summary["mean"] == pytest.approx(0.3)
    assert summary["std"] == pytest.approx(np.sqrt(0.025))
    assert summary["p05"] == pytest.approx(0.12)


def test_metrics_by_name_become_columns(analog):
    table = evaluate_drift(
        analog, LOADER, lambda net, loader: {"a": 1.0, "b": 2.0}, times=(1.0,), chips=1
    )
    assert list(table.columns) == ["chip", "time_s", "recalibrated", "a", "b"]


@pytest.mark.parametrize("preset", ["pcm", "hermes", "reram", "ideal"])
def test_every_preset_drifts_to_a_year_with_finite_outputs(preset):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1))
    analog, _ = convert(net, AnalogSpec.preset(preset), example=X)
    table = evaluate_drift(analog, LOADER, mean_output, chips=2)
    assert np.isfinite(table.value).all()
    if preset == "ideal":
        assert table.value.nunique() == 1


def test_bad_arguments_are_named(analog):
    with pytest.raises(ConfigError, match="chips is 0"):
        evaluate_drift(analog, LOADER, mean_output, chips=0)
    with pytest.raises(ConfigError, match="times is"):
        evaluate_drift(analog, LOADER, mean_output, times=(0.0,))
    with pytest.raises(ConversionError, match="no analog layer"):
        evaluate_drift(nn.Conv2d(1, 1, 1), LOADER, mean_output)


def test_state_that_does_not_fit_lists_what_differs(analog):
    tensors = dict(named_tensors(analog))
    tensors.pop("0.analog_module.tile.weight")
    tensors["1.weight"] = torch.zeros(3)
    with pytest.raises(RunError, match=r"(?s)0\.analog_module\.tile\.weight: missing.*1\.weight"):
        load_tensors(analog, tensors, "some file")


def test_input_ranges_are_quantiles_of_the_whole_map():
    net = nn.Sequential(nn.Conv2d(4, 2, 1))
    analog, _ = convert(net, AnalogSpec.preset("pcm"), input_size=(8, 8))
    # Large values in one column of the image only, which a strided sample could miss.
    x = torch.zeros(32, 4, 64, 64)
    x[..., 37] = 5.0
    calibrate_input_ranges(analog, [(x, x)])
    assert float(analog[0].analog_module.input_range) == 5.0
