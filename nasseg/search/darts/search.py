"""One-shot differentiable search of the ``cells`` space.

DARTS (Liu et al., ICLR 2019, arXiv:1806.09055) trains a supernet and, by gradient too, a logit for
every choice: the weights on one half of the training images, the logits on the other (first-order
updates in turn). Where it is known to go wrong, this does otherwise:

- Mixtures of all blocks train other weights than the one block that is kept in the end, and the
  widest and parameter-free choices win early. Here weights are trained along single paths that are
  drawn evenly to the end (Guo et al., ECCV 2020), so that every choice is trained equally often (of
  a wide stage, the last channels at a third of the steps). Logits get their gradient straight
  through a hard Gumbel-softmax draw (Jang et al., ICLR 2017; Dong and Yang, CVPR 2019), so that
  what they are judged by is a network of the space, too.
- A skip competes with no block: it is a choice of its own, on or off.
- The most probable architecture is not taken at its word: probable ones and others are scored with
  the shared weights on images that these have not seen. What shared weights make of one
  architecture owes much to chance, what a choice changes over many of them little; so effects of
  the choices are fitted to all the losses, and the architecture that they say is best is taken.

With weight noise in the supernet the search is for networks that bear it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from nasseg.analog import recalibrate_batch_norms
from nasseg.analog.noise import NoiseSource, derive_seed, seeded
from nasseg.analog.state import load_tensors, named_tensors
from nasseg.config import SearchConfig, TrainConfig, to_dict
from nasseg.data import ClassificationData
from nasseg.errors import ConfigError, RunError
from nasseg.search.darts.supernet import Supernet, WeightNoise
from nasseg.search_spaces import CellsSpace, SearchSpace
from nasseg.tasks import Task
from nasseg.training import evaluate
from nasseg.training.checkpoint import load_checkpoint, save_checkpoint
from nasseg.training.optim import make_optimizer, warmup_cosine

logger = logging.getLogger(__name__)

Probabilities = dict[str, list[float]]
"""Hyperparameter to the probability of each of its choices."""
Batch = tuple[Tensor, Tensor]

RANKING_IMAGES = 2048
"""Most images that architectures are scored on with shared weights."""
RECORDED_IMAGES = 256
"""Of these, how many the scores of the history are of: a look at every epoch shall cost little."""
FEW_STEPS = 1000
"""Updates of the shared weights below which a search warns. On BreastMNIST, 60 epochs make 480."""
ENOUGH_STEPS = 2000
"""What is advised then."""
STATISTICS_IMAGES = 512
"""Images that their BatchNorm statistics are estimated on."""
DRAWN = 3
"""Architectures drawn after each epoch, whose mean score the history shows."""
NOISE_DRAWS = 3
"""Draws of the weight noise under which each architecture is scored."""
PROBABLE = 0.5
"""Share of the scored architectures that are the most probable ones; others are drawn evenly."""
LEAST_LOSS = 1e-6
"""Below it, losses count as equal."""
MOST_LOSS = 10.0
"""Times the median: losses above it, and those that are no number, count as that. Shared weights
under weight noise may explode in one architecture, which says little of its choices."""
RIDGE = 2.0
"""Penalty of the effects of choices, in architectures."""
FIRST_TEMPERATURE, LAST_TEMPERATURE = 2.0, 0.3
"""Of the Gumbel-softmax, from the first epoch of the logits to the last."""
MOST_GRADIENT = 5.0
"""Norm to which gradients of the weights are clipped: consecutive paths differ."""
_CHECKPOINT_VERSION = 3
_SEED_SPLIT, _SEED_WEIGHTS, _SEED_LOGITS, _SEED_INIT = 40, 41, 42, 43
_SEED_PATHS, _SEED_NOISE, _SEED_SCORE = 44, 45, 46


@dataclass(frozen=True)
class Ranked:
    """An architecture that was scored with the shared weights."""

    arch: dict[str, Any]
    probability: float
    """Product over its choices."""
    loss: float
    """With the shared weights, on images that these have not seen."""
    expected_loss: float
    """What the effects of its choices say that it should be."""


@dataclass(frozen=True)
class DartsResult:
    """What a search found."""

    arch: dict[str, Any]
    score: float
    """Its metric with the shared weights; a network trained by itself does better."""
    probabilities: dict[str, dict[str, float]]
    """Hyperparameter to choice to its final probability."""
    ranked: tuple[Ranked, ...]
    """The scored architectures, the one with the least expected loss first. It begins with as many
    as were to be proposed, the best of all within the bounds."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry an epoch, with the keys of a generation."""

    def to_dict(self, space: SearchSpace, config: SearchConfig) -> dict[str, Any]:
        """As ``best.json`` holds it, in the form that an evolution has there."""
        settings = {k: v for k, v in to_dict(config).items() if k.startswith("darts_")}
        best = [[space.arch_id(self.arch), self.score]]
        return {
            "arch": self.arch,
            "darts": {
                "probabilities": self.probabilities,
                "ranked": [
                    {
                        "arch_id": space.arch_id(entry.arch),
                        "probability": entry.probability,
                        "loss": entry.loss,
                        "expected_loss": entry.expected_loss,
                    }
                    for entry in self.ranked
                ],
            },
            "budget": {
                "strategy": "darts",
                **settings,
                "max_params": config.max_params,
                "max_macs_per_pixel": config.max_macs_per_pixel,
            },
            "runs": {"count": 1, "mean": self.score, "std": None, "best": best},
            "history": self.history,
        }


def check_darts(space: SearchSpace, config: SearchConfig) -> CellsSpace:
    """The space as one that there is a supernet of.

    Raises:
        ConfigError: there is none of this space, or settings that another search needs.
    """
    if not isinstance(space, CellsSpace) or space.name != CellsSpace.base_name:
        raise ConfigError(
            f"search.strategy is 'darts', but search.space is {space.name!r}, of which there is no "
            f"supernet; allowed: {CellsSpace.base_name}"
        )
    for key in ("maximize", "minimize", "constraints"):
        if getattr(config, key):
            raise ConfigError(
                f"search.{key} is {', '.join(getattr(config, key))!r}, but search.strategy is "
                "'darts', which has the loss as its one objective; allowed: nothing"
            )
    return space


def search_darts(
    space: CellsSpace,
    data: ClassificationData,
    task: Task,
    config: SearchConfig,
    train: TrainConfig,
    *,
    seed: int,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int], object] | None = None,
    stop_after: int | None = None,
    propose: int = 1,
    progress: bool = False,
) -> DartsResult:
    """Train a supernet and its choices, and derive an architecture.

    Args:
        space: the ``cells`` space.
        data: its training images are halved; validation images are only scored on.
        task: loss and metric.
        config: the ``darts_`` settings, and bounds on what may be returned.
        train: batch size, peak learning rate, weight decay and warm-up of the weights.
        seed: of everything random.
        device: where to compute; none = the CPU.
        checkpoint: written after each epoch, and continued from if it exists.
        on_epoch: called with the number of each epoch (from 0) before it starts.
        stop_after: return after this many epochs, as an interruption would.
        propose: architectures that ``ranked`` begins with, for whoever measures them.
        progress: show a bar with the metric of the most probable architecture, and one of those
            that are scored.

    Returns:
        The architecture that the effects of its choices make the best of all within the bounds.
        Interrupted and continued searches are equal to others, bit for bit on a CPU.

    Raises:
        ConfigError: no architecture is within the bounds, or too few images to halve.
        RunError: the checkpoint is damaged or of another search, a loss is not finite in training,
            or those of all architectures scored at the end are not.
    """
    within = _within_bounds(space, config, data.in_channels, task.out_channels)
    search = _Search(space, data, task, config, train, seed, device or torch.device("cpu"))
    if checkpoint is not None and checkpoint.exists():
        search.load(load_checkpoint(checkpoint), checkpoint)
    total = config.darts_epochs
    if search.epoch == 0 and total * (each := len(search.weight_loader)) < FEW_STEPS:
        more = math.ceil(ENOUGH_STEPS / each)
        logger.warning(
            "search.darts_epochs is %d, which makes %d updates of the shared weights: too few to "
            "tell architectures apart; %d would make %d",
            total,
            total * each,
            more,
            more * each,
        )
    bar = tqdm(total=total, initial=search.epoch, desc="darts", unit="epoch", disable=not progress)
    with bar:
        while search.epoch < total:
            if on_epoch is not None:
                on_epoch(search.epoch)
            search.train_epoch()
            best = search.history[-1]["best"]
            said = "diverged" if best is None else f"{best:.4f}"
            bar.set_postfix({task.monitor: said}, refresh=False)
            if checkpoint is not None:
                save_checkpoint(checkpoint, search.dump())
            bar.update()
            if stop_after is not None and search.epoch >= stop_after:
                break
    return search.derive(within, propose, progress)


class _Search:
    """Everything that a search learns, and its way to a checkpoint and back."""

    def __init__(
        self,
        space: CellsSpace,
        data: ClassificationData,
        task: Task,
        config: SearchConfig,
        train: TrainConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        self.space, self.task, self.config, self.train = space, task, config, train
        self.seed, self.device = seed, device
        halves = halved(data, derive_seed(seed, _SEED_SPLIT))
        size = train.batch_size
        balanced = train.sampling == "balanced"
        self.weight_loader, self.logit_loader = (
            half.train_loader(size, derive_seed(seed, key), balanced=balanced)
            for half, key in zip(halves, (_SEED_WEIGHTS, _SEED_LOGITS), strict=True)
        )
        unseen = itertools.chain(
            _shuffled(data, derive_seed(seed, _SEED_SPLIT, 1)).val_loader(size),
            halves[1].calibration_loader(size),
        )
        self.unseen = _first(unseen, RANKING_IMAGES)
        self.few = _first(iter(self.unseen), RECORDED_IMAGES)
        self.statistics = _first(halves[0].calibration_loader(size), STATISTICS_IMAGES)
        own = derive_seed(seed, _SEED_INIT)
        with seeded(own, torch.device("cpu")):
            self.net = Supernet(data.in_channels, task.out_channels).to(device)
        self.choices = {h.name: h.choices for h in space.hyperparameters}
        # A handful of numbers: on the CPU, where paths are chosen.
        self.logits = {
            name: nn.Parameter(torch.zeros(len(choices))) for name, choices in self.choices.items()
        }
        self.optimizer = make_optimizer(self.net, train.lr, train.weight_decay)
        self.logit_optimizer = torch.optim.Adam(
            list(self.logits.values()), lr=config.darts_alpha_lr, betas=(0.5, 0.999)
        )
        self.loss = task.loss()
        self.epoch = self.step = self.paths = 0
        self.history: list[dict[str, Any]] = []
        settings = {k: v for k, v in to_dict(config).items() if k.startswith("darts_")}
        self.identity = {
            "version": _CHECKPOINT_VERSION,
            "space": f"{space.name} v{space.version}",
            "data": data.fingerprint,
            "task": task.name,
            "seed": seed,
            "search": json.dumps(settings, sort_keys=True),
            "train": json.dumps(to_dict(train), sort_keys=True),
        }

    # --- training -------------------------------------------------------------------------

    @property
    def warmup(self) -> int:
        """Epochs in which the logits stay as they are."""
        last = self.config.darts_epochs - 1
        return min(last, round(self.config.darts_warmup * self.config.darts_epochs))

    def progress(self) -> float:
        """How much of the logits' own epochs is over, 0 to 1."""
        span = max(1, self.config.darts_epochs - self.warmup - 1)
        return min(1.0, max(0.0, (self.epoch - self.warmup) / span))

    def train_epoch(self) -> None:
        """One pass over both halves; the logits' only after the warm-up."""
        # All that an epoch draws is a function of its number, so none of it need be saved.
        rng = torch.Generator().manual_seed(derive_seed(self.seed, _SEED_PATHS, self.epoch))
        self._set_noise(derive_seed(self.seed, _SEED_NOISE, self.epoch))
        self.net.train()
        learn = self.epoch >= self.warmup
        self.weight_loader.set_epoch(self.epoch)
        self.logit_loader.set_epoch(self.epoch)
        others = iter(self.logit_loader) if learn else iter(())
        total = count = 0.0
        for batch in self.weight_loader:
            if learn:
                other = next(others, None)
                if other is None:
                    others = iter(self.logit_loader)
                    other = next(others)
                self._logit_step(other, rng)
            total += self._weight_step(batch, rng) * len(batch[0])
            count += len(batch[0])
        self.net.noise = None
        self.epoch += 1
        self._record(total / max(1.0, count))

    def _weight_step(self, batch: Batch, rng: torch.Generator) -> float:
        steps = self.config.darts_epochs * len(self.weight_loader)
        lr = self.train.lr * warmup_cosine(self.step, steps, self.train.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        loss = self._loss(self.net(self._images(batch), self._draw_evenly(rng)), batch, "weights")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.net.parameters(), MOST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        self.paths += 1
        return float(loss.detach())

    def _logit_step(self, batch: Batch, rng: torch.Generator) -> None:
        done = self.progress()
        temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** done
        path, weights = {}, {}
        for name, logits in self.logits.items():
            uniform = torch.rand(logits.shape, generator=rng).clamp_(1e-9, 1 - 1e-7)
            soft = F.softmax((logits - uniform.log().neg().log()) / temperature, 0)
            path[name] = int(soft.argmax())
            hard = F.one_hot(soft.argmax(), len(soft)).float()
            weights[name] = (hard + soft - soft.detach()).to(self.device)
        # The logits alone learn here.
        self.net.requires_grad_(False)
        try:
            loss = self._loss(self.net(self._images(batch), path, weights), batch, "choices")
        finally:
            self.net.requires_grad_(True)
        entropy = torch.stack([_entropy(logits) for logits in self.logits.values()]).mean()
        self.logit_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.cpu() + self.config.darts_entropy * done * entropy)
        self.logit_optimizer.step()
        self.paths += 1

    def _images(self, batch: Batch) -> Tensor:
        return batch[0].to(self.device)

    def _loss(self, logits: Tensor, batch: Batch, what: str) -> Tensor:
        loss: Tensor = self.loss(logits, batch[1].to(self.device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._not_finite(f"the {what} is {value} at epoch {self.epoch + 1}")
        return loss

    def _not_finite(self, said: str) -> RunError:
        return RunError(
            f"darts: the loss of {said}; lower the learning rate (train.lr {self.train.lr:g}) "
            f"or the noise (search.darts_noise {self.config.darts_noise:g})"
        )

    def _draw(self, rng: torch.Generator) -> dict[str, int]:
        """A path, drawn as the logits say."""
        return {
            name: int(torch.multinomial(logits.detach().softmax(0), 1, generator=rng))
            for name, logits in self.logits.items()
        }

    def _draw_evenly(self, rng: torch.Generator) -> dict[str, int]:
        """A path; all are equally probable."""
        return {
            name: int(torch.randint(len(choices), (), generator=rng))
            for name, choices in self.choices.items()
        }

    def _set_noise(self, seed: int) -> None:
        std = self.config.darts_noise
        self.net.noise = WeightNoise(std, NoiseSource(seed)) if std else None

    # --- what comes of it -----------------------------------------------------------------

    def probabilities(self) -> Probabilities:
        """Of every choice."""
        return {
            name: [float(p) for p in logits.detach().double().softmax(0)]
            for name, logits in self.logits.items()
        }

    def networks(self, arch: Mapping[str, Any]) -> list[nn.Module]:
        """An architecture with the shared weights, once for each draw of the noise."""
        std = self.config.darts_noise
        nets: list[nn.Module] = []
        for draw in range(NOISE_DRAWS if std else 1):
            net = self.net.extract(self.space, arch)
            if std:
                disturb(net, std, NoiseSource(derive_seed(self.seed, _SEED_SCORE, draw)))
            recalibrate_batch_norms(net, self.statistics)
            nets.append(net.eval())
        return nets

    def score(self, nets: Sequence[nn.Module], images: Sequence[Batch]) -> float:
        """Mean of the task's metric over networks."""
        monitor = self.task.monitor
        return float(np.mean([evaluate(net, images, self.task)[monitor] for net in nets]))

    @torch.no_grad()
    def unseen_loss(self, net: nn.Module) -> float:
        """Mean loss of a network on unseen images."""
        total = sum(
            float(self.loss(net(self._images(batch)), batch[1].to(self.device))) * len(batch[0])
            for batch in self.unseen
        )
        return total / sum(len(image) for image, _ in self.unseen)

    def _loss_of(self, arch: Mapping[str, Any]) -> float:
        """Mean over the draws of the noise."""
        return float(np.mean([self.unseen_loss(net) for net in self.networks(arch)]))

    def _looked_at(self, arch: Mapping[str, Any]) -> float | None:
        """Its score on a few images; none where its weights have exploded, which others' have not
        by that."""
        try:
            return self.score(self.networks(arch), self.few)
        except RunError:
            return None

    def _record(self, loss: float) -> None:
        rng = torch.Generator().manual_seed(derive_seed(self.seed, _SEED_SCORE, self.epoch, 1))
        likely = self._arch({name: int(v.argmax()) for name, v in self.logits.items()})
        drawn = [self._looked_at(self._arch(self._draw(rng))) for _ in range(DRAWN)]
        known = [score for score in drawn if score is not None]
        entropy = torch.stack([_entropy(logits) for logits in self.logits.values()]).mean()
        self.history.append(
            {
                "run": 0,
                "generation": self.epoch - 1,
                "best": self._looked_at(likely),
                "mean": float(np.mean(known)) if known else None,
                "queries": self.paths,
                "feasible": 1.0,
                "loss": loss,
                "entropy": float(entropy.detach()),
            }
        )

    def _arch(self, path: Mapping[str, int]) -> dict[str, Any]:
        return self.space.canonical({name: self.choices[name][k] for name, k in path.items()})

    def derive(
        self, within: Sequence[dict[str, Any]], propose: int = 1, progress: bool = False
    ) -> DartsResult:
        """Score architectures, fit the effects of the choices, and take what these say is best."""
        probabilities = self.probabilities()
        named = {
            name: dict(zip(self.choices[name], values, strict=True))
            for name, values in probabilities.items()
        }

        def probability(arch: Mapping[str, Any]) -> float:
            return math.prod(named[name][value] for name, value in arch.items())

        # The most probable first, which settles equal expectations.
        archs = sorted(within, key=probability, reverse=True)
        chosen = tqdm(
            self._candidates(len(archs)), desc="scored", unit="arch", disable=not progress
        )
        losses = {k: self._loss_of(archs[k]) for k in chosen}
        design = OneHotEncoder(sparse_output=False).fit_transform(self.space.encode(archs))
        effects = Ridge(alpha=RIDGE).fit(design[list(losses)], self._logs(list(losses.values())))
        # Rounded, so that what differs by the order of a sum is equal.
        expected = effects.predict(design).round(9)
        order = np.argsort(expected, kind="stable").tolist()
        proposed = 0
        for k in order:
            if proposed >= propose:
                break
            losses[k] = losses[k] if k in losses else self._loss_of(archs[k])
            proposed += math.isfinite(losses[k])
        # Without those that exploded, whatever their choices promise.
        ranked = [
            Ranked(archs[k], probability(archs[k]), losses[k], math.exp(expected[k]))
            for k in order
            if math.isfinite(losses.get(k, math.nan))
        ]
        best = ranked[0].arch
        return DartsResult(
            arch=best,
            score=self.score(self.networks(best), self.unseen),
            probabilities={
                name: {str(choice): p for choice, p in values.items()}
                for name, values in named.items()
            },
            ranked=tuple(ranked),
            history=self.history,
        )

    def _logs(self, losses: Sequence[float]) -> np.ndarray[Any, Any]:
        """Logarithms of losses, none of which decides a regression by itself."""
        known = [loss for loss in losses if math.isfinite(loss)]
        if not known:
            raise self._not_finite(f"every architecture with the shared weights is {losses[0]}")
        most = MOST_LOSS * max(float(np.median(known)), LEAST_LOSS)
        # fmin takes the number where the other is none.
        found: np.ndarray[Any, Any] = np.log(np.fmin(np.maximum(losses, LEAST_LOSS), most))
        return found

    def _candidates(self, total: int) -> list[int]:
        """Which of so many architectures, the most probable first, are scored."""
        count = min(self.config.darts_candidates, total)
        first = math.ceil(PROBABLE * count)
        rng = np.random.default_rng(derive_seed(self.seed, _SEED_SCORE, 0, 2))
        others = rng.choice(total - first, count - first, replace=False) + first
        return [*range(first), *sorted(others.tolist())]

    # --- checkpoints ----------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "identity": self.identity,
            "net": named_tensors(self.net),
            "optimizer": self.optimizer.state_dict(),
            "logits": {name: logits.detach() for name, logits in self.logits.items()},
            "logit_optimizer": self.logit_optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "paths": self.paths,
            "history": self.history,
        }

    def load(self, saved: dict[str, Any], path: Path) -> None:
        """Go on from :meth:`dump`."""
        known = saved.get("identity")
        version = known.get("version") if isinstance(known, dict) else None
        if version != _CHECKPOINT_VERSION:
            raise RunError(
                f"{path} was written by another version of nasseg (format {version}, this one "
                f"continues {_CHECKPOINT_VERSION}); delete it to search anew"
            )
        if known != self.identity:
            raise RunError(
                f"{path} is of another search ({known}); this one is "
                f"{self.identity}. Choose another folder, or delete it to search anew"
            )
        load_tensors(self.net, saved["net"], str(path))
        self.optimizer.load_state_dict(saved["optimizer"])
        with torch.no_grad():
            for name, logits in self.logits.items():
                logits.copy_(saved["logits"][name])
        self.logit_optimizer.load_state_dict(saved["logit_optimizer"])
        self.epoch, self.step, self.paths = saved["epoch"], saved["step"], saved["paths"]
        self.history = saved["history"]


def halved(data: ClassificationData, seed: int) -> tuple[ClassificationData, ClassificationData]:
    """Data with one half of the training images each, every class divided as evenly as can be.

    Raises:
        ConfigError: fewer than two training images.
    """
    rows = data.rows["train"]
    if len(rows) < 2:
        raise ConfigError(
            f"search.strategy is 'darts', which halves the training images, but there is "
            f"{len(rows)}; allowed: 2 or more"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    labels = data.labels[torch.from_numpy(rows)].numpy()
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    # In no order of classes again, so that the first images of a half stand for all.
    halves = [rng.permutation(order[k::2]) for k in (0, 1)]
    ids = np.array(data.ids["train"], dtype=object)
    first, second = (
        dataclasses.replace(
            data,
            rows={**data.rows, "train": rows[half]},
            ids={**data.ids, "train": tuple(ids[half])},
        )
        for half in halves
    )
    return first, second


@torch.no_grad()
def disturb(net: nn.Module, std: float, source: NoiseSource) -> None:
    """Add Gaussian noise to every weight matrix, relative to its largest weight."""
    for parameter in net.parameters():
        if parameter.dim() >= 2:
            parameter.add_(std * parameter.abs().amax() * source.normal_like(parameter))


def _within_bounds(
    space: CellsSpace, config: SearchConfig, in_channels: int, out_channels: int
) -> list[dict[str, Any]]:
    archs = list(space.enumerate())
    X = space.encode(archs)
    params = space.count_params(X, in_channels, out_channels)
    macs = space.count_macs_per_pixel(X, in_channels, out_channels)
    within = np.ones(len(archs), dtype=np.bool_)
    if config.max_params is not None:
        within &= params <= config.max_params
    if config.max_macs_per_pixel is not None:
        within &= macs <= config.max_macs_per_pixel
    if not within.any():
        raise ConfigError(
            f"no architecture of {space.name} has at most search.max_params "
            f"{config.max_params} and search.max_macs_per_pixel {config.max_macs_per_pixel}; the "
            f"least are {params.min():,} and {macs.min():,.0f}"
        )
    return [arch for arch, ok in zip(archs, within, strict=True) if ok]


def _shuffled(data: ClassificationData, seed: int) -> ClassificationData:
    """The data with their validation images in another order: sources list class after class, and
    the first images shall stand for all."""
    order = np.random.default_rng(seed).permutation(len(data.ids["val"]))
    ids = {**data.ids, "val": tuple(data.ids["val"][int(i)] for i in order)}
    rows = {**data.rows, "val": data.rows["val"][order]}
    return dataclasses.replace(data, ids=ids, rows=rows)


def _entropy(logits: Tensor) -> Tensor:
    """Of the softmax, as a share of the greatest there can be."""
    log = F.log_softmax(logits, 0)
    return -(log.exp() * log).sum() / math.log(len(logits))


def _first(batches: Any, images: int) -> list[Batch]:
    """Batches with that many images at most, in memory."""
    found: list[Batch] = []
    for image, label in batches:
        found.append((image[:images], label[:images]))
        images -= len(image)
        if images <= 0:
            break
    return found
