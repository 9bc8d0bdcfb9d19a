"""Specifications that cannot be honoured are refused; nothing stays digital in silence."""

import pytest
import torch
from torch import nn

from nasseg.analog import PRESETS, AnalogSpec, convert
from nasseg.errors import ConversionError, SpecError, UnknownName


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_make_a_configuration_that_aihwkits_torch_tile_accepts(name):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1))
    analog, _ = convert(net, AnalogSpec.preset(name))
    assert analog(torch.zeros(1, 1, 8, 8)).shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"g_max_us": 99.0}, "g_max_us is 99.0; allowed: above 0, at most 40 uS"),
        ({"memory": "hermes"}, "at most 20.7 uS"),
        ({"dac_bits": 1}, "dac_bits is 1; allowed: 2 to 16, or 0"),
        ({"out_noise": -0.1}, "out_noise is -0.1; allowed: 0 to 1"),
        ({"weight_noise": 2.0}, "weight_noise is 2.0"),
        ({"adc_bound": 0.0}, "adc_bits is 8 with adc_bound 0"),
        ({"tile_rows": 0}, "both limited or both 0"),
        ({"column_scaling": False}, "remap is on with column_scaling off"),
        ({"memory": "ideal", "drift_scale": 2.0}, "drift_scale set with memory 'ideal'"),
        ({"prog_noise_scale": float("nan")}, "prog_noise_scale is nan"),
    ],
)
def test_impossible_specs_say_key_value_and_what_is_allowed(changes, said):
    with pytest.raises(SpecError, match=said.replace("(", r"\(")):
        AnalogSpec.preset("pcm", **changes)


def test_unknown_preset_and_field_name_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'hermes'"):
        AnalogSpec.preset("hermess")
    with pytest.raises(UnknownName, match="did you mean 'weight_noise'"):
        AnalogSpec.preset("pcm", wieght_noise=0.1)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.up(self.grouped(self.conv(x))) * self.scale
        return self.head(x.mean((2, 3)))


def test_coverage_names_every_digital_layer_and_why():
    analog, coverage = convert(Mixed(), input_size=(16, 16))
    rows = {row.name: row for row in coverage.layers}
    assert rows["conv"].analog
    assert rows["head"].analog
    assert "groups=8" in rows["grouped"].why
    assert "PixelShuffle" in rows["up"].why
    assert "has no analog layer" in rows["(root)"].why
    assert rows["conv"].macs == 8 * 3 * 9 * 16 * 16
    assert rows["grouped"].macs == 8 * 9 * 16 * 16
    assert rows["up"].macs == 8 * 4 * 4 * 16 * 16
    expected = (rows["conv"].macs + rows["head"].macs) / sum(r.macs for r in coverage.layers)
    assert coverage.mac_fraction == pytest.approx(expected)
    assert "grouped" in str(coverage)
    with pytest.raises(ConversionError, match=r"(?s)are required.*grouped.*up"):
        coverage.require(min_mac_fraction=0.99)
    assert analog(torch.zeros(1, 3, 16, 16)).shape == (1, 2)


def test_layers_kept_digital_by_name_are_reported_and_unknown_names_refused():
    _, coverage = convert(Mixed(), digital_layers=["head"])
    assert {row.name: row.why for row in coverage.layers}["head"] == "kept digital as asked"
    with pytest.raises(UnknownName, match="did you mean 'head'"):
        convert(Mixed(), digital_layers=["heads"])


def test_a_network_without_convertible_layers_is_refused():
    with pytest.raises(ConversionError, match="no layer can be put onto tiles"):
        convert(nn.Sequential(nn.ConvTranspose2d(1, 1, 2)))


def test_tiles_follow_rows_and_columns():
    net = nn.Sequential(nn.Conv2d(64, 300, 3, padding=1))
    _, coverage = convert(net, AnalogSpec.preset("pcm"))
    assert coverage.tiles == 2 * 2  # 576 rows on 512, 300 columns on 256


def test_conversion_leaves_the_digital_network_alone():
    net = nn.Sequential(nn.Conv2d(1, 4, 3))
    weight = net[0].weight
    before = weight.detach().clone()
    convert(net)
    assert type(net[0]) is nn.Conv2d
    assert net[0].weight is weight
    assert torch.equal(weight, before)
