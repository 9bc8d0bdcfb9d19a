from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from torch import nn

from nasseg.errors import ConfigError
from nasseg.evaluators import CostEvaluator
from nasseg.evaluators.cost import Cost, count_macs, count_network
from nasseg.search_spaces import get_space, list_spaces


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
    small, large = (evaluator.macs([space.default()], (s, s))[0] for s in (32, 64))
    assert small > 0
    assert large == pytest.approx(4 * small, rel=0.01)


def test_equal_rows_are_built_once_and_minus_zero_is_zero(monkeypatch):
    space = get_space("unet")
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
    space = get_space("unet")
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
    CostEvaluator(space).params_matrix(X)
    assert 600 / (time.process_time() - started) > 300


def test_no_architectures_give_empty_scores():
    evaluator = CostEvaluator(get_space("unet"))
    empty = evaluator.space.sample_matrix(0, np.random.default_rng(0))
    assert len(evaluator.evaluate_matrix(empty)) == 0
    assert evaluator.macs_matrix(empty).shape == (0,)


@pytest.mark.parametrize("bad", [{"in_channels": 0}, {"out_channels": -1}, {"tile_shape": (0, 9)}])
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
