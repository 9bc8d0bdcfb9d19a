"""Logits of whole images of any size."""

from __future__ import annotations

from torch import Tensor, nn

WINDOW = 1024
"""Side in pixels above which an image is evaluated in overlapping windows."""
OVERLAP = 0.125
"""Share of a window that it has in common with the next one."""


def predict_whole(net: nn.Module, image: Tensor) -> Tensor:
    """Logits of whole images of any size, in windows where they are large.

    Args:
        net: fully convolutional network, in evaluation mode.
        image: normalised (B, C, H, W).

    Returns:
        (B, K, H, W); Gaussian-weighted means where windows overlap.
    """
    if max(image.shape[2:]) <= WINDOW:
        logits: Tensor = net(image)
        return logits
    from monai.inferers import sliding_window_inference

    size = [min(side, WINDOW) for side in image.shape[2:]]
    whole: Tensor = sliding_window_inference(image, size, 1, net, overlap=OVERLAP, mode="gaussian")
    return whole
