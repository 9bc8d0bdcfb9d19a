"""Scores of a finished run, digital or on aged chips: ``nasseg evaluate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn
from tqdm import tqdm

from nasseg.data import Data
from nasseg.errors import ConfigError
from nasseg.io import write_bytes, write_json
from nasseg.records.folder import read_run_config
from nasseg.runs.aged import AgedChips, check_chips, open_job
from nasseg.runs.job import Job
from nasseg.statistics import spread
from nasseg.tasks import Classification, get_task
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
    """What a run scores on one side of its images."""

    side: str
    images: int
    at: float | None
    """Seconds after programming; None = the digital network."""
    chips: int
    """Chips evaluated; 0 = the digital network."""
    metrics: dict[str, dict[str, float]]
    """Metric to ``mean``, ``std`` and ``p05`` over chips."""
    classes: list[dict[str, Any]]
    """Of classification, for each class: ``name``, ``images``, ``precision``, ``recall``, ``f1``
    and ``auc``, of the first chip."""
    calibration_error: float | None
    """Of classification with one class an image, of the first chip."""
    files: tuple[Path, ...]
    """What was written: ``evaluation.json`` and pictures."""


def evaluate_run(
    run: str | Path,
    *,
    side: Literal["val", "test"] | None = None,
    at: float | None = None,
    chips: int = 1,
    recalibrate: bool = True,
    tta: bool | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Score the network of a run folder.

    Args:
        run: run folder.
        side: ``val`` or ``test``; none = the one that the run's results are of.
        at: seconds after programming at which the analog network is scored; none = the digital
            one.
        chips: chips scored, the same ones as in ``drift.csv``; their output noise is drawn anew.
        recalibrate: re-estimate BatchNorm statistics on each drifted chip.
        tta: classification: mean over mirror images; none = as in the run.
        out: folder for ``evaluation.json`` and pictures; none = ``evaluation/`` of the run.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` of several.
        progress: show a bar.

    Raises:
        RunError: the folder holds no trained run.
        ConfigError: a value is not allowed.
        DataError: the images of the run cannot be used.
    """
    check_chips(chips)
    config = read_run_config(run, device=device)
    job = open_job(run, config, at, progress)
    data = job.data
    chosen = side or data.report_side
    if chosen not in data.ids:
        raise ConfigError(f"side is {chosen!r}; these data have no {chosen} images")
    ask = _Question(job, data, chosen, config.train.tta if tta is None else tta)
    if at is None:
        answers = [ask(job.digital)]
    else:
        answers = list(_aged(job, ask, at, chips, recalibrate, progress))
    return _written(ask, answers, at, Path(out) if out is not None else Path(run) / "evaluation")


@dataclass(frozen=True)
class _Answer:
    metrics: Mapping[str, float]
    classes: tuple[Probabilities, Labels] | None = None
    """Of classification."""


class _Question:
    """What is asked of every network."""

    def __init__(self, job: Job, data: Data, side: Any, tta: bool) -> None:
        self.job, self.data, self.side, self.tta = job, data, side, tta

    @property
    def count(self) -> int:
        """Images."""
        return len(self.data.ids[self.side])

    def __call__(self, net: nn.Module) -> _Answer:
        size = self.job.config.train.batch_size
        data = self.data
        if not isinstance(get_task(data.kind), Classification):
            return _Answer(evaluate(net, data.loader(self.side, size), self.job.task))
        probabilities, labels = predict_probabilities(
            net.eval(),
            data.loader(self.side, size),
            multilabel=data.multilabel,
            tta=self.tta,
        )
        metrics = classification_metrics(probabilities, labels, multilabel=data.multilabel)
        return _Answer(metrics, (probabilities, labels))


def _aged(
    job: Job, ask: _Question, at: float, chips: int, recalibrate: bool, progress: bool
) -> Iterator[_Answer]:
    """The answers of chips of one age, in order."""
    networks = AgedChips(job, at, count=chips, recalibrate=recalibrate)
    bar = tqdm(networks, total=chips, desc="evaluate", unit="chip", disable=not progress)
    for _, net in bar:
        answer = ask(net)
        monitor = job.task.monitor
        bar.set_postfix({monitor: f"{answer.metrics[monitor]:.4f}"}, refresh=False)
        yield answer


def _written(ask: _Question, answers: list[_Answer], at: float | None, out: Path) -> Evaluation:
    from nasseg.report import calibration_error, classification_pictures

    metrics = {}
    for name in answers[0].metrics:
        over = spread([answer.metrics[name] for answer in answers])
        metrics[name] = {"mean": over.mean, "std": over.std, "p05": over.p05}
    first, data = answers[0], ask.data
    classes: list[dict[str, Any]] = []
    error = None
    pictures: dict[str, bytes] = {}
    if first.classes is not None:
        probabilities, labels = first.classes
        classes = class_report(probabilities, labels, data.classes)
        if not data.multilabel:
            error = calibration_error(labels, probabilities)
            state = "digital" if at is None else "analog"
            pictures = classification_pictures(data.classes, labels, probabilities, state)
    found = {
        "side": ask.side,
        "images": ask.count,
        "at_s": at,
        "chips": 0 if at is None else len(answers),
        "metrics": metrics,
        "classes": classes,
        "calibration_error": error,
    }
    files = [write_bytes(out / f"{name}.png", picture) for name, picture in pictures.items()]
    write_json(out / "evaluation.json", found)
    return Evaluation(
        side=ask.side,
        images=ask.count,
        at=at,
        chips=0 if at is None else len(answers),
        metrics=metrics,
        classes=classes,
        calibration_error=error,
        files=(out / "evaluation.json", *files),
    )


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
    said: npt.NDArray[Any] = probabilities > 0.5 if several else probabilities.argmax(1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, said, labels=list(range(len(names))), average=None, zero_division=0.0
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


def format_evaluation(found: Evaluation) -> str:
    """Metrics, and classes where there are any, as a table for the terminal."""
    from nasseg.tasks import metrics_of
    from nasseg.text import number, time_name

    what = "digital" if found.at is None else f"analog after {time_name(found.at)}"
    over = f", mean ± std over {found.chips} chips [5th percentile]" if found.chips > 1 else ""
    lines = [f"{what}, {found.images} {found.side} images{over}"]
    for key, title in metrics_of(found.metrics):
        value = found.metrics.get(key)
        if value is None:
            continue
        text = number(value["mean"], 4)
        if found.chips > 1:
            text += f" ± {number(value['std'], 4)} [{number(value['p05'], 4)}]"
        lines.append(f"  {title:20}{text}")
    one = " (first chip)" if found.chips > 1 else ""
    if found.calibration_error is not None:
        lines.append(f"  {'calibration error':20}{number(found.calibration_error, 4)}{one}")
    if found.classes:
        wide = min(32, max(len(entry["name"]) for entry in found.classes))
        heads = "".join(f"{head:>11}" for head in ("images", "precision", "recall", "F1", "AUC"))
        lines += ["", f"  {'':{wide}}{heads}{one}"]
        for entry in found.classes:
            cells = "".join(
                f"{number(entry[key]):>11}" for key in ("precision", "recall", "f1", "auc")
            )
            lines.append(f"  {entry['name'][:wide]:{wide}}{entry['images']:>11}{cells}")
    return "\n".join(lines)
