"""Everything about a run: the sections, and the rules between them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nasseg._fields import check_fields
from nasseg.config._setting import check, check_only_for, setting
from nasseg.config.analog import AnalogConfig
from nasseg.config.data import DataConfig
from nasseg.config.drift import DriftConfig
from nasseg.config.search import Amount, SearchConfig, default_space, named_space
from nasseg.config.train import TrainConfig
from nasseg.tasks import get_task

NATIVE_SCALE: dict[str, Any] = {
    "train.epochs": 180,
    "train.batch_size": 8,
    "train.optimizer": "muon",
    "train.warmup": 0.05,
    "train.eval_every": 45,
    "analog.epochs": 20,
    "analog.lr": 5e-4,
    "analog.input_quantile": 0.9995,
    "analog.digital_layers": "last",
    "drift.recalibrate_images": 256,
    "drift.images": 16,
}
"""The recipe where images keep their own scale (``data.crop``): what is not as the defaults of the
config classes, which are right where images are resized and trainings are short. A crop shows a
small part of an image, so there are more and smaller steps, and small networks underfit, which
orthogonalised steps help; a network that was trained to the end is moved only a little by the
retraining, and loses more to clipped inputs than it gains by finer steps.
Noise of the last layer's tile would go straight into what instances are decoded from. Decoding
whole images on every chip takes longer than the training.
Measured in docs/results/dsb_native and docs/results/ablation."""
DEVICE = {
    "pattern": r"auto|cpu|cuda(:\d+)?",
    "words": "auto, cpu or cuda (cuda:1 for the second of several)",
    "free": "always",
}
"""Facts of the setting ``device`` of a run and of a labelling."""


def check_kind(data: DataConfig, train: TrainConfig, analog: AnalogConfig) -> None:
    """Refuse settings of another kind of task than that which is learned, and its metrics.

    Raises:
        ConfigError: there is one.
    """
    for section, prefix in ((train, "train."), (analog, "analog.")):
        check_only_for(section, prefix, get_task(data.kind).settings or data.kind, data.task)
    get_task(data.kind).monitored(train.monitor)


@dataclass(frozen=True)
class RunConfig:
    """A whole run: search, train, analog, drift, report."""

    KIND: ClassVar[str] = "run"
    """Kind of folder that these settings are of."""
    SHORT: ClassVar[tuple[str, ...]] = ("data", "search", "train", "analog", "drift")
    """Sections whose settings have their short flags."""
    DERIVED: ClassVar[dict[str, str]] = {"search.space": "auto", "search.budget": "auto"}
    """Settings that are made out from others where they are not given."""
    FOLLOWING: ClassVar[dict[str, dict[str, Any]]] = {"data.crop": NATIVE_SCALE}
    """Defaults of other settings where this one is set, on a command line or in a YAML file. An
    object made in Python has what it is given: its sections do not know what was given."""

    out: str = setting("runs/nuclei", free="always")
    """Run folder; the same command continues what is in it."""
    seed: int = setting(0, ge=0, repeat=True)
    """Seed of everything random."""
    device: str = setting("auto", **DEVICE)
    """``auto`` takes CUDA where there is one; ``cpu``, ``cuda``, or ``cuda:1`` of several."""
    threads: int = setting(0, ge=0, free="always")
    """CPU threads of torch; 0 = as many as it finds."""
    data: DataConfig = field(default_factory=DataConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    analog: AnalogConfig = field(default_factory=AnalogConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.search.budget == "auto":
            own = self.data.path is not None or self.data.source != "auto"
            budget = self.search.budget_for(self.train.epochs, own_images=own)
            object.__setattr__(self, "search", dataclasses.replace(self.search, budget=budget))
        named = None if self.search.arch is None else named_space(self.search.arch)
        if self.search.space == "auto":
            default = default_space(
                self.data.kind, self.search.strategy, budget=bool(Amount.of(self.search.budget))
            )
            space = named or default
            object.__setattr__(self, "search", dataclasses.replace(self.search, space=space))
        check(
            named in (None, self.search.space),
            "search.space",
            self.search.space,
            f"auto or {named}, since search.arch is the reference network {self.search.arch!r}",
        )
        for name in ("weights", "freeze_until"):
            # Without this the architecture, and with it the names of layers, is not known yet.
            check(
                getattr(self.train, name) is None or self.search.arch is not None,
                f"train.{name}",
                getattr(self.train, name),
                "none, unless search.arch says which network is trained",
            )
        check(
            self.train.freeze_until is None or self.train.weights is not None,
            "train.freeze_until",
            self.train.freeze_until,
            "none without train.weights: layers would be frozen as they are drawn",
        )
        check_kind(self.data, self.train, self.analog)
