"""The stages of a run, in order, each continued where it was interrupted."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from nasseg.analog import (
    Coverage,
    chip_evaluator,
    memory_noise,
)
from nasseg.analog.ageing import Chips
from nasseg.analog.mixed import choose_digital_layers, keep_digital, layer_sensitivity
from nasseg.analog.noise import derive_seed
from nasseg.analog.plan import plan_refresh
from nasseg.analog.reuse import cached_batches
from nasseg.analog.state import load_tensors, named_tensors
from nasseg.config import RunConfig, TrainConfig, analog_spec
from nasseg.data import ClassificationData, Data, SegmentationData, load_data
from nasseg.errors import ConfigError, ConversionError, DataError, NassegError, RunError
from nasseg.evaluators.shipping import find_surrogate
from nasseg.io import atomic_write, read_json, write_csv, write_json, write_text
from nasseg.records.best import Best
from nasseg.records.drift import DriftTable
from nasseg.records.folder import RunFolder, Timer
from nasseg.runs.panels import panels
from nasseg.search.objectives import goals_of
from nasseg.search.surrogate.search import check_strategy
from nasseg.search_spaces import SearchSpace
from nasseg.search_spaces.reference import no_such_arch, reference_arch
from nasseg.statistics import DAY
from nasseg.studies.label import (
    check_measured_search,
    draw_architectures,
    label,
    measured_search,
    set_threads,
    space_for,
    without_password,
)
from nasseg.tasks import Task, task_for
from nasseg.training import evaluate, load_weights, save_weights
from nasseg.training.freeze import Freezing
from nasseg.training.pretrained import load_pretrained
from nasseg.training.recipe import (
    SEED_DRIFT,
    SEED_PLAN,
    SEED_SENSITIVITY,
    analog_task,
    drift_metrics,
    initialise,
    recalibration_loader,
    select_device,
    to_analog,
    train_analog,
    train_digital,
)

if TYPE_CHECKING:
    from nasseg.search.darts.result import DartsResult

__all__ = ["STAGES", "Job", "draw_architectures", "label", "plan", "read_drift", "run"]

log = logging.getLogger(__name__)

STAGES = ("search", "train", "analog", "drift", "report")
"""Stages of a run, in order."""
MEMORY = "memory.yaml"
"""The run's copy of the memory cell of a YAML file."""
PROPOSED = "proposed.csv"
"""Architectures that a supernet proposed to measure."""
CHIPS = "drift.chips"
"""A setting that may change: chips are added, and none that was measured is thrown away."""


def run(
    config: RunConfig, stages: Sequence[str] | None = None, progress: bool = True
) -> dict[str, Any]:
    """Run the stages of a run folder that are not done yet.

    Args:
        config: everything about the run; ``config.out`` is its folder.
        stages: which stages; none = all. A stage needs those before it.
        progress: show bars.

    Returns:
        What ``summary.json`` holds.

    Raises:
        ConfigError: an unknown stage or a setting that is not possible here.
        RunError: the folder holds another run, is in use, or is damaged.
        DataError: the images cannot be used.
    """
    chosen = tuple(STAGES if stages is None else stages)
    unknown = [stage for stage in chosen if stage not in STAGES]
    if unknown:
        raise ConfigError(f"stages has {unknown[0]!r}; allowed: {', '.join(STAGES)}")
    set_threads(config.threads)
    # Looked up before anything is written or takes long.
    space = space_for(config.search.space, config.data)
    found = (Path(config.out) / "best.json").exists()
    goals_of(config.search)
    if config.search.arch is None:
        check_strategy(space, config.search)
        if _asks_a_surrogate(config) and not found:
            # Found, not loaded: the search does that once.
            find_surrogate(config.search.surrogate, space)
    if not (Path(config.out) / MEMORY).exists():
        analog_spec(config.analog)
    if config.search.arch is not None and not found:
        _read_arch(config.search.arch, space)
    select_device(config.device)
    measuring = config.search.measure > 0 and config.search.arch is None
    # What was found is found: the file of the proxy may be out of reach by now.
    if measuring and not found:
        check_measured_search(config)
    folder = RunFolder(without_password(config))
    _keep_memory(config, folder)
    job = Job(config, folder, progress)
    if measuring and "search" in chosen and not folder.done("search"):
        job.measure()
    # Workers of a measured search find the stage done by the first of them.
    with folder.locked(wait=measuring and chosen == ("search",), tell=True):
        for name in ("search", "train", "analog"):
            if folder.done(name):
                (folder / f"{name}.ckpt").unlink(missing_ok=True)
        if "data" in folder.stages and config.data.path != folder.remembered("data.path"):
            # Images that are said to have moved are looked at, whether a stage needs them or not.
            _ = job.data
            folder.remember("data.path", config.data.path)
        if "drift" in chosen:
            folder.remember(CHIPS, max(config.drift.chips, job.chips()))
            if "report" in folder.stages and not job.done("drift"):
                # What it shows is going to be less than there is.
                folder.note("report", done=False)
        for stage in STAGES:
            if stage in chosen and not (job.done(stage) and stage != "report"):
                with folder.timed(stage) as timer, _unbound_if_refused(folder, stage):
                    getattr(job, stage)(timer)
        if "drift" in chosen and "report" in folder.stages and not folder.done("report"):
            # Where there is a report, it is of all chips.
            with folder.timed("report") as timer:
                job.report(timer)
        return job.summarise()


@contextmanager
def _unbound_if_refused(folder: RunFolder, stage: str) -> Iterator[None]:
    """Settings that the first stage refuses do not bind the folder: they may be a slip."""
    try:
        yield
    except (ConfigError, ConversionError):
        if stage == STAGES[0] and not (folder / "search.ckpt").exists():
            folder.unbind()
        raise


def _asks_a_surrogate(config: RunConfig) -> bool:
    return not config.search.measure and config.search.strategy != "darts"


def _keep_memory(config: RunConfig, folder: RunFolder) -> None:
    """Copy a memory cell of a YAML file into the run folder, where it has none yet.

    Chips of one run are of one memory, whatever becomes of the file later.
    """
    preset = Path(config.analog.preset)
    if preset.suffix in (".yaml", ".yml") and not (folder / MEMORY).exists():
        analog_spec(config.analog)  # raises an error that names what is wrong with it
        write_text(folder / MEMORY, preset.read_text(encoding="utf-8"))


def _with_own_memory(config: RunConfig, folder: RunFolder) -> RunConfig:
    """The settings, a memory cell of a YAML file replaced by the run folder's copy of it.

    A folder without a copy is of the file itself; nothing is written.
    """
    preset = Path(config.analog.preset)
    copy_ = folder / MEMORY
    if preset.suffix not in (".yaml", ".yml") or not copy_.exists():
        return config
    given = preset.read_text(encoding="utf-8") if preset.is_file() else None
    if given is not None and given != copy_.read_text(encoding="utf-8"):
        raise RunError(
            f"{preset} has changed since {folder.path} was begun ({copy_} is what it was); bring "
            "it back, or use another --out"
        )
    return dataclasses.replace(config, analog=dataclasses.replace(config.analog, preset=str(copy_)))


class Job:
    """The stages over one run folder; what several need is made once, when first needed."""

    def __init__(self, config: RunConfig, folder: RunFolder, progress: bool) -> None:
        self.config = _with_own_memory(config, folder)
        self.folder = folder
        self.progress = progress
        self.measured: tuple[dict[str, Any], float] | None = None

    @cached_property
    def data(self) -> Data:
        source = self.config.data.path
        lost = source is not None and not Path(source).expanduser().exists()
        if lost and "data" in self.folder.stages:
            raise DataError(
                f"data.path is {source}, which is not there (from here). Where the images of "
                f"{self.folder.path} are now, `nasseg run --out {self.folder.path} --data PATH` "
                "says"
            )
        data = load_data(self.config.data)
        _check_data(self.folder, data)
        log.info("data: %s", data.source)
        return data

    @cached_property
    def task(self) -> Task:
        return task_for(self.data, self.config.train)

    @cached_property
    def device(self) -> torch.device:
        return select_device(self.config.device)

    @cached_property
    def space(self) -> SearchSpace:
        return space_for(self.config.search.space, self.config.data)

    @cached_property
    def best(self) -> Best:
        path = self.folder / "best.json"
        if not path.exists():
            raise RunError(f"{path} is missing; run the search stage first")
        try:
            best = Best.read(path)
            self.space.validate(best.require_arch())
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be used: {error}") from None
        return best

    @cached_property
    def out_channels(self) -> int:
        """Channels that the network gives; known without the data where a search has been."""
        known = self.best.out_channels if (self.folder / "best.json").exists() else None
        return self.task.out_channels if known is None else int(known)

    def new_network(self) -> nn.Module:
        arch = self.best.require_arch()
        channels = self.config.data.channels
        return initialise(
            lambda seed: self.space.build(
                arch, in_channels=channels, out_channels=self.out_channels, seed=seed
            ),
            self.config.seed,
            self.device,
        )

    @cached_property
    def digital(self) -> nn.Module:
        net = self.new_network()
        load_weights(self.folder / "digital.safetensors", net)
        return net.eval()

    @cached_property
    def analog_net(self) -> nn.Module:
        config = self.config
        analog, _ = to_analog(
            self.digital,
            config.analog,
            channels=config.data.channels,
            size=config.data.size,
            seed=config.seed,
            digital_layers=self.folder.stages.get("analog", {}).get("digital_layers"),
        )
        load_weights(self.folder / "analog.safetensors", analog)
        return analog.eval()

    def recalibration(self, net: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
        """What chips of ``net`` are recalibrated with, as the settings say."""
        config = self.config
        return recalibration_loader(self.data, config.train, config.drift, config.seed, net)

    # --- stages -----------------------------------------------------------------------------

    def search(self, timer: Timer) -> None:
        config = self.config
        # The data are looked at before anything takes long, so that a bad folder is said first.
        channels = self.data.in_channels
        analog_task(self.data, self.task, config.train, config.analog)
        if config.search.arch is not None:
            arch = _read_arch(config.search.arch, self.space)
            found: dict[str, Any] = {"arch": arch, "runs": {}, "history": []}
        elif config.search.measure:
            if self.measured is None:
                raise RunError("a measured search is begun with Job.measure(), before the folder")
            found, seconds = self.measured
            timer.tick(seconds)
        elif config.search.strategy == "darts":
            found = self._darts(timer).to_dict(self.space, config.search)
        else:
            found = self._evolve()
        arch = found["arch"]
        size = config.data.size
        net = self.space.build(arch, in_channels=channels, out_channels=self.task.out_channels)
        # As the analog stage will, so that what cannot be converted is said before training.
        _, coverage = to_analog(net, config.analog, channels=channels, size=size, seed=0)
        found |= _try_weights(net, config.train)
        Best(
            space=self.space.name,
            arch_id=self.space.arch_id(arch),
            params=sum(p.numel() for p in net.parameters()),
            macs=coverage.macs,
            tiles=coverage.tiles,
            monitor=self.task.monitor,
            out_channels=self.task.out_channels,
            **_classes(self.data),
            seed=config.seed,
            arch=arch,
            search={key: value for key, value in found.items() if key != "arch"},
        ).write(self.folder / "best.json")
        self.folder.finish("search")
        (self.folder / "search.ckpt").unlink(missing_ok=True)

    def measure(self) -> tuple[dict[str, Any], float]:
        """The measured search and the seconds it took here; in a folder that workers share."""
        start = time.monotonic()
        proposed: dict[str, Any] | None = None
        with self.folder.locked(wait=True, tell=True), _unbound_if_refused(self.folder, "search"):
            # The data are looked at before anything takes long, and bind the folder.
            data = self.data
            analog_task(data, self.task, self.config.train, self.config.analog)
            if self.config.search.strategy == "darts":
                proposed = self._proposed()
                start = time.monotonic()
        table = None if proposed is None else self.folder / PROPOSED
        found = measured_search(self.config, data, self.progress, table)
        if proposed is not None:
            budget = {**proposed["budget"], **found["budget"]}
            # The course of the supernet: what was measured afterwards had none.
            found |= {"darts": proposed["darts"], "history": proposed["history"], "budget": budget}
        self.measured = found, time.monotonic() - start
        return self.measured

    def _proposed(self) -> dict[str, Any]:
        """What DARTS found, and in ``proposed.csv`` which architectures are to be measured.

        One worker searches, in the folder that it holds; the others find the files.
        """
        file = self.folder / "darts.json"
        if not file.exists():
            with self.folder.timed("search") as timer:
                result = self._darts(timer)
            ranked = result.ranked[: self.config.search.measure]
            # The table first: whoever finds darts.json goes on with it.
            write_csv(
                self.folder / PROPOSED,
                [
                    {
                        "arch_id": self.space.arch_id(entry.arch),
                        "arch": self.space.to_json(entry.arch),
                        "expected_loss": entry.expected_loss,
                    }
                    for entry in ranked
                ],
            )
            write_json(file, result.to_dict(self.space, self.config.search))
        try:
            found: dict[str, Any] = read_json(file)
            return {key: found[key] for key in ("darts", "history", "budget")}
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{file} cannot be used: {error!r}; delete it, and the supernet proposes again"
            ) from None

    def _darts(self, timer: Timer) -> DartsResult:
        from nasseg.search.darts.search import check_darts, search_darts

        config = self.config
        if not isinstance(self.data, ClassificationData):
            raise ConfigError(
                f"search.strategy is 'darts', but data.task is {config.data.task!r}; allowed: "
                "classification"
            )
        return search_darts(
            check_darts(self.space, config.search),
            self.data,
            self.task,
            config.search,
            config.train,
            seed=config.seed,
            device=self.device,
            checkpoint=self.folder / "search.ckpt",
            on_epoch=_ticking(timer),
            propose=max(1, config.search.measure),
            progress=self.progress,
        )

    def _evolve(self) -> dict[str, Any]:
        from nasseg.evaluators import CostEvaluator, Hardware, load_surrogate
        from nasseg.search import front_csv, search

        surrogate = load_surrogate(self.config.search.surrogate, self.space)
        hardware, size = self.config.search.hardware, self.config.data.size
        cost = CostEvaluator(
            self.space,
            self.data.in_channels,
            self.task.out_channels,
            hardware=None if hardware is None else Hardware.load(hardware),
            input_size=(size, size),
        )
        found = search(
            self.space,
            surrogate,
            self.config.search,
            self.config.seed,
            self.progress,
            in_channels=self.data.in_channels,
            out_channels=self.task.out_channels,
            cost=cost,
        )
        if found.front:
            write_text(self.folder / "pareto.csv", front_csv(found.front))
        else:
            (self.folder / "pareto.csv").unlink(missing_ok=True)
        result = found.to_dict()
        history = [
            {"run": number, **generation}
            for number, run in enumerate(result["runs"])
            for generation in run["history"]
        ]
        goals = {}
        if found.objectives:
            goals = {key: result[key] for key in ("objectives", "constraints", "reference")}
            goals["pick"] = self.config.search.pick
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

    def train(self, timer: Timer) -> None:
        net = self.new_network()
        checkpoint = self.folder / "train.ckpt"
        if self.config.train.weights is not None and not checkpoint.exists():
            pretrained = load_pretrained(net, self.config.train.weights)
            known = self.best.weights.get("sha256")
            if known not in (None, pretrained.sha256):
                raise RunError(
                    f"{self.config.train.weights} has changed since {self.folder.path} was begun; "
                    "bring it back, or use another --out"
                )
            log.info("%s", pretrained)
            self.folder.note("train", weights=pretrained.to_dict())
        result = train_digital(
            net,
            self.data,
            self.task,
            self.config.train,
            seed=self.config.seed,
            checkpoint=checkpoint,
            metrics_file=self.folder / "metrics.jsonl",
            on_epoch=_ticking(timer),
            progress=self.progress,
        )
        save_weights(self.folder / "digital.safetensors", net, self._metadata())
        facts: dict[str, Any] = {"metrics": result.metrics}
        if self.data.report_side != "val":
            loader = self.data.report_loader(self.config.train.batch_size)
            facts |= {"metrics": evaluate(net, loader, self.task), "val": result.metrics}
        self.folder.finish("train", **facts, best_epoch=result.epoch, epochs=result.epochs)
        checkpoint.unlink(missing_ok=True)

    def analog(self, timer: Timer) -> None:
        checkpoint = self.folder / "analog.ckpt"
        analog, coverage, _ = train_analog(
            self.digital,
            self.data,
            self.task,
            self.config.train,
            self.config.analog,
            seed=self.config.seed,
            checkpoint=checkpoint,
            metrics_file=self.folder / "metrics.jsonl",
            on_epoch=_ticking(timer),
            progress=self.progress,
        )
        kept = list(self.config.analog.named_digital_layers)
        if self.config.analog.digital_layers == "auto":
            analog, coverage, kept = self._mixed(analog, coverage)
        write_json(self.folder / "coverage.json", coverage.to_dict())
        save_weights(self.folder / "analog.safetensors", analog, self._metadata())
        self.best.replace(tiles=coverage.tiles).write(self.folder / "best.json")
        self.folder.finish("analog", mac_fraction=coverage.mac_fraction, digital_layers=kept)
        checkpoint.unlink(missing_ok=True)

    def _mixed(
        self, analog: nn.Module, coverage: Coverage
    ) -> tuple[nn.Module, Coverage, list[str]]:
        """Keep as few layers digital as the target takes; ``sensitivity.json`` says what of."""
        config = self.config.analog
        metric, monitor = drift_metrics(self.task), self.task.monitor
        loader = cached_batches(self.data.val_loader(self.config.train.batch_size), self.device)
        shared: dict[str, Any] = {
            "recalibrate_with": self.recalibration(analog),
            "name": monitor,
            # Not the chips of the evaluation: layers must not be chosen on what is reported.
            "seed": derive_seed(self.config.seed, SEED_SENSITIVITY),
        }
        macs = {layer.name: layer.macs for layer in coverage.layers}
        bar = tqdm(total=coverage.analog_layers, desc="sensitivity", disable=not self.progress)
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
        digital = evaluate(self.digital, loader, self.task)[monitor]
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
            self.digital,
            config,
            channels=self.data.in_channels,
            size=self.config.data.size,
            seed=self.config.seed,
            digital_layers=names,
        )
        load_tensors(mixed, named_tensors(keep_digital(analog, names)), "mixed network")
        write_json(
            self.folder / "sensitivity.json",
            {
                "metric": monitor,
                "target": target,
                "reached": value,
                "digital_layers": names,
                "layers": [dataclasses.asdict(entry) for entry in found],
            },
        )
        return mixed, measured, names

    def done(self, stage: str) -> bool:
        """Whether a stage was finished, and nothing more of it is asked for now."""
        done = self.folder.done(stage)
        return done and (stage != "drift" or self.chips() >= self.config.drift.chips)

    def chips(self) -> int:
        """How many chips were measured."""
        return len(self.measured_chips.chips)

    @property
    def measured_chips(self) -> DriftTable:
        """The chips measured so far."""
        return DriftTable.read(self.folder / "drift.csv", missing_ok=True)

    def drift(self, timer: Timer) -> None:
        config = self.config.drift
        path = self.folder / "drift.csv"
        recalibrate_with = self.recalibration(self.analog_net)
        table = self.measured_chips.complete(
            len(config.times) * (1 if recalibrate_with is None else 2)
        )
        done = table.chips
        seed = derive_seed(self.config.seed, SEED_DRIFT)
        loader = self.data.report_loader(self.config.train.batch_size)
        bar = tqdm(range(config.chips), desc="drift", unit="chip", disable=not self.progress)
        with chip_evaluator(
            self.analog_net,
            loader,
            drift_metrics(self.task),
            times=config.times,
            recalibrate_with=recalibrate_with,
            seed=seed,
        ) as evaluate:
            for chip in bar:
                if chip in done:
                    continue
                table += evaluate(chip)
                table.write(path)
                timer.tick()
                last = table.rows[-1].scores[self.task.monitor]
                bar.set_postfix({self.task.monitor: f"{last:.4f}"})
        self._sweep(loader, recalibrate_with, seed, timer)
        self._panels(recalibrate_with, seed)
        self.folder.finish("drift")

    def _sweep(self, loader: Any, recalibrate_with: Any, seed: int, timer: Timer) -> None:
        """Chips of memories with less and with more noise, a day old: ``sweep.csv``."""
        config = self.config.drift
        spec = analog_spec(self.config.analog)
        scales = config.noise_scales if spec.memory != "ideal" and config.sweep_chips else ()
        path = self.folder / "sweep.csv"
        table = DriftTable.read(path, missing_ok=True)
        todo = [s for s in scales if not any(row.noise_scale == s for row in table)]
        for scale in tqdm(todo, desc="noise scales", disable=not self.progress or not todo):
            with (
                memory_noise(self.analog_net, spec, scale),
                chip_evaluator(
                    self.analog_net,
                    loader,
                    drift_metrics(self.task),
                    times=(DAY,),
                    recalibrate_with=recalibrate_with,
                    seed=seed,
                ) as evaluate,
            ):
                for chip in range(config.sweep_chips):
                    table += [{"noise_scale": scale, **row} for row in evaluate(chip)]
                    timer.tick()
            table.write(path)

    def report(self, timer: Timer) -> None:
        from nasseg.report import write_report

        timer.tick()
        self.summarise()
        write_report(self.folder.path)
        self.folder.finish("report")

    # --- results ----------------------------------------------------------------------------

    def summarise(self) -> dict[str, Any]:
        """Write ``summary.json`` from what is done so far, and return it."""
        stages = self.folder.stages
        summary: dict[str, Any] = {
            "seed": self.config.seed,
            "data": stages.get("data", {}).get("source"),
            "images": stages.get("data", {}).get("images", {}),
            "seconds": self.folder.seconds(),
        }
        if self.folder.done("search"):
            best = self.best
            summary |= {"arch_id": best.arch_id, "params": best.params}
            summary |= {"macs": best.macs, "tiles": best.tiles, "monitor": best.monitor or "dice"}
        if self.folder.done("train"):
            summary["digital"] = stages["train"]["metrics"]
        if self.folder.done("drift") and (table := self.measured_chips).rows:
            summary["chips"] = len(table.chips)
            summary["analog"] = table.summary()
        write_json(self.folder / "summary.json", summary)
        return summary

    def _panels(self, recalibrate_with: Any, seed: int) -> None:
        """What the digital and the one-day-old analog network see of a few images."""
        kept, say = panels(
            self.data, self.config.train.batch_size, self.device, self.config.train.tta
        )
        net = self.analog_net
        with Chips(net, seed, recalibrate_with) as chips:
            chips.program(0)
            chips.drift(DAY)
            chips.recalibrate()
            analog = say(net.eval())
        arrays = {**kept, "digital": say(self.digital), "analog_1day": analog}
        atomic_write(
            self.folder / "panels.npz", lambda handle: np.savez_compressed(handle, **arrays)
        )

    def _metadata(self) -> dict[str, str]:
        return {
            "space": self.space.name,
            "arch": self.space.to_json(self.best.require_arch()),
            "arch_id": str(self.best.arch_id),
            "in_channels": str(self.config.data.channels),
            "analog": json.dumps(analog_spec(self.config.analog).to_dict(), sort_keys=True),
        }


def _classes(data: Data) -> dict[str, Any]:
    """What the outputs of a network stand for, so that it can be used without the data."""
    if isinstance(data, ClassificationData):
        return {"classes": tuple(data.classes), "multilabel": data.multilabel}
    if isinstance(data, SegmentationData) and data.classes:
        return {"classes": tuple(data.classes)}
    return {}


def _try_weights(net: nn.Module, train: TrainConfig) -> dict[str, Any]:
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


def _check_data(folder: RunFolder, data: Data) -> None:
    folder.check_data(data.fingerprint, data.source, data.counts)


def _ticking(timer: Timer) -> Callable[[int], dict[str, Any]]:
    def tick(epoch: int) -> dict[str, Any]:
        timer.tick()
        return {}

    return tick


def _read_arch(source: str, space: SearchSpace) -> dict[str, Any]:
    """An architecture by the name of a reference network, or from a JSON file: the architecture
    itself, or a run's ``best.json``."""
    named = reference_arch(source)
    if named is not None:
        return space.canonical(named[1])
    path = Path(source)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"search.arch: {no_such_arch(source)}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"search.arch: {path} cannot be read as JSON: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("arch"), dict):
        value = value["arch"]
    if not isinstance(value, dict):
        raise ConfigError(f"search.arch: {path} holds no architecture (a JSON object)")
    try:
        space.validate(value)
    except NassegError as error:
        raise ConfigError(f"search.arch: {path}: {error}") from None
    return space.canonical(value)


def read_drift(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's ``drift.csv``: chip, time, recalibrated and metrics."""
    return DriftTable.read(run / "drift.csv", missing_ok=True).to_rows()


def plan(
    config: RunConfig,
    *,
    min_value: float,
    share: float = 0.95,
    chips: int = 10,
    progress: bool = True,
) -> dict[str, Any]:
    """When to refresh the chips of a finished run; ``plan.json`` of its folder, and returned.

    Args:
        config: of the run.
        min_value: of the task's metric, such as the Dice.
        share: of the chips that must stay above it.
        chips: chips simulated; other ones than those of the drift stage.
        progress: show a bar.

    Raises:
        RunError: the run has no analog network yet.
    """
    set_threads(config.threads)
    folder = RunFolder(config)
    with folder.locked():
        if not folder.done("analog"):
            raise RunError(f"{folder.path} has no analog network; run the analog stage first")
        job = Job(config, folder, progress)
        found = plan_refresh(
            job.analog_net,
            job.data.val_loader(config.train.batch_size),
            drift_metrics(job.task),
            min_value=min_value,
            share=share,
            chips=chips,
            name=job.task.monitor,
            recalibrate_with=job.recalibration(job.analog_net),
            seed=derive_seed(config.seed, SEED_PLAN),
            progress=progress,
        ).to_dict()
        found = {"metric": job.task.monitor, **found}
        write_json(folder / "plan.json", found)
    return found
