"""The study of a labelling, or of a run's measured search: its identity, and what is measured.

Both are a :class:`~nasseg.search.measured.study.MeasuredStudy`; they differ in what proposes the
architectures and in where the result goes (a table, or a run's ``best.json``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nasseg.config import LabelConfig, analog_spec, to_dict
from nasseg.config.identity import free_settings, young_defaults
from nasseg.errors import BusyError, RunError
from nasseg.evaluators.measured import Budget, measure, refuse_selection
from nasseg.evaluators.tables import read_archs
from nasseg.records.folder import chooses_by_validation, decodes_as_before
from nasseg.records.storage import sqlite_storage
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search.measured.sampler import SAMPLERS
from nasseg.search.measured.study import MeasuredStudy
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.tasks import Task, TaskType, get_task
from nasseg.training.device import select_device
from nasseg.training.recipe import analog_task

if TYPE_CHECKING:
    from nasseg.data import Data

log = logging.getLogger(__name__)

SHARED = 0.1
"""Share of a device's memory, held by other processes, from which on it may be their fault that
there is not enough."""
CONTEXT = 1 << 30
"""Bytes beside it that CUDA itself may take for this process."""


def check_labelling(config: LabelConfig) -> None:
    """Refuse, before anything is written, what no architecture is to blame for."""
    _ = SAMPLERS[config.sampler]
    if config.archs is not None:
        read_archs(config.archs, get_space(config.space))
    Budget(config.train, config.analog, config.drift, config.seed, config.device)
    if not chooses_by_validation(config):
        refuse_selection(config.train)


def size_bounds(config: LabelConfig, out_channels: int = 1) -> SizeBounds:
    """Return the bounds that a labelling sets on networks of so many output channels."""
    return SizeBounds(
        config.min_params,
        config.max_params,
        config.max_macs_per_pixel,
        config.data.channels,
        out_channels,
    )


def out_channels_of(config: LabelConfig, data: Data) -> int:
    """Return the output channels of the networks of a labelling."""
    return study_task(config, data).out_channels


def study_task_type(config: LabelConfig, kind: str | None = None) -> TaskType:
    """Return the task of a labelling, with the default parameters of its decoder.

    They are not fitted, so that all architectures are compared by the same decoder. A folder that
    was begun before decoders had parameters goes on with the one that it began with.

    Args:
        config: of the labelling.
        kind: name of the task of its images; None: that of the settings.
    """
    task = get_task(config.data.kind if kind is None else kind)
    return task.as_before() if decodes_as_before(config) else task


def study_task(config: LabelConfig, data: Data) -> Task:
    """Return the task of a labelling, bound to its images."""
    return study_task_type(config, data.kind).bind(data, config.train)


def open_study(config: LabelConfig, space: SearchSpace, data: Data) -> MeasuredStudy:
    """Open the study of a labelling; make it where there is none yet.

    Raises:
        DataError: ``config.archs`` is no table of architectures of the space.
        ConfigError: the retraining asks for what the data cannot have.
    """
    # No architecture is to blame for this.
    analog_task(data, study_task(config, data), config.train, config.analog)
    archs = None if config.archs is None else read_archs(config.archs, space)
    return MeasuredStudy(
        storage_of(config),
        config.study,
        space,
        study_settings(config, space, data.fingerprint),
        seed=config.seed,
        bounds=size_bounds(config, out_channels_of(config, data)),
        archs=archs,
        heartbeat=config.heartbeat,
        defaults=study_defaults(config.data.kind),
    )


def storage_of(config: LabelConfig) -> str:
    """Return where the study of a labelling is kept."""
    return config.storage or sqlite_storage(Path(config.out).resolve() / "study.db")


def study_settings(config: LabelConfig, space: SearchSpace, fingerprint: str) -> dict[str, Any]:
    """Return what the measured values and their order depend on, on whatever machine."""
    free = free_settings(LabelConfig)
    settings = {key: value for key, value in to_dict(config).items() if key not in free}
    settings = _without_places(settings)
    settings["data"]["fingerprint"] = fingerprint
    if decoder := study_task_type(config).decoder:
        settings["data"]["decoder"] = dict(decoder)
    settings["analog"]["hardware"] = analog_spec(config.analog).to_dict()
    settings["space"] = f"{space.name} v{space.version}"
    plain: dict[str, Any] = _as_json(settings)
    return plain


def study_defaults(kind: str) -> dict[str, dict[str, Any]]:
    """Return the settings that may be younger than a study of a task, as they were before that."""
    defaults = _without_places(young_defaults(LabelConfig, ("data", "train", "analog")))
    if decoder := get_task(kind).as_before().decoder:
        defaults["data"]["decoder"] = dict(decoder)
    return defaults


def _without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out the settings of what is known by its content: images and hardware."""
    known = {"data": ("path",), "analog": ("preset", "spec")}
    return settings | {
        section: {name: value for name, value in settings[section].items() if name not in names}
        for section, names in known.items()
    }


def _as_json(value: Any) -> Any:
    """Return a tree as it comes back from JSON: tuples are lists, keys are text."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


def held_by_others(device: torch.device) -> float:
    """Return the share of a device's memory that is neither free nor this process's."""
    free, total = torch.cuda.mem_get_info(device)
    return max(0.0, (total - free - torch.cuda.memory_reserved(device) - CONTEXT) / total)


def measured_by(
    config: LabelConfig, space: SearchSpace, data: Data
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function with which a worker measures an architecture.

    Running out of memory is a reason to fail it, unless others hold much of the device.
    """
    budget = Budget(config.train, config.analog, config.drift, config.seed, config.device)
    task = study_task(config, data)

    def one(arch: dict[str, Any]) -> dict[str, Any]:
        try:
            return measure(space, arch, data, task, budget)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            message = f"out of memory: {str(error).splitlines()[0]}"
            others = held_by_others(select_device(config.device))
            if others > SHARED:
                raise BusyError(
                    f"{message} (other processes hold {others:.0%} of the device)"
                ) from None
            raise RunError(message) from None

    return one


def report(study: MeasuredStudy, config: LabelConfig) -> None:
    """Log the best of a finished study, what could not be measured, and whether it ended early."""
    failures = study.failures()
    best = study.best()
    log.info(
        "%s: %d measured, %d failed%s",
        study.where,
        len(study.rows()),
        len(failures),
        "" if best is None else f"; best day1 {best['day1']:.4f} ({best['arch_id']})",
    )
    for failure in failures:
        log.warning("failed: %s: %s", failure["arch_id"], failure["reason"])
    goal = study.goal(config.count, config.stop_gain)
    if config.stop_gain and goal < config.count:
        log.info(
            "ended after %d of %d: further ones promised less than stop_gain, %g",
            goal,
            config.count,
            config.stop_gain,
        )
