"""Settings of the search for an architecture."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from nasseg._fields import check_fields
from nasseg.config._setting import check, setting
from nasseg.errors import ConfigError
from nasseg.tasks import get_task

if TYPE_CHECKING:
    from nasseg.config.data import DataConfig
    from nasseg.search_spaces import SearchSpace


AMOUNT = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>x|s|min|h)|0|auto")
"""A budget as text."""
DEFAULT_BUDGET = "1x"
"""Budget of a search where none is given."""
LEAST_EPOCHS = 10
"""Epochs of the training from which a run searches by default: a shorter one is a trial."""
SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


WITHOUT_BUDGET = (
    "strategy", "surrogate", "arch", "population_size", "nb_iter", "runs", "max_avm", "measure",
    "proxy",
)  # fmt: skip
"""Settings of a search without a budget."""
PREDICTED = ("day1", "avm", "std", "p05", "digital")
"""Columns of scores that a search within a budget does not have."""


@dataclass(frozen=True)
class Amount:
    """What a search may take: a multiple of a run's training, or a time. Both 0: nothing."""

    times: float = 0.0
    """Of what training and retraining the winner takes."""
    seconds: float = 0.0
    """Of all workers side by side."""

    @classmethod
    def of(cls, text: str) -> Amount:
        """Read ``0.5x``, ``90s``, ``20min``, ``2h``, or ``0`` and ``auto``, which are nothing."""
        match = AMOUNT.fullmatch(text)
        if match is None or match["unit"] is None:
            return cls()
        number = float(match["number"])
        if match["unit"] == "x":
            return cls(times=number)
        return cls(seconds=number * SECONDS[match["unit"]])

    def __bool__(self) -> bool:
        return self.times > 0 or self.seconds > 0


def default_space(kind: str, strategy: str = "evolution", *, budget: bool = False) -> str:
    """The search space of a kind of task where none is named.

    Args:
        kind: of the task.
        strategy: how it is searched.
        budget: networks are trained for it; without, one is needed that a surrogate knows.
    """
    if get_task(kind).network == "segmentation":
        return "unet2" if budget else "unet"
    return "cells" if strategy == "darts" else "resnet"


def named_space(name: str) -> str | None:
    """The space of the reference network of that name; none where there is none."""
    from nasseg.search_spaces.reference import reference_arch

    found = reference_arch(name)
    return None if found is None else found[0]


def space_for(name: str, data: DataConfig) -> SearchSpace:
    """Return the space of that name, if its networks do what the data are for.

    Raises:
        UnknownName: no such space.
        ConfigError: its networks do something else.
    """
    from nasseg.search_spaces import get_space, list_spaces

    space = get_space(name)
    task = get_task(data.kind).network
    if space.task != task:
        raise ConfigError(
            f"space is {name!r}, whose networks do {space.task}; the task is {data.task}: allowed "
            f"are {', '.join(n for n in list_spaces() if get_space(n).task == task)}"
        )
    return space


def check_stop_gain(stop_gain: float, sampler: str, key: str) -> None:
    """Refuse an early end of a search whose sampler does not know what to expect.

    Raises:
        ConfigError: that is asked for.
    """
    check(
        not stop_gain or sampler == "surrogate",
        key,
        stop_gain,
        f"0 with the sampler {sampler!r}; only 'surrogate' knows what to expect",
    )


@dataclass(frozen=True)
class SearchConfig:
    """The evolution over a surrogate, and what it may return."""

    YOUNG: ClassVar[bool] = True
    """A folder that lacks a setting of this section is as with its default."""

    space: str = setting("auto", plugin="nasseg.spaces")
    """Name of the search space, or ``module:Name``; ``nasseg spaces`` lists the names. ``auto``:
    ``unet2`` for segmentation within a budget and ``unet`` without, ``resnet`` for classification
    (``cells`` with the strategy ``darts``)."""
    strategy: Literal["evolution", "random", "darts"] = setting(
        "evolution", alias="strategy", metavar="NAME", budget=True
    )
    """How the surrogate is searched: by evolution, or by as many random architectures. ``darts``
    needs no surrogate: it trains a supernet of the space (``cells``) and takes what its shared
    weights make the best or, of so many, what ``measure`` finds to be."""
    surrogate: str = setting("auto", file="file", plugin="nasseg.evaluators")
    """Folder of a fitted surrogate, ``auto`` (the one shipped for the space), or an evaluator of
    another package: its name, or ``module:Name``."""
    arch: str | None = setting(None, file="file", alias="arch", metavar="FILE.json|NAME")
    """JSON file of an architecture to take instead of searching, or the name of a reference
    network, such as ``resnet18`` or, for segmentation, ``basicunet-16``."""
    population_size: int = setting(50, ge=4, le=10_000, budget=True)
    """Architectures kept from one generation to the next."""
    nb_iter: int = setting(100, ge=0, le=100_000, budget=True)
    """Generations."""
    runs: int = setting(3, ge=1, le=1000, budget=True)
    """Independent evolutions; the best of their winners is taken, mean and spread are reported."""
    max_params: int | None = setting(1_000_000, gt=0, budget=True)
    """Upper bound of the number of parameters; none = no bound."""
    max_macs_per_pixel: int | None = setting(30_000, gt=0, budget=True)
    """Upper bound of the multiply-accumulates per input pixel, which sets the training time;
    none = no bound. The default U-Net of widths 16 to 128 has 38,000."""
    max_avm: float | None = setting(10.0, budget=True)
    """Upper bound of the predicted one-month accuracy variation in points; none = no bound."""
    maximize: tuple[str, ...] = setting((), alias="maximize", metavar="NAME,NAME")
    """Columns of the scores to maximise. With neither these nor ``minimize``, the metric after a
    day is maximised; with several of both, the search looks for all best compromises
    (``pareto.csv``)."""
    minimize: tuple[str, ...] = setting((), alias="minimize", metavar="NAME,NAME")
    """Columns of the scores to minimise; those to maximise come first, where the order matters."""
    constraints: tuple[str, ...] = setting((), alias="constraint", metavar="TEXT")
    """What an architecture must keep, as in ``params<1e6,p05>0.85``, beside the bounds above."""
    darts_epochs: int = setting(60, ge=1, used_by="darts")
    """``darts``: passes over the training images, one half for weights, one for choices."""
    darts_warmup: float = setting(0.4, ge=0, lt=1, used_by="darts")
    """Share of these in which only the weights learn, and no choice."""
    darts_alpha_lr: float = setting(0.02, gt=0, lt=math.inf, used_by="darts")
    """Learning rate of the choices' logits (Adam); that of the weights is ``train.lr``."""
    darts_entropy: float = setting(0.05, ge=0, lt=math.inf, used_by="darts")
    """Weight of the logits' entropy in their loss, which rises from 0 to this: they decide."""
    darts_noise: float = setting(0.0, ge=0, lt=1, used_by="darts")
    """Standard deviation of the noise on the supernet's weights, as a fraction of the largest
    weight of the layer; 0 = none. ``analog.weight_noise`` has the same unit."""
    darts_candidates: int = setting(150, ge=1, le=100_000, used_by="darts")
    """Architectures that are scored with the supernet's weights, half of them the most probable
    ones; what they say of each choice decides."""
    pick: Literal["knee", "best"] = "knee"
    """Which compromise is trained: the front's knee, or the best in the first objective."""
    hardware: str | None = setting(None, file="file")
    """Chip that energy and time are estimated for: a name (``nasseg cost --help`` lists them) or a
    YAML file; none = crossbars as the layers are put onto, with the circuits of ``hermes``."""
    budget: str = setting(
        "0",
        pattern=AMOUNT.pattern,
        words="0.5x (times what training the winner takes), 90s, 20min, 2h, 0, or auto",
        alias="budget",
        metavar="2h|0.5x|0",
        before="0",
    )
    """What the search for an architecture may take: candidates are trained on images held out of
    nothing that is reported, in rungs, and the best go on; a time, or a multiple of what training
    and retraining the winner takes. 0 = ask the surrogate alone (or ``measure``, ``darts``).
    ``auto``: 1x for images of your own, unless a network is given, the training has fewer than 10
    epochs, or another setting is one of a search without a budget."""
    holdout: float = setting(0.2, ge=0, lt=1, before=0.0)
    """Share of the training images that candidates are scored on instead of being trained on, so
    that the images that results are of choose nothing. Without ``budget`` it means nothing where
    there are test images: then the validation images choose. 0 (not with ``budget``) = the
    validation images, whatever results are of, as older versions did."""
    also: tuple[str, ...] = setting((), metavar="KEY=VALUES")
    """With ``budget``: settings of ``train`` and ``analog`` that are searched together with the
    architecture, as in ``train.lr=1e-3..1e-2,analog.spec.adc_bits=5|6|7|8``."""
    measure: int = setting(0, ge=0, le=100_000, alias="measure")
    """Architectures to train, put onto chips and measure, instead of asking the surrogate (with
    ``darts``: those that it proposes); 0 = measure none."""
    sampler: str = setting("surrogate", alias="sampler", metavar="NAME", plugin="nasseg.samplers")
    """What proposes the architectures that are measured, but for ``darts``: ``surrogate`` (an
    ensemble fitted to what was measured), ``analognas``, ``tpe``, ``nsgaii``, ``gp``, ``random``,
    ``lhs``, or one of another package: its name, or ``module:Name``."""
    stop_gain: float = setting(0.0, ge=0)
    """A measured search with the sampler ``surrogate`` ends early once five proposals in a row are
    expected to beat the best by less than this; the spread of the score over seeds is a good value.
    0 = never."""
    proxy: str | None = setting(
        None, file="file", alias="proxy", metavar="FILE.yaml", free="always"
    )
    """YAML file with sections train, analog, drift and data: how they are measured, where that is
    not as ``nasseg label`` does by itself. A ``space`` in it must be the one that is searched."""
    storage: str | None = setting(None, alias="storage", metavar="URL", free="always")
    """Where the study of measured architectures is kept, so that many workers share it:
    sqlite:///FILE, journal:FILE, postgresql://... or mysql://...; none = study.db in the run
    folder."""
    study: str = setting(
        "nasseg", pattern=".+", words="a name", alias="study", metavar="NAME", free="always"
    )
    """Name of the study in that storage."""
    workers: int = setting(1, ge=1, le=256, alias="workers", free="always")
    """Worker processes on this machine, each with a GPU or a share of the CPU's threads."""

    def budget_for(self, epochs: int, *, own_images: bool) -> str:
        """The budget that ``auto`` stands for.

        Args:
            epochs: of the digital training.
            own_images: images are not the built-in ones.
        """
        plain = SearchConfig()
        elsewhere = any(getattr(self, name) != getattr(plain, name) for name in WITHOUT_BUDGET)
        goals = ",".join((*self.maximize, *self.minimize, *self.constraints))
        predicted = any(re.search(rf"\b{name}", goals) for name in PREDICTED)
        if elsewhere or predicted or not own_images or epochs < LEAST_EPOCHS:
            return "0"
        return DEFAULT_BUDGET

    def __post_init__(self) -> None:
        check_fields(self, "search.")
        check_stop_gain(self.stop_gain, self.sampler, "search.stop_gain")
        budgeted = bool(Amount.of(self.budget))
        check(budgeted or not self.also, "search.also", self.also, "none without search.budget")
        if budgeted:
            check(self.holdout > 0, "search.holdout", self.holdout, "above 0 with search.budget")
            check(self.arch is None, "search.arch", self.arch, "none with search.budget")
            check(not self.measure, "search.measure", self.measure, "0 with search.budget")
            check(
                self.strategy == "evolution",
                "search.strategy",
                self.strategy,
                "evolution with search.budget, whose sampler is search.sampler",
            )
            check(self.proxy is None, "search.proxy", self.proxy, "none with search.budget")
