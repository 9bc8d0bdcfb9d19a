"""Measuring architectures: ``nasseg label`` and the measured search of a run.

Both are a :class:`~nasseg.search.measured.study.MeasuredStudy`; they differ in what proposes the
architectures and in where the result goes (a table, or a run's ``best.json``).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from tqdm import tqdm

from nasseg._registry import plugin_environment
from nasseg.config import (
    NATIVE_SCALE,
    DataConfig,
    LabelConfig,
    RunConfig,
    analog_spec,
    flatten,
    to_dict,
)
from nasseg.config.identity import free_settings, shared_settings, young_defaults
from nasseg.config.reading import build_config, files_beside, read_yaml
from nasseg.data import load_data
from nasseg.errors import BusyError, ConfigError, RunError
from nasseg.evaluators.measured import Budget, MeasuredTable, measure
from nasseg.evaluators.tables import read_archs
from nasseg.records.folder import RunFolder
from nasseg.search.measured.bounds import SizeBounds, spread_architectures
from nasseg.search.measured.sampler import POPULATION, SAMPLERS
from nasseg.search.measured.storage import shown
from nasseg.search.measured.study import MeasuredStudy, terminable
from nasseg.search.measured.trials import Slot
from nasseg.search_spaces import SearchSpace, get_space, list_spaces
from nasseg.tasks import get_task, task_for
from nasseg.training.recipe import analog_task, select_device

if TYPE_CHECKING:
    from nasseg.data import Data

log = logging.getLogger(__name__)

SMALL_SPACE = 100_000
"""Architectures below which a measured search takes networks of any small size."""
WORKER_POLL = 1.0
"""Seconds between looks at the workers that were started here."""
PROXY_GROUPS = ("train", "analog", "drift", "data")
"""Sections of the YAML file of a proxy."""


def space_for(name: str, data: DataConfig) -> SearchSpace:
    """The space of that name, if its networks do what the data are for.

    Raises:
        UnknownName: no such space.
        ConfigError: its networks do something else.
    """
    space = get_space(name)
    task = get_task(data.kind).network
    if space.task != task:
        raise ConfigError(
            f"space is {name!r}, whose networks do {space.task}; the task is {data.task}: allowed "
            f"are {', '.join(n for n in list_spaces() if get_space(n).task == task)}"
        )
    return space


def set_threads(threads: int) -> None:
    """Set the CPU threads of torch; 0 leaves them as they are."""
    if threads:
        torch.set_num_threads(threads)


def draw_architectures(
    space: SearchSpace, config: LabelConfig, out_channels: int = 1
) -> list[dict[str, Any]]:
    """``config.count`` different architectures within the bounds, a function of the seed.

    Raises:
        ConfigError: there are too few within the bounds.
    """
    bounds = size_bounds(config, out_channels)
    return spread_architectures(space, config.count, config.seed, bounds)


def size_bounds(config: LabelConfig, out_channels: int = 1) -> SizeBounds:
    """The bounds that a labelling sets on networks of so many output channels."""
    return SizeBounds(
        config.min_params,
        config.max_params,
        config.max_macs_per_pixel,
        config.data.channels,
        out_channels,
    )


def label(config: LabelConfig, progress: bool = True) -> Path:
    """Measure architectures into ``table.csv`` of a folder; continue what is there.

    The record is a study (``study.db`` of the folder, or ``config.storage``), which any number of
    workers share: the same call in another process, on this or another machine, is one more. The
    table is written anew from the study whenever a worker has finished an architecture. What
    cannot be measured is in ``table_failures.csv`` with its reason and is not tried again. Rows
    that the folder has from before there was a study become trials of it.

    Returns:
        The table.

    Raises:
        RunError: the folder or the study has other settings, or nothing could be measured.
        ConfigError: a setting that is not possible, or so few architectures are within the bounds
            that ``count`` cannot be drawn.
    """
    set_threads(config.threads)
    space = space_for(config.space, config.data)
    _check(config)
    folder = RunFolder(without_password(config))
    table = folder / "table.csv"
    # The folder is held only while its files are written: other workers are welcome.
    with folder.locked(wait=True):
        data = load_data(config.data)
        if config.archs is None and config.sampler == "lhs":
            draw_architectures(space, config, _out_channels(config, data))
        folder.check_data(data.fingerprint, data.source, data.counts)
        folder.remember("data.path", config.data.path)
    study = open_study(config, space, data)

    def export() -> None:
        with folder.locked(wait=True):
            study.export(table)

    with folder.locked(wait=True):
        _take_over(study, table)
    try:
        run_workers(study, config, data, export, progress)
    finally:
        export()
    report(study)
    _say_early_end(study, config)
    if not study.rows():
        raise RunError(
            f"no architecture could be measured; the reasons are in {folder / 'table_failures.csv'}"
        )
    return table


def _check(config: LabelConfig) -> None:
    """Refuse, before anything is written, what no architecture is to blame for."""
    _ = SAMPLERS[config.sampler]
    if config.archs is not None:
        read_archs(config.archs, get_space(config.space))
    Budget(config.train, config.analog, config.drift, config.seed, config.device)


def without_password(config: Any) -> Any:
    """A config as it may be written into a file."""
    if isinstance(config, RunConfig):
        return dataclasses.replace(config, search=without_password(config.search))
    if config.storage is None:
        return config
    return dataclasses.replace(config, storage=shown(config.storage))


def _take_over(study: MeasuredStudy, table: Path) -> None:
    """Make trials of the rows of a table that its study does not have."""
    known = MeasuredTable(table)
    rows = [_parsed(row) for row in known.rows.values()]
    failures = [dict(row) for row in known.failures.values()]
    if added := study.add_known(rows, failures, source=table.name):
        log.info("%s: %d architectures taken over into the study", table, added)


def _parsed(row: dict[str, str]) -> dict[str, Any]:
    return {
        key: value if key in ("arch_id", "arch") else _number(value) for key, value in row.items()
    }


def _number(text: str) -> int | float | str | None:
    if text in ("", None):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# --- the study ------------------------------------------------------------------------------


def _out_channels(config: LabelConfig, data: Data) -> int:
    return task_for(data, config.train).out_channels


def open_study(config: LabelConfig, space: SearchSpace, data: Data) -> MeasuredStudy:
    """The study of a labelling, made where there is none yet.

    Raises:
        DataError: ``config.archs`` is no table of architectures of the space.
        ConfigError: the retraining asks for what the data cannot have.
    """
    # No architecture is to blame for this.
    analog_task(data, task_for(data, config.train), config.train, config.analog)
    archs = None if config.archs is None else read_archs(config.archs, space)
    storage = config.storage or f"sqlite:///{Path(config.out).resolve() / 'study.db'}"
    return MeasuredStudy(
        storage,
        config.study,
        space,
        study_settings(config, space, data.fingerprint),
        seed=config.seed,
        bounds=size_bounds(config, _out_channels(config, data)),
        archs=archs,
        heartbeat=config.heartbeat,
        defaults=study_defaults(),
    )


def study_settings(config: LabelConfig, space: SearchSpace, fingerprint: str) -> dict[str, Any]:
    """What the measured values and their order depend on, whatever machine they are made on."""
    free = free_settings(LabelConfig)
    settings = {key: value for key, value in to_dict(config).items() if key not in free}
    settings = _without_places(settings)
    settings["data"]["fingerprint"] = fingerprint
    settings["analog"]["hardware"] = analog_spec(config.analog).to_dict()
    settings["space"] = f"{space.name} v{space.version}"
    plain: dict[str, Any] = _as_json(settings)
    return plain


def study_defaults() -> dict[str, dict[str, Any]]:
    """Defaults of the settings that may be younger than a study."""
    return _without_places(young_defaults(LabelConfig, ("data", "train", "analog")))


def _without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those of what is known by its content: images and hardware."""
    known = {"data": ("path",), "analog": ("preset", "spec")}
    return settings | {
        section: {name: value for name, value in settings[section].items() if name not in names}
        for section, names in known.items()
    }


def _as_json(value: Any) -> Any:
    """A tree as it comes back from JSON: tuples are lists, keys are text."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


SHARED = 0.1
"""Share of a device's memory, held by other processes, from which on it may be their fault that
there is not enough."""
CONTEXT = 1 << 30
"""Bytes beside it that CUDA itself may take for this process."""


def held_by_others(device: torch.device) -> float:
    """Share of a device's memory that is neither free nor this process's."""
    free, total = torch.cuda.mem_get_info(device)
    return max(0.0, (total - free - torch.cuda.memory_reserved(device) - CONTEXT) / total)


def measured_by(
    config: LabelConfig, space: SearchSpace, data: Data
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What a worker does with an architecture.

    Running out of memory is a reason to fail it, unless others hold much of the device.
    """
    budget = Budget(config.train, config.analog, config.drift, config.seed, config.device)
    task = task_for(data, config.train)

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


def _say_early_end(study: MeasuredStudy, config: LabelConfig) -> None:
    goal = study.goal(config.count, config.stop_gain)
    if config.stop_gain and goal < config.count:
        log.info(
            "ended after %d of %d: further ones promised less than stop_gain, %g",
            goal,
            config.count,
            config.stop_gain,
        )


def report(study: MeasuredStudy) -> None:
    """Say what a finished study has, and list what could not be measured."""
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


# --- workers --------------------------------------------------------------------------------


def run_workers(
    study: MeasuredStudy,
    config: LabelConfig,
    data: Data,
    export: Callable[[], object],
    progress: bool,
) -> None:
    """Work on a study until ``config.count`` architectures are done: here, or in processes.

    Args:
        study: opened.
        config: with ``count``, ``sampler`` and ``workers``.
        data: images, for a worker in this process.
        export: called whenever an architecture was finished.
        progress: show a bar.

    Raises:
        RunError: the processes ended before the study was done.
    """
    if config.workers == 1:
        one = measured_by(config, study.space, data)
        study.work(
            one,
            config.count,
            config.sampler,
            stop_gain=config.stop_gain,
            on_finished=export,
            progress=progress,
        )
        return
    with (
        terminable(),
        tqdm(total=config.count, desc="measured", unit="arch", disable=not progress) as bar,
    ):
        workers: list[subprocess.Popen[bytes]] = []
        try:
            for place in _places(config):
                workers.append(_start(config, place))
            before = -1
            while any(worker.poll() is None for worker in workers):
                study.show(bar, study.goal(config.count, config.stop_gain))
                if bar.n != before:
                    before = bar.n
                    export()
                time.sleep(WORKER_POLL)
            study.show(bar, study.goal(config.count, config.stop_gain))
        finally:
            _stop(workers)
    goal = study.goal(config.count, config.stop_gain)
    done = study.finished(goal)
    ends = [worker.returncode for worker in workers]
    if done < goal:
        raise RunError(
            f"the workers ended (exit statuses {', '.join(map(str, ends))}) with {done} of "
            f"{goal} architectures done; the same command continues"
        )
    if any(ends):
        log.warning("workers ended with the exit statuses %s", ", ".join(map(str, ends)))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a local worker computes."""

    device: str
    """``cpu``, ``cuda`` or ``cuda:N``."""
    threads: int
    """CPU threads."""
    visible: str | None = None
    """``CUDA_VISIBLE_DEVICES``; None = as it is."""


def _places(config: LabelConfig) -> list[Place]:
    """One GPU for each worker, in turn, or a share of the CPU's threads."""
    total = config.threads or torch.get_num_threads()
    threads = max(1, total // config.workers)
    cuda = config.device != "cpu" and torch.cuda.is_available()
    if not cuda or config.device.startswith("cuda:"):
        device = config.device if cuda else "cpu"
        return [Place(device, threads)] * config.workers
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = said.split(",") if said else [str(i) for i in range(torch.cuda.device_count())]
    return [Place("cuda", threads, devices[i % len(devices)]) for i in range(config.workers)]


def _start(config: LabelConfig, place: Place) -> subprocess.Popen[bytes]:
    """Start a worker: this program, told its settings through a pipe.

    A storage's password is thus neither among the words of a command nor in a file.
    """
    own = dataclasses.replace(config, workers=1, device=place.device, threads=place.threads)
    threads = {"OMP_NUM_THREADS": str(place.threads)}
    environment = {**os.environ, **plugin_environment(), **threads}
    if place.visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = place.visible
    worker = subprocess.Popen(
        [sys.executable, "-m", "nasseg.studies.worker"], stdin=subprocess.PIPE, env=environment
    )
    if worker.stdin is not None:
        worker.stdin.write(yaml.safe_dump(to_dict(own)).encode())
        worker.stdin.close()
    return worker


def _stop(workers: Sequence[subprocess.Popen[bytes]], seconds: float = 30.0) -> None:
    """End workers in good order: each frees its trial; the stubborn are killed."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    for worker in workers:
        try:
            worker.wait(seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


# --- the measured search of a run -----------------------------------------------------------


def proxy_config(config: RunConfig) -> LabelConfig:
    """How the measured search of a run measures: the run's data and hardware, little training.

    Training is as long as ``nasseg label`` makes it, and otherwise as in the run, but that values
    which follow from ``data.crop``, and are meant for long trainings, are those of ``nasseg
    label``. ``search.proxy``, a YAML file with sections ``train``, ``analog``, ``drift`` and
    ``data``, says what differs; it may name the space that is searched.

    Raises:
        ConfigError: the file cannot be read, or sets what a proxy cannot.
    """
    short = LabelConfig()
    search = config.search
    auto = config.analog.digital_layers == "auto"
    # What follows from data.crop is meant for long trainings.
    brief: dict[str, dict[str, Any]] = {"train": {}, "analog": {}}
    for key, value in NATIVE_SCALE.items() if config.data.crop else ():
        group, _, name = key.partition(".")
        if group in brief and getattr(getattr(config, group), name) == value:
            brief[group][name] = getattr(getattr(short, group), name)
    base = LabelConfig(
        out=config.out,
        space=search.space,
        count=search.measure,
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
    _check(proxy_config(config))


def measured_search(
    config: RunConfig, data: Data, progress: bool = True, archs: Path | None = None
) -> dict[str, Any]:
    """Measure ``config.search.measure`` architectures, with whoever else works on the study.

    Args:
        config: of the run.
        data: the run's images; where the proxy has others, they are loaded here.
        progress: show a bar.
        archs: table of the architectures to measure, in its order, instead of what a sampler
            proposes.

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
    if proxy.data != config.data:
        data = load_data(proxy.data)
    study = open_study(proxy, space, data)
    run_workers(study, proxy, data, lambda: None, progress)
    report(study)
    _say_early_end(study, proxy)
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
    """The course of a study in groups of a generation's size, as of an evolution."""
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
