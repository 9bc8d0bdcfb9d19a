"""Third stage: put the network onto tiles and retrain it. Writes ``analog.safetensors``."""

from __future__ import annotations

from nasseg.analog.conversion import digital_names
from nasseg.io import write_json
from nasseg.records.folder import Timer
from nasseg.runs.calibration import MAX_IMAGES, keep_calibration
from nasseg.runs.digital_layers import keep_few_digital
from nasseg.runs.job import Job
from nasseg.training import save_weights
from nasseg.training.checkpoint import remove_checkpoint
from nasseg.training.recipe import train_analog


def run(job: Job, timer: Timer) -> None:
    checkpoint = job.folder / "analog.ckpt"
    analog, coverage, _ = train_analog(
        job.digital,
        job.data,
        job.task,
        job.config.train,
        job.config.analog,
        seed=job.config.seed,
        checkpoint=checkpoint,
        metrics_file=job.folder / "metrics.jsonl",
        on_epoch=timer.on_epoch,
        progress=job.progress,
    )
    kept = digital_names(job.digital, job.config.analog.named_digital_layers)
    if job.config.analog.digital_layers == "auto":
        analog, coverage, kept = keep_few_digital(job, analog, coverage)
    keep_calibration(job.folder.path, job.recalibration(analog, MAX_IMAGES))
    write_json(job.folder / "coverage.json", coverage.to_dict())
    save_weights(job.folder / "analog.safetensors", analog, job.metadata())
    job.best = job.best.replace(tiles=coverage.tiles)
    job.best.write(job.folder / "best.json")
    job.folder.finish("analog", mac_fraction=coverage.mac_fraction, digital_layers=kept)
    remove_checkpoint(checkpoint)
