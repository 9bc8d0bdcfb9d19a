"""Second stage: train the digital network. Writes ``digital.safetensors``."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from nasseg.data import NativeData
from nasseg.errors import RunError
from nasseg.records.fates import write_fates
from nasseg.records.folder import Timer
from nasseg.runs.images import ScoredImages
from nasseg.runs.job import Job
from nasseg.tasks import get_task
from nasseg.training import evaluate, save_weights
from nasseg.training.pretrained import load_pretrained
from nasseg.training.recipe import train_digital

log = logging.getLogger(__name__)


def run(job: Job, timer: Timer) -> None:
    net = job.new_network()
    checkpoint = job.folder / "train.ckpt"
    if job.config.train.weights is not None and not checkpoint.exists():
        pretrained = load_pretrained(net, job.config.train.weights)
        known = job.best.weights.get("sha256")
        if known not in (None, pretrained.sha256):
            raise RunError(
                f"{job.config.train.weights} has changed since {job.folder.path} was begun; "
                "bring it back, or use another --out"
            )
        log.info("%s", pretrained)
        job.folder.note("train", weights=pretrained.to_dict())
    result = train_digital(
        net,
        job.data,
        job.task,
        job.config.train,
        seed=job.config.seed,
        checkpoint=checkpoint,
        metrics_file=job.folder / "metrics.jsonl",
        on_epoch=timer.on_epoch,
        progress=job.progress,
    )
    save_weights(job.folder / "digital.safetensors", net, job.metadata())
    facts: dict[str, Any] = {"metrics": result.metrics}
    if job.data.report_side != "val":
        loader = job.data.report_loader(job.config.train.batch_size)
        facts |= {"metrics": evaluate(net, loader, job.task), "val": result.metrics}
    _keep_images(job, net)
    job.folder.finish("train", **facts, best_epoch=result.epoch, epochs=result.epochs)
    checkpoint.unlink(missing_ok=True)


def _keep_images(job: Job, net: nn.Module) -> None:
    """Write the scores of every image, and pictures of some, for the report."""
    data = job.data
    if not (get_task(data.kind).scores_images and isinstance(data, NativeData)):
        return
    loader = data.report_loader(job.config.train.batch_size)
    _, images = job.task.evaluate_images(net.eval(), loader)
    scored = ScoredImages(data, data.report_side, loader, images)
    scored.table.write(job.folder / "images.csv")
    write_fates(job.folder / "fates.npz", scored.pictures())
