"""The 2D sets of MedMNIST v2 and MedMNIST+: class names, and where their files come from.

Yang et al., MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification, Scientific Data 2023. The names are those of its table of classes.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from nasseg.config import MEDMNIST_SETS, DataConfig
from nasseg.data.sources.base import SourceType, given_path
from nasseg.data.sources.class_base import ClassSource
from nasseg.data.sources.class_npz import is_medmnist, open_medmnist_npz, open_plain_npz
from nasseg.data.sources.npz import Npz
from nasseg.errors import DataError, MissingDependencyError

SIZES = (28, 64, 128, 224)
"""Sides in pixels that the sets are published in."""
MULTILABEL = frozenset({"chestmnist"})
"""Sets whose images may have several classes, or none."""
_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)
CLASSES: dict[str, tuple[str, ...]] = {
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocytes",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "breastmnist": ("malignant", "normal, benign"),
    "chestmnist": (
        "atelectasis",
        "cardiomegaly",
        "effusion",
        "infiltration",
        "mass",
        "nodule",
        "pneumonia",
        "pneumothorax",
        "consolidation",
        "edema",
        "emphysema",
        "fibrosis",
        "pleural thickening",
        "hernia",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
    "pathmnist": (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    "tissuemnist": (
        "collecting duct, connecting tubule",
        "distal convoluted tubule",
        "glomerular endothelial cells",
        "interstitial endothelial cells",
        "leukocytes",
        "podocytes",
        "proximal tubule segments",
        "thick ascending limb",
    ),
}
"""Names of the classes of each set, in the order of their numbers."""


class MedMNISTSource(SourceType):
    """A set of MedMNIST, chosen by ``data.task``: its file, or downloaded."""

    labels = frozenset({"class"})

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True if the task is a set."""
        return config.task in MEDMNIST_SETS

    def open(self, path: Path | None, config: DataConfig) -> ClassSource:
        """As :func:`open_medmnist`."""
        if config.task not in MEDMNIST_SETS:
            raise DataError(
                f"data.source is {self.name!r}, but data.task is {config.task!r}; allowed: "
                f"{', '.join(MEDMNIST_SETS)}"
            )
        return open_medmnist(config.task, config)


class NpzSource(SourceType):
    """An .npz file of images and classes, also one of a MedMNIST set."""

    labels = frozenset({"class"})
    layouts = ("an .npz file",)

    def recognises(self, path: Path | None, config: DataConfig) -> bool:
        """True for a file by its name."""
        return path is not None and path.suffix.lower() == ".npz" and not path.is_dir()

    def open(self, path: Path | None, config: DataConfig) -> ClassSource:
        """The source, with the names of the classes where the file is a known set."""
        path = given_path(path, self.name)
        try:
            file = Npz(path)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if not is_medmnist(file):
            return open_plain_npz(file, config)
        known = set_of_file(path)
        if known is None:
            return open_medmnist_npz(file, config, None)
        return open_medmnist_npz(file, config, CLASSES[known], known in MULTILABEL)


def set_of_file(path: Path) -> str | None:
    """The set that a file is by its name (``breastmnist.npz``, ``breastmnist_64.npz``)."""
    name = path.stem.partition("_")[0].lower()
    return name if name in MEDMNIST_SETS else None


def open_medmnist(name: str, config: DataConfig) -> ClassSource:
    """The source for a set: from ``config.path``, or downloaded by the package ``medmnist``.

    Raises:
        DataError: there is no such file, or it is not the set.
        MissingDependencyError: no path, and the package is not installed.
    """
    path = _download(name, config) if config.path is None else _find(name, config.path, config)
    try:
        file = Npz(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if not is_medmnist(file):
        raise DataError(
            f"{path} is not {name}: it has arrays {', '.join(sorted(file.headers)) or 'none'}; "
            "expected train_images, train_labels, val_images ... (other .npz files: --task "
            "classification)"
        )
    return open_medmnist_npz(file, config, CLASSES[name], name in MULTILABEL)


def _find(name: str, given: str, config: DataConfig) -> Path:
    path = Path(given).expanduser()
    if path.is_dir():
        files = [path / f"{name}.npz", *(path / f"{name}_{size}.npz" for size in SIZES)]
        found = [file for file in files if file.is_file()]
        if not found:
            raise DataError(f"{path} holds no {name}.npz")
        wanted = _size_for(config)
        return next((file for file in found if _size_of(file) >= wanted), found[-1])
    if not path.is_file():
        raise DataError(f"no such file: {path}; expected the .npz file of {name}")
    if (other := set_of_file(path)) not in (None, name):
        raise DataError(f"{path} is {other} by its name, but data.task is {name!r}")
    return path


def _size_for(config: DataConfig) -> int:
    """The smallest published size that does not have to be enlarged."""
    wanted = max(config.image_size, config.centre_crop)
    return next((size for size in SIZES if size >= wanted), SIZES[-1])


def _size_of(file: Path) -> int:
    """Pixels a side of a file of a set, by its name; files without a size are the first ones."""
    digits = file.stem.partition("_")[2]
    return int(digits) if digits.isdecimal() else 28


def _download(name: str, config: DataConfig) -> Path:
    """The file of the set, fetched where it is not there yet, by the package's own means."""
    try:
        medmnist = importlib.import_module("medmnist")
    except ImportError:
        raise MissingDependencyError(
            f"data.task is {name!r} and no file is given: give --data FILE.npz, or "
            "pip install 'nasseg[medmnist]', which downloads it"
        ) from None
    size = _size_for(config)
    try:
        made = getattr(medmnist, medmnist.INFO[name]["python_class"])
        loaded = made(split="val", download=True, size=size)
        return Path(loaded.root) / f"{name}{loaded.size_flag}.npz"
    except Exception as error:  # whatever that package and the network answer
        raise DataError(
            f"{name} cannot be downloaded: {error}; download the .npz file from "
            "https://medmnist.com and give it as --data FILE.npz"
        ) from None
