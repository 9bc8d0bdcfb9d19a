"""Search spaces: architectures as plain dicts, with numpy as the only import.

>>> import numpy as np
>>> from nasseg.search_spaces import get_space
>>> space = get_space("unet")
>>> arch = space.sample(np.random.default_rng(0))
>>> net = space.build(arch, in_channels=3, out_channels=1)  # imports torch
"""

from __future__ import annotations

from collections.abc import Callable

from nasseg._registry import Registry
from nasseg.search_spaces.base import Arch, SearchSpace
from nasseg.search_spaces.basicunet import BasicUNetSpace
from nasseg.search_spaces.cells import CellsSpace
from nasseg.search_spaces.constants import MIN_INPUT
from nasseg.search_spaces.hyperparameters import Condition, Hyperparameter
from nasseg.search_spaces.layers import LayerTable
from nasseg.search_spaces.reference import ReferenceSpace
from nasseg.search_spaces.resnet import ResNetSpace
from nasseg.search_spaces.unet import (
    GroupNormUNetSpace,
    HalfGroupNormUNetSpace,
    HalfUNetSpace,
    UNetSpace,
)

__all__ = [
    "MIN_INPUT",
    "Arch",
    "BasicUNetSpace",
    "CellsSpace",
    "Condition",
    "Hyperparameter",
    "LayerTable",
    "ReferenceSpace",
    "ResNetSpace",
    "SearchSpace",
    "UNetSpace",
    "get_space",
    "list_spaces",
    "register_space",
]

_SPACES: Registry[Callable[[int], SearchSpace]] = Registry("search space")


def register_space(name: str, factory: Callable[[int], SearchSpace]) -> None:
    """Make ``factory(seed)`` available as ``get_space(name)``.

    Raises:
        ValueError: the name is taken.
    """
    _SPACES.register(name, factory)


def get_space(name: str, seed: int = 0) -> SearchSpace:
    """A new space object of that name; ``seed`` as in :class:`SearchSpace`.

    Raises:
        UnknownName: no such space (the message gives the nearest match).
    """
    return _SPACES[name](seed)


def list_spaces(pattern: str = "*") -> list[str]:
    """Names of the known spaces that match a shell pattern, sorted."""
    return _SPACES.names(pattern)


register_space("basicunet", BasicUNetSpace)
register_space("cells", CellsSpace)
register_space("reference", ReferenceSpace)
register_space("resnet", ResNetSpace)
register_space("unet", UNetSpace)
register_space("unet_group", GroupNormUNetSpace)
register_space("unet_half", HalfUNetSpace)
register_space("unet_half_group", HalfGroupNormUNetSpace)
