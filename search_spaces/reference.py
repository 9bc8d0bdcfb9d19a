"""The ``reference`` space: well-known classification networks by their names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nasseg._registry import near_name
from nasseg.search_spaces.base import COUNTED_SIZE, Arch, Columns, SearchSpace
from nasseg.search_spaces.basicunet import BASIC_UNETS, PREFIX
from nasseg.search_spaces.hyperparameters import Hyperparameter

if TYPE_CHECKING:
    from torch import nn

LARGE = "-imagenet"
"""What stands after a network's name where its stem is that of ImageNet."""


class _Counted(NamedTuple):
    """What the number of parameters follows from."""

    body: int
    """Parameters of all but the first convolution and the head."""
    stem: int
    """Channels that the first convolution makes."""
    kernel: int
    """Side of its kernel in the stem for large images; 3 in that for small ones."""
    features: int
    """Inputs of the head."""


_COUNTED = {
    "resnet18": _Counted(11_167_104, 64, 7, 512),
    "resnet50": _Counted(23_498_624, 64, 7, 2048),
    "resnet152": _Counted(58_134_400, 64, 7, 2048),
    "efficientnet-b0": _Counted(4_006_684, 32, 3, 1280),
    "efficientnet-b1": _Counted(6_512_320, 32, 3, 1280),
    "efficientnet-b2": _Counted(7_700_130, 32, 3, 1408),
    "densenet121": _Counted(6_944_448, 64, 7, 1024),
}

NETWORKS = tuple(_COUNTED)
"""Names of the networks; with the stem for small images."""
REFERENCES = tuple(name + stem for stem in ("", LARGE) for name in NETWORKS)
"""Every name that stands for an architecture: the networks, each with either stem."""


def split_name(name: str) -> tuple[str, bool]:
    """A member of :data:`REFERENCES` as the network's name and whether its stem is ImageNet's."""
    return name.removesuffix(LARGE), name.endswith(LARGE)


def reference_arch(name: str) -> tuple[str, Arch] | None:
    """Space and architecture of the reference network of that name, none where there is none; a
    file of the same name is given as ``./NAME``."""
    if name in REFERENCES:
        return "reference", {"network": name}
    if name in BASIC_UNETS:
        return "basicunet", {"width": int(name.removeprefix(PREFIX))}
    return None


def no_such_arch(source: str) -> str:
    """What is wrong with an architecture that is neither a file nor a name, in words."""
    names = (*REFERENCES, *BASIC_UNETS)
    hint = near_name(source, names)
    return (
        f"there is no file {source!r}, and no reference network of that name{hint} "
        f"(known: {', '.join(names)})"
    )


class ReferenceSpace(SearchSpace):
    """Reference networks of MONAI: ResNet, EfficientNet and DenseNet, each with two stems.

    ``network`` names one: He et al. 2016 (arXiv:1512.03385), Tan and Le 2019 (arXiv:1905.11946),
    Huang et al. 2017 (arXiv:1608.06993). By itself a name stands for the network with the stem
    that is usual for small images: its first convolution is 3x3 with stride 1, and no pooling
    follows. With ``-imagenet`` after it the stem is the published one, for images of about 128
    pixels and more and for pretrained weights.

    There is nothing to mutate but the name. Parameters are counted by formula, multiply-accumulates
    on networks built without memory for weights; the cost evaluator does the same for the layers.
    """

    base_name = "reference"
    task = "classification"
    version = 1
    base_hyperparameters = (Hyperparameter("network", REFERENCES, default="resnet18"),)

    def _network(self, arch: Mapping[str, Any], in_channels: int, out_channels: int) -> nn.Module:
        from nasseg.search_spaces.networks.reference import make_reference

        name, large = split_name(arch["network"])
        return make_reference(name, in_channels, out_channels, large=large)

    def _count_params(
        self, columns: Columns, in_channels: int, out_channels: int
    ) -> NDArray[np.int64]:
        params = []
        for given in columns["network"].tolist():
            name, large = split_name(given)
            known = _COUNTED[name]
            area = known.kernel**2 if large else 9
            head = (known.features + 1) * out_channels
            params.append(known.body + area * known.stem * in_channels + head)
        return np.array(params, dtype=np.int64)

    def _count_macs_per_pixel(
        self, columns: Columns, in_channels: int, out_channels: int
    ) -> NDArray[np.float64]:
        pixels = COUNTED_SIZE[0] * COUNTED_SIZE[1]
        names = columns["network"].tolist()
        return np.array([_macs(name, in_channels, out_channels) / pixels for name in names])


@lru_cache(maxsize=256)
def _macs(name: str, in_channels: int, out_channels: int) -> int:
    """Multiply-accumulates of one image of ``COUNTED_SIZE``, counted on the meta device."""
    import torch

    from nasseg._macs import count_macs

    with torch.device("meta"):
        network = ReferenceSpace().build({"network": name}, in_channels, out_channels)
        return sum(count_macs(network, torch.zeros(1, in_channels, *COUNTED_SIZE)).values())
