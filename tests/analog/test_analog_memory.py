"""A memory cell of one's own, and the noise profile that training injects."""

import dataclasses

import pytest
import torch
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    NoiseProfile,
    NoiseSource,
    average_batch_norms,
    convert,
    programmable,
)
from nasseg.analog.memory import EXAMPLE, MemoryCoefficients
from nasseg.errors import SpecError


@pytest.fixture
def cell(tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text(EXAMPLE)
    return path


def test_a_memory_of_a_yaml_file_drifts_as_its_coefficients_say(cell):
    spec = AnalogSpec.preset(str(cell), drift_compensation="none")
    profile = NoiseProfile.of(spec, times=(1.0, 86_400.0))
    # At 25 uS the exponent is 0.05: (86,420 / 20) ** -0.05.
    assert profile.mean[1, -1] / profile.mean[0, -1] == pytest.approx((86_420 / 21) ** -0.05, 0.02)
    # 0.26 + 1.97 - 1.17 = 1.06 uS of 25, and read noise beside it.
    assert 1.06 / 25 < profile.deviation[0, -1] < 1.8 * 1.06 / 25


def test_a_memory_survives_the_spec_as_a_dict_and_its_network_drifts(cell):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    analog, _ = convert(net, AnalogSpec.preset(str(cell)))
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad(), programmable(analog.eval()) as crossbars:
        before = analog(x)
        crossbars.program(0, 0)
        crossbars.drift(86_400.0)
        assert torch.isfinite(analog(x)).all()
        assert not torch.equal(before, analog(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "keys are expected"),
        ("name: a\n", "g_max_us, programming_us"),
        (EXAMPLE.replace("t_0_s", "t0"), "'t0'; did you mean 't_0_s'"),
        (EXAMPLE.replace("[0.0, 10.0, 25.0]", "[0.0, 10.0, 20.0]"), "drift_conductance_us is"),
        (EXAMPLE.replace("[0.0, 10.0, 25.0]", "[-1.0, 10.0, 25.0]"), "drift_conductance_us is"),
        (EXAMPLE.replace("[0.045, 0.02, 0.01]", "[0.045, 0.02]"), "drift_std is"),
        (EXAMPLE.replace("25.0  ", "a lot "), "g_max_us has 'a lot'"),
        ("{", "it is not YAML"),
    ],
)
def test_a_bad_memory_file_is_named_with_the_key_and_what_is_allowed(cell, text, message):
    cell.write_text(text)
    with pytest.raises(SpecError, match=r"cell\.yaml") as caught:
        AnalogSpec.preset(str(cell))
    assert message in str(caught.value)


def test_coefficients_go_with_the_custom_memory_only():
    coefficients = MemoryCoefficients("x", 25.0, (0.1,), (0.0, 25.0), (0.1, 0.1), (0.0, 0.0))
    with pytest.raises(SpecError, match="go with memory 'custom'"):
        AnalogSpec(coefficients=coefficients)
    with pytest.raises(SpecError, match="go with memory 'custom'"):
        AnalogSpec(memory="custom")


@pytest.mark.parametrize("memory", ["pcm", "hermes", "reram"])
@pytest.mark.parametrize("time_s", [1.0, 2_592_000.0])
def test_a_profile_disturbs_weights_as_programmed_chips_do(memory, time_s):
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(200, 100, bias=False))
    net[0].weight.data = torch.randn(100, 200, generator=generator).clamp(-2.5, 2.5)
    spec = AnalogSpec.preset(memory, tile_rows=0, tile_cols=0)
    analog, _ = convert(net, spec)
    tile = next(m for m in analog.modules() if hasattr(m, "mapping_scales"))
    weight = tile.tile.weight.detach().clone()
    chips = []
    with programmable(analog.eval()) as crossbars:
        for chip in range(20):
            crossbars.program(1, chip)
            crossbars.drift(time_s)
            chips.append(tile.tile.weight.detach() * tile.alpha)
    profile = NoiseProfile.of(spec, times=(time_s,))
    source = NoiseSource(2)
    drawn = [profile.disturb(weight, source) for _ in range(20)]
    real, ours = (torch.stack(found) - weight for found in (chips, drawn))
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.01)):
        among = (weight.abs() >= low) & (weight.abs() < high)
        a, b = real[:, among], ours[:, among]
        assert float(b.std()) == pytest.approx(float(a.std()), rel=0.08)
        sign = weight[among].sign()
        assert float((b * sign).mean()) == pytest.approx(float((a * sign).mean()), abs=0.012)


def test_a_profile_of_scale_zero_keeps_only_the_mean_and_a_seed_decides_the_rest():
    spec = AnalogSpec.preset("pcm")
    profile = NoiseProfile.of(spec)
    weight = torch.linspace(-1, 1, 101)[None]
    source = NoiseSource(0)
    quiet = dataclasses.replace(profile, scale=0.0)
    still = quiet.disturb(weight, source)
    torch.testing.assert_close(still, weight, atol=0.03, rtol=0)

    def draw(seed):
        source = NoiseSource(seed)
        return profile.disturb(weight, source)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_average_statistics_are_those_of_chips_and_a_function_of_the_seed():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8)
    )
    analog, _ = convert(net, AnalogSpec.preset("pcm"))
    batches = [(torch.randn(8, 3, 16, 16), None)]
    weights = [p.detach().clone() for p in analog.parameters()]
    average_batch_norms(analog, batches, chips=0)
    target = analog[4].running_var.clone()
    average_batch_norms(analog, batches, chips=6, seed=1)
    averaged = analog[4].running_var.clone()
    assert not torch.equal(averaged, target)
    assert all(torch.equal(a, b) for a, b in zip(weights, analog.parameters(), strict=True))
    average_batch_norms(analog, batches, chips=6, seed=1)
    assert torch.equal(averaged, analog[4].running_var)
