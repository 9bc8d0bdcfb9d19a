"""Search spaces: architectures as plain dicts, with numpy as the only import.

>>> import numpy as np
>>> from nasseg.search_spaces import get_space
>>> space = get_space("unet")
>>> arch = space.sample(np.random.default_rng(0))
>>> net = space.build(arch, in_channels=3, out_channels=1)  # imports torch
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from nasseg._registry import Registry, factories
from nasseg.errors import ConfigError
from nasseg.search_spaces.base import Arch, SearchSpace
from nasseg.search_spaces.basicunet import BasicUNetSpace
from nasseg.search_spaces.cells import CellsSpace
from nasseg.search_spaces.constants import MIN_INPUT
from nasseg.search_spaces.diagram import Diagram, Stage
from nasseg.search_spaces.hyperparameters import Condition, Hyperparameter
from nasseg.search_spaces.layers import LayerTable
from nasseg.search_spaces.reference import ReferenceSpace
from nasseg.search_spaces.resnet import ResNetSpace
from nasseg.search_spaces.unet import (
    GroupNormUNetSpace,
    HalfGroupNormUNetSpace,
    HalfUNetSpace,
    QuarterUNetSpace,
    UNetSpace,
)
from nasseg.search_spaces.unet2 import ChipUNetSpace

__all__ = [
    "MIN_INPUT",
    "Arch",
    "BasicUNetSpace",
    "CellsSpace",
    "ChipUNetSpace",
    "Condition",
    "Diagram",
    "Hyperparameter",
    "LayerTable",
    "ReferenceSpace",
    "ResNetSpace",
    "SearchSpace",
    "Stage",
    "UNetSpace",
    "get_space",
    "list_spaces",
    "register_space",
]

Factory = Callable[[int], SearchSpace]
F = TypeVar("F", bound=Factory)


_SPACES: Registry[Factory] = Registry(
    "search space",
    group="nasseg.spaces",
    adopt=factories("search space", "a subclass of SearchSpace, or a function from a seed to one"),
)


@overload
def register_space(name: str, factory: Factory) -> Factory: ...
@overload
def register_space(name: str) -> Callable[[F], F]: ...
def register_space(name: str, factory: Factory | None = None) -> Any:
    """Make ``factory(seed)`` available as ``get_space(name)``; without it, a class decorator.

    Installed packages add theirs by entry points of the group ``nasseg.spaces``.

    Raises:
        ValueError: the name is taken.

    Example:
        .. code-block:: python

            @register_space("mine")
            class MySpace(SearchSpace): ...
    """
    return _SPACES.register(name) if factory is None else _SPACES.register(name, factory)


def get_space(name: str, seed: int = 0) -> SearchSpace:
    """A new space object of that name; ``seed`` as in :class:`SearchSpace`.

    Args:
        name: registered, of an entry point, or ``module:Name`` that the user allowed.
        seed: of the generator behind :meth:`SearchSpace.sample_arch_uniformly`.

    Raises:
        UnknownName: no such space (the message gives the nearest match).
        ConfigError: ``module:Name`` that is not allowed, or gives no search space.
        MissingDependencyError: the package of the space is not installed.
    """
    space = _SPACES[name](seed)
    if not isinstance(space, SearchSpace):
        raise ConfigError(f"search space {name!r} gives {space!r}; allowed: a SearchSpace")
    return space


def list_spaces(pattern: str = "*") -> list[str]:
    """Names of the known spaces that match a shell pattern, sorted."""
    return _SPACES.names(pattern)


register_space("basicunet", BasicUNetSpace)
register_space("cells", CellsSpace)
register_space("reference", ReferenceSpace)
register_space("resnet", ResNetSpace)
register_space("unet", UNetSpace)
register_space("unet2", ChipUNetSpace)
register_space("unet_group", GroupNormUNetSpace)
register_space("unet_half", HalfUNetSpace)
register_space("unet_half_group", HalfGroupNormUNetSpace)
register_space("unet_quarter", QuarterUNetSpace)
