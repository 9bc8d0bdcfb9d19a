"""What is wrong with the settings of a run, found before anything is written or takes long."""

from __future__ import annotations

from pathlib import Path

from nasseg.config import RunConfig, analog_spec
from nasseg.config.search import space_for
from nasseg.data import Data
from nasseg.errors import ConfigError
from nasseg.evaluators.shipping import find_surrogate
from nasseg.records.folder import chooses_by_validation
from nasseg.runs.given import given_arch
from nasseg.runs.memory import MEMORY
from nasseg.search.objectives import goals_of
from nasseg.search.surrogate.search import check_strategy
from nasseg.studies.budget import check_budget, is_budgeted
from nasseg.studies.proxy import check_measured_search
from nasseg.tasks import Task, get_task
from nasseg.training.device import select_device
from nasseg.training.recipe import analog_task, refuse_choice


def is_measured(config: RunConfig) -> bool:
    """Return True if the search of a run measures architectures."""
    return is_budgeted(config) or (config.search.measure > 0 and config.search.arch is None)


def check_settings(config: RunConfig, in_memory: bool = False) -> None:
    """Refuse settings that cannot be.

    Args:
        config: of the run.
        in_memory: True if its images are arrays in this process.

    Raises:
        ConfigError: a setting is not possible here.
        UnknownName: nothing has that name.
    """
    out, search = Path(config.out), config.search
    space = space_for(search.space, config.data)
    found = (out / "best.json").exists()
    if is_budgeted(config):
        check_budget(config)
    else:
        goals_of(search)
    if search.arch is None:
        check_strategy(space, search)
        if not is_measured(config) and search.strategy != "darts" and not found:
            # Found, not loaded: the search does that once.
            find_surrogate(search.surrogate, space)
    if not (out / MEMORY).exists():
        analog_spec(config.analog)
    if search.arch is not None and not found:
        given_arch(search.arch, space)
    select_device(config.device)
    # What was found is found: the file of the proxy may be out of reach by now.
    if is_measured(config) and not found:
        if not is_budgeted(config):
            check_measured_search(config)
        if in_memory and search.workers > 1:
            raise ConfigError(
                f"search.workers is {search.workers}; allowed: 1, since the images are arrays in "
                "memory, which other processes do not have"
            )


def check_images(config: RunConfig, data: Data, task: Task) -> None:
    """Refuse settings that cannot be with the images of a run.

    Raises:
        ConfigError: the classes cannot be weighted, or the validation images would choose the
            weights or the length of the training though results are of them.
    """
    analog_task(data, task, config.train, config.analog)
    if data.report_side == "val" and not chooses_by_validation(config):
        kind = get_task(data.kind)
        held_out = (kind.settings or data.kind) == "classification"
        otherwise = "Hold test images out (data.test_fraction), or set it to 0"
        refuse_choice(
            config.train,
            "results of these data are of the validation images",
            otherwise if held_out else "Set it to 0",
        )
