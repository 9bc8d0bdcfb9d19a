"""The training of a supernet: of its weights, and of the logits of its choices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasseg.analog.noise import NoiseSource, derive_seed
from nasseg.errors import RunError
from nasseg.search.darts._images import Batch
from nasseg.search.darts._shared import SEED_SCORE, SharedWeights
from nasseg.search.darts.supernet import WeightNoise
from nasseg.training.optim import warmup_cosine

DRAWN = 3
"""Architectures drawn after each epoch, whose mean score the history shows."""
FIRST_TEMPERATURE, LAST_TEMPERATURE = 2.0, 0.3
"""Of the Gumbel-softmax, from the first epoch of the logits to the last."""
MOST_GRADIENT = 5.0
"""Norm to which gradients of the weights are clipped: consecutive paths differ."""
_SEED_PATHS, _SEED_NOISE = 44, 45


class Training(SharedWeights):
    """The two kinds of updates, in turn, and their history."""

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
        loss = self._loss(self.net(self.images_of(batch), self._draw_evenly(rng)), batch, "weights")
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
            loss = self._loss(self.net(self.images_of(batch), path, weights), batch, "choices")
        finally:
            self.net.requires_grad_(True)
        entropy = torch.stack([_entropy(logits) for logits in self.logits.values()]).mean()
        self.logit_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.cpu() + self.config.darts_entropy * done * entropy)
        self.logit_optimizer.step()
        self.paths += 1

    def _loss(self, logits: Tensor, batch: Batch, what: str) -> Tensor:
        loss: Tensor = self.loss(logits, batch[1].to(self.device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self.not_finite(f"the {what} is {value} at epoch {self.epoch + 1}")
        return loss

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

    def _looked_at(self, arch: Mapping[str, Any]) -> float | None:
        """Its score on a few images; none where its weights have exploded, which others' have not
        by that."""
        try:
            return self.score(self.networks(arch), self.few)
        except RunError:
            return None

    def _record(self, loss: float) -> None:
        rng = torch.Generator().manual_seed(derive_seed(self.seed, SEED_SCORE, self.epoch, 1))
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


def _entropy(logits: Tensor) -> Tensor:
    """Of the softmax, as a share of the greatest there can be."""
    log = F.log_softmax(logits, 0)
    return -(log.exp() * log).sum() / math.log(len(logits))
