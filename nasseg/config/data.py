"""Settings of the images, and of how they are brought to the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from nasseg._fields import check_fields
from nasseg._registry import is_reference, lost_plugin
from nasseg.config._setting import check, check_only_for, setting
from nasseg.tasks import TASKS, get_task

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


def _tasks(names: Iterable[str]) -> str:
    """Those tasks that a setting chooses, in words."""
    chosen = ", ".join(name for name in names if TASKS[name].selectable)
    return f"{chosen}, or a MedMNIST set ({', '.join(MEDMNIST_SETS)})"


@dataclass(frozen=True)
class DataConfig:
    """What is learned from, and how it is brought to the network."""

    YOUNG: ClassVar[bool] = True
    """A folder that lacks a setting of this section is as with its default."""

    task: str = setting(
        "segmentation",
        words=_tasks(TASKS.registered()),
        alias="task",
        metavar="NAME",
        shared=True,
        plugin=TASKS.group or "",
    )
    """What is learned: ``segmentation`` (one foreground; with ``crop`` single nuclei, the same as
    ``instances``), ``instances_boundary``, ``instances_gradient``, ``instances_offset`` or
    ``instances_star`` (single nuclei by another head), ``semantic`` (a class for each pixel),
    ``classification`` (a class for each image), or a 2D set of MedMNIST by its name
    (``breastmnist``)."""
    path: str | None = setting(
        None, file="path", alias="data", metavar="FOLDER|FILE", free="always", shared=True
    )
    """Segmentation: a folder with ``images/`` and ``labels/``, or the raw Kaggle layout.
    Classification: a folder of classes, an .npz file, or a CSV. None = synthetic."""
    source: str = setting("auto", metavar="NAME", shared=True, plugin="nasseg.sources")
    """Kind of source that reads ``path``, where the path does not tell: ``folder``, ``kaggle``,
    ``class_pixels``, ``class_folder``, ``class_index``, ``class_table``, ``npz``, or that of a
    plug-in."""
    image_size: int = setting(64, ge=16, le=4096, unit="pixels", alias="image_size")
    """Side in pixels of the square to which images and labels are resized."""
    crop: int = setting(0, ge=32, le=4096, unit="pixels", zero="0", alias="crop")
    """Keep images at their own scale: train on random crops of this side in pixels, evaluate on
    whole images, and tell single nuclei apart. 0 = resize to ``image_size``."""
    zoom: float = setting(1.4, ge=1, le=4)
    """With ``crop``: half of the training crops are shown between 1 / ``zoom`` and ``zoom`` times
    as large."""
    diameter: float = setting(0.0, ge=8, le=200, unit="pixels", zero="0")
    """With ``crop``, of single nuclei: diameter of a typical nucleus that images are brought to, in
    training by their labels, then by a first pass of the network at half their scale. The first
    pass costs a quarter of one over the image, and the second one what the image as resized does;
    costs that are reported are of one pass over the image as it is. 0 = images keep their own
    scale."""
    rare_kinds: float = setting(0.0, ge=0, le=1)
    """With ``crop``: how much more often images of rare kinds (fluorescence, stained, grey bright
    field) are drawn. 0 = regardless of kinds, 0.5 = by the square root of the inverse share of a
    kind, 1 = every kind equally often."""
    channels: int = setting(3, choices=(1, 3, 4), alias="channels", shared=True)
    """Image channels given to the network: 1 (grey), 3 (RGB) or 4 (RGBA)."""
    val_fraction: float = setting(0.2, gt=0, lt=1, shared=True)
    """Share of the images held out where the folder has no ``splits.json``."""
    holdout: float = setting(0.0, ge=0, lt=1)
    """Share of the training images that stand in for the validation images; those of the split,
    and its test images, are then neither trained on nor scored. 0 = the validation images of the
    split."""
    seed: int = setting(0, ge=0, shared=True)
    """Seed of the split and of the synthetic images; shuffling and augmentation take the run's."""
    synthetic_train: int = setting(160, ge=1, le=100_000)
    """Synthetic training images, where no folder is given."""
    synthetic_val: int = setting(40, ge=1, le=100_000)
    """Synthetic validation images, where no folder is given."""
    max_cache_gb: float = setting(4.0, gt=0)
    """Memory in GB that the preprocessed images may take; a larger set is an error."""
    path_column: str = "auto"
    """Classification from a CSV: its column of image files."""
    label_column: str = "auto"
    """Its column of classes."""
    group_column: str | None = setting(None, only_for="classification")
    """Its column of what must not be divided, such as the patient."""
    centre_crop: int = setting(0, ge=0, unit="pixels", only_for="classification")
    """Classification: the middle square of this side in pixels is cut out before resizing; 0 =
    the whole image."""
    augment: Literal["none", "light", "heavy"] = "light"
    """Classification: random views of the training images. ``light`` is flips and small shifts,
    ``heavy`` adds rotation, zoom, brightness, contrast, cutout and mixup."""
    test_fraction: float = setting(0.0, ge=0, lt=1, only_for="classification", shared=True)
    """Classification: share of the images held out to be scored on, where the source has no test
    images; 0 = scores are of the validation images."""
    folds: int = setting(0, ge=2, le=100, zero="0 for none", only_for="classification", shared=True)
    """Classification: cross-validation over so many parts, of which part ``fold`` is scored on;
    0 = none."""
    fold: int = setting(0, ge=0, repeat=True, shared=True)
    """Which part, from 0."""

    @property
    def size(self) -> int:
        """Side in pixels of what the network is trained on."""
        return self.crop or self.image_size

    @property
    def kind(self) -> str:
        """Name of the task in the registry: ``instances`` for segmentation at native scale,
        ``classification`` for a MedMNIST set, else ``task``."""
        if self.task in MEDMNIST_SETS:
            return "classification"
        return (get_task(self.task).native or self.task) if self.crop else self.task

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        self._check_task()
        task = get_task(self.kind)
        check(
            not self.crop or "native" in task.scales, "data.crop", self.crop, f"0 for {self.task}"
        )
        check(
            self.crop > 0 or "resized" in task.scales,
            "data.crop",
            self.crop,
            f"32 to 4096 pixels for {self.task}",
        )
        check(
            not self.diameter or (self.crop > 0 and task.labels == "instances"),
            "data.diameter",
            self.diameter,
            f"0 for {self.task}{'' if self.crop else ' without data.crop'}",
        )
        check_only_for(self, "data.", task.settings or self.kind, self.task)
        check(self.fold < max(1, self.folds), "data.fold", self.fold, "0 or more, below data.folds")

    def _check_task(self) -> None:
        """Refuse a task that there is not; one of a plug-in is imported."""
        if self.task in MEDMNIST_SETS or is_reference(self.task):
            return  # the registry itself refuses a reference that it cannot follow
        lost = None if self.task in TASKS else lost_plugin("task", TASKS.group, self.task)
        if lost is not None:
            raise lost
        if self.task not in TASKS or not TASKS[self.task].selectable:
            check(False, "data.task", self.task, _tasks(TASKS))
