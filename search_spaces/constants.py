"""Constants that a search space and its networks share; without torch."""

from __future__ import annotations

MIN_INPUT = 16
"""Smallest height and width, in pixels, that every network accepts."""
MIN_BOTTOM = 2
"""Smallest height and width of a U-Net's deepest map, so that BatchNorm has values to average."""
HALVING_GROUPS = (2, 3, 4)
"""Groups of a ``resnet`` whose first block has stride 2; a 16 x 16 input is 2 x 2 after them."""

CELL_STAGES = (1, 2)
"""Stages of a network of ``cells``."""
CELL_STRIDES = (1, 2)
"""Stride of the first convolution of each stage; with the stem's, 16 x 16 becomes 4 x 4."""
CELL_STEM_WIDTH = 16
"""Channels after the stem."""
CELL_STEM_STRIDE = 2
"""Stride of the stem."""
CELL_BLOCKS: dict[str, tuple[int, ...]] = {
    "c3": (3,),
    "c5": (5,),
    "c3c3": (3, 3),
    "c3c3c3": (3, 3, 3),
    "c3c3c3c3": (3, 3, 3, 3),
}
"""Kernel sizes of the convolutions of each block, one after another."""
CELL_HEADS: dict[str, int] = {"none": 0, "h64": 64}
"""Features of the linear layer before the classifier; 0: the classifier alone. The choices have
names, since 0 stands for an inactive hyperparameter everywhere else."""
