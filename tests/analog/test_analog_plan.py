"""Refresh plans, layers kept digital, noisier memories."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    choose_digital_layers,
    convert,
    evaluate_drift,
    keep_digital,
    layer_sensitivity,
    memory_noise,
    plan_refresh,
)
from nasseg.analog.conversion import digital_names
from nasseg.analog.plan import ages
from nasseg.config import AnalogConfig
from nasseg.errors import ConfigError, UnknownName


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )
    net.train()
    for _ in range(20):
        net(torch.randn(8, 3, 12, 12))
    return net.eval()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 3, 12, 12, generator=generator), None) for _ in range(2)]


@pytest.fixture
def closeness(network, batches):
    """One minus the relative distance from what the digital network says: falls with age."""
    digital = copy.deepcopy(network)

    def metric(net, loader):
        wanted = torch.cat([digital(x) for x, *_ in loader])
        found = torch.cat([net(x) for x, *_ in loader])
        return 1.0 - float((found - wanted).square().mean().sqrt() / wanted.std())

    return metric


@pytest.fixture
def analog(network):
    found, _ = convert(network, AnalogSpec.preset("pcm"))
    for module in found.modules():
        if hasattr(module, "set_input_range"):
            module.set_input_range(4.0)
    return found


def plan(analog, batches, metric, bound, **changes):
    settings = {"recalibrate_with": batches, "chips": 3, "share": 1.0, "seed": 0, **changes}
    return plan_refresh(analog, batches, metric, min_value=bound, **settings)


def test_ages_run_from_a_second_to_the_horizon():
    found = ages(31_536_000.0)
    assert found[0] == 1.0
    assert found[-1] == pytest.approx(31_536_000.0)
    assert found == sorted(found)


def test_an_easy_bound_needs_nothing_and_leaves_the_network_alone(analog, batches, closeness):
    before = {k: v.clone() for k, v in analog.state_dict().items() if torch.is_tensor(v)}
    found = plan(analog, batches, closeness, -10.0)
    assert found.feasible
    assert found.actions == ()
    assert found.looks[-1].time_s == pytest.approx(31_536_000.0)
    assert all(look.worst <= look.mean for look in found.looks)
    after = analog.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_tight_bound_is_held_by_refreshing_and_an_impossible_one_is_said(
    analog, batches, closeness
):
    free = plan(analog, batches, closeness, -10.0)
    first, last = free.looks[0].value, free.looks[-1].value
    assert last < first
    bound = (first + last) / 2
    found = plan(analog, batches, closeness, bound)
    assert found.feasible
    assert found.actions
    assert all(look.value >= bound for look in found.looks)
    assert [a.time_s for a in found.actions] == sorted(a.time_s for a in found.actions)
    assert found.reprogram_every_s is None or found.actions[-1].kind == "reprogram"
    hopeless = plan(analog, batches, closeness, 0.9999)
    assert not hopeless.feasible
    assert hopeless.actions == ()
    assert hopeless.looks == ()


def test_without_recalibration_only_reprogramming_is_planned(analog, batches, closeness):
    free = plan(analog, batches, closeness, -10.0, recalibrate_with=None)
    bound = (free.looks[0].value + free.looks[-1].value) / 2
    found = plan(analog, batches, closeness, bound, recalibrate_with=None)
    assert [action.kind for action in found.actions] == ["reprogram"]
    assert found.reprogram_every_s == found.actions[0].time_s
    assert max(look.age_s for look in found.looks) <= found.reprogram_every_s


def test_bad_questions_are_answered_with_what_is_allowed(analog, batches, closeness):
    with pytest.raises(ConfigError, match="chips is 0"):
        plan(analog, batches, closeness, 0.5, chips=0)
    with pytest.raises(ConfigError, match=r"share is 1\.5"):
        plan(analog, batches, closeness, 0.5, share=1.5)


def test_layers_kept_digital_hold_the_same_weights(analog, network, batches):
    mixed = keep_digital(analog, ["0", "3"])
    x = batches[0][0]
    with torch.no_grad():
        torch.testing.assert_close(mixed.eval()(x), network(x), atol=1e-5, rtol=1e-5)
    assert type(mixed[0]) is nn.Conv2d
    with pytest.raises(UnknownName, match="analog layer"):
        keep_digital(analog, ["9"])


def test_sensitivity_is_of_one_layer_alone_and_the_choice_reaches_its_target(
    analog, batches, closeness
):
    macs = {"0": 12 * 12 * 27 * 8, "3": 12 * 12 * 16}
    found = layer_sensitivity(
        analog, batches, closeness, macs, recalibrate_with=batches, chips=3, seed=0
    )
    assert [entry.name for entry in found] == ["0", "3"]
    assert all(entry.loss > 0 for entry in found)
    everything, _ = choose_digital_layers(
        analog, batches, closeness, found, -10.0, recalibrate_with=batches, chips=3
    )
    assert everything == []
    best = max(entry.value for entry in found)
    names, value = choose_digital_layers(
        analog, batches, closeness, found, best - 1e-3, recalibrate_with=batches, chips=3
    )
    assert value >= best - 1e-3
    assert len(names) == 1
    names, value = choose_digital_layers(analog, batches, closeness, found, 2.0, chips=2)
    assert value < 2.0  # the most that was reached, and with which layers


def test_noise_scales_widen_the_spread_and_are_undone(analog, batches, closeness):
    def mean(scale):
        with memory_noise(analog, AnalogSpec.preset("pcm"), scale):
            table = evaluate_drift(analog, batches, closeness, times=(86_400.0,), chips=4)
        return float(table.value.mean())

    usual = evaluate_drift(analog, batches, closeness, times=(86_400.0,), chips=4).value.tolist()
    assert mean(0.0) > mean(1.0) > mean(3.0)
    again = evaluate_drift(analog, batches, closeness, times=(86_400.0,), chips=4).value.tolist()
    assert usual == again


def test_first_and_last_are_the_ends_of_a_network_unless_a_module_is_called_so():
    layers = OrderedDict(stem=nn.Conv2d(3, 4, 3), act=nn.ReLU(), head=nn.Conv2d(4, 1, 1))
    net = nn.Sequential(layers)
    assert digital_names(net, ["first", "last"]) == ["stem", "head"]
    assert digital_names(net, ["last", "head"]) == ["head"]
    with pytest.raises(UnknownName, match="layer"):
        digital_names(net, ["middle"])
    _, coverage = convert(net, digital_layers=["last"])
    assert [layer.name for layer in coverage.layers if not layer.analog] == ["head"]
    net.add_module("first", nn.Conv2d(1, 1, 1))
    assert digital_names(net, ["first"]) == ["first"]


def test_digital_layers_of_the_settings_are_names():
    assert AnalogConfig(digital_layers="stem.0, head").named_digital_layers == ("stem.0", "head")
    assert AnalogConfig(digital_layers="auto").named_digital_layers == ()
    with pytest.raises(ConfigError, match="digital_layers"):
        AnalogConfig(digital_layers="")
