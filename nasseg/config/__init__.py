"""One typed tree of settings: the command's flags, the keys of the YAML, a run's identity.

Plain dataclasses, importable without torch, so that ``nasseg --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from nasseg.errors import ConfigError

STUDY_KEYS = (
    "count",
    "storage",
    "study",
    "workers",
    "sampler",
    "heartbeat",
    "stop_gain",
    "archs",
)
"""Settings of a labelling that may differ between its workers, and when it is continued."""
TASKS = ("segmentation", "semantic", "classification")
"""What can be learned, beside the classification of a MedMNIST set by its name."""
MEDMNIST_SETS = (
    "bloodmnist",
    "breastmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
    "pathmnist",
    "pneumoniamnist",
    "retinamnist",
    "tissuemnist",
)
"""The 2D sets of MedMNIST v2 (Yang et al., Scientific Data 2023)."""
METRICS = ("auto", "accuracy", "balanced_accuracy", "auc", "f1")
"""What classification may be selected and scored by."""
NATIVE_SCALE: dict[str, Any] = {
    "train.epochs": 320,
    "train.batch_size": 16,
    "train.eval_every": 40,
    "analog.epochs": 40,
    "analog.lr": 5e-4,
    "analog.input_quantile": 0.9995,
    "drift.recalibrate_images": 256,
}
"""The recipe where images keep their own scale (``data.crop``): what is not as the defaults of the
config classes, which are right where images are resized and trainings are short. A crop shows a
small part of an image, so there are more epochs; a network that was trained to the end is moved
only a little by the retraining, and loses more to clipped inputs than it gains by finer steps.
Measured in docs/results/dsb_native and docs/results/ablation."""
DRIFT_TIMES: tuple[float, ...] = (1.0, 3600.0, 86_400.0, 2_592_000.0, 31_536_000.0)
"""Seconds after programming at which chips are evaluated: 1 s, 1 h, 1 day, 30 days, 1 year."""


def _check_device(device: str) -> None:
    _check(
        re.fullmatch(r"auto|cpu|cuda(:\d+)?", device) is not None,
        "device",
        device,
        "auto, cpu or cuda (cuda:1 for the second of several)",
    )


def _check_workers(workers: int, key: str) -> None:
    _check(1 <= workers <= 256, key, workers, "1 to 256")


def _check(ok: bool, key: str, value: object, allowed: str) -> None:
    if not ok:
        raise ConfigError(f"{key} is {value!r}; allowed: {allowed}")


@dataclass(frozen=True)
class DataConfig:
    """What is learned from, and how it is brought to the network."""

    task: str = "segmentation"
    """What is learned: ``segmentation`` (one foreground), ``semantic`` (a class for each pixel),
    ``classification`` (a class for each image), or a 2D set of MedMNIST by its name
    (``breastmnist``)."""
    path: str | None = None
    """Segmentation: a folder with ``images/`` and ``labels/``, or the raw Kaggle layout.
    Classification: a folder of classes, an .npz file, or a CSV. None = synthetic."""
    image_size: int = 64
    """Side in pixels of the square to which images and labels are resized."""
    crop: int = 0
    """Keep images at their own scale: train on random crops of this side in pixels, evaluate on
    whole images, and tell single nuclei apart. 0 = resize to ``image_size``."""
    channels: int = 3
    """Image channels given to the network: 1 (grey), 3 (RGB) or 4 (RGBA)."""
    val_fraction: float = 0.2
    """Share of the images held out where the folder has no ``splits.json``."""
    seed: int = 0
    """Seed of the split and of the synthetic images; shuffling and augmentation take the run's."""
    synthetic_train: int = 160
    """Synthetic training images, where no folder is given."""
    synthetic_val: int = 40
    """Synthetic validation images, where no folder is given."""
    max_cache_gb: float = 4.0
    """Memory in GB that the preprocessed images may take; a larger set is an error."""
    path_column: str = "auto"
    """Classification from a CSV: its column of image files."""
    label_column: str = "auto"
    """Its column of classes."""
    group_column: str | None = None
    """Its column of what must not be divided, such as the patient."""
    centre_crop: int = 0
    """Classification: the middle square of this side in pixels is cut out before resizing; 0 =
    the whole image."""
    augment: Literal["none", "light", "heavy"] = "light"
    """Classification: random views of the training images. ``light`` is flips and small shifts,
    ``heavy`` adds rotation, zoom, brightness, contrast, cutout and mixup."""
    test_fraction: float = 0.0
    """Classification: share of the images held out to be scored on, where the source has no test
    images; 0 = scores are of the validation images."""
    folds: int = 0
    """Classification: cross-validation over so many parts, of which part ``fold`` is scored on;
    0 = none."""
    fold: int = 0
    """Which part, from 0."""

    @property
    def size(self) -> int:
        """Side in pixels of what the network is trained on."""
        return self.crop or self.image_size

    @property
    def kind(self) -> str:
        """The kind of task: ``instances`` (segmentation at native scale), ``segmentation``,
        ``semantic`` or ``classification``."""
        if self.task == "segmentation":
            return "instances" if self.crop else "segmentation"
        return "classification" if self.task in MEDMNIST_SETS else self.task

    def __post_init__(self) -> None:
        _check(
            self.task in (*TASKS, *MEDMNIST_SETS),
            "task",
            self.task,
            f"{', '.join(TASKS)}, or a MedMNIST set ({', '.join(MEDMNIST_SETS)})",
        )
        _check(
            not self.crop or self.task == "segmentation", "crop", self.crop, f"0 for {self.task}"
        )
        _check(
            self.augment in ("none", "light", "heavy"),
            "augment",
            self.augment,
            "none, light or heavy",
        )
        if self.kind != "classification":
            for name in ("folds", "test_fraction", "group_column", "centre_crop"):
                value = getattr(self, name)
                _check(not value, name, value, f"not for {self.task}, only for classification")
        _check(self.centre_crop >= 0, "centre_crop", self.centre_crop, "0 or more pixels")
        _check(
            0 <= self.test_fraction < 1, "test_fraction", self.test_fraction, "0 or more, below 1"
        )
        _check(
            self.folds == 0 or 2 <= self.folds <= 100,
            "folds",
            self.folds,
            "2 to 100, or 0 for none",
        )
        _check(
            0 <= self.fold < max(1, self.folds), "fold", self.fold, "0 or more, below data.folds"
        )
        _check(16 <= self.image_size <= 4096, "image_size", self.image_size, "16 to 4096 pixels")
        _check(
            self.crop == 0 or 32 <= self.crop <= 4096, "crop", self.crop, "32 to 4096 pixels, or 0"
        )
        _check(self.channels in (1, 3, 4), "channels", self.channels, "1, 3 or 4")
        _check(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, "above 0, below 1")
        _check(self.seed >= 0, "data.seed", self.seed, "0 or more")
        _check(self.synthetic_train >= 1, "synthetic_train", self.synthetic_train, ">= 1")
        _check(self.synthetic_val >= 1, "synthetic_val", self.synthetic_val, ">= 1")
        _check(self.max_cache_gb > 0, "max_cache_gb", self.max_cache_gb, "above 0")


@dataclass(frozen=True)
class SearchConfig:
    """The evolution over a surrogate, and what it may return."""

    space: str = "auto"
    """Name of the search space; ``nasseg spaces`` lists them. ``auto``: ``unet`` for segmentation,
    ``resnet`` for classification (``cells`` with the strategy ``darts``)."""
    strategy: Literal["evolution", "random", "darts"] = "evolution"
    """How the surrogate is searched: by evolution, or by as many random architectures. ``darts``
    needs no surrogate: it trains a supernet of the space (``cells``) and takes what its shared
    weights make the best or, of so many, what ``measure`` finds to be."""
    surrogate: str = "auto"
    """Folder of a fitted surrogate, or ``auto``: the one shipped for the space."""
    arch: str | None = None
    """JSON file of an architecture to take instead of searching, or the name of a reference
    network, such as ``resnet18`` or, for segmentation, ``basicunet-16``."""
    population_size: int = 50
    """Architectures kept from one generation to the next."""
    nb_iter: int = 100
    """Generations."""
    runs: int = 3
    """Independent evolutions; the best of their winners is taken, mean and spread are reported."""
    max_params: int | None = 1_000_000
    """Upper bound of the number of parameters; none = no bound."""
    max_macs_per_pixel: int | None = 30_000
    """Upper bound of the multiply-accumulates per input pixel, which sets the training time;
    none = no bound. The default U-Net of widths 16 to 128 has 38,000."""
    max_avm: float | None = 10.0
    """Upper bound of the predicted one-month accuracy variation in points; none = no bound."""
    maximize: tuple[str, ...] = ()
    """Columns of the scores to maximise. With neither these nor ``minimize``, the metric after a
    day is maximised; with several of both, the search looks for all best compromises
    (``pareto.csv``)."""
    minimize: tuple[str, ...] = ()
    """Columns of the scores to minimise; those to maximise come first, where the order matters."""
    constraints: tuple[str, ...] = ()
    """What an architecture must keep, as in ``params<1e6,p05>0.85``, beside the bounds above."""
    darts_epochs: int = 60
    """``darts``: passes over the training images, one half for weights, one for choices."""
    darts_warmup: float = 0.4
    """Share of these in which only the weights learn, and no choice."""
    darts_alpha_lr: float = 0.02
    """Learning rate of the choices' logits (Adam); that of the weights is ``train.lr``."""
    darts_entropy: float = 0.05
    """Weight of the logits' entropy in their loss, which rises from 0 to this: they decide."""
    darts_noise: float = 0.0
    """Standard deviation of the noise on the supernet's weights, as a fraction of the largest
    weight of the layer; 0 = none. ``analog.weight_noise`` has the same unit."""
    darts_candidates: int = 150
    """Architectures that are scored with the supernet's weights, half of them the most probable
    ones; what they say of each choice decides."""
    pick: Literal["knee", "best"] = "knee"
    """Which compromise is trained: the front's knee, or the best in the first objective."""
    hardware: str | None = None
    """Chip that energy and time are estimated for: a name (``nasseg cost --help`` lists them) or a
    YAML file; none = crossbars as the layers are put onto, with the circuits of ``hermes``."""
    measure: int = 0
    """Architectures to train, put onto chips and measure, instead of asking the surrogate (with
    ``darts``: those that it proposes); 0 = measure none."""
    sampler: str = "surrogate"
    """What proposes the architectures that are measured, but for ``darts``: ``surrogate`` (an
    ensemble fitted to what was measured), ``analognas``, ``tpe``, ``nsgaii``, ``gp``, ``random`` or
    ``lhs``."""
    stop_gain: float = 0.0
    """A measured search with the sampler ``surrogate`` ends early once five proposals in a row are
    expected to beat the best by less than this; the spread of the score over seeds is a good value.
    0 = never."""
    proxy: str | None = None
    """YAML file with sections train, analog, drift and data: how they are measured, where that is
    not as ``nasseg label`` does by itself. A ``space`` in it must be the one that is searched."""
    storage: str | None = None
    """Where the study of measured architectures is kept, so that many workers share it:
    sqlite:///FILE, journal:FILE, postgresql://... or mysql://...; none = study.db in the run
    folder."""
    study: str = "nasseg"
    """Name of the study in that storage."""
    workers: int = 1
    """Worker processes on this machine, each with a GPU or a share of the CPU's threads."""

    def __post_init__(self) -> None:
        _check(
            self.population_size >= 4, "search.population_size", self.population_size, "4 or more"
        )
        _check(self.nb_iter >= 0, "search.nb_iter", self.nb_iter, "0 or more")
        _check(self.runs >= 1, "search.runs", self.runs, "1 or more")
        for name in ("max_params", "max_macs_per_pixel"):
            value = getattr(self, name)
            _check(value is None or value > 0, f"search.{name}", value, "above 0, or null")
        _check(
            self.strategy in ("evolution", "random", "darts"),
            "search.strategy",
            self.strategy,
            "evolution, random or darts",
        )
        _check(self.darts_epochs >= 1, "search.darts_epochs", self.darts_epochs, "1 or more")
        _check(
            0 <= self.darts_warmup < 1,
            "search.darts_warmup",
            self.darts_warmup,
            "0 or more, below 1",
        )
        _check(
            self.darts_alpha_lr > 0 and math.isfinite(self.darts_alpha_lr),
            "search.darts_alpha_lr",
            self.darts_alpha_lr,
            "above 0",
        )
        _check(
            self.darts_entropy >= 0 and math.isfinite(self.darts_entropy),
            "search.darts_entropy",
            self.darts_entropy,
            "0 or more",
        )
        _check(0 <= self.darts_noise < 1, "search.darts_noise", self.darts_noise, "0 to 1")
        _check(
            self.darts_candidates >= 1,
            "search.darts_candidates",
            self.darts_candidates,
            "1 or more",
        )
        _check(self.pick in ("knee", "best"), "search.pick", self.pick, "knee or best")
        _check(self.measure >= 0, "search.measure", self.measure, "0 or more")
        _check(self.stop_gain >= 0, "search.stop_gain", self.stop_gain, "0 or more")
        _check(
            not self.stop_gain or self.sampler == "surrogate",
            "search.stop_gain",
            self.stop_gain,
            f"0 with the sampler {self.sampler!r}; only 'surrogate' knows what to expect",
        )
        _check(bool(self.study), "search.study", self.study, "a name")
        _check_workers(self.workers, "search.workers")


@dataclass(frozen=True)
class TrainConfig:
    """Digital training."""

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 32
    """Images a step."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of AdamW."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises linearly; then it falls as a cosine."""
    ema_decay: float = 0.99
    """Decay a step of the exponential moving average of the weights that is kept; 0 = none."""
    patience: int = 0
    """Evaluations without a better score after which training stops; 0 = never."""
    eval_every: int = 5
    """Epochs between evaluations on the validation images; the last epoch is always one."""
    amp: bool = True
    """Mixed precision on CUDA; without effect on a CPU."""
    monitor: Literal["auto", "accuracy", "balanced_accuracy", "auc", "f1"] = "auto"
    """Classification: the metric that selects weights and scores architectures; auto = accuracy
    (the AUC where an image has several classes)."""
    class_weights: Literal["none", "balanced"] = "none"
    """Classification: ``balanced`` weighs the loss of each class by the inverse of its share."""
    label_smoothing: float = 0.0
    """Classification: share of each target that is spread over all classes."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """Classification: ``balanced`` draws every class equally often."""
    tta: bool = False
    """Classification: probabilities are means over an image and its mirror images."""
    weights: str | None = None
    """Reference networks: file of a pretrained state dict (safetensors, or a torch file of tensors
    alone)."""
    freeze_until: str | None = None
    """Reference networks: layers before the one of this name keep their weights."""
    unfreeze_every: int = 0
    """Epochs after which one more frozen layer, the last one first, is trained; 0 = never."""
    unfreeze_lr: float = 0.1
    """Learning rate of layers once frozen, as a multiple of ``lr``."""

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _check(self.lr > 0 and math.isfinite(self.lr), "lr", self.lr, "above 0")
        _check(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        _check(0 <= self.warmup < 1, "warmup", self.warmup, "0 or more, below 1")
        _check(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "0 or more, below 1")
        _check(self.patience >= 0, "patience", self.patience, "0 or more")
        _check(self.eval_every >= 1, "eval_every", self.eval_every, "1 or more")
        _check(self.monitor in METRICS, "monitor", self.monitor, ", ".join(METRICS))
        _check(
            self.class_weights in ("none", "balanced"),
            "class_weights",
            self.class_weights,
            "none or balanced",
        )
        _check(
            0 <= self.label_smoothing < 1,
            "label_smoothing",
            self.label_smoothing,
            "0 or more, below 1",
        )
        _check(
            self.sampling in ("shuffled", "balanced"),
            "sampling",
            self.sampling,
            "shuffled or balanced",
        )
        _check(self.unfreeze_every >= 0, "unfreeze_every", self.unfreeze_every, "0 or more")
        _check(
            not self.unfreeze_every or self.freeze_until is not None,
            "unfreeze_every",
            self.unfreeze_every,
            "0, unless freeze_until says which layers are frozen",
        )
        _check(0 < self.unfreeze_lr <= 1, "unfreeze_lr", self.unfreeze_lr, "above 0, at most 1")


@dataclass(frozen=True)
class AnalogConfig:
    """Conversion to tiles and hardware-aware retraining."""

    preset: str = "pcm"
    """Hardware preset: ``pcm``, ``hermes``, ``reram``, ``ideal``, or a YAML file of a memory
    cell."""
    epochs: int = 50
    """Passes of hardware-aware retraining; 0 = convert only."""
    lr: float = 2e-3
    """Peak learning rate of the retraining."""
    noise: Literal["memory", "gaussian"] = "memory"
    """Weight noise of training: ``memory`` is what the hardware's own noise model does between a
    second and a year after programming, ``gaussian`` has one size for all weights."""
    noise_scale: float = 1.0
    """Factor on the noise of ``memory`` at the end of the ramp. The drift of the mean that
    compensation leaves stays as it is."""
    weight_noise: float = 0.06
    """Standard deviation of ``gaussian`` at the end of the ramp, as a fraction of the largest
    weight of the tile."""
    noise_ramp: float = 0.5
    """Share of the retraining over which the weight noise rises from a quarter to its full size."""
    compensation: Literal["none", "global", "column"] = "global"
    """Digital drift compensation of the chip: a factor for each tile, for each column, or none."""
    statistics_chips: int = 8
    """Simulated chips, at times from a second to a year, over which the BatchNorm statistics that
    a chip is programmed with are averaged; 0 = those of the target weights."""
    output_noise: bool = True
    """Whether training sees the output noise of the tiles too; chips always have it."""
    clip_sigma: float = 2.5
    """Weights beyond this many standard deviations of their tile are clipped after each step;
    0 = never."""
    remap: bool = True
    """After each step, rescale so that every column uses the whole conductance range."""
    input_quantile: float = 0.99
    """Share of the inputs of a tile that its DAC range covers where it is calibrated."""
    learn_input_range: bool = False
    """Training moves the DAC ranges; otherwise they stay as calibrated."""
    input_range_decay: float = 0.0
    """Pull of learned ranges towards 0 while few inputs are clipped."""
    start: Literal["digital", "random"] = "digital"
    """Weights that the retraining starts from: the digital network's, or new ones."""
    distill: float = 0.5
    """Weight of the digital network's own output as a target beside the label, 0 to 1."""
    class_weights: Literal["as_train", "none", "balanced"] = "as_train"
    """Classification: weights of the classes in the loss of the retraining, as far as that is of
    labels (``distill``). ``balanced`` is for rare classes, which noise costs first; ``as_train`` =
    those of ``train.class_weights``."""
    min_mac_fraction: float = 0.99
    """Least share of the multiply-accumulates that must run on tiles, of those not kept digital
    by ``digital_layers``; less is an error."""
    digital_layers: str = "none"
    """Layers kept digital: names with commas between, ``none``, or ``auto``: the fewest
    multiply-accumulates that bring the network to ``target`` after a day."""
    target: float = 0.995
    """For ``auto``: metric after a day, recalibrated, as a multiple of the digital network's."""
    sensitivity_chips: int = 3
    """For ``auto``: chips on which each layer is measured."""

    @property
    def named_digital_layers(self) -> tuple[str, ...]:
        """The layers that ``digital_layers`` names."""
        if self.digital_layers in ("none", "auto"):
            return ()
        return tuple(name.strip() for name in self.digital_layers.split(",") if name.strip())

    def __post_init__(self) -> None:
        _check(bool(self.digital_layers), "analog.digital_layers", "", "none, auto, or names")
        _check(self.epochs >= 0, "analog.epochs", self.epochs, "0 or more")
        _check(self.lr > 0 and math.isfinite(self.lr), "analog.lr", self.lr, "above 0")
        _check(self.noise_scale >= 0, "analog.noise_scale", self.noise_scale, "0 or more")
        _check(
            self.statistics_chips >= 0,
            "analog.statistics_chips",
            self.statistics_chips,
            "0 or more",
        )
        _check(0 <= self.weight_noise < 1, "analog.weight_noise", self.weight_noise, "0 to 1")
        _check(self.clip_sigma >= 0, "analog.clip_sigma", self.clip_sigma, "0 or more")
        _check(
            0.5 <= self.input_quantile < 1,
            "analog.input_quantile",
            self.input_quantile,
            "0.5 or more, below 1",
        )
        _check(
            self.input_range_decay >= 0, "analog.input_range_decay", self.input_range_decay, ">= 0"
        )
        _check(0 < self.target <= 1, "analog.target", self.target, "above 0, at most 1")
        _check(
            self.sensitivity_chips >= 1,
            "analog.sensitivity_chips",
            self.sensitivity_chips,
            "1 or more",
        )
        _check(0 <= self.noise_ramp <= 1, "analog.noise_ramp", self.noise_ramp, "0 to 1")
        _check(0 <= self.distill <= 1, "analog.distill", self.distill, "0 to 1")
        _check(
            self.class_weights in ("as_train", "none", "balanced"),
            "analog.class_weights",
            self.class_weights,
            "as_train, none or balanced",
        )
        _check(
            0 <= self.min_mac_fraction <= 1,
            "analog.min_mac_fraction",
            self.min_mac_fraction,
            "0 to 1",
        )


@dataclass(frozen=True)
class DriftConfig:
    """Evaluation over programmed chips and time."""

    chips: int = 25
    """Chips programmed; each gets noise of its own. A finished run takes more later."""
    times: tuple[float, ...] = DRIFT_TIMES
    """Seconds after programming, rising."""
    recalibrate: bool = True
    """Also re-estimate BatchNorm statistics on each drifted chip (AdaBS) and report both."""
    recalibrate_images: int = 0
    """Training images used for it, spread over the set; 0 = all."""
    noise_scales: tuple[float, ...] = (0.5, 2.0)
    """Multiples of all noise and drift of the memory at which chips are also measured, after a
    day: how much worse may the hardware be?"""
    sweep_chips: int = 5
    """Chips of each of them; 0 = no such measurement."""

    def __post_init__(self) -> None:
        _check(self.chips >= 1, "drift.chips", self.chips, "1 or more")
        _check(self.sweep_chips >= 0, "drift.sweep_chips", self.sweep_chips, "0 or more")
        _check(
            all(s >= 0 and s != 1 for s in self.noise_scales)
            and len(set(self.noise_scales)) == len(self.noise_scales),
            "drift.noise_scales",
            self.noise_scales,
            "0 or more each, all different, and not 1, which is measured anyway",
        )
        _check(
            self.recalibrate_images >= 0,
            "drift.recalibrate_images",
            self.recalibrate_images,
            "0 or more",
        )
        _check(
            len(self.times) > 0
            and all(t > 0 for t in self.times)
            and list(self.times) == sorted(set(self.times)),
            "drift.times",
            self.times,
            "seconds above 0, each later than the one before",
        )


def named_space(name: str) -> str | None:
    """The space of the reference network of that name; none where there is none."""
    from nasseg.search_spaces.reference import reference_arch

    found = reference_arch(name)
    return None if found is None else found[0]


def _check_classes_only(data: DataConfig, train: TrainConfig, analog: AnalogConfig) -> None:
    """Refuse settings of classification where something else is learned."""
    if data.kind == "classification":
        return
    said = {
        f"train.{name}": (getattr(train, name), getattr(TrainConfig(), name))
        for name in ("monitor", "class_weights", "label_smoothing", "sampling", "tta")
    }
    said["analog.class_weights"] = (analog.class_weights, AnalogConfig().class_weights)
    for key, (value, plain) in said.items():
        _check(value == plain, key, value, f"not for {data.task}, only for classification")


def default_space(kind: str, strategy: str = "evolution") -> str:
    """The search space of a kind of task where none is named."""
    if kind == "classification" and strategy == "darts":
        return "cells"
    return "resnet" if kind == "classification" else "unet"


@dataclass(frozen=True)
class RunConfig:
    """A whole run: search, train, analog, drift, report."""

    DERIVED: ClassVar[dict[str, str]] = {"search.space": "auto"}
    """Settings that are made out from others where they are not said."""
    FOLLOWING: ClassVar[dict[str, dict[str, Any]]] = {"data.crop": NATIVE_SCALE}
    """Defaults of other settings where this one is set, on a command line or in a YAML file. An
    object made in Python has what it is given: its sections do not know what was said."""

    out: str = "runs/nuclei"
    """Run folder; the same command continues what is in it."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """``auto`` takes CUDA where there is one; ``cpu``, ``cuda``, or ``cuda:1`` of several."""
    threads: int = 0
    """CPU threads of torch; 0 = as many as it finds."""
    data: DataConfig = field(default_factory=DataConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    analog: AnalogConfig = field(default_factory=AnalogConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)

    def __post_init__(self) -> None:
        named = None if self.search.arch is None else named_space(self.search.arch)
        if self.search.space == "auto":
            default = default_space(self.data.kind, self.search.strategy)
            space = named or default
            object.__setattr__(self, "search", dataclasses.replace(self.search, space=space))
        _check(
            named in (None, self.search.space),
            "search.space",
            self.search.space,
            f"auto or {named}, since search.arch is the reference network {self.search.arch!r}",
        )
        for name in ("weights", "freeze_until"):
            # Without this the architecture, and with it the names of layers, is not known yet.
            _check(
                getattr(self.train, name) is None or self.search.arch is not None,
                f"train.{name}",
                getattr(self.train, name),
                "none, unless search.arch says which network is trained",
            )
        _check(
            self.train.freeze_until is None or self.train.weights is not None,
            "train.freeze_until",
            self.train.freeze_until,
            "none without train.weights: layers would be frozen as they are drawn",
        )
        _check_classes_only(self.data, self.train, self.analog)
        _check(self.seed >= 0, "seed", self.seed, "0 or more")
        _check_device(self.device)
        _check(self.threads >= 0, "threads", self.threads, "0 or more")


@dataclass(frozen=True)
class LabelConfig:
    """Measuring sampled architectures into a table, from which surrogates are fitted."""

    DERIVED: ClassVar[dict[str, str]] = {"space": "auto"}
    """Settings that are made out from others where they are not said."""

    out: str = "runs/labels"
    """Folder of the table; the same command continues it."""
    space: str = "auto"
    """Name of the search space; ``auto`` as in a run."""
    count: int = 48
    """Architectures drawn; those that cannot be measured are not replaced."""
    seed: int = 0
    """Seed of the sampling and of every training."""
    device: str = "auto"
    """``auto`` takes CUDA where there is one; ``cpu``, ``cuda``, or ``cuda:1`` of several."""
    threads: int = 0
    """CPU threads of torch; 0 = as many as it finds."""
    max_params: int | None = 1_000_000
    """Architectures above this size are not drawn; none = no bound."""
    min_params: int = 10_000
    """Nor those below this one."""
    max_macs_per_pixel: int | None = 30_000
    """Nor those with more multiply-accumulates per input pixel; none = no bound."""
    sampler: str = "lhs"
    """What proposes the architectures: ``lhs`` (a Latin hypercube, which fits surrogates best),
    ``random``, or a search: ``surrogate``, ``analognas``, ``tpe``, ``nsgaii``, ``gp``."""
    archs: str | None = None
    """Table whose architectures are measured, in its order, instead of what a sampler proposes
    (columns as ``nasseg fit`` takes them; scores are not needed). ``count`` of them at most; the
    bounds of sizes do not hold."""
    stop_gain: float = 0.0
    """With the sampler ``surrogate``: end early once five proposals in a row are expected to beat
    the best by less than this; 0 = never."""
    storage: str | None = None
    """Where the study is kept, so that many workers share it: sqlite:///FILE, journal:FILE,
    postgresql://... or mysql://...; none = study.db in the folder."""
    study: str = "nasseg"
    """Name of the study in that storage."""
    workers: int = 1
    """Worker processes on this machine, each with a GPU or a share of the CPU's threads."""
    heartbeat: float = 60.0
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
        if self.space == "auto":
            object.__setattr__(self, "space", default_space(self.data.kind))
        for name in ("weights", "freeze_until"):
            value = getattr(self.train, name)
            _check(value is None, f"train.{name}", value, "none, where many networks are trained")
        _check_classes_only(self.data, self.train, self.analog)
        _check(
            not self.stop_gain or self.sampler == "surrogate",
            "stop_gain",
            self.stop_gain,
            f"0 with the sampler {self.sampler!r}; only 'surrogate' knows what to expect",
        )
        _check(
            not self.stop_gain or self.archs is None,
            "stop_gain",
            self.stop_gain,
            "0 with a list of architectures",
        )
        _check(self.count >= 1, "count", self.count, "1 or more")
        _check_device(self.device)
        _check(bool(self.study), "study", self.study, "a name")
        _check_workers(self.workers, "workers")
        _check(self.stop_gain >= 0, "stop_gain", self.stop_gain, "0 or more")
        _check(self.heartbeat > 0, "heartbeat", self.heartbeat, "seconds above 0")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain nested dicts and lists, as YAML and JSON take them."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(config))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """One line ``key: old -> new`` for every setting that differs, nested keys joined by dots."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        name = f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{name}.")
        elif a != b:
            lines.append(f"{name}: {a!r} -> {b!r}")
    return lines
