"""Building blocks made only of what analog tiles and plain digital units can do.

Weights sit in ``Conv2d`` (groups = 1) and ``Linear``; the rest is BatchNorm, ReLU, pooling,
interpolation and PixelShuffle. A convolution before a BatchNorm has no bias: it would have no
effect, and no gradient.
"""

from __future__ import annotations

from torch import Tensor, nn

from nasseg.errors import ArchError
from nasseg.search_spaces.constants import MIN_INPUT

BASIC, BOTTLENECK = 1, 2
"""The values of ``convblock``."""


def conv_bn(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and BatchNorm; the size is kept (up to the stride)."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    )


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1
) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    return nn.Sequential(*conv_bn(in_channels, out_channels, kernel, stride), nn.ReLU())


class ResidualBlock(nn.Module):
    """Parallel branches, summed with the shortcut, then ReLU.

    (B, Cin, H, W) to (B, Cout, ceil(H / stride), ceil(W / stride)).

    Args:
        convblock: 1 = basic (3x3, 3x3), 2 = bottleneck (1x1, 3x3, 1x1, half the channels inside).
        branches: number of branches, each with weights of its own. The shortcut is the identity
            where shapes allow, else a 1x1 convolution with BatchNorm.
        stride: of the first 3x3 convolution.
        kernel: size that takes the place of 3x3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        convblock: int,
        branches: int,
        stride: int = 1,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        make = _bottleneck if convblock == BOTTLENECK else _basic
        self.branches = nn.ModuleList(
            make(in_channels, out_channels, stride, kernel) for _ in range(branches)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv_bn(in_channels, out_channels, 1, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shortcut(x)
        for branch in self.branches:
            total = total + branch(x)
        out: Tensor = self.activation(total)
        return out


def _basic(in_channels: int, out_channels: int, stride: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        *conv_bn_relu(in_channels, out_channels, kernel, stride),
        *conv_bn(out_channels, out_channels, kernel),
    )


def _bottleneck(in_channels: int, out_channels: int, stride: int, kernel: int) -> nn.Sequential:
    inner = max(4, out_channels // 2)
    return nn.Sequential(
        *conv_bn_relu(in_channels, inner, 1),
        *conv_bn_relu(inner, inner, kernel, stride),
        *conv_bn(inner, out_channels, 1),
    )


def residual_stage(
    in_channels: int,
    out_channels: int,
    convblock: int,
    branches: int,
    blocks: int,
    stride: int = 1,
    kernel: int = 3,
) -> nn.Sequential:
    """``blocks`` residual blocks; the first one changes channels and resolution."""
    return nn.Sequential(
        *(
            ResidualBlock(
                in_channels if k == 0 else out_channels,
                out_channels,
                convblock,
                branches,
                stride if k == 0 else 1,
                kernel,
            )
            for k in range(blocks)
        )
    )


class Upsample(nn.Module):
    """(B, Cin, H, W) to (B, Cout, 2H, 2W), with BatchNorm and ReLU.

    "transposed": 1x1 convolution to 4 Cout channels and PixelShuffle(2), equal to a transposed
    convolution of kernel 2 and stride 2. "bilinear": 1x1 convolution, then interpolation (the two
    commute, and this order costs a quarter).
    """

    def __init__(self, in_channels: int, out_channels: int, method: str) -> None:
        super().__init__()
        factor = 4 if method == "transposed" else 1
        self.conv = nn.Conv2d(in_channels, factor * out_channels, 1, bias=False)
        self.resize: nn.Module = (
            nn.PixelShuffle(2)
            if method == "transposed"
            else nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.bn(self.resize(self.conv(x))))
        return out


GROUP_SIZE = 4
"""Channels that GroupNorm takes together; all of them where their number is no multiple."""


def group_norms(net: nn.Module) -> nn.Module:
    """``net`` with every BatchNorm replaced by GroupNorm over groups of :data:`GROUP_SIZE`."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                channels = child.num_features
                size = GROUP_SIZE if channels % GROUP_SIZE == 0 else channels
                setattr(parent, name, nn.GroupNorm(channels // size, channels))
    return net


def initialise(module: nn.Module) -> None:
    """He initialisation of convolutions; BatchNorm at identity; biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def check_input(network: nn.Module, x: Tensor, channels: int) -> None:
    """Refuse inputs that are not (B, channels, H, W) with H, W >= 16.

    Raises:
        ArchError: names the network and the shape.
    """
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] < MIN_INPUT or x.shape[3] < MIN_INPUT:
        label = f"{getattr(network, 'space', '')}/{getattr(network, 'arch_id', '')}"
        raise ArchError(
            f"cannot run {label}: input must be (B, {channels}, H, W) with H, W >= {MIN_INPUT}; "
            f"got {tuple(x.shape)}"
        )
