"""Choice of the parameters by which instances are decoded, on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from nasseg.tasks.base import Batches, DecoderFit, TaskType
from nasseg.tasks.inference import predict_at_scale
from nasseg.tasks.metrics import InstanceMetrics

if TYPE_CHECKING:
    from torch import nn

    from nasseg.tasks.watershed import Ids

Scores = npt.NDArray[np.float64]

SIDE = 384
"""Side in pixels of the middle of an image that is decoded, at most."""
ERRORS = 2.0
"""Standard errors by which a value must be better than the default to be taken."""
SWEEPS = 2
"""Times that each parameter is chosen, at most, as the choice of one may change that of another."""


def fit_decoder(
    task: TaskType, net: nn.Module, loader: Batches, diameter: float = 0.0
) -> DecoderFit:
    """Choose the parameters of the decoder of a task of instances.

    Coordinate descent over ``task.decoder_choices`` from the defaults, by the mean over images of
    AP50 plus AP. A default stays unless another value is :func:`clearly_better`.

    Args:
        task: with any parameters; those that it has are not looked at.
        net: on its device, in evaluation mode.
        loader: batches of images and instance ids (B, 1, H, W); of large images the middle is used.
        diameter: as in :func:`~nasseg.tasks.inference.predict_at_scale`; the first pass is decoded
            by the defaults.
    """
    defaults = dict(type(task).decoder)
    if not task.decoder_choices:
        return DecoderFit(defaults)
    examples = _examples(task.with_decoder(defaults), net, loader, diameter)
    if not examples:
        return DecoderFit(defaults)

    def score(values: Mapping[str, float]) -> Scores:
        tried, metrics = task.with_decoder(values), InstanceMetrics()
        for probability, ids in examples:
            metrics.update(tried.decode(probability.astype(np.float32)), ids)
        return np.array([found["ap50"] + found["ap"] for found in metrics.images])

    values = descend(score, defaults, task.decoder_choices)
    best, first = (float(score(chosen).mean()) for chosen in (values, defaults))
    return DecoderFit(values, len(examples), best, first)


def _examples(
    task: TaskType, net: nn.Module, loader: Batches, diameter: float
) -> list[tuple[npt.NDArray[np.float16], Ids]]:
    """Probabilities (K, H, W) and instance ids (H, W) of each image."""
    device = next(net.parameters()).device
    found: list[tuple[npt.NDArray[np.float16], Ids]] = []
    with torch.no_grad():
        for image, ids in loader:
            height, width = (_middle(length) for length in image.shape[2:])
            part = image[:, :, height, width].to(device)
            probability = task.probability(predict_at_scale(net, part, task, diameter))
            rows = probability.cpu().numpy().astype(np.float16)
            true = ids[:, 0, height, width].cpu().numpy()
            found += [(row, _numbered(own)) for row, own in zip(rows, true, strict=True)]
    return found


def _middle(length: int) -> slice:
    start = max(0, (length - SIDE) // 2)
    return slice(start, start + SIDE)


def _numbered(ids: npt.NDArray[Any]) -> Ids:
    """Number the instances of a part of an image from 1 without gaps."""
    there = np.zeros(int(ids.max(initial=0)) + 1, dtype=bool)
    there[ids] = True
    there[0] = False
    numbered: Ids = np.where(there, np.cumsum(there), 0).astype(np.int32)[ids]
    return numbered


def descend(
    score: Callable[[Mapping[str, float]], Scores],
    defaults: Mapping[str, float],
    choices: Mapping[str, tuple[float, ...]],
) -> dict[str, float]:
    """Maximise the mean of scores over one parameter after another.

    Args:
        score: scores (N,) of N images, of all parameters by name.
        defaults: what it begins with; another value is taken where it is :func:`clearly_better`.
        choices: values of each parameter, in the order in which these are chosen.

    Returns:
        The parameters.
    """
    known: dict[tuple[float, ...], Scores] = {}

    def cached(values: Mapping[str, float]) -> Scores:
        key = tuple(values[name] for name in defaults)
        if key not in known:
            known[key] = score(values)
        return known[key]

    current = dict(defaults)
    for _ in range(SWEEPS):
        before = dict(current)
        for name, values in choices.items():
            # The default first, then what was chosen last: the first of the best is taken.
            order = dict.fromkeys((defaults[name], current[name], *values))
            scores = {value: cached({**current, name: value}) for value in order}
            means = {value: float(found.mean()) for value, found in scores.items()}
            best = max(means, key=means.__getitem__)
            better = clearly_better(scores[best], scores[defaults[name]])
            current[name] = best if better else defaults[name]
        if current == before:
            break
    return current


def clearly_better(ours: Scores, theirs: Scores) -> bool:
    """Return True if a mean difference of scores (N,) is above :data:`ERRORS` standard errors.

    Less than that is as likely to be worse on other images; some twenty values are compared.
    """
    gain = ours - theirs
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return bool(gain.mean() > ERRORS * error)
