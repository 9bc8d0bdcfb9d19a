"""What training sees of labels, as their task makes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from nasseg.tasks import TaskType

Retarget = Callable[[torch.Tensor], torch.Tensor]
"""Labels (B, 1, H, W), after flips and turns, to targets float32 (B, K, H, W)."""


def retarget(task: TaskType) -> Retarget | None:
    """Makes targets of turned labels, for tasks whose targets depend on directions; else None."""
    if not task.directional:
        return None

    def make(labels: torch.Tensor) -> torch.Tensor:
        made = [task.targets(label[0].numpy().round().astype(np.int32)) for label in labels]
        return torch.from_numpy(np.stack(made)).float().div_(task.target_scale)

    return make
