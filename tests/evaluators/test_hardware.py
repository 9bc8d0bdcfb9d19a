"""Chips in numbers, and the estimates made from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from torch import nn

from nasseg.errors import ArchError, ConfigError, UnknownName
from nasseg.evaluators import CostEvaluator, Hardware, list_hardware
from nasseg.evaluators._counted import layer_table
from nasseg.evaluators._hardware import FOLDER
from nasseg.evaluators.cost import layer_costs
from nasseg.evaluators.estimate import COMPONENTS, estimate
from nasseg.search_spaces import get_space

SMALL = Hardware(
    name="small",
    tile_rows=8,
    tile_columns=4,
    input_bits=8,
    bits_per_cycle=4,
    cells_per_weight=2,
    cycle_ns=10.0,
    tile_pj=100.0,
    cell_fj=3.0,
    dac_pj=5.0,
    adc_pj=7.0,
    scale_pj=0.5,
    operation_pj=0.25,
    byte_pj=2.0,
    operations_per_ns=2.0,
)


def chip(tmp_path: Path, **changes: object) -> Path:
    values = yaml.safe_load((FOLDER / "hermes.yaml").read_text())
    values |= changes
    file = tmp_path / "chip.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v != "left out"}))
    return file


@pytest.mark.parametrize("name", list_hardware())
def test_every_constant_of_a_preset_has_its_source_beside_it(name):
    assert Hardware.preset(name).name
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    constants = [line for line in lines if ":" in line and not line.lstrip().startswith("#")]
    assert len(constants) >= 15
    for line in constants[1:]:
        assert "[" in line.split("#")[1] or "assumed" in line.split("#")[1], line


@pytest.mark.parametrize(("name", "tops_per_watt"), [("hermes", 2.48), ("hermes_1phase", 9.76)])
def test_a_full_core_of_hermes_has_the_published_efficiency_and_speed(name, tops_per_watt):
    chip = Hardware.preset(name)
    operations = 2 * chip.tile_rows * chip.tile_columns
    assert operations / chip.mvm_pj() == pytest.approx(tops_per_watt, rel=0.01)
    tops = {"hermes": 16.1, "hermes_1phase": 63.1}[name]
    assert 64 * operations / chip.mvm_ns * 1e-3 == pytest.approx(tops, rel=0.01)


def test_a_full_crossbar_of_isaac_has_the_published_power():
    chip = Hardware.preset("isaac")
    # An IMA of eight: ADC 16, DAC 4, sample-and-hold 0.01, arrays 2.4, registers 1.47 mW.
    assert chip.mvm_pj() / chip.mvm_ns == pytest.approx(23.88 / 8, rel=0.01)
    assert chip.cycles == 8


def test_a_convolution_is_estimated_as_by_hand():
    # 18 rows on 3 crossbars high, 5 columns on 2 wide; 6 x 6 positions, batch norm and ReLU free.
    net = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU())
    cost = estimate(layer_table(net.to("meta"), (1, 2, 6, 6)), SMALL)
    assert (cost.params[0], cost.macs[0]) == (90 + 10, 36 * 90)
    assert (cost.tiles[0], cost.mvms[0]) == (6, 36 * 6)
    assert cost.utilisation[0] == pytest.approx(90 / (6 * 32))
    cycles, cells, outputs = 2, 2, 36 * 5
    sums = outputs * 2
    assert cost.array_uj[0] == pytest.approx(36 * 90 * cells * cycles * 3e-9)
    assert cost.dac_uj[0] == pytest.approx(36 * 18 * 2 * cycles * 5e-6)
    assert cost.adc_uj[0] == pytest.approx(outputs * 3 * cells * cycles * 7e-6)
    assert cost.tile_uj[0] == pytest.approx(36 * 6 * cycles * 100e-6)
    assert cost.digital_uj[0] == pytest.approx((outputs * 3 * 0.5 + sums * 0.25) * 1e-6)
    assert cost.traffic_uj[0] == pytest.approx((72 + outputs) * 2e-6)
    assert cost.latency_us[0] == pytest.approx((36 * 20 + sums / 2) * 1e-3)
    assert cost.interval_us[0] == pytest.approx(36 * 20 * 1e-3)
    assert cost.energy_uj[0] == pytest.approx(sum(getattr(cost, f"{p}_uj")[0] for p in COMPONENTS))


def test_a_layer_kept_digital_is_estimated_as_by_hand():
    net = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1)).to("meta")
    shape = (1, 2, 6, 6)
    cost = estimate(layer_table(net, shape, ["last"]), SMALL)
    alone = estimate(layer_table(net[:1], shape), SMALL)
    macs = 36 * 5 * 3
    assert cost.params[0] == alone.params[0] + 5 * 3 + 3
    assert cost.macs[0] == alone.macs[0] + macs
    for same in ("tiles", "mvms", "utilisation", "array_uj", "dac_uj", "adc_uj", "tile_uj"):
        assert getattr(cost, same)[0] == getattr(alone, same)[0], same
    assert cost.digital_uj[0] == pytest.approx(alone.digital_uj[0] + macs * 0.25e-6)
    assert cost.traffic_uj[0] == pytest.approx(alone.traffic_uj[0] + 36 * (5 + 3) * 2e-6)
    assert cost.latency_us[0] == pytest.approx(alone.latency_us[0] + macs / 2 * 1e-3)
    first, last = layer_costs(net, shape, SMALL, ["last"])
    assert (first.tiles, first.rows, first.macs) == (6, 18, 36 * 90)
    assert (last.tiles, last.mvms, last.rows, last.columns, last.macs) == (0, 0, 0, 0, macs)


def test_a_network_that_is_all_digital_has_no_crossbars():
    net = nn.Sequential(nn.Conv2d(2, 5, 1)).to("meta")
    cost = estimate(layer_table(net, (1, 2, 6, 6), ["first", "last"]), SMALL)
    assert (cost.tiles[0], cost.mvms[0], cost.utilisation[0]) == (0, 0, 0)
    assert cost.interval_us[0] == cost.latency_us[0] == pytest.approx(360 / 2 * 1e-3)


@pytest.mark.parametrize(
    ("module", "operations"),
    [
        (nn.ReLU(), 0),
        (nn.MaxPool2d(2), 4 * 4 * 9),
        (nn.AvgPool2d((2, 3)), 6 * 4 * 6),
        (nn.AdaptiveAvgPool2d(1), 4 * 36),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 4 * 4 * 144),
        (nn.Upsample(scale_factor=2, mode="nearest"), 0),
        (nn.GroupNorm(2, 4), 3 * 4 * 36),
        (nn.PixelShuffle(2), 0),
        (nn.Sigmoid(), 4 * 36),
        # A transposed convolution has no place on a crossbar: all of it is digital.
        (nn.ConvTranspose2d(4, 3, 2, stride=2), 36 * 4 * 3 * 4),
    ],
)
def test_digital_operations_are_counted(module, operations):
    net = nn.Sequential(nn.Conv2d(1, 4, 1), module).to("meta")
    table = layer_table(net, (1, 1, 6, 6))
    assert table.operations.sum() + table.digital_macs.sum() == operations
    cost = estimate(table, SMALL)
    assert cost.params[0] == sum(p.numel() for p in net.parameters())
    assert cost.tiles[0] == 1


@pytest.mark.parametrize("net", [nn.ReLU(), nn.BatchNorm2d(3)])
def test_a_network_without_weight_layers_is_refused(net):
    with pytest.raises(ArchError, match="no convolution or linear layer"):
        layer_costs(net, (1, 3, 8, 8), SMALL)


def test_copies_of_a_layer_share_its_positions():
    space = get_space("unet")
    archs = [space.default()]
    chip = SMALL.replace(operations_per_ns=1000)
    one = CostEvaluator(space, hardware=chip).estimate(archs)
    two = CostEvaluator(space, hardware=chip.replace(replication=2)).estimate(archs)
    assert two.tiles[0] == 2 * one.tiles[0]
    assert two.energy_uj[0] == one.energy_uj[0]
    assert two.utilisation[0] == one.utilisation[0]
    assert two.interval_us[0] < one.interval_us[0] < one.latency_us[0]
    assert two.latency_us[0] < one.latency_us[0]


def test_layers_add_up_to_the_network():
    space = get_space("unet_half")
    evaluator = CostEvaluator(space, hardware=Hardware.preset("isaac"), input_size=(48, 80))
    arch = space.sample(np.random.default_rng(3))
    whole = evaluator.estimate([arch])
    layers = evaluator.layer_costs(arch)
    assert layers[0].name == "stem.0"
    for name in ("macs", "tiles", "mvms"):
        assert sum(getattr(layer, name) for layer in layers) == getattr(whole, name)[0]
    assert sum(layer.energy_uj for layer in layers) == pytest.approx(whole.energy_uj[0])
    assert sum(layer.latency_us for layer in layers) == pytest.approx(whole.latency_us[0])
    for part in COMPONENTS:
        total = sum(layer.energy[part] for layer in layers)
        assert total == pytest.approx(getattr(whole, f"{part}_uj")[0])


def test_layers_of_a_network_on_the_cpu_are_those_on_meta():
    space = get_space("unet")
    net = space.build(space.default()).train()
    shape = (1, 3, 32, 32)
    on_cpu = layer_costs(net, shape, SMALL)
    assert net.training
    assert on_cpu == layer_costs(net.to("meta"), shape, SMALL)


def test_a_bigger_image_or_network_costs_more():
    space = get_space("unet")
    wide = space.repair({**space.default(), "out_channel0": 32})
    for name in list_hardware():
        small, large = (
            CostEvaluator(space, hardware=Hardware.preset(name), input_size=(s, s)).estimate(
                [space.default(), wide]
            )
            for s in (64, 128)
        )
        assert large.energy_uj == pytest.approx(4 * small.energy_uj)
        assert (small.energy_uj[1], small.tiles[1]) > (small.energy_uj[0], small.tiles[0])


def test_a_chip_of_ones_own_is_read(tmp_path):
    own = Hardware.from_yaml(chip(tmp_path, name="mine", cycle_ns=1, replication="left out"))
    assert own == Hardware.preset("hermes").replace(name="mine", cycle_ns=1)
    assert Hardware.load(tmp_path / "chip.yaml") == own
    assert Hardware.load("isaac") == Hardware.preset("isaac")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"adc_jp": 3.0},
            r"chip.yaml: adc_jp is 3.0: no key named 'adc_jp'; did you mean 'adc_pj'",
        ),
        ({"adc_pj": "left out"}, r"chip.yaml: adc_pj missing"),
        ({"adc_pj": -1}, r"chip.yaml: adc_pj is -1; allowed: 0 or more"),
        ({"adc_pj": float("nan")}, r"adc_pj is nan; allowed: a finite number"),
        ({"adc_pj": "much"}, r"adc_pj is 'much'; allowed: a finite number"),
        ({"tile_rows": 0}, r"tile_rows is 0; allowed: 1 or more"),
        ({"tile_rows": 2.5}, r"tile_rows is 2.5; allowed: a whole number"),
        ({"tile_rows": True}, r"tile_rows is True; allowed: a whole number"),
        ({"cycle_ns": 0}, r"cycle_ns is 0; allowed: above 0"),
        ({"bits_per_cycle": 9}, r"bits_per_cycle is 9; allowed: 1 to 8, which is input_bits"),
        ({"name": 3}, r"name is 3; allowed: text"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        Hardware.from_yaml(chip(tmp_path, **changes))


@pytest.mark.parametrize("text", ["- a list", "key: [", "!!python/object:os.system {}", "\xff"])
def test_a_file_that_is_no_chip_is_refused(tmp_path, text):
    file = tmp_path / "chip.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"chip\.yaml"):
        Hardware.from_yaml(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        Hardware.from_yaml(tmp_path / "none.yaml")


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'hermes'"):
        Hardware.preset("hermse")
    with pytest.raises(UnknownName, match="did you mean 'adc_pj'"):
        SMALL.replace(adc_p=3)
