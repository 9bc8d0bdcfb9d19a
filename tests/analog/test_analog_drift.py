"""Every chip is programmed anew, time matters, and measuring leaves no trace."""

import numpy as np
import pandas as pd
import pytest
import torch
from aihwkit.inference.noise import hermes, pcm, reram
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    calibrate_input_ranges,
    chip_evaluator,
    convert,
    evaluate_drift,
    noise_source,
    programmable,
    recalibrate_batch_norms,
    summarise_drift,
)
from nasseg.analog.ageing import Chips
from nasseg.analog.chips import BLOCK, all_tiles
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


def test_a_chip_is_the_same_however_it_is_reached_and_leaves_no_trace(analog):
    before = {name: tensor.clone() for name, tensor in named_tensors(analog).items()}
    source = noise_source(analog)
    state, analog.training = source.state_dict(), True

    def output(chips):
        with torch.no_grad():
            return analog.eval()(X)

    with Chips(analog, 5, LOADER) as chips:
        chips.program(1)
        chips.drift(60.0)
        first = output(chips)
        assert chips.recalibrate()
        shipped = chips.statistics
        assert not torch.equal(output(chips), first)
        chips.program(0)
        chips.drift(1.0)
        chips.program(1)
        chips.drift(3600.0)
        chips.drift(60.0)
        chips.statistics = shipped
        again = chips.statistics
        assert all(
            torch.equal(one[key], two[key])
            for one, two in zip(shipped, again, strict=True)
            for key in one
        )
    with Chips(analog, 5) as chips:
        with pytest.raises(ConfigError, match="no chip is programmed yet"):
            chips.drift(1.0)
        chips.program(1)
        chips.drift(60.0)
        assert torch.equal(output(chips), first)
        assert not chips.recalibrate()
        chips.program(1, life=2)
        chips.drift(60.0)
        assert not torch.equal(output(chips), first)
    with pytest.raises(ConfigError, match="inside their context"):
        chips.program(1)
    assert analog.training
    assert source.state_dict().keys() == state.keys()
    assert all(torch.equal(t, before[name]) for name, t in named_tensors(analog).items())


def test_every_chip_has_programming_noise_of_its_own(analog):
    with programmable(analog) as crossbars:
        weights = []
        for chip in (0, 1, 0):
            crossbars.program(seed=0, chip=chip)
            weights.append(all_tiles(analog)[0].tile.weight.detach().clone())
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_programming_starts_from_the_target_weights_every_time(analog):
    """Noise must not pile up from chip to chip, nor from time to time."""
    target = all_tiles(analog)[0].tile.weight.detach().clone()
    with programmable(analog) as crossbars:
        for chip in range(40):
            crossbars.program(seed=0, chip=chip)
            crossbars.drift(1.0)
        off = (all_tiles(analog)[0].tile.weight - target).abs().mean()
    assert float(off) < 0.05
    assert torch.equal(all_tiles(analog)[0].tile.weight, target)


def test_conductances_fall_with_time(analog):
    with programmable(analog) as crossbars:
        crossbars.program(seed=0, chip=0)
        sizes = []
        for time_s in (1.0, 86_400.0, 31_536_000.0):
            crossbars.drift(time_s)
            sizes.append(float(all_tiles(analog)[0].tile.weight.abs().mean()))
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("block", [1, 200, BLOCK])
@pytest.mark.parametrize("compensation", ["none", "global", "column"])
@pytest.mark.parametrize("memory", ["pcm", "hermes", "reram"])
def test_all_tiles_at_once_is_what_aihwkit_does_tile_by_tile(
    memory, compensation, block, monkeypatch
):
    """With every random number the same, weights and compensation agree exactly."""
    monkeypatch.setattr("nasseg.analog.chips.BLOCK", block)
    spec = AnalogSpec.preset(
        memory, out_noise=0.0, drift_compensation=compensation, tile_rows=20, tile_cols=6
    )
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 9, 3))
    together, _ = convert(net, spec, example=torch.zeros(1, 3, 8, 8))
    alone, _ = convert(net, spec, example=torch.zeros(1, 3, 8, 8))
    module = {"pcm": pcm, "hermes": hermes, "reram": reram}[memory]
    monkeypatch.setattr(module, "randn_like", lambda x: torch.full_like(x, 0.7))
    with programmable(together) as crossbars:
        crossbars.program(seed=0, chip=0)
        for time_s in (86_400.0, 1.0):
            crossbars.drift(time_s)
            assert len(all_tiles(together)) > 4
            for ours, theirs in zip(all_tiles(together), all_tiles(alone), strict=True):
                if theirs.programmed_weights is None:
                    theirs.program_weights()
                theirs.drift_weights(time_s)
                torch.testing.assert_close(ours.tile.weight, theirs.tile.weight)
                torch.testing.assert_close(
                    torch.as_tensor(ours.alpha).flatten(), torch.as_tensor(theirs.alpha).flatten()
                )


def test_blocks_of_tiles_draw_noise_of_their_own(monkeypatch):
    monkeypatch.setattr("nasseg.analog.chips.BLOCK", 1)
    net = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False))
    net[1].weight.data = net[0].weight.data.clone()
    analog, _ = convert(net, AnalogSpec.preset("pcm"))
    first, second = all_tiles(analog)
    with programmable(analog) as crossbars:
        crossbars.program(seed=0, chip=0)
        once = [tile.tile.weight.clone() for tile in (first, second)]
        assert not torch.equal(*once)
        assert not torch.equal(*crossbars._exponents)
        crossbars.program(seed=0, chip=0)
        assert all(map(torch.equal, once, (first.tile.weight, second.tile.weight)))


def test_spread_over_chips_is_that_of_aihwkits_own_calls(analog):
    """Mean and standard deviation over 200 chips, each against its standard error."""
    chips = 200

    def outputs(together: bool) -> torch.Tensor:
        values = []
        with programmable(analog) as crossbars:
            assert crossbars._together
            crossbars._together = together
            for chip in range(chips):
                # Seeds of their own: equal draws would hide a difference, not show one.
                crossbars.program(seed=int(together), chip=chip)
                for time_s in (1.0, 2_592_000.0):
                    crossbars.drift(time_s)
                    with torch.no_grad():
                        values.append(analog.eval()(X).flatten()[::37])
        return torch.stack(values).view(chips, 2, -1)

    ours, theirs = outputs(True), outputs(False)
    error = ((ours.var(0) + theirs.var(0)) / chips).sqrt()
    apart = (ours.mean(0) - theirs.mean(0)) / error
    assert float(apart.square().mean().sqrt()) < 2.0
    # The standard error of a standard deviation is its 1 / sqrt(2 n) for normal values.
    ratio = (ours.std(0) / theirs.std(0)).log() / (1 / chips) ** 0.5
    assert float(ratio.square().mean().sqrt()) < 2.0


def test_a_noise_model_of_ones_own_is_programmed_by_its_own_methods(analog):
    class Halving(pcm.PCMLikeNoiseModel):
        def apply_programming_noise(self, weights):
            return weights / 2, [None, None]

        def apply_drift_noise(self, weights, drift_noise_parameters, t_inference):
            return weights / 2

    for tile in all_tiles(analog):
        tile.rpu_config.noise_model = Halving()
    target = all_tiles(analog)[0].tile.weight.detach().clone()
    with programmable(analog) as crossbars:
        crossbars.program(seed=0, chip=0)
        torch.testing.assert_close(all_tiles(analog)[0].tile.weight.detach(), target / 2)
        crossbars.drift(60.0)
        torch.testing.assert_close(all_tiles(analog)[0].tile.weight.detach(), target / 4)
    assert torch.equal(all_tiles(analog)[0].tile.weight, target)


def test_what_all_chips_share_is_computed_once(monkeypatch):
    calls = []
    original = nn.functional.hardtanh
    monkeypatch.setattr(
        nn.functional, "hardtanh", lambda *args: (calls.append(1), original(*args))[1]
    )
    net = nn.Sequential(nn.Hardtanh(), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3))
    analog, _ = convert(net, AnalogSpec.preset("pcm"), example=X)
    calibrate_input_ranges(analog, LOADER)
    calls.clear()
    reads = []

    class Loader:
        def __iter__(self):
            reads.append(1)
            return iter(LOADER)

    args = {"times": (1.0, 60.0), "chips": 3, "seed": 2}
    table = evaluate_drift(analog, Loader(), mean_output, **args)
    assert (len(calls), len(reads)) == (1, 1)
    assert "forward" not in analog[0].__dict__
    # The same numbers as without: a loader that copies its images hides that they return.
    direct = evaluate_drift(
        analog,
        LOADER,
        lambda net, loader: mean_output(net, [(x.clone(), y) for x, y in loader]),
        **args,
    )
    pd.testing.assert_frame_equal(table, direct)


def test_work_in_place_on_what_is_shared_is_not_repeated():
    class Adding(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv = nn.Hardtanh(), nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            x = self.stem(x)
            x += self.conv(x)
            return x

    torch.manual_seed(0)
    analog, _ = convert(Adding(), AnalogSpec.preset("ideal"), example=X)
    with torch.no_grad():
        expected = float(analog.eval()(X).double().mean())
    table = evaluate_drift(analog, LOADER, mean_output, times=(1.0, 60.0), chips=3)
    assert np.allclose(table.value, expected, atol=1e-5)


def test_programming_of_ones_own_is_kept(analog):
    tiles = all_tiles(analog)
    for tile in tiles:
        tile.program_weights()
    before = [tile.programmed_weights for tile in tiles]
    evaluate_drift(analog, LOADER, mean_output, times=(1.0,), chips=1)
    assert all(a is tile.programmed_weights for a, tile in zip(before, tiles, strict=True))
    with programmable(analog) as crossbars, pytest.raises(ConfigError, match="program"):
        crossbars.drift(60.0)


def test_same_seed_same_table_whatever_the_order_of_chips(analog):
    args = {"times": (1.0, 3600.0), "recalibrate_with": LOADER, "seed": 4}
    table = evaluate_drift(analog, LOADER, mean_output, chips=3, **args)
    with chip_evaluator(analog, LOADER, mean_output, **args) as evaluate:
        alone = pd.DataFrame(evaluate(2))
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
    with programmable(analog) as crossbars:
        crossbars.program(seed=0, chip=0)
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
