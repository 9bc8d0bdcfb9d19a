"""The weights that all networks of a supernet share: their scores, and their checkpoint."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasseg.analog import recalibrate_batch_norms
from nasseg.analog.noise import NoiseSource, derive_seed, seeded
from nasseg.analog.state import load_tensors, named_tensors
from nasseg.config import SearchConfig, TrainConfig, to_dict
from nasseg.data import ClassificationData
from nasseg.errors import RunError
from nasseg.search.darts._images import Batch, first_images, halved, shuffled
from nasseg.search.darts.supernet import Supernet
from nasseg.search_spaces import CellsSpace
from nasseg.tasks import Task
from nasseg.training import evaluate
from nasseg.training.optim import make_optimizer

Probabilities = dict[str, list[float]]
"""Hyperparameter to the probability of each of its choices."""

RANKING_IMAGES = 2048
"""Most images that architectures are scored on with shared weights."""
RECORDED_IMAGES = 256
"""Of these, how many the scores of the history are of: a look at every epoch shall cost little."""
STATISTICS_IMAGES = 512
"""Images that their BatchNorm statistics are estimated on."""
NOISE_DRAWS = 3
"""Draws of the weight noise under which each architecture is scored."""
_CHECKPOINT_VERSION = 3
_SEED_SPLIT, _SEED_WEIGHTS, _SEED_LOGITS, _SEED_INIT = 40, 41, 42, 43
SEED_SCORE = 46


class SharedWeights:
    """All that a search learns: weights, and logits of the choices."""

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
            shuffled(data, derive_seed(seed, _SEED_SPLIT, 1)).val_loader(size),
            halves[1].calibration_loader(size),
        )
        self.unseen = first_images(unseen, RANKING_IMAGES)
        self.few = first_images(iter(self.unseen), RECORDED_IMAGES)
        self.statistics = first_images(halves[0].calibration_loader(size), STATISTICS_IMAGES)
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
        # A supernet is always trained to the end.
        training = {k: v for k, v in to_dict(train).items() if k != "keep"}
        self.identity = {
            "version": _CHECKPOINT_VERSION,
            "space": f"{space.name} v{space.version}",
            "data": data.fingerprint,
            "task": task.name,
            "seed": seed,
            "search": json.dumps(settings, sort_keys=True),
            "train": json.dumps(training, sort_keys=True),
        }

    def images_of(self, batch: Batch) -> Tensor:
        return batch[0].to(self.device)

    def not_finite(self, said: str) -> RunError:
        return RunError(
            f"darts: the loss of {said}; lower the learning rate (train.lr {self.train.lr:g}) "
            f"or the noise (search.darts_noise {self.config.darts_noise:g})"
        )

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
                disturb(net, std, NoiseSource(derive_seed(self.seed, SEED_SCORE, draw)))
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
            float(self.loss(net(self.images_of(batch)), batch[1].to(self.device))) * len(batch[0])
            for batch in self.unseen
        )
        return total / sum(len(image) for image, _ in self.unseen)

    def loss_of(self, arch: Mapping[str, Any]) -> float:
        """Mean over the draws of the noise."""
        return float(np.mean([self.unseen_loss(net) for net in self.networks(arch)]))

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
        load_tensors(self.net, saved["net"], str(path), from_file=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        with torch.no_grad():
            for name, logits in self.logits.items():
                logits.copy_(saved["logits"][name])
        self.logit_optimizer.load_state_dict(saved["logit_optimizer"])
        self.epoch, self.step, self.paths = saved["epoch"], saved["step"], saved["paths"]
        self.history = saved["history"]


@torch.no_grad()
def disturb(net: nn.Module, std: float, source: NoiseSource) -> None:
    """Add Gaussian noise to every weight matrix, relative to its largest weight."""
    for parameter in net.parameters():
        if parameter.dim() >= 2:
            parameter.add_(std * parameter.abs().amax() * source.normal_like(parameter))
