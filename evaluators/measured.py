"""Scores measured the long way: train, convert, retrain for the hardware, let chips drift."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nasseg.config import AnalogConfig, DriftConfig, TrainConfig, analog_spec
from nasseg.data import Data
from nasseg.errors import ConfigError, DataError, NassegError, RunError
from nasseg.evaluators.base import Arch, Evaluator
from nasseg.evaluators.scores import COLUMNS, Scores
from nasseg.files.readers import read_csv
from nasseg.io import write_csv
from nasseg.statistics import DAY, MONTH
from nasseg.tasks import Task
from nasseg.training.device import select_device
from nasseg.training.measure import measure_network
from nasseg.training.recipe import refuse_choice, scores_from_drift

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

SCORE_TIMES = (1.0, DAY, MONTH)
"""Seconds after programming that the scores are made of."""


@dataclass(frozen=True)
class Budget:
    """What is spent on one architecture."""

    train: TrainConfig
    analog: AnalogConfig
    drift: DriftConfig
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        # What is wrong with the budget must not be held against an architecture.
        select_device(self.device)
        analog_spec(self.analog)
        if self.analog.digital_layers == "auto":
            raise ConfigError(
                "analog.digital_layers is 'auto'; measured scores are of networks with named "
                "digital layers, or none"
            )
        if self.train.weights is not None:
            raise ConfigError(
                f"train.weights is {self.train.weights!r}; allowed where many networks are "
                "measured: none"
            )
        missing = [t for t in SCORE_TIMES if t not in self.drift.times]
        if missing:
            raise ConfigError(
                f"drift.times is {self.drift.times!r}; measured scores need "
                f"{', '.join(f'{t:g}' for t in missing)} among them"
            )


def refuse_selection(train: TrainConfig) -> None:
    """Refuse a training whose weights or length the images choose that scores are of.

    Raises:
        ConfigError: it is one.
    """
    refuse_choice(train, "scores are measured on the validation images", "Set it to 0")


def measure(
    space: SearchSpace,
    arch: Arch,
    data: Data,
    task: Task,
    budget: Budget,
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Train one architecture, put it onto chips and let them drift.

    Returns:
        One row of a table: ``arch_id``, ``arch`` (canonical JSON), the scores of
        :class:`Scores` that this gives, the same ``_uncalibrated``, every digital metric, MACs
        of one image, the name of the scores' ``metric``, and ``seconds``. A function of its
        arguments but for ``seconds``.

    Raises:
        NassegError: the architecture cannot be built, converted or trained.
    """
    start = time.perf_counter()
    found = measure_network(
        space,
        arch,
        data,
        task,
        budget.train,
        budget.analog,
        budget.drift,
        seed=budget.seed,
        device=select_device(budget.device),
        progress=progress,
    )
    return {
        "arch_id": space.arch_id(arch),
        "arch": space.to_json(arch),
        **scores_from_drift(found.rows, task.monitor),
        "digital": found.digital[task.monitor],
        **{f"digital_{name}": v for name, v in found.digital.items() if name != task.monitor},
        "params": found.params,
        "macs": found.coverage.macs,
        "tiles": found.coverage.tiles,
        "metric": task.monitor,
        "space_version": space.version,
        "seconds": round(time.perf_counter() - start, 1),
    }


class MeasuredTable:
    """Measured rows in a CSV file, kept by architecture; failures beside them with their reason.

    The files are rewritten as a whole, atomically, after every architecture, so that a killed
    labelling loses the architecture under way and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failures_path = path.with_name(f"{path.stem}_failures.csv")
        self.rows = self._read(self.path)
        self.failures = self._read(self.failures_path)

    @staticmethod
    def _read(path: Path) -> dict[str, dict[str, str]]:
        if not path.exists():
            return {}
        rows = {}
        for number, row in read_csv(path, error=DataError):
            if not row.get("arch_id"):
                raise DataError(f"{path}, row {number}: column 'arch_id' is missing or empty")
            if None in row or None in row.values():
                raise DataError(f"{path}, row {number}: more or fewer cells than columns")
            rows[row["arch_id"]] = {str(name): cell for name, cell in row.items()}
        return rows

    def add(self, row: dict[str, Any]) -> None:
        """Add a measured row and write the file."""
        self.rows[row["arch_id"]] = {key: str(value) for key, value in row.items()}
        write_csv(self.path, list(self.rows.values()))

    def fail(self, arch_id: str, arch: str, reason: str) -> None:
        """Record that an architecture cannot be measured, and why; it is not tried again."""
        self.failures[arch_id] = {"arch_id": arch_id, "arch": arch, "reason": reason}
        write_csv(self.failures_path, list(self.failures.values()))


class MeasuredEvaluator(Evaluator):
    """Measures architectures with a budget; what the table holds is not measured again.

    Args:
        space: the search space.
        data: images to train and evaluate on.
        task: loss and metrics.
        budget: what is spent on each architecture.
        table: CSV file to keep the rows in; none = only in memory.

    Raises:
        ConfigError: the validation images, which scores are of, would choose the weights or the
            length of the training.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        task: Task,
        budget: Budget,
        table: str | Path | None = None,
    ) -> None:
        refuse_selection(budget.train)
        self.space = space
        self.data = data
        self.task = task
        self.budget = budget
        self.table = None if table is None else MeasuredTable(Path(table))
        self._rows: dict[str, dict[str, Any]] = dict(self.table.rows) if self.table else {}

    def evaluate(self, archs: Sequence[Arch]) -> Scores:
        """Scores of architectures, in order, measured where they are not known yet.

        Raises:
            NassegError: an architecture cannot be measured; the reason is in the table's
                failures too.
        """
        rows = [self.row(arch) for arch in archs]
        known = [
            {name: row[name] for name in COLUMNS if row.get(name) not in (None, "")} for row in rows
        ]
        return Scores.from_rows(known)

    def row(self, arch: Arch) -> dict[str, Any]:
        """The row of one architecture, from the table or measured now."""
        self.space.validate(arch)
        arch_id = self.space.arch_id(arch)
        if arch_id not in self._rows:
            try:
                row = measure(self.space, arch, self.data, self.task, self.budget)
            except torch.OutOfMemoryError as error:
                reason = f"out of memory: {str(error).splitlines()[0]}"
                if self.table is not None:
                    self.table.fail(arch_id, self.space.to_json(arch), reason)
                raise RunError(f"{arch_id}: {reason}") from None
            except NassegError as error:
                if self.table is not None:
                    self.table.fail(arch_id, self.space.to_json(arch), str(error))
                raise
            self._rows[arch_id] = row
            if self.table is not None:
                self.table.add(row)
        return self._rows[arch_id]
