"""First stage: find the architecture, or take the one that is given. Writes ``best.json``."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from nasseg.config import TrainConfig
from nasseg.data import ClassificationData, Data
from nasseg.errors import ConfigError, ConversionError, RunError
from nasseg.files.readers import read_json
from nasseg.io import write_csv, write_json, write_text
from nasseg.records.best import Best
from nasseg.records.folder import RunFolder, Timer
from nasseg.runs.checks import check_images, is_measured
from nasseg.runs.given import given_arch
from nasseg.runs.job import Job
from nasseg.studies.budget import is_budgeted
from nasseg.studies.budgeted import budget_search
from nasseg.studies.proxy import choosing_config, measured_search
from nasseg.tasks import get_task
from nasseg.training.checkpoint import has_checkpoint, remove_checkpoint
from nasseg.training.freeze import Freezing
from nasseg.training.pretrained import load_pretrained
from nasseg.training.recipe import to_analog

if TYPE_CHECKING:
    from nasseg.search.darts.result import DartsResult

log = logging.getLogger(__name__)

PROPOSED = "proposed.csv"
"""Architectures that a supernet proposed to measure."""


def run(job: Job, timer: Timer) -> None:
    """Search, and check that what was found can be trained and converted.

    Raises:
        ConfigError: a setting does not fit the space or the data; it does not bind the folder.
    """
    with unbound_if_refused(job.folder):
        _search(job, timer)


@contextmanager
def unbound_if_refused(folder: RunFolder) -> Iterator[None]:
    """Settings that the first stage refuses do not bind the folder: they may be a slip."""
    try:
        yield
    except (ConfigError, ConversionError):
        if not has_checkpoint(folder / "search.ckpt"):
            folder.unbind()
        raise


def _search(job: Job, timer: Timer) -> None:
    config = job.config
    # The data are looked at before anything takes long, so that a bad folder is said first.
    channels = job.data.in_channels
    check_images(config, job.data, job.task)
    if config.search.arch is not None:
        arch = given_arch(config.search.arch, job.space)
        found: dict[str, Any] = {"arch": arch, "runs": {}, "history": []}
    elif is_measured(config):
        if job.measured is None:
            raise RunError("a measured search is begun before the folder is held, by measure()")
        found, seconds = job.measured
        timer.tick(seconds)
    elif config.search.strategy == "darts":
        found = _darts(job, timer).to_dict(job.space, config.search)
    else:
        found = _evolve(job)
    arch = found["arch"]
    size = config.data.size
    net = job.space.build(arch, in_channels=channels, out_channels=job.task.out_channels)
    # As the analog stage will, so that what cannot be converted is said before training.
    _, coverage = to_analog(net, config.analog, channels=channels, size=size, seed=0, spec=job.spec)
    found |= _check_weights(net, config.train)
    Best(
        space=job.space.name,
        arch_id=job.space.arch_id(arch),
        params=sum(p.numel() for p in net.parameters()),
        macs=coverage.macs,
        tiles=coverage.tiles,
        monitor=job.task.monitor,
        out_channels=job.task.out_channels,
        **_classes(job.data),
        seed=config.seed,
        arch=arch,
        search={key: value for key, value in found.items() if key != "arch"},
    ).write(job.folder / "best.json")
    job.folder.finish("search")
    remove_checkpoint(job.folder / "search.ckpt")


def measure(job: Job) -> tuple[dict[str, Any], float]:
    """The measured search and the seconds it took here; in a folder that workers share."""
    start = time.monotonic()
    proposed: dict[str, Any] | None = None
    with job.folder.locked(wait=True, tell=True), unbound_if_refused(job.folder):
        # The data are looked at before anything takes long, and bind the folder.
        data = job.data
        check_images(job.config, data, job.task)
        if job.config.search.strategy == "darts":
            proposed = _proposed(job)
            start = time.monotonic()
    if is_budgeted(job.config):
        with unbound_if_refused(job.folder):
            found = budget_search(job.config, job.progress, job.load)
        job.measured = found, time.monotonic() - start
        return job.measured
    table = None if proposed is None else job.folder / PROPOSED
    found = measured_search(job.config, data, job.progress, table, job.load)
    if proposed is not None:
        budget = {**proposed["budget"], **found["budget"]}
        # The course of the supernet: what was measured afterwards had none.
        found |= {"darts": proposed["darts"], "history": proposed["history"], "budget": budget}
    job.measured = found, time.monotonic() - start
    return job.measured


def _proposed(job: Job) -> dict[str, Any]:
    """What DARTS found, and in ``proposed.csv`` which architectures are to be measured.

    One worker searches, in the folder that it holds; the others find the files.
    """
    file = job.folder / "darts.json"
    if not file.exists():
        with job.folder.timed("search") as timer:
            result = _darts(job, timer)
        ranked = result.ranked[: job.config.search.measure]
        # The table first: whoever finds darts.json goes on with it.
        write_csv(
            job.folder / PROPOSED,
            [
                {
                    "arch_id": job.space.arch_id(entry.arch),
                    "arch": job.space.to_json(entry.arch),
                    "expected_loss": entry.expected_loss,
                }
                for entry in ranked
            ],
        )
        write_json(file, result.to_dict(job.space, job.config.search))
    try:
        found: dict[str, Any] = read_json(file)
        return {key: found[key] for key in ("darts", "history", "budget")}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{file} cannot be used: {error!r}; delete it, and the supernet proposes again"
        ) from None


def _darts(job: Job, timer: Timer) -> DartsResult:
    from nasseg.search.darts.search import check_darts, search_darts

    config = job.config
    own = choosing_config(config.data, config.search.holdout, job.data)
    data = job.data if own == config.data else job.load(own)
    if not isinstance(data, ClassificationData):
        raise ConfigError(
            f"search.strategy is 'darts', but data.task is {config.data.task!r}; allowed: "
            "classification"
        )
    return search_darts(
        check_darts(job.space, config.search),
        data,
        job.task,
        config.search,
        config.train,
        seed=config.seed,
        device=job.device,
        checkpoint=job.folder / "search.ckpt",
        on_epoch=timer.on_epoch,
        propose=max(1, config.search.measure),
        progress=job.progress,
    )


def _evolve(job: Job) -> dict[str, Any]:
    from nasseg.evaluators import CostEvaluator, Hardware, load_surrogate
    from nasseg.evaluators.cost import split_places
    from nasseg.search import front_csv, search

    surrogate = load_surrogate(job.config.search.surrogate, job.space)
    hardware, size = job.config.search.hardware, job.config.data.size
    places, others = split_places(job.space, job.config.analog.named_digital_layers)
    if others:
        log.warning(
            "search: energy, time and crossbars of %s (analog.digital_layers) are counted as on "
            "crossbars: only the first and the last layer have a place in every architecture",
            ", ".join(others),
        )
    cost = CostEvaluator(
        job.space,
        job.data.in_channels,
        job.task.out_channels,
        hardware=None if hardware is None else Hardware.load(hardware),
        input_size=(size, size),
        digital_layers=places,
    )
    found = search(
        job.space,
        surrogate,
        job.config.search,
        job.config.seed,
        job.progress,
        in_channels=job.data.in_channels,
        out_channels=job.task.out_channels,
        cost=cost,
    )
    if found.front:
        write_text(job.folder / "pareto.csv", front_csv(found.front))
    else:
        (job.folder / "pareto.csv").unlink(missing_ok=True)
    result = found.to_dict()
    history = [
        {"run": number, **generation}
        for number, run in enumerate(result["runs"])
        for generation in run["history"]
    ]
    goals = {}
    if found.objectives:
        goals = {key: result[key] for key in ("objectives", "constraints", "reference")}
        goals["pick"] = job.config.search.pick
    return {
        "arch": result["arch"],
        **goals,
        "predicted": {name: result["scores"].get(name) for name in ("day1", "avm", "std")},
        "interval": result["interval"],
        "surrogate": result["surrogate"],
        "budget": result["budget"],
        "runs": {
            "count": len(result["runs"]),
            "mean": result["mean"],
            "std": result["std"],
            "best": [[run["arch_id"], run["day1"]] for run in result["runs"]],
        },
        "history": history,
    }


def _classes(data: Data) -> dict[str, Any]:
    """What the outputs of a network stand for, so that it can be used without the data."""
    return get_task(data.kind).facts(data)


def _check_weights(net: nn.Module, train: TrainConfig) -> dict[str, Any]:
    """What pretrained weights will do to a network, for ``best.json``; ``net`` is used up.

    As the train stage will, so that what does not fit is said before anything takes long.
    """
    frozen = Freezing.of(net, train).names
    if train.weights is None:
        return {}
    loaded = load_pretrained(net, train.weights)
    random = [
        f"{name} ({why})"
        for name, why in loaded.initial.items()
        if name.rpartition(".")[0] in frozen
    ]
    if random:
        raise ConfigError(
            f"train.freeze_until is {train.freeze_until!r}, but {random[0]} is not loaded from "
            f"{train.weights} and would be frozen as it is drawn; choose weights that fit (the "
            "names ending in -imagenet have the published first convolutions)"
        )
    return {"weights": loaded.to_dict()}
