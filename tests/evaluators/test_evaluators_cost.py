from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest
from torch import nn

from nasseg.errors import ArchError, ConfigError, UnknownName
from nasseg.evaluators import CostEvaluator, Hardware
from nasseg.evaluators._counted import layer_table
from nasseg.evaluators.cost import Cost, count_macs, count_network, split_places
from nasseg.evaluators.estimate import estimate
from nasseg.search_spaces import UNetSpace, get_space, list_spaces
from nasseg.search_spaces.layers import Layers


class WithoutFormula(UNetSpace):
    """A space as a user may write it: it can build its networks, and no more."""

    base_name = "unet-without-formula"

    def _layers(self, columns, in_channels, out_channels, input_size):
        return None


def shallow(space, evaluator, n, seed=0):
    """``n`` random architectures, as many of every depth, with few layers: networks are built."""
    X = space.sample_matrix(40 * n, np.random.default_rng(seed))
    tiles = evaluator.estimate_matrix(X).tiles
    names = space.feature_names
    # All of cells have two stages.
    depth = X[:, names.index("M")] if "M" in names else np.zeros(len(X))
    order = np.argsort(tiles, kind="stable")
    ranked = [order[depth[order] == m] for m in np.unique(depth)]
    return X[[index for of_rank in zip(*ranked, strict=False) for index in of_rank][:n]]


@pytest.mark.parametrize(("name", "most"), [("unet", 300_000), ("resnet", 200_000)])
@pytest.mark.parametrize(("channels", "outputs", "tile"), [(3, 1, (512, 256)), (4, 3, (64, 48))])
def test_counts_equal_those_of_the_network_that_is_built(name, most, channels, outputs, tile):
    space = get_space(name)
    evaluator = CostEvaluator(space, channels, outputs, tile)
    X = space.sample_matrix(100, np.random.default_rng(channels))
    X = X[evaluator.params_matrix(X) < most][:4]
    scores = evaluator.evaluate_matrix(X)
    assert scores.params.tolist() == evaluator.params_matrix(X).tolist()
    for arch, params, tiles in zip(space.decode(X), scores.params, scores.tiles, strict=True):
        built = count_network(space.build(arch, channels, outputs), tile)
        assert built == Cost(params=int(params), tiles=int(tiles))


def test_tiles_of_a_layer_are_counted_by_hand():
    net = nn.Sequential(nn.Conv2d(64, 257, 3), nn.BatchNorm2d(257), nn.Linear(512, 256))
    # 64 * 9 = 576 rows need 2 crossbars, 257 columns 2; the linear layer fills one exactly.
    assert count_network(net).tiles == 2 * 2 + 1
    assert count_network(net).params == 64 * 9 * 257 + 257 + 2 * 257 + 512 * 256 + 256


def test_macs_of_a_network_are_counted_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 5),
    ).to("meta")  # fmt: skip
    assert count_macs(net, (1, 3, 10, 12)) == 5 * 6 * 8 * 27 + 8 * 5
    assert net.training
    assert not net[0]._forward_hooks


@pytest.mark.parametrize("name", list_spaces())
def test_macs_grow_fourfold_with_twice_the_side(name):
    space = get_space(name)
    evaluator = CostEvaluator(space)
    small, large = (evaluator.macs([space.default()], (s, s))[0] for s in (64, 128))
    assert small > 0
    assert large == pytest.approx(4 * small, rel=0.01)


# Reference networks are counted on what is built in any case: they have no formula.
@pytest.mark.parametrize("name", [name for name in list_spaces() if name != "reference"])
@pytest.mark.parametrize(
    ("size", "channels", "tile"),
    [((32, 32), (3, 1), (512, 256)), ((47, 61), (4, 3), (64, 48)), ((16, 90), (1, 2), (128, 32))],
)
def test_formulas_give_what_is_counted_on_networks_that_are_built(
    name, size, channels, tile, monkeypatch
):
    # BatchNorm costs nothing, and on the meta device it takes most of the time.
    monkeypatch.setattr(nn.functional, "batch_norm", lambda x, *rest: x)
    space = get_space(name)
    evaluator = CostEvaluator(space, *channels, tile, Hardware.preset("isaac"), size)
    X = shallow(space, evaluator, 16, seed=channels[0])
    by_formula = evaluator.estimate_matrix(X)
    counted = evaluator._estimate_built(X, size)
    for column in dataclasses.fields(by_formula):
        expected = getattr(counted, column.name)
        # The same floats: both multiply the same whole numbers by the same constants.
        np.testing.assert_array_equal(getattr(by_formula, column.name), expected, column.name)


# Places by formula are those of the modules, in every space and at random architectures.
@pytest.mark.parametrize("name", [name for name in list_spaces() if name != "reference"])
@pytest.mark.parametrize("layers", [("first",), ("last",), ("first", "last")])
def test_digital_layers_by_formula_are_those_of_networks_that_are_built(name, layers, monkeypatch):
    monkeypatch.setattr(nn.functional, "batch_norm", lambda x, *rest: x)
    space = get_space(name)
    size = (47, 61)
    evaluator = CostEvaluator(space, input_size=size, digital_layers=layers)
    X = shallow(space, evaluator, 4)
    by_formula = evaluator.estimate_matrix(X)
    counted = evaluator._estimate_built(X, size)
    for column in dataclasses.fields(by_formula):
        expected = getattr(counted, column.name)
        np.testing.assert_array_equal(getattr(by_formula, column.name), expected, column.name)
    on_tiles = CostEvaluator(space, input_size=size).estimate_matrix(X)
    assert by_formula.params.tolist() == on_tiles.params.tolist()
    assert by_formula.macs.tolist() == on_tiles.macs.tolist()
    assert (by_formula.tiles < on_tiles.tiles).all()


@pytest.mark.parametrize(
    ("name", "layers", "places", "others"),
    [
        ("unet", ["last", "first", "last"], ["last", "first"], []),
        ("unet", ["stem.0", "head"], ["first", "last"], []),
        ("unet_half", ["head", "last"], ["last"], []),
        # The head of some networks of this space has two layers.
        ("cells", ["head", "stem"], ["first"], ["head"]),
        ("unet", ["encoder.0", "nothing", "last"], ["last"], ["encoder.0", "nothing"]),
        ("reference", ["last", "head"], ["last"], ["head"]),
    ],
)
def test_names_of_layers_at_either_end_have_a_place(name, layers, places, others):
    assert split_places(get_space(name), layers) == (places, others)


def test_layers_named_in_the_middle_are_counted_on_networks_that_are_built():
    space = get_space("unet")
    arch = space.repair({**space.default(), "M": 2})
    evaluator = CostEvaluator(space, digital_layers=("encoder.0", "last"))
    cost, layers = evaluator.estimate([arch]), evaluator.layer_costs(arch)
    kept = [layer.name for layer in layers if not layer.tiles]
    assert all(name.startswith("encoder.0.") for name in kept[:-1])
    assert len(kept) > 1
    assert kept[-1] == layers[-1].name
    assert cost.tiles[0] == sum(layer.tiles for layer in layers)
    assert cost.energy_uj[0] == pytest.approx(sum(layer.energy_uj for layer in layers))
    with pytest.raises(UnknownName, match="no layer named 'haed'; did you mean 'head'"):
        CostEvaluator(space, digital_layers=("haed",)).estimate([arch])


def test_of_a_slot_of_several_layers_one_is_kept_digital():
    layers = Layers(2)
    # The second network has no second slot.
    layers.add("stem", 9, 4, 36, 1)
    layers.add("stage", 36, 4, 36, np.array([3, 0]), other=np.array([8, 0]))
    table = layers.table()
    assert table.keep_digital(last=True).digital.tolist() == [[0, 1], [1, 0]]
    assert table.keep_digital(first=True, last=True).digital.tolist() == [[1, 1], [1, 0]]
    chip = Hardware.preset("hermes")
    whole, kept = estimate(table, chip), estimate(table.keep_digital(last=True), chip)
    assert (whole.tiles - kept.tiles).tolist() == [1, 1]
    assert kept.params.tolist() == whole.params.tolist() == [36 + 3 * (144 + 8), 36]


@pytest.mark.parametrize(("name", "preset"), [("unet", "pcm"), ("unet_half", "hermes")])
def test_tiles_and_multiplications_are_those_of_aihwkits_own_summary(name, preset):
    from aihwkit.utils.analog_info import analog_summary

    from nasseg.analog import AnalogSpec, convert

    space, spec = get_space(name), AnalogSpec.preset(preset)
    evaluator = CostEvaluator(
        space, tile_shape=(spec.tile_rows, spec.tile_cols), input_size=(32, 32)
    )
    wide = space.repair({**space.default(), "out_channel0": 32, "M": 3})
    archs = [space.default(), wide, *space.decode(shallow(space, evaluator, 2))]
    cost = evaluator.estimate(archs)
    # Some layers take several crossbars, else this would only count layers.
    assert cost.tiles[0] > len(evaluator.layer_costs(archs[0]))
    for arch, tiles, mvms in zip(archs, cost.tiles, cost.mvms, strict=True):
        analog, coverage = convert(space.build(arch), spec)
        summary = analog_summary(analog.eval(), (1, 3, 32, 32))
        assert tiles == summary.total_tile_number == coverage.tiles
        assert mvms == sum(la.num_tiles * la.reuse_factor for la in summary.layer_summary)


def test_a_space_without_formula_is_counted_on_its_networks():
    space, plain = WithoutFormula(), get_space("unet")
    arch = space.repair({**space.default(), "M": 2})
    X = space.encode([arch])
    assert space.layer_table(X) is None
    own, ours = CostEvaluator(space), CostEvaluator(plain)
    for column in dataclasses.fields(own.estimate_matrix(X)):
        a, b = (getattr(e.estimate_matrix(X), column.name) for e in (own, ours))
        assert a.tolist() == b.tolist(), column.name
    assert own.params_matrix(X).tolist() == ours.params_matrix(X).tolist()
    assert own.macs([arch], (32, 48)).tolist() == ours.macs([arch], (32, 48)).tolist()
    assert len(own.evaluate([])) == 0


def test_energy_and_time_are_those_of_the_chip_and_the_image():
    space = get_space("unet")
    arch = space.default()
    plain = CostEvaluator(space)
    assert plain.tile_shape == (512, 256)
    chip = Hardware.preset("isaac")
    on_isaac = CostEvaluator(space, hardware=chip, input_size=(128, 64))
    assert on_isaac.tile_shape == (128, 32)
    scores = on_isaac.evaluate([arch])
    table = layer_table(space.build(arch).to("meta"), (1, 3, 128, 64))
    expected = estimate(table, chip)
    assert scores.energy_uj.tolist() == expected.energy_uj.tolist()
    assert scores.latency_us.tolist() == expected.latency_us.tolist()
    assert np.isnan(scores.day1).all()
    assert plain.evaluate([arch]).energy_uj[0] != scores.energy_uj[0]


def test_an_image_that_the_networks_refuse_is_refused():
    space = get_space("unet")
    with pytest.raises(ArchError, match=r"input_size is \(8, 64\); allowed: .* 16 or more"):
        CostEvaluator(space, input_size=(8, 64)).evaluate([space.default()])


def test_layers_without_a_place_on_crossbars_take_no_tiles():
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2), nn.ConvTranspose2d(4, 4, 2), nn.Conv2d(4, 4, 1)
    )
    assert count_network(net).tiles == 1


def test_equal_rows_are_built_once_and_minus_zero_is_zero(monkeypatch):
    space = WithoutFormula()
    evaluator = CostEvaluator(space)
    calls = []
    build = space.build
    monkeypatch.setattr(space, "build", lambda arch, **kw: calls.append(arch) or build(arch, **kw))
    X = space.encode([space.repair({**space.default(), "M": 2})])
    Y = np.where(X == 0, np.float32(-0.0), X)
    scores = evaluator.evaluate_matrix(np.concatenate([X, Y, X]))
    assert len(set(scores.tiles.tolist())) == 1
    evaluator.evaluate_matrix(X)
    assert len(calls) == 1


def test_a_network_that_cannot_be_initialised_without_values_is_counted(monkeypatch):
    space = WithoutFormula()
    expected = CostEvaluator(space).evaluate([space.default()])
    build = space.build

    def reads_a_value(arch, **kw):
        net = build(arch, **kw)
        assert isinstance(net.head.weight.detach().sum().item(), float)
        return net

    monkeypatch.setattr(space, "build", reads_a_value)
    again = CostEvaluator(space).evaluate([space.default()])
    assert (again.params[0], again.tiles[0]) == (expected.params[0], expected.tiles[0])


def test_counting_is_faster_than_the_search_needs():
    space = get_space("unet")
    X = space.sample_matrix(600, np.random.default_rng(0))
    started = time.process_time()
    CostEvaluator(space).evaluate_matrix(X)
    assert 600 / (time.process_time() - started) > 300


def test_no_architectures_give_empty_scores():
    evaluator = CostEvaluator(get_space("unet"))
    empty = evaluator.space.sample_matrix(0, np.random.default_rng(0))
    assert len(evaluator.evaluate_matrix(empty)) == 0
    assert evaluator.macs_matrix(empty).shape == (0,)


@pytest.mark.parametrize(
    "bad",
    [{"in_channels": 0}, {"out_channels": -1}, {"tile_shape": (0, 9)}, {"input_size": (0, 64)}],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match="allowed: 1 or more"):
        CostEvaluator(get_space("unet"), **bad)


def test_evaluators_and_search_import_neither_torch_nor_xgboost():
    code = (
        "import sys, numpy as np\n"
        "import nasseg.evaluators, nasseg.search\n"
        "from nasseg.evaluators import CostEvaluator, Evaluator, Scores\n"
        "from nasseg.search import EAOptimizer\n"
        "from nasseg.search_spaces import get_space\n"
        "class E(Evaluator):\n"
        "    space = get_space('unet')\n"
        "    def evaluate(self, archs): return Scores.of(len(archs), day1=0.5, avm=1)\n"
        "EAOptimizer(E(), nb_iter=2, population_size=8).run(E.space)\n"
        "loaded = [m for m in ('torch', 'xgboost', 'aihwkit') if m in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
