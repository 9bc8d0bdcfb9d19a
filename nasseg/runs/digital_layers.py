"""``analog.digital_layers auto``: which few layers to keep digital."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from torch import nn
from tqdm import tqdm

from nasseg.analog import Coverage
from nasseg.analog.mixed import choose_digital_layers, keep_digital, layer_sensitivity
from nasseg.analog.noise import derive_seed
from nasseg.analog.reuse import cached_batches
from nasseg.analog.state import load_tensors, named_tensors
from nasseg.io import write_json
from nasseg.runs.job import Job
from nasseg.training import evaluate
from nasseg.training.recipe import SEED_SENSITIVITY, drift_metrics, to_analog

log = logging.getLogger(__name__)

LEAST_IMAGES = 96
"""Training images that layers are chosen on, where there are so many; more with more validation
images."""


def keep_few_digital(
    job: Job, analog: nn.Module, coverage: Coverage
) -> tuple[nn.Module, Coverage, list[str]]:
    """Keep as few layers digital as the target takes; ``sensitivity.json`` says what of."""
    config = job.config.analog
    metric, monitor = drift_metrics(job.task), job.task.monitor
    data, batch_size = job.data, job.config.train.batch_size
    # Results are of the validation images, or may be: they choose no layer.
    chosen_on = data.training_sample(max(LEAST_IMAGES, len(data.ids["val"])), batch_size)
    loader = cached_batches(chosen_on, job.device)
    shared: dict[str, Any] = {
        "recalibrate_with": job.recalibration(analog),
        "name": monitor,
        # Not the chips of the evaluation: layers must not be chosen on what is reported.
        "seed": derive_seed(job.config.seed, SEED_SENSITIVITY),
    }
    macs = {layer.name: layer.macs for layer in coverage.layers}
    bar = tqdm(total=coverage.analog_layers, desc="sensitivity", disable=not job.progress)
    with bar:
        found = layer_sensitivity(
            analog,
            loader,
            metric,
            macs,
            chips=config.sensitivity_chips,
            on_layer=lambda _: bar.update(),
            **shared,
        )
    digital = evaluate(job.digital, loader, job.task)[monitor]
    target = config.target * digital
    names, value = choose_digital_layers(
        analog, loader, metric, found, target, chips=config.sensitivity_chips, **shared
    )
    if value < target:
        log.warning(
            "digital_layers auto: %s %.4f after a day is the most that was reached; the "
            "target is %.4f (%g x digital)",
            monitor,
            value,
            target,
            config.target,
        )
    mixed, measured = to_analog(
        job.digital,
        config,
        channels=job.data.in_channels,
        size=job.config.data.size,
        seed=job.config.seed,
        digital_layers=names,
        spec=job.spec,
    )
    load_tensors(mixed, named_tensors(keep_digital(analog, names)), "mixed network")
    write_json(
        job.folder / "sensitivity.json",
        {
            "metric": monitor,
            "target": target,
            "reached": value,
            "digital_layers": names,
            "layers": [dataclasses.asdict(entry) for entry in found],
        },
    )
    return mixed, measured, names
