"""A few images with the fate of their nuclei, kept for the report: ``fates.npz``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.errors import RunError
from nasseg.files.readers import read_npz
from nasseg.io import atomic_write
from nasseg.tasks.matching import Fates


@dataclass(frozen=True, eq=False)
class FatePicture:
    """A square part of one image with its true and its predicted instances."""

    id: str
    kind: str
    """Kind of image."""
    role: str
    """Why it is among the pictures: ``best``, ``median``, ``worst``, or ``typical`` of its kind."""
    ap50: float
    """Average precision of the whole image at IoU 0.5."""
    image: npt.NDArray[np.uint8]
    """(S, S, C)."""
    label: npt.NDArray[np.int32]
    """True instances (S, S), numbered as in the whole image."""
    prediction: npt.NDArray[np.int32]
    """Predicted ones (S, S)."""
    fates: Fates
    """Of all instances of the whole image."""


def write_fates(path: Path, pictures: Sequence[FatePicture]) -> None:
    """Write pictures atomically."""
    arrays: dict[str, Any] = {"ap50": np.array([picture.ap50 for picture in pictures])}
    for name in ("id", "kind", "role"):
        arrays[name] = np.array([getattr(picture, name) for picture in pictures], dtype=np.str_)
    for k, picture in enumerate(pictures):
        arrays |= {
            f"image_{k}": picture.image,
            f"label_{k}": picture.label,
            f"prediction_{k}": picture.prediction,
            f"fates_{k}": picture.fates.label,
            f"false_positive_{k}": picture.fates.false_positive,
        }
    atomic_write(path, lambda handle: np.savez_compressed(handle, **arrays))


def read_fates(path: Path) -> list[FatePicture]:
    """Read pictures.

    Raises:
        RunError, ValueError, KeyError, IndexError, TypeError: the file is damaged.
        FileNotFoundError: there is no file.
    """
    archive = read_npz(path, error=RunError)
    return [
        FatePicture(
            id=str(archive["id"][k]),
            kind=str(archive["kind"][k]),
            role=str(archive["role"][k]),
            ap50=float(archive["ap50"][k]),
            image=archive[f"image_{k}"],
            label=archive[f"label_{k}"],
            prediction=archive[f"prediction_{k}"],
            fates=Fates(archive[f"fates_{k}"], archive[f"false_positive_{k}"]),
        )
        for k in range(len(archive["id"]))
    ]
