"""Probabilities of classes and what they score: accuracy, AUC, F1, calibration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nasseg.errors import RunError
from nasseg.tasks.base import Batches

Probabilities = npt.NDArray[np.float64]
"""(N, K): one row an image; rows add up to 1 unless an image may have several classes."""
Labels = npt.NDArray[np.int64]
"""(N,) class numbers, or (N, K) of 0 and 1 where an image may have several classes."""

MIRRORS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
"""Axes of (B, C, H, W) flipped for each view of test-time augmentation."""


@torch.no_grad()
def predict_probabilities(
    net: nn.Module, loader: Batches, *, multilabel: bool = False, tta: bool = False
) -> tuple[Probabilities, Labels]:
    """Probabilities of every image of a loader, and its labels.

    Args:
        net: in evaluation mode; images (B, C, H, W) to logits (B, K).
        loader: batches of images and labels.
        multilabel: each class by itself (sigmoid) instead of one of all (softmax).
        tta: mean over the image and its mirror images.

    Raises:
        ValueError: the loader gave no batch.
        RunError: the network gives what is not finite.
    """
    device = next(net.parameters()).device
    views = MIRRORS if tta else MIRRORS[:1]
    found, labels = [], []
    for image, label in loader:
        image = image.to(device)
        mean = torch.zeros((), device=device)
        for axes in views:
            logits = net(image.flip(axes) if axes else image).double()
            mean = mean + (logits.sigmoid() if multilabel else logits.softmax(1)) / len(views)
        found.append(mean.cpu())
        labels.append(label.cpu())
    if not found:
        raise ValueError("no image to evaluate: the loader gave no batch")
    probabilities = torch.cat(found).numpy()
    if not np.isfinite(probabilities).all():
        raise RunError("diverged: the network's probabilities are not finite")
    return probabilities, torch.cat(labels).long().numpy()


def classification_metrics(
    probabilities: Probabilities, labels: Labels, *, multilabel: bool = False
) -> dict[str, float]:
    """Scores of probabilities against labels.

    ``accuracy``; ``balanced_accuracy``, the mean over classes of the share found (not for several
    classes an image); ``auc``, one class against the rest, mean over the classes that have images
    of both kinds; ``f1``, mean over the classes that occur in labels or predictions. Where an
    image may have several classes, accuracy and F1 are of each class above 0.5, as MedMNIST
    scores them.
    """
    from sklearn.metrics import f1_score

    aucs = class_aucs(probabilities, labels, multilabel=multilabel)
    known = aucs[~np.isnan(aucs)]
    auc = float(known.mean()) if len(known) else 0.5
    if multilabel:
        said = probabilities > 0.5
        return {
            "accuracy": float((said == labels).mean()),
            "auc": auc,
            "f1": float(f1_score(labels, said, average="macro", zero_division=0.0)),
        }
    said = probabilities.argmax(1)
    hit = said == labels
    recalls = [hit[labels == c].mean() for c in np.unique(labels)]
    return {
        "accuracy": float(hit.mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "auc": auc,
        "f1": float(f1_score(labels, said, average="macro", zero_division=0.0)),
    }


def class_aucs(
    probabilities: Probabilities, labels: Labels, *, multilabel: bool = False
) -> npt.NDArray[np.float64]:
    """Area under the ROC curve of each class against the rest, (K,); NaN where a class has no
    image, or all of them."""
    from sklearn.metrics import roc_auc_score

    own = labels if multilabel else labels[:, None] == np.arange(probabilities.shape[1])
    aucs = np.full(probabilities.shape[1], np.nan)
    for c in range(probabilities.shape[1]):
        if 0 < own[:, c].sum() < len(own):
            aucs[c] = roc_auc_score(own[:, c], probabilities[:, c])
    return aucs
