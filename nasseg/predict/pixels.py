"""Predict labels of pixels for image files, with overlays and the uncertainty over chips."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from nasseg.config import RunConfig
from nasseg.data.files import composed
from nasseg.data.read import read_image
from nasseg.errors import ConfigError, DataError
from nasseg.files.outputs import refuse_run_files, same_names
from nasseg.io import write_bytes
from nasseg.network import BLOCK, Prediction, open_network
from nasseg.predict._folders import images_in
from nasseg.records.folder import read_run_config
from nasseg.tasks import get_task
from nasseg.tasks.scale import LEAST_SIDE


@dataclass(frozen=True)
class Predicted:
    """One image and what was written for it."""

    image: Path
    instances: int
    """Number of things found; of classes of pixels, of parts of the image that hang together."""
    noun: str
    """Plural word for them."""
    files: tuple[Path, ...]
    """Label TIFF, overlay PNG, and with several chips the uncertainty TIFF and PNG."""


def list_images(paths: Sequence[str | Path]) -> list[Path]:
    """Image files, and those in folders, in order.

    Raises:
        DataError: a path is not there, or nothing is an image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += images_in(path)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"no such image or folder: {path}")
    names: dict[str, Path] = {}
    for path in found:
        other = names.setdefault(composed(path.stem), path)
        if other != path:
            raise DataError(f"{other} and {path} would both be written as {path.stem}.tif")
    return list(names.values())


def predict(
    run: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    at: float | None = None,
    chip_seed: int = 0,
    chips: int = 8,
    recalibrate: bool = True,
    device: str = "auto",
    progress: bool = True,
) -> list[Predicted]:
    """Segment images with the network of a run folder.

    For each image ``NAME.tif`` (instance ids, uint16, or int32 where there are more; numbers of
    classes where the run learned these) and
    ``NAME_overlay.png`` are written; with ``at`` also ``NAME_uncertainty.tif`` (float32, the
    standard deviation over chips of the probability of nucleus, or of any class but the background)
    and its picture.

    Args:
        run: run folder.
        images: image files or folders.
        out: folder for the results.
        at: seconds after programming at which the analog network is shown; none = the digital one.
        chip_seed: number of the chip that is shown, as in ``drift.csv``.
        chips: chips from ``chip_seed`` on over which the uncertainty is taken; 1 = none.
        recalibrate: re-estimate BatchNorm statistics on each drifted chip, with the run's images.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` of several.
        progress: show a bar.

    Raises:
        RunError: the folder holds no trained run.
        DataError: images cannot be read. The others are written first.
        ConfigError: a value is not allowed.
    """
    config = read_run_config(run, device=device)
    if get_task(config.data.kind).per_image:
        raise ConfigError(f"{run} classifies images; nasseg predict RUN IMAGES... --csv FILE")
    files = list_images(images)
    shared = {path.parent.resolve() for path in files} & {Path(out).resolve()}
    if shared:
        raise ConfigError(
            f"out is {str(out)!r}, where the images are: results have their names; choose another "
            "folder"
        )
    _check_results(files, Path(out), uncertain=at is not None and chips > 1, data=config.data.path)
    network = open_network(
        run, at, chips=chips, seed=chip_seed, recalibrate=recalibrate, device=device
    )
    done: list[Predicted] = []
    problems: list[str] = []
    bar = tqdm(total=len(files), desc="predict", unit="image", disable=not progress)
    with bar:
        for block in _blocks(files, config, problems):
            predictions = network.predict([pixels for _, pixels in block])
            for (path, _), prediction in zip(block, predictions, strict=True):
                done.append(_write(Path(out), path, prediction, network.task.noun))
                bar.update()
                bar.set_postfix({done[-1].noun: done[-1].instances})
    if problems:
        raise DataError(
            f"{len(problems)} of {len(files)} images cannot be used; the others are in {out}:\n  "
            + "\n  ".join(problems)
        )
    return done


def _check_results(files: Sequence[Path], out: Path, *, uncertain: bool, data: str | None) -> None:
    """Refuse results that would take the place of each other, of the run's images or its labels.

    Raises:
        DataError: two images would be written to one file.
        ConfigError: a result is there already in the folder of the run's images.
    """
    names = {path: result_names(path.stem, uncertain) for path in files}
    if clash := same_names(names.items()):
        raise DataError(
            f"{clash[0]} and {clash[1]} would both be written as {clash[2]}; predict them with "
            "an --out each, or rename one"
        )
    root = None if data is None else Path(data).expanduser().resolve()
    for name in (name for own in names.values() for name in own):
        refuse_run_files("out", out / name)
        if root is not None and (out / name).exists() and out.resolve().is_relative_to(root):
            raise ConfigError(
                f"out is {str(out)!r}, in the folder of the run's images and labels, where "
                f"{name} is; choose another folder"
            )


def result_names(stem: str, uncertain: bool) -> tuple[str, ...]:
    """Return the names of the files that are written for an image."""
    names = (f"{stem}.tif", f"{stem}_overlay.png")
    more = (f"{stem}_uncertainty.tif", f"{stem}_uncertainty.png")
    return (*names, *more) if uncertain else names


def _blocks(
    files: Sequence[Path], config: RunConfig, problems: list[str]
) -> Iterator[list[tuple[Path, npt.NDArray[np.uint8]]]]:
    block: list[tuple[Path, npt.NDArray[np.uint8]]] = []
    pixels = 0
    for path in files:
        try:
            image = read_image(path, config.data.channels)
            if min(image.shape[:2]) < LEAST_SIDE:
                height, width = image.shape[:2]
                raise DataError(f"is {height} x {width}; {LEAST_SIDE} x {LEAST_SIDE} is the least")
        except DataError as error:
            problems.append(f"{path}: {error}")
            continue
        block.append((path, image))
        pixels += image.shape[0] * image.shape[1]
        if pixels >= BLOCK:
            yield block
            block, pixels = [], 0
    if block:
        yield block


def _write(out: Path, image: Path, found: Prediction, noun: str) -> Predicted:
    import tifffile

    from nasseg.report import png, uncertainty_png

    labels, stem = found.labels, image.stem
    small = int(labels.max(initial=0)) < 2**16
    data = [_tiff(tifffile, labels.astype(np.uint16) if small else labels), png(found.overlay())]
    if found.uncertainty is not None:
        data.append(_tiff(tifffile, found.uncertainty))
        data.append(uncertainty_png(found.pixels, found.uncertainty))
    names = result_names(stem, found.uncertainty is not None)
    written = tuple(
        write_bytes(out / name, content) for name, content in zip(names, data, strict=True)
    )
    return Predicted(image, found.count, noun, written)


def _tiff(tifffile: Any, array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, compression="zlib")
    return buffer.getvalue()
