"""Scores of networks of one run on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from nasseg.config import TrainConfig
from nasseg.data import Data, NativeData, Side
from nasseg.errors import ConfigError
from nasseg.records.fates import FatePicture
from nasseg.records.images import ImageTable
from nasseg.runs.images import ScoredImages
from nasseg.statistics import spread
from nasseg.tasks import Classification, TaskType
from nasseg.tasks.class_metrics import (
    Labels,
    Probabilities,
    class_aucs,
    classification_metrics,
    predict_probabilities,
)
from nasseg.training import evaluate


@dataclass(frozen=True)
class Evaluation:
    """Scores on one split of labelled images."""

    side: str
    """Name of the split."""
    images: int
    """Number of its images."""
    at: float | None
    """Seconds after programming; None: the digital network."""
    chips: int
    """Chips evaluated; 0: the digital network."""
    metrics: dict[str, dict[str, float]]
    """Metric to ``mean``, ``std``, ``p05`` and ``p95`` over chips."""
    classes: list[dict[str, Any]]
    """Of classification, for each class: ``name``, ``images``, ``precision``, ``recall``, ``f1``
    and ``auc``, of the first chip."""
    calibration_error: float | None
    """Of classification with one class an image, of the first chip."""
    answers: tuple[Probabilities, Labels] | None = field(default=None, repr=False, compare=False)
    """Of classification: probabilities (N, K) by the first chip, and labels."""
    files: tuple[Path, ...] = ()
    """Files that were written of it."""
    task: str | None = None
    """Name of the task; None: that of the metrics."""
    kinds: list[dict[str, Any]] = field(default_factory=list)
    """Of single nuclei, where images are of several kinds, for each: ``kind``, ``images``, and
    ``metrics`` as above."""
    table: ImageTable | None = field(default=None, repr=False, compare=False)
    """Of single nuclei: scores of every image by the first network."""
    pictures: tuple[FatePicture, ...] = field(default=(), repr=False, compare=False)
    """Some of these images with the fates of their nuclei."""

    def __getitem__(self, metric: str) -> float:
        """Return the mean of a metric over chips."""
        return self.metrics[metric]["mean"]


def score(
    networks: Iterable[nn.Module],
    data: Data,
    train: TrainConfig,
    kind: TaskType,
    *,
    side: Side | None = None,
    at: float | None = None,
    tta: bool | None = None,
    on_scores: Callable[[dict[str, float]], object] | None = None,
) -> Evaluation:
    """Score networks one after another on the same images.

    Args:
        networks: the digital one, or the same on several chips.
        data: labelled images.
        train: settings of the training: batch size, metric, mirror images.
        kind: the task, as the run decodes it.
        side: split of the images; None: the one that results are of.
        at: seconds after programming; None: the networks are digital.
        tta: classification: average over mirror images; None: as ``train`` has it.
        on_scores: called with the metrics of each network.

    Raises:
        ConfigError: the data have no such split.
    """
    chosen = side or data.report_side
    if chosen not in data.ids:
        there = " and ".join(side for side in ("val", "test") if side in data.ids)
        raise ConfigError(f"side is {chosen!r}; these data have {there} only")
    task = kind.bind(data, train)
    loader = data.loader(chosen, train.batch_size)
    mirrored = train.tta if tta is None else tta
    scores: list[dict[str, float]] = []
    first: tuple[Probabilities, Labels] | None = None
    scored: ScoredImages | None = None
    tables: list[ImageTable] = []
    for net in networks:
        if isinstance(kind, Classification):
            answers = predict_probabilities(
                net.eval(), loader, multilabel=data.multilabel, tta=mirrored
            )
            first = first or answers
            scores.append(classification_metrics(*answers, multilabel=data.multilabel))
        elif kind.scores_images and isinstance(data, NativeData):
            found, images = task.evaluate_images(net.eval(), loader)
            scores.append(dict(found))
            own = ScoredImages(data, chosen, data.loader(chosen, train.batch_size), images)
            scored = scored or own
            tables.append(own.table)
        else:
            scores.append(dict(evaluate(net, loader, task)))
        if on_scores is not None:
            on_scores(scores[-1])
    return Evaluation(
        side=chosen,
        images=len(data.ids[chosen]),
        at=at,
        chips=0 if at is None else len(scores),
        metrics=_over_chips(scores),
        classes=[] if first is None else class_report(*first, data.classes),
        calibration_error=_calibration_error(first, data.multilabel),
        answers=first,
        task=data.kind,
        kinds=_by_kind(tables),
        table=None if scored is None else scored.table,
        pictures=() if scored is None else tuple(scored.pictures()),
    )


def _over_chips(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Statistics of every metric over networks."""
    found = {}
    for name in scores[0]:
        over = spread([values[name] for values in scores])
        found[name] = {"mean": over.mean, "std": over.std, "p05": over.p05, "p95": over.p95}
    return found


def _by_kind(tables: Sequence[ImageTable]) -> list[dict[str, Any]]:
    """Scores of each kind of image over networks; empty where all images are of one."""
    rows = [table.by_kind() for table in tables]
    if not rows or len(rows[0]) < 2:
        return []
    return [
        {
            "kind": of_networks[0].kind,
            "images": of_networks[0].images,
            "metrics": _over_chips([entry.scores for entry in of_networks]),
        }
        for of_networks in zip(*rows, strict=True)
    ]


def _calibration_error(
    answers: tuple[Probabilities, Labels] | None, multilabel: bool
) -> float | None:
    from nasseg.report import calibration_error

    if answers is None or multilabel:
        return None
    return calibration_error(answers[1], answers[0])


def class_report(
    probabilities: Probabilities, labels: Labels, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall, F1 and AUC of each class.

    Args:
        probabilities: (N, K).
        labels: class numbers (N,), or 0 and 1 (N, K) where an image may have several classes.
        names: of the K classes.

    Returns:
        For each class ``name``, ``images`` (that have it), ``precision``, ``recall``, ``f1`` and
        ``auc`` (None where it is not defined).
    """
    from sklearn.metrics import precision_recall_fscore_support

    several = labels.ndim == 2
    predicted: npt.NDArray[Any] = probabilities > 0.5 if several else probabilities.argmax(1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=list(range(len(names))), average=None, zero_division=0.0
    )
    aucs = class_aucs(probabilities, labels, multilabel=several)
    return [
        {
            "name": str(name),
            "images": int(support[k]),
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "auc": None if np.isnan(aucs[k]) else float(aucs[k]),
        }
        for k, name in enumerate(names)
    ]
