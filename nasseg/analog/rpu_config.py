"""From an ``AnalogSpec`` to AIHWKit's ``TorchInferenceRPUConfig``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aihwkit.inference import GlobalDriftCompensation
from aihwkit.inference.compensation.drift import PerColumnDriftCompensation
from aihwkit.inference.noise.pcm import CustomDriftPCMLikeNoiseModel
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from aihwkit.simulator.parameters.enums import (
    BoundManagementType,
    NoiseManagementType,
    WeightClipType,
    WeightModifierType,
    WeightNoiseType,
    WeightRemapType,
)

from nasseg.analog.memories import MEMORIES

if TYPE_CHECKING:
    from nasseg.analog.spec import AnalogSpec


def resolution(bits: int) -> float:
    """AIHWKit's resolution of a converter: one of ``2 ** bits - 2`` steps over the range.

    The odd number of levels that this leaves is symmetric about zero, so that zero stays zero.
    Ideal (0 bits) is -1.
    """
    return 1.0 / (2**bits - 2) if bits else -1.0


def _noise_model(spec: AnalogSpec) -> Any:
    if spec.coefficients is not None:
        cell = spec.coefficients
        return CustomDriftPCMLikeNoiseModel(
            {
                "g_lst": list(cell.drift_conductance_us),
                "nu_mean_lst": list(cell.drift_mean),
                "nu_std_lst": list(cell.drift_std),
            },
            # Powers of the conductance over the model's own largest one. AIHWKit 1.1 fails where
            # the conductance that coefficients refer to is given.
            prog_coeff=[
                value * (spec.g_max_us / cell.g_max_us) ** power
                for power, value in enumerate(cell.programming_us)
            ],
            g_max=spec.g_max_us,
            t_0=cell.t_0_s,
            prog_noise_scale=spec.prog_noise_scale,
            read_noise_scale=spec.read_noise_scale * cell.read_noise_scale,
            drift_scale=spec.drift_scale,
        )
    return MEMORIES[spec.memory].make(spec)


def build(spec: AnalogSpec) -> TorchInferenceRPUConfig:
    """The configuration; everything that the torch tile does not simulate is switched off."""
    config = TorchInferenceRPUConfig()

    mapping = config.mapping
    mapping.weight_scaling_omega = 1.0
    mapping.weight_scaling_columnwise = spec.column_scaling
    mapping.learn_out_scaling = False
    mapping.digital_bias = True
    mapping.max_input_size = spec.tile_rows
    mapping.max_output_size = spec.tile_cols

    forward = config.forward
    exact = not (spec.dac_bits or spec.adc_bits or spec.adc_bound or spec.out_noise)
    forward.is_perfect = exact
    forward.inp_bound = 1.0
    forward.inp_res = resolution(spec.dac_bits)
    forward.out_bound = spec.adc_bound
    forward.out_res = resolution(spec.adc_bits)
    forward.out_noise = spec.out_noise
    forward.inp_noise = 0.0
    forward.w_noise = 0.0
    forward.w_noise_type = WeightNoiseType.NONE
    forward.noise_management = NoiseManagementType.NONE
    forward.bound_management = BoundManagementType.NONE

    ranges = config.pre_post.input_range
    ranges.enable = not exact
    ranges.learn_input_range = spec.learn_input_range
    # nasseg calibrates the ranges itself, so AIHWKit must not overwrite them with its own guess.
    ranges.init_from_data = 0
    ranges.init_value = 1.0
    ranges.decay = spec.input_range_decay

    set_weight_noise(config, spec.weight_noise)
    if spec.clip_sigma:
        config.clip.type = WeightClipType.LAYER_GAUSSIAN
        config.clip.sigma = spec.clip_sigma
        config.clip.fixed_value = 1.0
    else:
        config.clip.type = WeightClipType.NONE
    config.remap.type = (
        WeightRemapType.CHANNELWISE_SYMMETRIC if spec.remap else WeightRemapType.NONE
    )
    config.noise_model = _noise_model(spec)
    config.drift_compensation = {
        "none": None,
        "global": GlobalDriftCompensation(),
        "column": PerColumnDriftCompensation(),
    }[spec.drift_compensation]
    return config


def set_memory(tiles: Iterable[Any], spec: AnalogSpec) -> None:
    """Give tiles the noise model of ``spec``; their weights and converters stay as they are."""
    for tile in tiles:
        tile.rpu_config.noise_model = _noise_model(spec)


def set_weight_noise(config: TorchInferenceRPUConfig, std: float) -> None:
    """Set the weight noise of training, the type along with the size.

    AIHWKit injects nothing, and says nothing, where the size is set and the type left at NONE.
    """
    config.modifier.type = WeightModifierType.ADD_NORMAL if std else WeightModifierType.NONE
    config.modifier.std_dev = std
    config.modifier.rel_to_actual_wmax = True
    config.modifier.per_batch_sample = False
