"""What every memory cell promises, as tests.

.. code-block:: python

    class TestMyMemory(MemoryContract):
        @pytest.fixture
        def memory(self):
            return "my_memory"  # registered, of an entry point, or an allowed module:Name
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nasseg.analog import AnalogSpec
from nasseg.analog.memories import MEMORIES
from nasseg.errors import SpecError

DEVICES = 4096
YEAR = 31_536_000.0


class MemoryContract:
    """Subclass it and give ``memory``, the name.

    A noise model is an object of the shape of AIHWKit's ``BaseNoiseModel``: conductances in
    microsiemens, a tensor of any shape, in and out.
    """

    @pytest.fixture
    def memory(self) -> str:
        raise NotImplementedError("give a fixture named 'memory' that returns a memory's name")

    @pytest.fixture
    def spec(self, memory: str) -> AnalogSpec:
        return AnalogSpec.preset(memory)

    @pytest.fixture
    def model(self, spec: AnalogSpec) -> Any:
        return spec.to_rpu_config().noise_model

    def _aged(self, model: Any, target: Tensor, time_s: float, seed: int = 0) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            programmed = model.apply_programming_noise_to_conductance(target)
            exponents = model.generate_drift_coefficients(target)
            aged: Tensor = model.apply_drift_noise_to_conductance(programmed, exponents, time_s)
        return aged

    def test_its_name_is_a_preset_and_a_memory(self, memory: str, spec: AnalogSpec) -> None:
        assert spec.memory == memory
        assert AnalogSpec(**spec.to_dict()) == spec
        assert spec.replace(g_max_us=spec.g_max_us / 2).g_max_us == spec.g_max_us / 2

    def test_conductances_beyond_its_characterisation_are_refused(
        self, memory: str, spec: AnalogSpec
    ) -> None:
        limit = MEMORIES[memory].g_max_us
        if limit < float("inf"):
            with pytest.raises(SpecError, match="g_max_us"):
                spec.replace(g_max_us=1.01 * limit)

    def test_the_largest_weight_takes_the_conductance_asked_for(
        self, model: Any, spec: AnalogSpec
    ) -> None:
        weights = torch.linspace(-1, 1, 21)[:, None]
        target, scales = model.g_converter.convert_to_conductances(weights.clone())
        assert max(float(g.max()) for g in target) == pytest.approx(spec.g_max_us)
        back = model.g_converter.convert_back_to_weights(target, scales)
        torch.testing.assert_close(back, weights, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("time_s", [1.0, 86_400.0, YEAR])
    def test_aged_conductances_are_finite_and_of_the_same_shape(
        self, model: Any, spec: AnalogSpec, time_s: float
    ) -> None:
        target = torch.linspace(0, spec.g_max_us, 24).reshape(2, 3, 4)
        before = target.clone()
        aged = self._aged(model, target, time_s)
        assert aged.shape == target.shape
        assert torch.isfinite(aged).all()
        assert torch.equal(target, before), "the target conductances were changed in place"

    def test_torchs_seed_decides_every_draw(self, model: Any, spec: AnalogSpec) -> None:
        target = torch.full((64,), spec.g_max_us / 2)
        assert torch.equal(self._aged(model, target, 60.0), self._aged(model, target, 60.0))

    def test_scales_of_zero_leave_what_was_programmed(self, memory: str, spec: AnalogSpec) -> None:
        quiet = spec
        if memory != "ideal":
            quiet = spec.replace(prog_noise_scale=0.0, read_noise_scale=0.0, drift_scale=0.0)
        model = quiet.to_rpu_config().noise_model
        target = torch.linspace(0, spec.g_max_us, 17)
        aged = self._aged(model, target, YEAR)
        torch.testing.assert_close(aged, target, atol=0.02 * spec.g_max_us, rtol=0)

    def test_a_device_depends_on_no_other_where_that_was_registered(
        self, memory: str, model: Any, spec: AnalogSpec
    ) -> None:
        if not MEMORIES[memory].elementwise:
            pytest.skip("the memory is not registered as elementwise")
        half = torch.full((DEVICES,), spec.g_max_us / 2)
        among_large = torch.cat([half, torch.full((DEVICES,), spec.g_max_us)])
        alone = self._aged(model, half, 60.0)
        beside = self._aged(model, among_large, 60.0, seed=1)[:DEVICES]
        error = ((alone.var() + beside.var()) / DEVICES).sqrt() + 1e-6 * spec.g_max_us
        assert float((alone.mean() - beside.mean()).abs() / error) < 5
        assert float(beside.std()) == pytest.approx(float(alone.std()), rel=0.15, abs=1e-6)

    def test_chips_of_a_network_are_programmed_and_drift(self, spec: AnalogSpec) -> None:
        from torch import nn

        from nasseg.analog import convert, programmable

        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
        image = torch.randn(1, 2, 9, 9)
        analog, _ = convert(net, spec, example=image)
        outputs = []
        with programmable(analog) as crossbars, torch.no_grad():
            for chip in (0, 1, 0):
                crossbars.program(seed=0, chip=chip)
                crossbars.drift(3600.0)
                outputs.append(analog.eval()(image))
        assert all(torch.isfinite(output).all() for output in outputs)
