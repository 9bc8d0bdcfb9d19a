"""A run opened to work on: what its stages share, each part made once, when first needed."""

from __future__ import annotations

import dataclasses
import json
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasseg.analog.spec import AnalogSpec
from nasseg.config import DataConfig, RunConfig, analog_spec
from nasseg.config.search import space_for
from nasseg.data import Arrays, Data, load_arrays, load_data
from nasseg.errors import ConfigError, DataError, FileError, RunError
from nasseg.records.best import Best
from nasseg.records.drift import DriftTable
from nasseg.records.folder import RunFolder
from nasseg.runs.memory import keep_memory, with_own_memory
from nasseg.search_spaces import SearchSpace
from nasseg.studies.joint import with_settings
from nasseg.tasks import Task, TaskType, get_task
from nasseg.training import load_weights
from nasseg.training.device import select_device
from nasseg.training.measure import new_network
from nasseg.training.recipe import recalibration_loader, to_analog

log = logging.getLogger(__name__)


class Job:
    """The parts of a run: data, task, space, hardware and networks.

    Making one, and asking it for networks, writes nothing into the folder.

    Args:
        config: settings of the run.
        folder: its folder; opened to be read only where the run is only to be asked.
        progress: show bars.
        arrays: images and labels in memory, where the run is of these; None: the settings say
            where the images are.

    Raises:
        RunError: the memory cell of the run was changed.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, progress: bool, arrays: Arrays | None = None
    ) -> None:
        self.arrays = arrays
        self._config = with_own_memory(config, folder)
        self.folder = folder
        self.progress = progress
        self.measured: tuple[dict[str, Any], float] | None = None
        """Result of a measured search, and the seconds that it took here."""

    @property
    def config(self) -> RunConfig:
        """Settings of the run; those that were searched together with the architecture are as they
        were found."""
        if (self.folder / "best.json").exists():
            return self._found
        return self._config

    @cached_property
    def _found(self) -> RunConfig:
        path = self.folder / "best.json"
        try:
            chosen = Best.read(path).settings
        except FileError:
            # Whoever needs the architecture says what is wrong with the file.
            return self._config
        try:
            return with_settings(self._config, chosen)
        except ConfigError as error:
            raise RunError(f"{path} cannot be used: {error}") from None

    @cached_property
    def data(self) -> Data:
        """The images; bound to the folder.

        Raises:
            DataError: they cannot be used, or are not where they were.
            RunError: they have changed.
        """
        source = self.config.data.path
        lost = source is not None and not Path(source).expanduser().exists()
        if lost and "data" in self.folder.stages:
            raise DataError(
                f"data.path is {source}, which is not there (from here). Where the images of "
                f"{self.folder.path} are now, `nasseg run --out {self.folder.path} --data PATH` "
                "says"
            )
        data = self.load(self.config.data)
        self.folder.check_data(data.fingerprint, data.source, data.counts)
        if not self.folder.readonly:
            keep_memory(self._config, self.folder)
        log.info("data: %s", data.source)
        return data

    def load(self, config: DataConfig) -> Data:
        """Load the images of the run as other settings of the section ``data`` have them."""
        return load_data(config) if self.arrays is None else load_arrays(self.arrays, config)

    def task_type(self, kind: str | None = None) -> TaskType:
        """Return the task as this run has it: its variant, with the run's decoder.

        Args:
            kind: name of the task of other data; None: that of the settings.

        Raises:
            RunError: ``best.json`` cannot be used.
        """
        task = get_task(self.config.data.kind if kind is None else kind)
        path = self.folder / "best.json"
        if not path.exists():
            return task
        best = self.best
        try:
            task = task.of_run(best.to_dict())
        except ConfigError as error:
            raise RunError(f"{path} cannot be used: {error}") from None
        # Every training ends with a decoder, unless a version without any finished it.
        older = best.decoder is None and self.folder.done("train")
        return task.as_before() if older else task

    @property
    def task(self) -> Task:
        """What is learned, bound to the images; decoded by default until training has ended."""
        return self.task_type(self.data.kind).bind(self.data, self.config.train)

    @cached_property
    def device(self) -> torch.device:
        """Where networks are computed."""
        return select_device(self.config.device)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return space_for(self.config.search.space, self.config.data)

    @cached_property
    def spec(self) -> AnalogSpec:
        """The hardware."""
        return analog_spec(self.config.analog)

    @cached_property
    def best(self) -> Best:
        """The architecture.

        Raises:
            RunError: it is not found yet, or cannot be used.
        """
        path = self.folder / "best.json"
        if not path.exists():
            raise RunError(f"{path} is missing; run the search stage first")
        try:
            best = Best.read(path)
        except FileError as error:
            raise RunError(str(error)) from None
        try:
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
        """Return the network with the initial weights of the run's seed."""
        return new_network(
            self.space,
            self.best.require_arch(),
            in_channels=self.config.data.channels,
            out_channels=self.out_channels,
            seed=self.config.seed,
            device=self.device,
        )

    @cached_property
    def digital(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        net = self.new_network()
        load_weights(self.folder / "digital.safetensors", net)
        return net.eval()

    @cached_property
    def analog_net(self) -> nn.Module:
        """The network on tiles, retrained, in evaluation mode."""
        config = self.config
        analog, _ = to_analog(
            self.digital,
            config.analog,
            channels=config.data.channels,
            size=config.data.size,
            seed=config.seed,
            digital_layers=self.folder.digital_layers,
            spec=self.spec,
        )
        load_weights(self.folder / "analog.safetensors", analog)
        return analog.eval()

    def recalibration(
        self, net: nn.Module, most: int | None = None
    ) -> list[tuple[Tensor, Tensor]] | None:
        """Return the batches that chips of ``net`` are recalibrated with; None: they are not.

        ``most``: only the first images, so many; None: all that the settings ask for.
        """
        config = self.config
        drift = config.drift
        if most is not None:
            wanted = min(most, drift.recalibrate_images or most)
            drift = dataclasses.replace(drift, recalibrate_images=wanted)
        return recalibration_loader(self.data, config.train, drift, config.seed, net)

    @property
    def chips(self) -> DriftTable:
        """The chips measured so far."""
        return DriftTable.read(self.folder / "drift.csv", missing_ok=True)

    @property
    def parts(self) -> DriftTable:
        """What was measured of them, where that was not all images (``drift.images``)."""
        return DriftTable.read(self.folder / "drift_parts.csv", missing_ok=True)

    def done(self, stage: str) -> bool:
        """Return True if a stage is finished, and nothing more of it is asked for now."""
        done = self.folder.done(stage)
        if not done or stage != "drift":
            return done
        asked = self.config.drift
        reached = self.folder.stages["drift"].get("precision")
        precise = reached is not None and reached <= asked.precision
        return precise or len(self.chips.chips) >= asked.chips

    def metadata(self) -> dict[str, str]:
        """Return what a file of weights needs to be used without its folder."""
        return {
            "space": self.space.name,
            "arch": self.space.to_json(self.best.require_arch()),
            "arch_id": str(self.best.arch_id),
            "in_channels": str(self.config.data.channels),
            "analog": json.dumps(self.spec.to_dict(), sort_keys=True),
        }
