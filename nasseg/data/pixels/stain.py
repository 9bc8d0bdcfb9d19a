"""Colour of stains and lamps as a random transform; MONAI has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable


class RandStain(Randomizable):  # type: ignore[misc]
    """Mix, permute or merge the colour channels and bend their gamma, each image by itself.

    A training set often knows one stain only. What makes a nucleus is that it is darker or
    brighter than its surroundings in *some* combination of channels, so the network is shown many
    combinations:

    - ``grey_prob``: all channels become one random convex combination of them;
    - ``permute_prob``: the channels change places;
    - ``mix_prob``: channels are mixed by the unit matrix plus Gaussian noise of deviation ``mix``,
      permuted ones too; the others keep their colours, for what the network will meet are images
      as they are (without such a share DSB2018 at 32 x 32 loses 0.02 pooled IoU);
    - always: a gamma of log-normal deviation ``gamma`` an image and ``channel_gamma`` a channel.

    Images of one channel get the gamma only; a fourth channel (alpha) stays as it is. Draws come
    from MONAI's ``self.R``: set it with ``set_random_state``.
    """

    def __init__(
        self,
        grey_prob: float = 0.2,
        permute_prob: float = 0.0,
        mix_prob: float = 0.4,
        mix: float = 0.2,
        gamma: float = 0.08,
        channel_gamma: float = 0.0,
    ) -> None:
        super().__init__()
        self.grey_prob = grey_prob
        self.permute_prob = permute_prob
        self.mix_prob = mix_prob
        self.mix = mix
        self.gamma = gamma
        self.channel_gamma = channel_gamma
        self._matrix = torch.empty(0)
        self._gamma = torch.empty(0)

    def randomize(self, data: Any) -> None:
        """Draw for ``data`` = (images, colour channels); always the same number of draws."""
        count, colours = data
        matrix = np.eye(colours) + self.R.normal(0, self.mix, (count, colours, colours))
        order = np.argsort(self.R.random_sample((count, colours)), axis=1)
        grey = self.R.dirichlet(np.ones(colours), count)[:, None, :]
        choice = self.R.random_sample((count, 1, 1))
        permuted = np.take_along_axis(matrix, order[:, :, None], axis=1)
        bounds = np.cumsum([self.grey_prob, self.permute_prob, self.mix_prob])
        matrix = np.where(choice < bounds[2], matrix, np.eye(colours))
        matrix = np.where(choice < bounds[1], permuted, matrix)
        matrix = np.where(choice < bounds[0], grey, matrix)
        exponent = self.R.normal(0, self.gamma, (count, 1))
        if colours > 1:
            exponent = exponent + self.R.normal(0, self.channel_gamma, (count, colours))
        self._matrix = torch.from_numpy(matrix.astype(np.float32))
        self._gamma = torch.from_numpy(np.exp(exponent).astype(np.float32))

    def __call__(self, images: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        """float32 (B, C, H, W), 0 to 1, to the same."""
        count, channels = images.shape[:2]
        colours = min(channels, 3)
        if randomize:
            self.randomize((count, colours))
        colour = images[:, :colours]
        if colours > 1:
            colour = torch.bmm(self._matrix, colour.flatten(2)).view_as(colour)
        colour = colour.clamp(0, 1).pow_(self._gamma[:, :, None, None])
        return colour if colours == channels else torch.cat([colour, images[:, colours:]], dim=1)
