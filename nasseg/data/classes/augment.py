"""Random views of classified images, a whole batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.layers import AffineTransform
from monai.transforms import Randomizable


@dataclass(frozen=True, slots=True)
class Strength:
    """How much images are changed; each image gets draws of its own."""

    moved: float
    """Share of the images that are turned, shifted and zoomed. The others stay as sharp as what
    the network will be shown: resampling blurs."""
    rotation: float
    """Largest angle in degrees, either way."""
    shift: float
    """Largest shift in either direction, as a share of the side."""
    zoom: float = 1.0
    """Largest zoom, in or out."""
    brightness: float = 0.0
    """Standard deviation of what is added to the values, which are from -1 to 1."""
    contrast: float = 0.0
    """Standard deviation of the logarithm of what the distance to the image's mean is multiplied
    by."""
    cutout: float = 0.0
    """Largest side of the square that is blanked, as a share of the image's."""
    mixup: float = 0.0
    """Parameter of the beta distribution of the shares of two images; 0 = no mixing."""


STRENGTHS: dict[Literal["light", "heavy"], Strength] = {
    "light": Strength(moved=0.5, rotation=10.0, shift=0.06),
    "heavy": Strength(
        moved=0.75,
        rotation=30.0,
        shift=0.1,
        zoom=1.2,
        brightness=0.1,
        contrast=0.2,
        cutout=0.4,
        mixup=0.2,
    ),
}
"""By the names of ``data.augment``. Both flip half of the images, along either axis."""


class ClassAugment(Randomizable):  # type: ignore[misc]
    """All random changes of a training batch, as a pure function of the seed given to it.

    Flips, rotation, zoom and shift of an image are one matrix, so that a batch is resampled once
    (:class:`monai.networks.layers.AffineTransform`); MONAI's transforms of single images take ten
    times as long.

    Args:
        strength: what is changed, and how much.
        classes: K.
    """

    def __init__(self, strength: Strength, classes: int) -> None:
        super().__init__()
        self.strength = strength
        self.classes = classes
        self._warp = AffineTransform(
            normalized=True,
            mode="bilinear",
            padding_mode="reflection",
            align_corners=False,
            reverse_indexing=False,
        )

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a batch.

        Args:
            images: float32 (B, C, S, S), -1 to 1.
            labels: int64 (B,), or float32 (B, K).

        Returns:
            The same; with mixup, labels are shares, float32 (B, K).
        """
        images = self._warp(images, self._matrices(len(images)))
        images = self._cut(self._light(images))
        if not self.strength.mixup:
            return images, labels
        shares = F.one_hot(labels, self.classes).float() if labels.ndim == 1 else labels
        return self._mix(images, shares)

    def _draw(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(self.R.uniform(low, high, shape).astype(np.float32))

    def _matrices(self, count: int) -> torch.Tensor:
        """From coordinates of the result to those of the image, both -1 to 1: (B, 2, 3)."""
        own = self.strength
        moved = (self._draw(0, 1, count) < own.moved).float()
        angle = moved * self._draw(-1, 1, count) * float(np.deg2rad(own.rotation))
        scale = torch.exp(moved * self._draw(-1, 1, count) * float(np.log(own.zoom)))
        flips = torch.from_numpy(self.R.randint(0, 2, (count, 2)).astype(np.float32)) * 2 - 1
        shift = moved[:, None] * self._draw(-2, 2, count, 2) * own.shift
        sine, cosine = torch.sin(angle), torch.cos(angle)
        turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(count, 2, 2)
        return torch.cat([turn * (scale[:, None] * flips)[:, None], shift[:, :, None]], dim=2)

    def _light(self, images: torch.Tensor) -> torch.Tensor:
        """Brightness and contrast of the colours; a fourth channel (alpha) stays as it is."""
        own = self.strength
        if not own.brightness and not own.contrast:
            return images
        shape = (len(images), 1, 1, 1)
        factor = np.exp(self.R.normal(0, own.contrast, shape)).astype(np.float32)
        added = self.R.normal(0, own.brightness, shape).astype(np.float32)
        colours = images[:, :3]
        mean = colours.mean(dim=(1, 2, 3), keepdim=True)
        changed = (colours - mean).mul_(torch.from_numpy(factor)).add_(mean)
        changed = changed.add_(torch.from_numpy(added)).clamp_(-1, 1)
        return changed if images.shape[1] <= 3 else torch.cat([changed, images[:, 3:]], dim=1)

    def _cut(self, images: torch.Tensor) -> torch.Tensor:
        """Blank a square at a place of its own in each image (DeVries and Taylor 2017).

        MONAI's ``CutOut`` has one corner for all images of a batch, and blanks half of each.
        """
        if not self.strength.cutout:
            return images
        count, side = len(images), images.shape[-1]
        half = self._draw(0, self.strength.cutout * side / 2, count, 1)
        places = torch.arange(side) + 0.5
        centre = self._draw(0, side, count, 2)
        rows = (places - centre[:, :1]).abs() < half
        columns = (places - centre[:, 1:]).abs() < half
        return images.masked_fill((rows[:, :, None] & columns[:, None])[:, None], 0.0)

    def _mix(self, images: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixup (Zhang et al. 2018): each image with another one of the batch, labels alike.

        The larger share is always the image's own. MONAI's ``MixUp`` gives it either, and then as
        many images of a batch appear twice as others do not appear at all.
        """
        beta = self.R.beta(self.strength.mixup, self.strength.mixup, len(images))
        own = torch.from_numpy(np.maximum(beta, 1 - beta).astype(np.float32))[:, None]
        other = torch.from_numpy(self.R.permutation(len(images)))
        place = own[:, :, None, None]
        return place * images + (1 - place) * images[other], own * shares + (1 - own) * shares[
            other
        ]
