"""Random views of training images."""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms import (
    Compose,
    Identityd,
    OneOf,
    Rand2DElasticd,
    RandAxisFlipd,
    Randomizable,
    RandRotate90d,
    RandZoomd,
)

from nasseg.data._plain import plain_tensors
from nasseg.data.normalise import LIMIT, normalise
from nasseg.data.pixels.stain import RandStain

GROUP = 4
"""Images that share one draw of the spatial transforms: they are stacked as channels, which makes
an epoch several times cheaper. Shuffling puts other images together every epoch."""
_KEYS = ("image", "label")


def spatial_transforms(size: int) -> Compose:
    """Flips, quarter turns, mild zoom and mild elastic for ``{"image", "label"}``, channel first.

    Images bilinear, labels nearest.
    """
    spacing = max(4, size // 4)
    # Every transform of OneOf has probability 1: MONAI's elastic one resamples on an identity grid
    # where it is not drawn, which would be two thirds of an epoch's time.
    warp = OneOf(
        [
            Identityd(_KEYS),
            RandZoomd(
                _KEYS,
                prob=1.0,
                min_zoom=0.8,
                max_zoom=1.3,
                mode=("bilinear", "nearest-exact"),
                padding_mode="reflect",
            ),
            Rand2DElasticd(
                _KEYS,
                spacing=(spacing, spacing),
                magnitude_range=(0.0, size / 32),
                prob=1.0,
                mode=("bilinear", "nearest"),
                padding_mode="reflection",
            ),
        ],
        weights=(0.7, 0.15, 0.15),
    )
    return Compose(
        [RandAxisFlipd(_KEYS, prob=0.67), RandRotate90d(_KEYS, prob=0.75, max_k=3), warp]
    )


class RandIntensity(Randomizable):  # type: ignore[misc]
    """Scale, shift and noise of normalised images, each image by itself.

    After the normalisation, which would undo scale and shift before it.
    """

    def __init__(self, scale: float = 0.04, shift: float = 0.04, noise: float = 0.02) -> None:
        super().__init__()
        self.scale = scale
        self.shift = shift
        self.noise = noise

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (B, C, H, W) to the same, cut at :data:`~nasseg.data.normalise.LIMIT`."""
        each = (len(images), 1, 1, 1)
        scale = torch.from_numpy(self.R.normal(1, self.scale, each).astype(np.float32))
        shift = torch.from_numpy(self.R.normal(0, self.shift, each).astype(np.float32))
        sigma = torch.from_numpy(self.R.uniform(0, self.noise, each).astype(np.float32))
        # The legacy generator of MONAI draws normal deviates at a third of torch's speed.
        generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
        noise = torch.empty_like(images).normal_(generator=generator)
        return noise.mul_(sigma).add_(shift).addcmul_(images, scale).clamp_(-LIMIT, LIMIT)


class Augment:
    """All random transforms of a training batch, as a pure function of the seed given to it."""

    def __init__(self, size: int) -> None:
        self._spatial = spatial_transforms(size)
        self._stain = RandStain()
        self._intensity = RandIntensity()

    def seed(self, seed: int) -> None:
        """Start every transform's generator anew."""
        for transform in (self._spatial, self._stain, self._intensity):
            transform.set_random_state(seed=seed)

    def spatial(
        self, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The spatial part: float32 (B, C, S, S) and (B, 1, S, S) to the same."""
        moved, drawn = [], []
        with plain_tensors():
            for first in range(0, len(images), GROUP):
                image, label = images[first : first + GROUP], labels[first : first + GROUP]
                pair = {"image": image.flatten(0, 1), "label": label.flatten(0, 1)}
                pair = self._spatial(pair)
                moved.append(pair["image"].view_as(image))
                drawn.append(pair["label"].view_as(label))
        return torch.cat(moved), torch.cat(drawn)

    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        reference: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment and normalise.

        Args:
            images: float32 (B, C, S, S), 0 to 1.
            labels: float32 (B, K, S, S), 0 to 1, or class numbers; their values are never mixed.
            reference: the whole images where ``images`` are crops of them, at any size
                (B, C, h, w): stained alike, their percentiles are those of the normalisation.

        Returns:
            Images as :func:`~nasseg.data.normalise.normalise` gives them, and labels.
        """
        images, labels = self.spatial(images, labels)
        images = self._stain(images)
        if reference is not None:
            reference = self._stain(reference, randomize=False)
        return self._intensity(normalise(images, reference)), labels
