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

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder
from tqdm import tqdm

from nasseg.analog.noise import derive_seed
from nasseg.config import SearchConfig, TrainConfig
from nasseg.data import ClassificationData
from nasseg.errors import ConfigError
from nasseg.search.darts._shared import SEED_SCORE
from nasseg.search.darts._training import Training
from nasseg.search.darts.result import DartsResult, Ranked
from nasseg.search_spaces import CellsSpace, SearchSpace
from nasseg.tasks import Task
from nasseg.training.checkpoint import resume, save_checkpoint

logger = logging.getLogger(__name__)

FEW_STEPS = 1000
"""Updates of the shared weights below which a search warns. On BreastMNIST, 60 epochs make 480."""
ENOUGH_STEPS = 2000
"""What is advised then."""
PROBABLE = 0.5
"""Share of the scored architectures that are the most probable ones; others are drawn evenly."""
LEAST_LOSS = 1e-6
"""Below it, losses count as equal."""
MOST_LOSS = 10.0
"""Times the median: losses above it, and those that are no number, count as that. Shared weights
under weight noise may explode in one architecture, which says little of its choices."""
RIDGE = 2.0
"""Penalty of the effects of choices, in architectures."""


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
    search = Search(space, data, task, config, train, seed, device or torch.device("cpu"))
    if checkpoint is not None:
        resume(checkpoint, search.load)
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


class Search(Training):
    """A supernet in training, and what is derived from it."""

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
        losses = {k: self.loss_of(archs[k]) for k in chosen}
        design = OneHotEncoder(sparse_output=False).fit_transform(self.space.encode(archs))
        effects = Ridge(alpha=RIDGE).fit(design[list(losses)], self._logs(list(losses.values())))
        # Rounded, so that what differs by the order of a sum is equal.
        expected = effects.predict(design).round(9)
        order = np.argsort(expected, kind="stable").tolist()
        proposed = 0
        for k in order:
            if proposed >= propose:
                break
            losses[k] = losses[k] if k in losses else self.loss_of(archs[k])
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
            raise self.not_finite(f"every architecture with the shared weights is {losses[0]}")
        most = MOST_LOSS * max(float(np.median(known)), LEAST_LOSS)
        # fmin takes the number where the other is none.
        found: np.ndarray[Any, Any] = np.log(np.fmin(np.maximum(losses, LEAST_LOSS), most))
        return found

    def _candidates(self, total: int) -> list[int]:
        """Which of so many architectures, the most probable first, are scored."""
        count = min(self.config.darts_candidates, total)
        first = math.ceil(PROBABLE * count)
        rng = np.random.default_rng(derive_seed(self.seed, SEED_SCORE, 0, 2))
        others = rng.choice(total - first, count - first, replace=False) + first
        return [*range(first), *sorted(others.tolist())]


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
