"""Predict a class for each image file, with its probability, into a CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nasseg.data.files import composed
from nasseg.data.read import read_image
from nasseg.data.sources.class_table import list_csv_images
from nasseg.errors import ConfigError, DataError
from nasseg.files.outputs import refuse_inputs, refuse_others, refuse_run_files
from nasseg.io import write_csv
from nasseg.network import AgedNetwork, Network, Prediction, open_network
from nasseg.predict._folders import images_in
from nasseg.records.folder import read_run_config
from nasseg.tasks import get_task


@dataclass(frozen=True)
class Classified:
    """The classes of one image."""

    id: str
    label: str
    """The class; where an image may have several, those with semicolons between."""
    probabilities: dict[str, float]
    """Of every class."""
    uncertainty: float | None
    """Standard deviation over chips of the label's probability (of the largest, of several)."""


def predict_classes(
    run: str | Path,
    sources: Sequence[str | Path],
    csv: str | Path,
    *,
    at: float | None = None,
    chip_seed: int = 0,
    chips: int = 8,
    recalibrate: bool = True,
    tta: bool | None = None,
    device: str = "auto",
    progress: bool = True,
) -> list[Classified]:
    """Classify images with the network of a run folder, into a CSV.

    Its columns are ``id`` (the file's name without suffix, or the CSV's own id), ``label``, ``p_``
    and the name of each class, and with several chips ``uncertainty``.

    Args:
        run: run folder.
        sources: image files, folders of them, or CSV files that list them.
        csv: file for the result.
        at: seconds after programming at which the analog network is asked; none = the digital one.
        chip_seed: number of the chip that is asked, as in ``drift.csv``.
        chips: chips from ``chip_seed`` on over which the uncertainty is taken; 1 = none.
        recalibrate: re-estimate BatchNorm statistics on each drifted chip, with the run's images.
        tta: mean over mirror images; none = as in the run.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` of several.
        progress: show a bar.

    Raises:
        RunError: the folder holds no trained run.
        DataError: images cannot be read. The others are written first.
        ConfigError: a value is not allowed, or the run does not classify.
    """
    config = read_run_config(run, device=device)
    if not get_task(config.data.kind).per_image:
        raise ConfigError(f"{run} is of {config.data.task}; it classifies no images")
    network = open_network(
        run, at, chips=chips, seed=chip_seed, recalibrate=recalibrate, device=device
    )
    if isinstance(network, AgedNetwork):
        network.progress = progress
    refuse_inputs("csv", csv, sources)
    ids, paths = list_images(sources, config.data.path_column)
    refuse_inputs("csv", csv, paths)
    refuse_run_files("csv", csv)
    refuse_others("csv", csv, _is_ours, "table of predicted classes")
    kept, images, problems = _read(ids, paths, network, progress)
    if not kept:
        raise DataError("none of the images can be used:\n  " + "\n  ".join(problems))
    predictions = network.predict_prepared(images, tta=tta)
    done = [_classified(name, entry) for name, entry in zip(kept, predictions, strict=True)]
    write_csv(Path(csv), [_row(entry) for entry in done])
    if problems:
        raise DataError(
            f"{len(problems)} of {len(ids)} images cannot be used; the others are in {csv}:\n  "
            + "\n  ".join(problems)
        )
    return done


def _is_ours(file: Path) -> bool:
    """Return True if a file begins as the tables written here do, or is empty."""
    with file.open("rb") as handle:
        head = handle.read(len(_HEAD))
    return head in (b"", _HEAD)


_HEAD = b"id,label,p_"
"""First bytes of the tables written here."""


def list_images(
    sources: Sequence[str | Path], path_column: str = "auto"
) -> tuple[list[str], list[Path]]:
    """Ids and files of images, of those in folders, and of those that CSV files list.

    ``path_column`` is the column of the files in these, as ``data.path_column`` says it.

    Raises:
        DataError: a path is not there, nothing is an image, or two images have one id.
    """
    ids: list[str] = []
    paths: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = images_in(source)
            paths += inside
            ids += [path.stem for path in inside]
        elif source.suffix.lower() in (".csv", ".tsv") and source.is_file():
            listed, names = list_csv_images(source, path_column)
            paths += listed
            ids += names
        elif source.is_file():
            paths.append(source)
            ids.append(source.stem)
        else:
            raise DataError(f"no such image, folder or CSV: {source}")
    seen: dict[str, Path] = {}
    for name, path in zip(ids, paths, strict=True):
        if seen.setdefault(composed(name), path) != path:
            raise DataError(f"{seen[composed(name)]} and {path} have the same id {name!r}")
    return ids, paths


def _read(
    ids: Sequence[str], paths: Sequence[Path], network: Network | AgedNetwork, progress: bool
) -> tuple[list[str], torch.Tensor, list[str]]:
    """Ids and images (n, C, S, S) that can be used, and what is wrong with the others."""
    kept, images, problems = [], [], []
    pairs = list(zip(ids, paths, strict=True))
    for name, path in tqdm(pairs, desc="read", unit="image", disable=not progress):
        try:
            images.append(network.prepare(read_image(path, network.config.data.channels)))
            kept.append(name)
        except DataError as error:
            problems.append(f"{path}: {error}")
    return kept, torch.stack(images) if images else torch.empty(0), problems


def _classified(name: str, found: Prediction) -> Classified:
    return Classified(
        id=name,
        label=";".join(found.names),
        probabilities={
            label: float(value)
            for label, value in zip(found.classes, found.probability, strict=True)
        },
        uncertainty=None if found.uncertainty is None else float(found.uncertainty),
    )


def _row(entry: Classified) -> dict[str, Any]:
    row: dict[str, Any] = {"id": entry.id, "label": entry.label}
    row |= {f"p_{name}": f"{value:.6f}" for name, value in entry.probabilities.items()}
    if entry.uncertainty is not None:
        row["uncertainty"] = f"{entry.uncertainty:.6f}"
    return row
