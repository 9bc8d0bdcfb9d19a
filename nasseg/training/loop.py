"""The training loop: one for digital and analog networks, for every task."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from nasseg.analog.fused import fused_layers
from nasseg.analog.noise import derive_seed
from nasseg.analog.state import load_tensors, named_tensors
from nasseg.config import TrainConfig, to_dict
from nasseg.data import EpochLoader
from nasseg.errors import ConfigError, RunError
from nasseg.records.metrics import write_metrics
from nasseg.tasks import Task
from nasseg.tasks.base import Batches
from nasseg.training.checkpoint import resume, save_checkpoint
from nasseg.training.freeze import Freezing
from nasseg.training.optim import WeightAverage, make_optimizer, warmup_cosine

_CHECKPOINT_VERSION = 1

Keep = Literal["best", "last"]
"""Weights that a training leaves in its network: of its best evaluation, or of its last one."""


@dataclass
class FitResult:
    """What a training came to. The network holds the weights that these metrics are of."""

    metrics: dict[str, float]
    """Validation metrics of the weights that are kept."""
    epoch: int
    """Epoch (from 1) that these are of."""
    epochs: int
    """Epochs trained, fewer than asked where training stopped early."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry an epoch: epoch, loss, lr, and where evaluated ``val_`` metrics."""


def evaluate(net: nn.Module, loader: Batches, task: Task) -> dict[str, float]:
    """Metrics of a network in evaluation mode; its mode is restored."""
    training = net.training
    try:
        net.eval()
        return dict(task.evaluate(net, loader))
    finally:
        net.train(training)


def fit(
    net: nn.Module,
    train_loader: EpochLoader,
    val_loader: Batches,
    task: Task,
    config: TrainConfig,
    *,
    seed: int = 0,
    teacher: nn.Module | None = None,
    distill: float = 0.0,
    on_epoch: Callable[[int], dict[str, Any]] | None = None,
    prepare: Callable[[nn.Module], object] | None = None,
    checkpoint: Path | None = None,
    metrics_file: Path | None = None,
    stage: str = "train",
    keep: Keep = "last",
    stop_after: int | None = None,
    progress: bool = False,
) -> FitResult:
    """Train a network and leave its averaged weights in it.

    Args:
        net: digital or analog network, on its device.
        train_loader: training batches (image (B, C, H, W), target).
        val_loader: validation batches.
        task: loss and metrics.
        config: epochs, learning rate and so on.
        seed: seed of everything drawn here; batches take theirs from ``train_loader``.
        teacher: network whose output is a target beside the label; in evaluation mode.
        distill: weight of the teacher's output, 0 to 1.
        on_epoch: called with the epoch (from 0) before it starts; what it returns goes into the
            history. Sets, for example, the weight noise.
        prepare: called with the network before each evaluation, for example to recalibrate.
        checkpoint: file that is written after each epoch and continued from if it exists.
        metrics_file: JSON lines, one an epoch; lines of other stages in it stay as they are.
        stage: name of the training in that file and on the bar.
        keep: leave the weights of the last evaluation in the network, or those of the best. With
            the last, no evaluation decides anything.
        stop_after: return after this many epochs of the schedule; the same call without it, or
            with more, goes on from the checkpoint. With the last weights to keep, those of that
            moment are evaluated and left in the network, which changes nothing of what follows.
        progress: show a bar with the monitored metric.

    Returns:
        Metrics and history. ``N`` epochs equal ``k`` epochs, a stop and ``N - k`` more, bit for
        bit on a CPU. Layers that draw from torch's global generators, such as dropout, draw what
        the seed and the epoch say; the caller's state of these is left as it was.

    Raises:
        RunError: the checkpoint is damaged or of another training, or the loss is not finite.
        ConfigError: ``config.freeze_until`` names no layer of the network, or there is patience
            where the last weights are kept.
    """
    if config.patience and keep == "last":
        raise ConfigError(
            f"train.patience is {config.patience}; allowed: 0 where the last weights are kept"
        )
    device = next(net.parameters()).device
    amp = config.amp and device.type == "cuda"
    scaler = torch.amp.GradScaler("cuda", enabled=amp)
    freezing = Freezing.of(net, config)
    state = _State(net, task, config, keep, len(train_loader), seed, distill, scaler, freezing)
    resumed = checkpoint is not None and resume(checkpoint, state.load)
    if resumed and metrics_file is not None:
        # The interruption may have come between the checkpoint and these lines.
        write_metrics(metrics_file, stage, state.history)
    loss_fn = task.loss()
    if teacher is not None:
        teacher.eval()
    bar = tqdm(
        total=config.epochs, initial=state.epoch, desc=stage, unit="epoch", disable=not progress
    )
    devices = [device] if device.type == "cuda" else []
    with bar, torch.random.fork_rng(devices=devices), contextlib.closing(freezing):
        while not state.finished(config) and (stop_after is None or state.epoch < stop_after):
            entry: dict[str, Any] = {"stage": stage, "epoch": state.epoch + 1}
            if on_epoch is not None:
                entry |= on_epoch(state.epoch)
            net.train()
            if freezing.names:
                freezing.apply(state.epoch)
                entry["frozen"] = freezing.frozen(state.epoch)
            _seed_modules(derive_seed(seed, 5, state.epoch), device)
            train_loader.set_epoch(state.epoch)
            total, count = 0.0, 0
            for image, target in train_loader:
                image, target = image.to(device), target.to(device)
                lr = config.lr * warmup_cosine(state.step, state.total_steps, config.warmup)
                for group in state.optimizer.param_groups:
                    group["lr"] = lr * group.get("lr_factor", 1.0)
                with torch.autocast(device.type, enabled=amp):
                    logits = net(image)
                    loss = loss_fn(logits.float(), target)
                    if teacher is not None and distill > 0:
                        with torch.no_grad():
                            soft = task.soft(teacher(image).float())
                        loss = (1 - distill) * loss + distill * task.soft_loss(logits.float(), soft)
                value = float(loss.detach())
                if value != value or value in (float("inf"), float("-inf")):
                    raise RunError(
                        f"{stage}: the loss is {value} at epoch {state.epoch + 1}; lower the "
                        f"learning rate ({config.lr:g})"
                    )
                state.optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.step(state.optimizer)
                scaler.update()
                state.after_step()
                total += value * image.shape[0]
                count += image.shape[0]
            state.epoch += 1
            entry |= {"loss": total / max(1, count), "lr": lr}
            last = state.epoch == config.epochs
            if last or state.epoch % config.eval_every == 0:
                with state.averaged():
                    if prepare is not None:
                        prepare(net)
                    metrics = evaluate(net, val_loader, task)
                    state.judge(metrics)
                entry |= {f"val_{name}": v for name, v in metrics.items()}
                bar.set_postfix({task.monitor: f"{metrics[task.monitor]:.4f}"}, refresh=False)
            state.history.append(entry)
            if checkpoint is not None:
                save_checkpoint(checkpoint, state.dump())
            if metrics_file is not None:
                write_metrics(metrics_file, stage, state.history)
            bar.update()
        if not state.finished(config) and keep == "last":
            with state.averaged():
                if prepare is not None:
                    prepare(net)
                state.judge(evaluate(net, val_loader, task))
    if state.best is not None:
        load_tensors(net, state.best, "best weights")
    return FitResult(
        metrics=dict(state.best_metrics),
        epoch=state.best_epoch,
        epochs=state.epoch,
        history=state.history,
    )


def _seed_modules(seed: int, device: torch.device) -> None:
    """Seed what dropout and its like draw from: the CPU's generator and that of one GPU."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that a checkpoint is bound to; which weights are kept is said apart."""
    return {key: value for key, value in to_dict(config).items() if key != "keep"}


def _complete(identity: Any, keep: Keep) -> Any:
    """Return what a checkpoint is of, with what is younger than it as it was then.

    Checkpoints did not say which weights are kept: they go on as they are asked to.
    """
    if not isinstance(identity, dict) or "config" not in identity:
        return identity
    settings = {**_settings(TrainConfig()), **json.loads(identity["config"])}
    return {"keep": keep, **identity, "config": settings}


class _State:
    """All that changes while training, and its way to a checkpoint and back."""

    def __init__(
        self,
        net: nn.Module,
        task: Task,
        config: TrainConfig,
        keep: Keep,
        steps: int,
        seed: int,
        distill: float,
        scaler: torch.amp.GradScaler,
        freezing: Freezing,
    ) -> None:
        self.net = net
        self.scaler = scaler
        self.task = task
        self.keep = keep
        self.identity = {
            "version": _CHECKPOINT_VERSION,
            "task": task.name,
            "seed": seed,
            "steps": steps,
            "distill": distill,
            "keep": keep,
            "config": json.dumps(_settings(config), sort_keys=True),
        }
        self.total_steps = steps * config.epochs
        self.optimizer = make_optimizer(
            net,
            config.lr,
            config.weight_decay,
            freezing.parameters,
            config.unfreeze_lr,
            config.optimizer,
        )
        self.average = (
            WeightAverage(named_tensors(net), config.ema_decay) if config.ema_decay else None
        )
        self.noise = next((layer.noise for _, layer in fused_layers(net)), None)
        if self.noise is not None:
            self.noise.reseed(derive_seed(seed, 3))
        self.epoch = 0
        self.step = 0
        self.since_best = 0
        self.best: dict[str, Tensor] | None = None
        self.best_metrics: dict[str, float] = {}
        self.best_epoch = 0
        self.history: list[dict[str, Any]] = []

    def finished(self, config: TrainConfig) -> bool:
        out_of_patience = config.patience > 0 and self.since_best >= config.patience
        return self.epoch >= config.epochs or out_of_patience

    def after_step(self) -> None:
        self.step += 1
        if self.average is not None:
            self.average.update(named_tensors(self.net))

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in the network; the trained ones again afterwards."""
        kept = {name: tensor.clone() for name, tensor in named_tensors(self.net).items()}
        # Evaluation draws output noise of its own; training must not depend on how often it ran.
        noise = self.noise.state_dict() if self.noise is not None else None
        if self.average is not None:
            load_tensors(self.net, self.average.tensors, "averaged weights")
        try:
            yield
        finally:
            load_tensors(self.net, kept, "trained weights")
            if self.noise is not None and noise is not None:
                self.noise.load_state_dict(noise)

    def judge(self, metrics: dict[str, float]) -> None:
        """Keep the weights that are in the network now, unless better ones are to be kept."""
        monitor = self.task.monitor
        last = self.keep == "last"
        if last or self.best is None or metrics[monitor] > self.best_metrics[monitor]:
            self.best = {name: t.clone() for name, t in named_tensors(self.net).items()}
            self.best_metrics = metrics
            self.best_epoch = self.epoch
            self.since_best = 0
        else:
            self.since_best += 1

    def dump(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "net": named_tensors(self.net),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.tensors,
            "average_steps": 0 if self.average is None else self.average.steps,
            "noise": None if self.noise is None else self.noise.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "since_best": self.since_best,
            "best": self.best,
            "best_metrics": self.best_metrics,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }

    def load(self, saved: dict[str, Any], path: Path) -> None:
        known = _complete(saved.get("identity"), self.keep)
        if known != _complete(self.identity, self.keep):
            raise RunError(
                f"{path} is of another training ({saved.get('identity')}); this one is "
                f"{self.identity}. Choose another folder, or delete it to train anew"
            )
        load_tensors(self.net, saved["net"], str(path), from_file=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.tensors = {
                name: value.to(self.average.tensors[name].device)
                for name, value in saved["average"].items()
            }
            self.average.steps = saved["average_steps"]
        if self.noise is not None:
            self.noise.load_state_dict(saved["noise"])
        self.epoch, self.step = saved["epoch"], saved["step"]
        self.since_best = saved["since_best"]
        self.best = saved["best"]
        self.best_metrics, self.best_epoch = saved["best_metrics"], saved["best_epoch"]
        self.history = saved["history"]
