"""What the digital and the aged network say of a few images, kept for the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from nasseg.data import ClassificationData, Data, evenly_spaced
from nasseg.tasks import TaskType
from nasseg.tasks.inference import predict_at_scale

PANELS = 6
"""Segmented images that are kept."""
CLASS_PANELS = 12
"""Classified images that are kept."""
PANEL_SIDE = 256
"""Side in pixels of what is kept of them, at most."""

Say = Callable[[nn.Module], Any]
"""A network in evaluation mode -> what it says of the images, as an array."""


def panels(
    data: Data, kind: TaskType, batch_size: int, device: torch.device, tta: bool = False
) -> tuple[dict[str, Any], Say]:
    """Images and labels, and how a network is asked about them.

    ``kind`` is the task, as the run decodes it.

    Returns:
        ``images`` uint8 (n, H, W, 3), ``labels`` and ``ids``; and a function from a network to
        foreground probabilities (n, H, W). Where each pixel has a class, ``pixel_classes`` (K,) are
        the names, and the function gives class numbers (n, H, W), uint8. Of classified images
        ``images`` are spread over those that results are of, while ``labels``, ``ids`` and
        probabilities (N, K) are of all of them; ``shown`` (n,) says which the images are,
        ``classes`` (K,) are the names.
    """
    if isinstance(data, ClassificationData):
        return _classified(data, batch_size, tta)
    return _segmented(data, kind, device)


def _segmented(data: Any, kind: TaskType, device: torch.device) -> tuple[dict[str, Any], Say]:
    picked = evenly_spaced(np.arange(len(data.val_ids)), PANELS).tolist()
    images = [data.shown("val", i).to(device) for i in picked]
    # Images of many sizes are shown by what is in their middle.
    side = min(PANEL_SIDE, *(min(image.shape[2:]) for image in images))
    diameter = getattr(data, "diameter", 0.0)

    @torch.no_grad()
    def say(net: nn.Module) -> Any:
        found = []
        for image in images:
            whole = kind.picture(predict_at_scale(net, image, kind, diameter))
            found.append(_middle(whole[0].cpu().numpy(), side))
        return np.stack(found)

    kept = {
        "images": np.stack([_middle(_display(data.image("val", i)), side) for i in picked]),
        "labels": np.stack([_middle(data.label("val", i), side) for i in picked]),
        "ids": np.array([data.val_ids[i] for i in picked]),
    }
    if data.classes:
        kept["pixel_classes"] = np.array(data.classes)
    return kept, say


def _classified(data: ClassificationData, batch_size: int, tta: bool) -> tuple[dict[str, Any], Say]:
    from nasseg.tasks.class_metrics import predict_probabilities

    side = data.report_side
    ids = data.ids[side]
    picked = evenly_spaced(np.arange(len(ids)), CLASS_PANELS).tolist()

    def say(net: nn.Module) -> Any:
        loader = data.report_loader(batch_size)
        found, _ = predict_probabilities(net, loader, multilabel=data.multilabel, tta=tta)
        return found.astype(np.float32)

    rows = torch.from_numpy(data.rows[side])
    kept = {
        "images": np.stack([_display(data.image(side, i)) for i in picked]),
        "shown": np.array(picked),
        "labels": data.labels[rows].numpy(),
        "ids": np.array(ids),
        "classes": np.array(data.classes),
    }
    return kept, say


def _display(image: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
    """uint8 (H, W, 1 | 3 | 4) to (H, W, 3)."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]


def _middle(picture: Any, side: int) -> Any:
    """The middle (side, side) of a picture (H, W) or (H, W, C)."""
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]
