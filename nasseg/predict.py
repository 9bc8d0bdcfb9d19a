"""What a trained run says of the pixels of new images: labels, overlays, what age does to them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from nasseg.config import RunConfig
from nasseg.data.normalise import normalise
from nasseg.data.pixels.native import whole_image
from nasseg.data.read import SUFFIXES, read_image
from nasseg.errors import ConfigError, DataError
from nasseg.io import write_bytes
from nasseg.records.folder import read_run_config
from nasseg.runs.aged import AgedChips, check_chips, open_job
from nasseg.tasks import TaskType, get_task
from nasseg.tasks.inference import predict_whole

BLOCK = 64_000_000
"""Pixels of the images that are in work at a time, over which chips are compared."""

Probability = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Predicted:
    """One image and what was written for it."""

    image: Path
    instances: int
    """Nuclei found; of classes of pixels, parts of the image that hang together."""
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
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES]
            if not inside:
                raise DataError(f"{path} holds no PNG, TIFF or JPEG")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"no such image or folder: {path}")
    names: dict[str, Path] = {}
    for path in found:
        other = names.setdefault(path.stem, path)
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
    check_chips(chips, chip_seed)
    config = read_run_config(run, device=device)
    task = get_task(config.data.kind)
    if task.per_image:
        raise ConfigError(f"{run} classifies images; nasseg predict RUN IMAGES... --csv FILE")
    files = list_images(images)
    shared = {path.parent.resolve() for path in files} & {Path(out).resolve()}
    if shared:
        raise ConfigError(
            f"out is {str(out)!r}, where the images are: results have their names; choose another "
            "folder"
        )
    job = open_job(run, config, at, progress)
    aged = None
    if at is not None:
        aged = AgedChips(job, at, first=chip_seed, count=chips, recalibrate=recalibrate)
    done: list[Predicted] = []
    problems: list[str] = []
    bar = tqdm(total=len(files), desc="predict", unit="image", disable=not progress)
    with bar:
        for block in _blocks(files, config, problems):
            inputs = [(path, pixels, _shown(pixels, config)) for path, pixels in block]
            found: list[tuple[Probability, Probability | None]]
            if aged is None:
                found = [
                    (_probability(job.digital, x, p.shape[:2], task), None) for _, p, x in inputs
                ]
            else:
                found = _by_chips(aged, inputs, task)
            for (path, pixels, _), (probability, spread) in zip(inputs, found, strict=True):
                done.append(_write(Path(out), path, pixels, probability, spread, task))
                bar.update()
                bar.set_postfix(nuclei=done[-1].instances)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(files)} images cannot be used; the others are in {out}:\n  "
            + "\n  ".join(problems)
        )
    return done


def _blocks(
    files: Sequence[Path], config: RunConfig, problems: list[str]
) -> Iterator[list[tuple[Path, npt.NDArray[np.uint8]]]]:
    block: list[tuple[Path, npt.NDArray[np.uint8]]] = []
    pixels = 0
    for path in files:
        try:
            image = read_image(path, config.data.channels)
            if min(image.shape[:2]) < 16:
                raise DataError(f"is {image.shape[0]} x {image.shape[1]}; 16 x 16 is the least")
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


def _shown(pixels: npt.NDArray[np.uint8], config: RunConfig) -> torch.Tensor:
    """An image (H, W, C) as the network of the run is shown it: (1, C, h, w)."""
    image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)))
    if config.data.crop:
        return whole_image(image)
    size = (config.data.image_size, config.data.image_size)
    small = torch.nn.functional.interpolate(image[None].float(), size, mode="nearest-exact")
    return normalise(small.div_(255.0))


@torch.no_grad()
def _probability(
    net: nn.Module, image: torch.Tensor, size: tuple[int, int], task: TaskType
) -> Probability:
    """(K, H, W) at the size of the original image."""
    device = next(net.parameters()).device
    logits = predict_whole(net.eval(), image.to(device))
    if tuple(logits.shape[2:]) != tuple(size):
        logits = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    values: Probability = task.probability(logits)[0].cpu().numpy()
    return values


def _by_chips(
    chips: AgedChips,
    inputs: Sequence[tuple[Path, npt.NDArray[np.uint8], torch.Tensor]],
    task: TaskType,
) -> list[tuple[Probability, Probability | None]]:
    """For each image the first chip's probabilities, and their deviation over all chips."""
    shown: list[Probability] = []
    sums: list[npt.NDArray[np.float64]] = []
    squares: list[npt.NDArray[np.float64]] = []
    for chip, net in chips:
        for k, (_, pixels, image) in enumerate(inputs):
            value = _probability(net, image, pixels.shape[:2], task)
            inside = task.certainty(value)
            if chip == chips.first:
                shown.append(value)
                sums.append(inside.astype(np.float64))
                squares.append(inside.astype(np.float64) ** 2)
            else:
                sums[k] += inside
                squares[k] += inside.astype(np.float64) ** 2
    if chips.count == 1:
        return [(value, None) for value in shown]
    spreads = [
        np.sqrt(np.maximum(s2 - s1**2 / chips.count, 0) / (chips.count - 1)).astype(np.float32)
        for s1, s2 in zip(sums, squares, strict=True)
    ]
    return list(zip(shown, spreads, strict=True))


def _write(
    out: Path,
    image: Path,
    pixels: npt.NDArray[np.uint8],
    probability: Probability,
    spread: Probability | None,
    task: TaskType,
) -> Predicted:
    import tifffile

    from nasseg.report import overlay_png, uncertainty_png

    ids = task.decode(probability)
    stem = image.stem
    files = {
        f"{stem}.tif": _tiff(tifffile, ids.astype(np.uint16) if int(ids.max()) < 2**16 else ids),
        f"{stem}_overlay.png": overlay_png(pixels, ids),
    }
    if spread is not None:
        files[f"{stem}_uncertainty.tif"] = _tiff(tifffile, spread)
        files[f"{stem}_uncertainty.png"] = uncertainty_png(pixels, spread)
    written = tuple(write_bytes(out / name, data) for name, data in files.items())
    return Predicted(image, task.count(ids), written)


def _tiff(tifffile: Any, array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, compression="zlib")
    return buffer.getvalue()
