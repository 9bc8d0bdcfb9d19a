"""Noise models by name: the contract of our own, and memories from elsewhere."""

from __future__ import annotations

import pytest
import torch
from aihwkit.inference.converter.conductance import SinglePairConductanceConverter
from aihwkit.inference.noise.base import BaseNoiseModel
from torch import nn

from nasseg import _registry
from nasseg.analog import AnalogSpec, Memory, convert, programmable, register_memory
from nasseg.analog.chips import Crossbars
from nasseg.analog.memories import MEMORIES
from nasseg.errors import ConfigError, SpecError, UnknownName
from nasseg.testing.memories import MemoryContract


class Plain(BaseNoiseModel):
    """Gaussian programming noise and a drift of every device by the same exponent."""

    g_max_us = 30.0
    elementwise = True

    def __init__(self, g_max, prog_noise_scale=1.0, read_noise_scale=1.0, drift_scale=1.0):
        super().__init__(SinglePairConductanceConverter(g_max=g_max))
        self.noise, self.drift = prog_noise_scale, drift_scale

    def apply_programming_noise_to_conductance(self, g_target):
        return (g_target + 0.3 * self.noise * torch.randn_like(g_target)).clamp(min=0)

    def apply_drift_noise_to_conductance(self, g_prog, drift_noise_param, t_inference):
        return g_prog * (1 + t_inference) ** (-0.03 * self.drift)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(MEMORIES, "_entries", dict(MEMORIES._entries))
    register_memory("plain", Plain, g_max_us=30.0, elementwise=True)
    return "plain"


@pytest.mark.parametrize("name", ["pcm", "hermes", "ideal"])
class TestOwnMemories(MemoryContract):
    @pytest.fixture
    def memory(self, name):
        return name


class TestMemoryFromElsewhere(MemoryContract):
    @pytest.fixture
    def memory(self, registered):
        return registered


def network(spec):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
    return convert(net, spec, example=torch.zeros(1, 2, 9, 9))[0]


@pytest.mark.parametrize("elementwise", [True, False])
def test_tiles_are_programmed_together_where_that_was_registered(monkeypatch, elementwise):
    class Own(Plain):
        pass

    Own.__qualname__ = f"Own{elementwise}"
    monkeypatch.setattr(MEMORIES, "_entries", dict(MEMORIES._entries))
    register_memory("own", Own, g_max_us=30.0, elementwise=elementwise)
    analog = network(AnalogSpec.preset("own"))
    assert Crossbars(analog)._together is elementwise
    with programmable(analog) as crossbars:
        crossbars.program(seed=0, chip=0)
        crossbars.drift(60.0)


def test_a_memory_of_a_module_is_a_preset_once_it_is_allowed(tmp_path, monkeypatch):
    (tmp_path / "own_memory.py").write_text(
        "from aihwkit.inference import PCMLikeNoiseModel\n"
        "class Cell(PCMLikeNoiseModel):\n    g_max_us = 25.0\n"
        "other = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_registry, "_allowed", [])
    name = "own_memory:Cell"
    for ask in (AnalogSpec.preset, lambda name: AnalogSpec(memory=name)):
        with pytest.raises(ConfigError, match="a file alone does not make nasseg import"):
            ask(name)
    _registry.allow("own_memory")
    spec = AnalogSpec.preset(name, adc_bits=6)
    assert (spec.memory, spec.g_max_us, spec.adc_bits) == (name, 25.0, 6)
    assert type(spec.to_rpu_config().noise_model).__name__ == "Cell"
    # As nobody said that it acts on each device by itself.
    assert not Crossbars(network(spec))._together
    with pytest.raises(ConfigError, match="allowed: a noise model class with the attribute"):
        AnalogSpec.preset("own_memory:other")


def test_names_of_memories_are_suggested(registered):
    with pytest.raises(UnknownName, match="no analog preset named 'plane'; did you mean 'plain'"):
        AnalogSpec.preset("plane")
    with pytest.raises(SpecError, match=r"memory is 'plane'; allowed: pcm, .*; did you mean plain"):
        AnalogSpec(memory="plane")
    with pytest.raises(SpecError, match="at most 30 uS, where plain was characterised"):
        AnalogSpec.preset("plain", g_max_us=31)
    with pytest.raises(ConfigError, match="g_max_us is 0; allowed: above 0"):
        Memory(Plain, 0)
