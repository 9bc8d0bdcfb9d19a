"""Everything about the measuring of many architectures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from nasseg._fields import check_fields
from nasseg.config._setting import check, setting
from nasseg.config.analog import AnalogConfig
from nasseg.config.data import DataConfig
from nasseg.config.drift import DriftConfig
from nasseg.config.run import DEVICE, check_kind
from nasseg.config.search import check_stop_gain, default_space
from nasseg.config.train import TrainConfig


@dataclass(frozen=True)
class LabelConfig:
    """Measuring sampled architectures into a table, from which surrogates are fitted."""

    KIND: ClassVar[str] = "label"
    """Kind of folder that these settings are of."""
    SHORT: ClassVar[tuple[str, ...]] = ("data",)
    """Sections whose settings have their short flags."""
    DERIVED: ClassVar[dict[str, str]] = {"space": "auto"}
    """Settings that are made out from others where they are not given."""

    out: str = setting("runs/labels", free="always")
    """Folder of the table; the same command continues it."""
    space: str = setting("auto", plugin="nasseg.spaces")
    """Name of the search space; ``auto`` as in a run."""
    count: int = setting(48, ge=1, le=100_000, free="always")
    """Architectures drawn; those that cannot be measured are not replaced."""
    seed: int = setting(0, ge=0)
    """Seed of the sampling and of every training."""
    device: str = setting("auto", **DEVICE)
    """``auto`` takes CUDA where there is one; ``cpu``, ``cuda``, or ``cuda:1`` of several."""
    threads: int = setting(0, ge=0, free="always")
    """CPU threads of torch; 0 = as many as it finds."""
    max_params: int | None = setting(1_000_000, gt=0)
    """Architectures above this size are not drawn; none = no bound."""
    min_params: int = setting(10_000, ge=0)
    """Nor those below this one."""
    max_macs_per_pixel: int | None = setting(30_000, gt=0)
    """Nor those with more multiply-accumulates per input pixel; none = no bound."""
    sampler: str = setting("lhs", free="always", plugin="nasseg.samplers")
    """What proposes the architectures: ``lhs`` (a Latin hypercube, which fits surrogates best),
    ``random``, or a search: ``surrogate``, ``analognas``, ``tpe``, ``nsgaii``, ``gp``,
    or one of another package, as ``module:Name``."""
    archs: str | None = setting(None, file="file", free="always")
    """Table whose architectures are measured, in its order, instead of what a sampler proposes
    (columns as ``nasseg fit`` takes them; scores are not needed). ``count`` of them at most; the
    bounds of sizes do not hold."""
    stop_gain: float = setting(0.0, ge=0, free="always")
    """With the sampler ``surrogate``: end early once five proposals in a row are expected to beat
    the best by less than this; 0 = never."""
    storage: str | None = setting(None, free="always")
    """Where the study is kept, so that many workers share it: sqlite:///FILE, journal:FILE,
    postgresql://... or mysql://...; none = study.db in the folder."""
    study: str = setting("nasseg", pattern=".+", words="a name", free="always")
    """Name of the study in that storage."""
    workers: int = setting(1, ge=1, le=256, free="always")
    """Worker processes on this machine, each with a GPU or a share of the CPU's threads."""
    heartbeat: float = setting(60.0, gt=0, words="seconds above 0", free="always")
    """Seconds between a worker's signs of life. After four without one, its architecture is
    given to another."""
    data: DataConfig = field(default_factory=lambda: DataConfig(image_size=32))
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=8, eval_every=8))
    analog: AnalogConfig = field(default_factory=lambda: AnalogConfig(epochs=4))
    drift: DriftConfig = field(
        default_factory=lambda: DriftConfig(
            chips=5, times=(1.0, 86_400.0, 2_592_000.0), recalibrate_images=64
        )
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.space == "auto":
            object.__setattr__(self, "space", default_space(self.data.kind))
        for name in ("weights", "freeze_until"):
            value = getattr(self.train, name)
            check(value is None, f"train.{name}", value, "none, where many networks are trained")
        check_kind(self.data, self.train, self.analog)
        check_stop_gain(self.stop_gain, self.sampler, "stop_gain")
        check(
            not self.stop_gain or self.archs is None,
            "stop_gain",
            self.stop_gain,
            "0 with a list of architectures",
        )
