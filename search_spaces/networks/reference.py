"""MONAI's networks, as the spaces ``reference`` and ``basicunet`` give them.

Modules have MONAI's names. What differs from MONAI as it is called by default is said at each
class; all of it serves images of any size from 16 pixels on, and published weights of the
classifiers fit still.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.efficientnet import EfficientNetBN
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from nasseg.errors import ArchError
from nasseg.search_spaces.networks.blocks import check_input

_RESNETS = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet152": ("bottleneck", [3, 8, 36, 3]),
}
_WIDTHS = [64, 128, 256, 512]


class _Checked(nn.Module):
    """(B, image_channels, H, W) to logits, for any H, W >= 16.

    (B, classes), or (B, classes, H, W) of a network that segments.

    Attributes:
        arch, arch_id, space: set by ``build``.
    """

    arch: dict[str, Any]
    arch_id: str
    space: str
    image_channels: int

    def forward(self, x: Tensor) -> Tensor:
        check_input(self, x, self.image_channels)
        try:
            # Channels side by side: what convolutions on a CPU are fastest with.
            logits: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ArchError(
                f"cannot run {self.space}/{self.arch_id} on a batch of {x.shape[0]} of "
                f"{x.shape[2]} x {x.shape[3]} pixels with statistics of the batch: its last maps "
                "have one pixel; use larger batches or images"
            ) from None
        return logits


class ReferenceResNet(_Checked, ResNet):  # type: ignore[misc]
    """ResNet with projections on shortcuts that change shape (MONAI's type B) without a bias.

    That is the published network, and what torchvision's weights are for.
    """

    def __init__(self, name: str, in_channels: int, classes: int, *, large: bool) -> None:
        block, layers = _RESNETS[name]
        super().__init__(
            block=block,
            layers=layers,
            block_inplanes=_WIDTHS,
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_size=7 if large else 3,
            conv1_t_stride=2 if large else 1,
            no_max_pool=not large,
            shortcut_type="B",
            num_classes=classes,
            bias_downsample=False,
        )
        self.image_channels = in_channels


class ReferenceEfficientNet(_Checked, EfficientNetBN):  # type: ignore[misc]
    """EfficientNet that pads and normalises as torchvision's, whose weights it takes as they are.

    Its convolutions pad both sides alike; MONAI's pad for images of 224 to 260 pixels, whatever
    they are given, and fail below 32. BatchNorm has torch's own momentum and epsilon instead of
    0.01 and 0.001. The head begins as torch's linear layers do, within 1 / sqrt(inputs): the
    published range, 1 / sqrt(classes), is about as small for the thousand classes that it was made
    for, but with two it gave logits above ten, from which short trainings did not recover.
    Dropout and drop-connect are MONAI's.
    """

    def __init__(self, name: str, in_channels: int, classes: int, *, large: bool) -> None:
        super().__init__(
            name,
            pretrained=False,
            progress=False,
            spatial_dims=2,
            in_channels=in_channels,
            num_classes=classes,
            norm="batch",
        )
        self.image_channels = in_channels
        for module in list(self.modules()):
            for key, conv in list(module.named_children()):
                if isinstance(conv, nn.Conv2d):
                    conv.padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
                    setattr(module, f"{key}_padding", nn.Identity())
        head: Any = self._fc
        head.reset_parameters()
        if not large:
            stem: Any = self._conv_stem
            stem.stride = (1, 1)


class _Halving(nn.AvgPool2d):
    """(B, C, H, W) to (B, C, H // 2, W // 2), but a side of one pixel stays."""

    def forward(self, x: Tensor) -> Tensor:
        single = min(x.shape[2:]) == 1
        return F.avg_pool2d(x, self.kernel_size, self.stride, ceil_mode=single)


class ReferenceDenseNet(_Checked, DenseNet121):  # type: ignore[misc]
    """DenseNet-121 that leaves a map of one pixel as it is where MONAI's fails to halve it."""

    def __init__(self, in_channels: int, classes: int, *, large: bool) -> None:
        super().__init__(spatial_dims=2, in_channels=in_channels, out_channels=classes)
        self.image_channels = in_channels
        features: Any = self.features
        for number in (1, 2, 3):
            features.get_submodule(f"transition{number}").pool = _Halving(2, 2)
        if not large:
            stem = nn.Conv2d(in_channels, features.conv0.out_channels, 3, 1, 1, bias=False)
            nn.init.kaiming_normal_(stem.weight)
            features.conv0 = stem
            features.pool0 = nn.Identity()


class ReferenceUNet(_Checked, BasicUNet):  # type: ignore[misc]
    """BasicUNet of layers for analog tiles: BatchNorm instead of InstanceNorm, with no bias before
    it, ReLU instead of leaky ReLU, and interpolation instead of transposed convolutions.

    Interpolation comes after a 1x1 convolution that halves the channels; the last one, where MONAI
    does not halve them, has none.

    Args:
        features: channels of the five levels and of the last map.
        in_channels: image channels.
        out_channels: classes.
    """

    def __init__(self, features: tuple[int, ...], in_channels: int, out_channels: int) -> None:
        super().__init__(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=out_channels,
            features=features,
            act="relu",
            norm="batch",
            bias=False,
            upsample="nontrainable",
        )
        self.image_channels = in_channels


def make_reference(name: str, in_channels: int, classes: int, *, large: bool) -> nn.Module:
    """The network of that name.

    Args:
        name: of :data:`nasseg.search_spaces.reference.NETWORKS`.
        in_channels: image channels.
        classes: outputs.
        large: the stem of ImageNet instead of that for small images.
    """
    if name in _RESNETS:
        return ReferenceResNet(name, in_channels, classes, large=large)
    if name.startswith("efficientnet"):
        return ReferenceEfficientNet(name, in_channels, classes, large=large)
    return ReferenceDenseNet(in_channels, classes, large=large)
