"""Settings of the digital training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from nasseg._fields import check_fields
from nasseg.config._setting import check, setting


@dataclass(frozen=True)
class TrainConfig:
    """Digital training."""

    YOUNG: ClassVar[bool] = True
    """A folder may lack a setting of this section."""

    epochs: int = setting(100, ge=1)
    """Passes over the training images."""
    batch_size: int = setting(32, ge=1)
    """Images a step."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``adamw``, or ``muon``: orthogonalised momentum for weights of layers (Jordan et al. 2024;
    arXiv:2502.16982), AdamW for all else. The retraining on tiles is always AdamW's."""
    lr: float = setting(2e-3, gt=0, lt=math.inf)
    """Peak learning rate."""
    weight_decay: float = setting(1e-2, ge=0)
    """Decoupled weight decay."""
    warmup: float = setting(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly; then it falls as a cosine."""
    ema_decay: float = setting(0.99, ge=0, lt=1)
    """Decay a step of the exponential moving average of the weights that is kept; 0 = none."""
    keep: Literal["auto", "last", "best"] = setting("auto", before="best")
    """Weights that are kept: ``last``, the average at the end of the schedule, or ``best``, of the
    best evaluation on the validation images, only where results are of other images; ``auto`` is
    ``best`` where there are test images, else ``last``. Where many architectures are measured,
    results are of the validation images."""
    patience: int = setting(0, ge=0)
    """Evaluations without a better score after which training stops; 0 = never. Only where results
    are of other images than the validation images."""
    eval_every: int = setting(5, ge=1)
    """Epochs between evaluations on the validation images; the last epoch is always one."""
    amp: bool = True
    """Mixed precision on CUDA; without effect on a CPU."""
    monitor: str = setting("auto", metavar="METRIC")
    """The metric that scores architectures, and weights where ``keep`` selects them: one of the
    task, of which more is better (``dice``, for single nuclei ``ap50``, for classification
    ``balanced_accuracy``, ``auc``, ``f1``). auto = Dice or accuracy (the AUC where an image has
    several classes)."""
    class_weights: Literal["none", "balanced"] = setting(
        "none", only_for="classification", alias="class_weights", metavar="none|balanced"
    )
    """Classification: ``balanced`` weighs the loss of each class by the inverse of its share."""
    label_smoothing: float = setting(0.0, ge=0, lt=1, only_for="classification")
    """Classification: share of each target that is spread over all classes."""
    sampling: Literal["shuffled", "balanced"] = setting("shuffled", only_for="classification")
    """Classification: ``balanced`` draws every class equally often."""
    tta: bool = setting(False, only_for="classification")
    """Classification: probabilities are means over an image and its mirror images."""
    weights: str | None = setting(None, file="file", alias="weights", metavar="FILE")
    """Reference networks: file of a pretrained state dict (safetensors, or a torch file of tensors
    alone)."""
    freeze_until: str | None = setting(None, alias="freeze_until", metavar="NAME")
    """Reference networks: layers before the one of this name keep their weights."""
    unfreeze_every: int = setting(0, ge=0)
    """Epochs after which one more frozen layer, the last one first, is trained; 0 = never."""
    unfreeze_lr: float = setting(0.1, gt=0, le=1)
    """Learning rate of layers once frozen, as a multiple of ``lr``."""

    def __post_init__(self) -> None:
        check_fields(self, "train.")
        check(
            not self.patience or self.keep != "last",
            "train.patience",
            self.patience,
            "0 where keep is 'last', the weights at the end of the schedule",
        )
        check(
            not self.unfreeze_every or self.freeze_until is not None,
            "train.unfreeze_every",
            self.unfreeze_every,
            "0, unless freeze_until says which layers are frozen",
        )
