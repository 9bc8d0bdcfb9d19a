"""Parameter counts of the building blocks, elementwise on arrays of channels (numpy only).

They mirror ``networks/blocks.py``; a test holds the two together. With ``norm=0`` BatchNorm is left
out: what remains are the weights that multiply, once for every position of their map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def conv_bn(inputs: Counts | int, outputs: Counts, kernel: Counts | int, norm: int = 2) -> Counts:
    """Convolution without bias, and ``norm`` numbers a channel for its BatchNorm."""
    total: Counts = kernel * kernel * inputs * outputs + norm * outputs
    return total


def residual_stage(
    inputs: Counts,
    outputs: Counts,
    convblock: Counts,
    branches: Counts,
    blocks: Counts,
    stride: int = 1,
    norm: int = 2,
) -> Counts:
    """``blocks`` residual blocks; 0 where ``blocks`` is 0."""
    first = branches * _branch(inputs, outputs, convblock, norm)
    shortcut = conv_bn(inputs, outputs, 1, norm)
    projected = np.where((inputs != outputs) | (stride != 1), shortcut, 0)
    rest = branches * _branch(outputs, outputs, convblock, norm)
    return np.where(blocks > 0, first + projected + (blocks - 1) * rest, 0)


def _branch(inputs: Counts, outputs: Counts, convblock: Counts, norm: int) -> Counts:
    inner = np.maximum(4, outputs // 2)
    basic = conv_bn(inputs, outputs, 3, norm) + conv_bn(outputs, outputs, 3, norm)
    bottleneck = (
        conv_bn(inputs, inner, 1, norm)
        + conv_bn(inner, inner, 3, norm)
        + conv_bn(inner, outputs, 1, norm)
    )
    return np.where(convblock == 2, bottleneck, basic)
