"""What training sees of labels, as their task makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from skimage.measure import label as connected
from skimage.segmentation import relabel_sequential

from nasseg.tasks import TaskType

Retarget = Callable[[torch.Tensor], torch.Tensor]
"""Labels (B, 1, H, W), after flips and turns, to targets float32 (B, K, H, W)."""


def renumbered(label: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Instances (H, W) numbered from 1 without gaps, where some are lost in a crop or resizing."""
    return np.asarray(relabel_sequential(label)[0], dtype=np.int32)


def retarget(task: TaskType) -> Retarget | None:
    """Makes targets of turned labels, for tasks whose targets depend on directions; else None."""
    if not task.directional:
        return None

    def make(labels: torch.Tensor) -> torch.Tensor:
        whole = [label[0].numpy().round().astype(np.int32) for label in labels]
        if task.labels == "instances":
            # What a mirrored border shows twice has one number, but a centre of its own each time.
            whole = [np.asarray(connected(label, connectivity=2), np.int32) for label in whole]
        made = [task.targets(label) for label in whole]
        return torch.from_numpy(np.stack(made)).float().div_(task.target_scale)

    return make
