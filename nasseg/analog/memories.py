"""Noise models of memory cells by name: those of AIHWKit, and those of other packages.

A noise model is an object of the shape of AIHWKit's ``BaseNoiseModel``. One from outside is added
with :func:`register_memory`, by an entry point of the group ``nasseg.memories``, or named as
``module:Name``; ``AnalogSpec(memory=NAME)`` and ``AnalogSpec.preset(NAME)`` then take it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasseg._registry import Registry
from nasseg.errors import ConfigError

if TYPE_CHECKING:
    from nasseg.analog.spec import AnalogSpec

SCALES = ("prog_noise_scale", "read_noise_scale", "drift_scale")
"""Fields of an ``AnalogSpec`` that a noise model is made with, beside ``g_max``."""


@dataclass(frozen=True)
class Memory:
    """A memory cell: how its noise model is made, and where it holds.

    Raises:
        ConfigError: ``g_max_us`` is not above 0.
    """

    factory: Callable[..., Any]
    """Makes the noise model from the keywords ``g_max`` (microsiemens), ``prog_noise_scale``,
    ``read_noise_scale`` and ``drift_scale``."""
    g_max_us: float
    """Largest conductance in microsiemens at which the cell was characterised; a preset of this
    name programs the largest weight onto it."""
    elementwise: bool = False
    """True if the noise of a device depends on no other device: the tiles of a network are then
    programmed together, which is faster, and otherwise one by one."""

    def __post_init__(self) -> None:
        if not self.g_max_us > 0:
            raise ConfigError(f"memory: g_max_us is {self.g_max_us!r}; allowed: above 0")
        if self.elementwise and isinstance(self.factory, type):
            _ELEMENTWISE.add(_path(self.factory))

    def make(self, spec: AnalogSpec) -> Any:
        """The noise model for the conductance and the scales of ``spec``."""
        scales = {name: getattr(spec, name) for name in SCALES}
        model = self.factory(g_max=spec.g_max_us, **scales)
        if self.elementwise:
            _ELEMENTWISE.add(_path(type(model)))
        return model


_ELEMENTWISE = {"aihwkit.inference.noise.pcm.CustomDriftPCMLikeNoiseModel"}
"""Classes of noise models that act on each device by itself."""


def _path(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def is_elementwise(model: Any) -> bool:
    """True if the noise model was registered as one that acts on each device by itself."""
    return _path(type(model)) in _ELEMENTWISE


def _adopt(name: str, made: Any) -> Memory:
    """What a plug-in gives as a :class:`Memory`: one, or a class with ``g_max_us``."""
    if isinstance(made, Memory):
        return made
    limit = getattr(made, "g_max_us", None)
    if not callable(made) or not isinstance(limit, int | float):
        raise ConfigError(
            f"memory {name!r} is {made!r}; allowed: a noise model class with the attribute "
            "g_max_us (and, where it holds, elementwise = True), or nasseg.analog.Memory"
        )
    return Memory(made, float(limit), bool(getattr(made, "elementwise", False)))


MEMORIES: Registry[Memory] = Registry("memory", group="nasseg.memories", adopt=_adopt)
"""Memory cells by name; ``custom`` is the one of a file of coefficients and not among them."""


def register_memory(
    name: str, factory: Callable[..., Any], *, g_max_us: float, elementwise: bool = False
) -> None:
    """Make a noise model available as ``AnalogSpec(memory=name)`` and ``AnalogSpec.preset(name)``.

    Args:
        name: of the memory.
        factory: class or function that makes the noise model, of the shape of AIHWKit's
            ``BaseNoiseModel``, from the keywords ``g_max`` (microsiemens), ``prog_noise_scale``,
            ``read_noise_scale`` and ``drift_scale``.
        g_max_us: largest conductance in microsiemens at which the cell was characterised.
        elementwise: True if the noise of a device depends on no other device. All tiles of a
            network are then programmed in one call, and otherwise one by one.

    Raises:
        ValueError: the name is taken.
        ConfigError: ``g_max_us`` is not above 0.
    """
    MEMORIES.register(name, Memory(factory, g_max_us, elementwise))


def _aihwkit(path: str) -> Callable[..., Any]:
    """AIHWKit's noise model, imported when the first one is made."""
    module, _, name = path.rpartition(".")

    def make(**settings: float) -> Any:
        return getattr(importlib.import_module(module), name)(**settings)

    _ELEMENTWISE.add(path)
    return make


def _ideal(g_max: float, **scales: float) -> Any:
    return _PCM(g_max=g_max, **dict.fromkeys(scales, 0.0))


_PCM = _aihwkit("aihwkit.inference.noise.pcm.PCMLikeNoiseModel")
_HERMES = _aihwkit("aihwkit.inference.noise.hermes.HermesNoiseModel")
_RERAM = _aihwkit("aihwkit.inference.noise.reram.ReRamCMONoiseModel")
register_memory("pcm", _PCM, g_max_us=40.0, elementwise=True)
register_memory("hermes", _HERMES, g_max_us=20.7, elementwise=True)
register_memory("reram", _RERAM, g_max_us=88.19, elementwise=True)
register_memory("ideal", _ideal, g_max_us=math.inf, elementwise=True)
