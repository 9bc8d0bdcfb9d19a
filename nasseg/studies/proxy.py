"""The measured search of a run: how it measures, and what it found."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasseg.config import NATIVE_SCALE, DataConfig, LabelConfig, RunConfig, flatten, to_dict
from nasseg.config.identity import shared_settings
from nasseg.config.reading import build_config, files_beside, read_yaml
from nasseg.config.search import space_for
from nasseg.data import load_data
from nasseg.errors import ConfigError, RunError
from nasseg.records.folder import chooses_by_validation
from nasseg.search.measured.sampler import POPULATION
from nasseg.search.measured.trials import Slot
from nasseg.search_spaces import get_space
from nasseg.studies.study import check_labelling, open_study, report
from nasseg.studies.workers import run_workers

if TYPE_CHECKING:
    from nasseg.data import Data

SMALL_SPACE = 100_000
"""Architectures below which a measured search takes networks of any small size."""
PROXY_GROUPS = ("train", "analog", "drift", "data")
"""Sections of the YAML file of a proxy."""


def candidate_data(config: RunConfig) -> DataConfig:
    """Return how candidates have the images: those that they are scored on are held out of the
    training images."""
    return dataclasses.replace(config.data, holdout=config.search.holdout)


def choosing_config(config: DataConfig, holdout: float, data: Data) -> DataConfig:
    """Return how a search without a budget has the images, none of which a result is of.

    Args:
        config: how it has them where the validation images may choose.
        holdout: share of the training images that stand in for them.
        data: images of the run.
    """
    held_out = holdout and data.report_side == "val" and not config.holdout
    return dataclasses.replace(config, holdout=holdout) if held_out else config


def proxy_config(config: RunConfig) -> LabelConfig:
    """Return how the measured search of a run measures: its data and hardware, little training.

    Training is as long as ``nasseg label`` makes it, and otherwise as in the run, but that values
    which follow from ``data.crop``, and are meant for long trainings, are those of ``nasseg
    label``, and that no weights are chosen by the validation images, which are measured on.
    ``search.proxy``, a YAML file with sections ``train``, ``analog``, ``drift`` and ``data``, says
    what differs; it may name the space that is searched.

    Raises:
        ConfigError: the file cannot be read, or sets what a proxy cannot.
    """
    short = LabelConfig()
    search = config.search
    auto = config.analog.digital_layers == "auto"
    kept = {} if chooses_by_validation(config) else {"keep": "auto", "patience": 0}
    # What follows from data.crop is meant for long trainings.
    brief: dict[str, dict[str, Any]] = {"train": {}, "analog": {}}
    for key, value in NATIVE_SCALE.items() if config.data.crop else ():
        group, _, name = key.partition(".")
        # Which layers are digital is a fact of the hardware, not of the length of a training.
        long = group in brief and name != "digital_layers"
        if long and getattr(getattr(config, group), name) == value:
            brief[group][name] = getattr(getattr(short, group), name)
    base = LabelConfig(
        out=config.out,
        space=search.space,
        count=max(1, search.measure),
        seed=config.seed,
        device=config.device,
        threads=config.threads,
        # A space of few and small networks has no hopelessly small ones.
        min_params=0 if get_space(search.space).size() < SMALL_SPACE else short.min_params,
        max_params=search.max_params,
        max_macs_per_pixel=search.max_macs_per_pixel,
        storage=search.storage,
        study=search.study,
        workers=search.workers,
        sampler=search.sampler,
        stop_gain=search.stop_gain,
        data=config.data,
        train=dataclasses.replace(
            config.train,
            **{
                **brief["train"],
                **kept,
                "epochs": short.train.epochs,
                "eval_every": short.train.eval_every,
            },
        ),
        analog=dataclasses.replace(
            config.analog,
            **{**brief["analog"], "epochs": short.analog.epochs},
            digital_layers="none" if auto else config.analog.digital_layers,
        ),
        drift=dataclasses.replace(short.drift, recalibrate=config.drift.recalibrate),
    )
    if search.proxy is None:
        return base
    said = files_beside(search.proxy, read_yaml(search.proxy, LabelConfig), LabelConfig)
    # A file for ``nasseg label`` says which space it is for; here, that decides nothing.
    if said.get("space", search.space) != search.space:
        raise ConfigError(
            f"{search.proxy}: it is for the space {said['space']!r}, but search.space is "
            f"{search.space!r}; allowed: no space, or that one"
        )
    said.pop("space", None)
    fixed = shared_settings(LabelConfig)
    for key in said:
        if key.partition(".")[0] not in PROXY_GROUPS or key in fixed:
            raise ConfigError(
                f"{search.proxy}: {key} is no setting of a proxy; allowed: those of "
                f"{', '.join(PROXY_GROUPS)}, but for {', '.join(fixed)}"
            )
    origins = dict.fromkeys(said, search.proxy)
    return build_config(LabelConfig, {**flatten(to_dict(base)), **said}, origins)


def check_measured_search(config: RunConfig) -> None:
    """Refuse, before anything is written, a measured search that cannot be."""
    check_labelling(proxy_config(config))


def measured_search(
    config: RunConfig,
    data: Data,
    progress: bool = True,
    archs: Path | None = None,
    load: Callable[[DataConfig], Data] = load_data,
) -> dict[str, Any]:
    """Measure ``config.search.measure`` architectures, with whoever else works on the study.

    Args:
        config: of the run.
        data: the run's images; where the proxy has others, they are loaded here.
        progress: show a bar.
        archs: table of the architectures to measure, in its order, instead of what a sampler
            proposes.
        load: loads the images as a proxy has them.

    Returns:
        What was found, as ``best.json`` holds it.

    Raises:
        RunError: the study has other settings, or nothing could be measured.
        ConfigError: a setting that is not possible.
    """
    proxy = dataclasses.replace(
        proxy_config(config), archs=None if archs is None else str(archs.resolve())
    )
    space = space_for(proxy.space, proxy.data)
    own = choosing_config(proxy.data, config.search.holdout, data)
    proxy = dataclasses.replace(proxy, data=own)
    if proxy.data != config.data:
        data = load(proxy.data)
    study = open_study(proxy, space, data)
    run_workers(study, proxy, data, lambda: None, progress)
    report(study, proxy)
    best = study.best()
    if best is None:
        reasons = "; ".join(sorted({str(f["reason"]) for f in study.failures()}))
        raise RunError(f"no architecture could be measured: {reasons}")
    return {
        "arch": space.from_json(best["arch"]),
        "measured": {key: value for key, value in best.items() if key not in ("arch_id", "arch")},
        "budget": {
            "measure": config.search.measure,
            **({"sampler": config.search.sampler} if archs is None else {}),
            "train_epochs": proxy.train.epochs,
            "analog_epochs": proxy.analog.epochs,
            "chips": proxy.drift.chips,
            "image_size": proxy.data.size,
            "min_params": proxy.min_params,
            "max_params": proxy.max_params,
            "max_macs_per_pixel": proxy.max_macs_per_pixel,
        },
        "runs": {
            "count": 1,
            "mean": best["day1"],
            "std": None,
            "best": [[best["arch_id"], best["day1"]]],
        },
        "history": _generations(study.queue.slots()),
    }


def _generations(slots: Sequence[Slot]) -> list[dict[str, Any]]:
    """Return the course of a study in groups of a generation's size, as of an evolution."""
    history: list[dict[str, Any]] = []
    best = None
    for number, begin in enumerate(range(0, len(slots), POPULATION)):
        members = slots[begin : begin + POPULATION]
        values = [float(s.last.value) for s in members if s.state == "measured"]
        best = max([*values, *([] if best is None else [best])], default=None)
        history.append(
            {
                "run": 0,
                "generation": number,
                "best": best,
                "mean": statistics.fmean(values) if values else None,
                "queries": begin + len(members),
                "feasible": len(values) / len(members),
            }
        )
    return history
