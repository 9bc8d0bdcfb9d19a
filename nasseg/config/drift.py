"""Settings of the chips and of their ages."""

from __future__ import annotations

from dataclasses import dataclass

from nasseg._fields import check_fields
from nasseg.analog.spec import DRIFT_TIMES
from nasseg.config._setting import check, setting


@dataclass(frozen=True)
class DriftConfig:
    """Evaluation over programmed chips and time."""

    chips: int = setting(25, ge=1, le=100_000, alias="chips", free="run")
    """Chips programmed; each gets noise of its own. A finished run takes more later."""
    times: tuple[float, ...] = DRIFT_TIMES
    """Seconds after programming, rising."""
    recalibrate: bool = True
    """Also re-estimate BatchNorm statistics on each drifted chip (AdaBS) and report both."""
    recalibrate_images: int = setting(0, ge=0)
    """Training images used for it, spread over the set; 0 = all."""
    images: int = setting(0, ge=0, young=True)
    """Images that each chip is measured on, other ones for each chip: means over chips are then
    estimates for all images, with a standard error, in so much less time; 0 = all."""
    precision: float = setting(0.0, ge=0, lt=1, young=True, free="run")
    """Standard error of the mean over chips from which no more chips are measured: of AP at IoU 0.5
    of single nuclei, else of the score, at every age, with and without recalibration.
    ``drift.chips`` is then the most, 5 the least. 0 = measure all of them."""
    noise_scales: tuple[float, ...] = (0.5, 2.0)
    """Multiples of all noise and drift of the memory at which chips are also measured, after a
    day: how much worse may the hardware be?"""
    sweep_chips: int = setting(5, ge=0, le=100_000)
    """Chips of each of them; 0 = no such measurement."""

    def __post_init__(self) -> None:
        check_fields(self, "drift.")
        check(self.images != 1, "drift.images", self.images, "0, or 2 or more")
        check(
            all(s >= 0 and s != 1 for s in self.noise_scales)
            and len(set(self.noise_scales)) == len(self.noise_scales),
            "drift.noise_scales",
            self.noise_scales,
            "0 or more each, all different, and not 1, which is measured anyway",
        )
        check(
            len(self.times) > 0
            and all(t > 0 for t in self.times)
            and list(self.times) == sorted(set(self.times)),
            "drift.times",
            self.times,
            "seconds above 0, each later than the one before",
        )
