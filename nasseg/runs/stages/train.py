"""Second stage: train the digital network, and fit how its answers are decoded.

Writes ``digital.safetensors``, and the decoder into ``best.json``.
"""

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
from nasseg.tasks.inference import mean_passes
from nasseg.training import evaluate, save_weights
from nasseg.training.checkpoint import has_checkpoint, remove_checkpoint
from nasseg.training.pretrained import load_pretrained
from nasseg.training.recipe import fit_decoder, train_digital

log = logging.getLogger(__name__)


def run(job: Job, timer: Timer) -> None:
    # Of an attempt that ended before the stage did: training is scored by the defaults.
    job.best = job.best.replace(decoder=None, decoder_fit=None)
    net = job.new_network()
    checkpoint = job.folder / "train.ckpt"
    if job.config.train.weights is not None and not has_checkpoint(checkpoint):
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
    # Before anything is measured, so that all results are of the same decoder.
    _fit_decoder(job, net.eval())
    facts: dict[str, Any] = {"metrics": result.metrics}
    if job.data.report_side != "val":
        loader = job.data.report_loader(job.config.train.batch_size)
        facts |= {"metrics": evaluate(net, loader, job.task), "val": result.metrics}
    if (found := _score_images(job, net)) is not None:
        facts["metrics"] = found
    if (diameter := job.config.data.diameter) > 0:
        loader = job.data.report_loader(job.config.train.batch_size)
        facts["passes"] = mean_passes(net.eval(), loader, job.task_type(), diameter)
        log.info(
            "an image takes %.2f times the products of one pass over it: data.diameter is %g",
            facts["passes"],
            diameter,
        )
    job.folder.finish("train", **facts, best_epoch=result.epoch, epochs=result.epochs)
    remove_checkpoint(checkpoint)


def _fit_decoder(job: Job, net: nn.Module) -> None:
    """Choose the parameters of the decoder on training images, for ``best.json``."""
    task = job.task_type(job.data.kind)
    if not task.decoder:
        return
    fit = fit_decoder(task, net, job.data, job.config.train)
    how = None
    if fit.images:
        how = {"images": fit.images, "score": fit.score, "default_score": fit.default_score}
        log.info("decoder: %s", ", ".join(f"{name} {v:g}" for name, v in fit.values.items()))
    job.best = job.best.replace(decoder=dict(fit.values), decoder_fit=how)
    job.best.write(job.folder / "best.json")


def _score_images(job: Job, net: nn.Module) -> dict[str, float] | None:
    """Write the scores of every image, and pictures of some, for the report.

    Returns:
        Metrics of all of them; None where the task scores no single images.
    """
    data = job.data
    if not (job.task_type(data.kind).scores_images and isinstance(data, NativeData)):
        return None
    loader = data.report_loader(job.config.train.batch_size)
    metrics, images = job.task.evaluate_images(net.eval(), loader)
    scored = ScoredImages(data, data.report_side, loader, images)
    scored.table.write(job.folder / "images.csv")
    write_fates(job.folder / "fates.npz", scored.pictures())
    return dict(metrics)
