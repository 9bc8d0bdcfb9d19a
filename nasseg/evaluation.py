"""Scores of a finished run, digital or on aged chips, into files: ``nasseg evaluate``."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from nasseg.errors import ConfigError, RunError
from nasseg.files.readers import read_object
from nasseg.io import write_bytes, write_json
from nasseg.network import AgedNetwork, Network, open_network
from nasseg.records.folder import refuse_links
from nasseg.runs.scoring import Evaluation, class_report

__all__ = ["Evaluation", "class_report", "evaluate_run", "format_evaluation"]

log = logging.getLogger(__name__)


def evaluate_run(
    run: str | Path,
    *,
    side: Literal["val", "test"] | None = None,
    at: float | None = None,
    chips: int = 1,
    recalibrate: bool = True,
    tta: bool | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Score the network of a run folder.

    Args:
        run: run folder.
        side: ``val`` or ``test``; None: the one that the run's results are of.
        at: seconds after programming at which the analog network is scored; None: the digital
            one.
        chips: chips scored, the same ones as in ``drift.csv``; their output noise is drawn again.
        recalibrate: re-estimate BatchNorm statistics on each drifted chip.
        tta: classification: average over mirror images; None: as in the run.
        out: folder for ``evaluation.json`` and pictures; None: ``evaluation/`` of the run, or where
            that holds another evaluation, one beside it.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` of several.
        progress: show a bar.

    Raises:
        RunError: the folder holds no trained run.
        ConfigError: a value is not allowed.
        DataError: the images of the run cannot be used.
    """
    network = open_network(run, at, chips=chips, recalibrate=recalibrate, device=device)
    found = _scored(network, side, tta, chips, progress and at is not None)
    folder = _folder(found, Path(run), out)
    return dataclasses.replace(found, files=_write(found, network, folder))


def _folder(found: Evaluation, run: Path, out: str | Path | None) -> Path:
    """Return the folder of an evaluation, which holds no other one.

    Without ``out`` it is ``evaluation`` of the run or, where that holds another age, split or
    number of chips, ``evaluation-`` with these.

    Raises:
        ConfigError: ``out`` holds another evaluation.
    """
    if out is None:
        refuse_links(run)
        plain = run / "evaluation"
        if (other := _other(plain, found)) is None:
            return plain
        aged = [] if found.at is None else [f"{found.at:.15g}s", f"{found.chips}chips"]
        log.info("%s holds the evaluation of %s; this one is written beside it", plain, other)
        return run / "-".join(["evaluation", found.side, *aged])
    if (other := _other(Path(out), found)) is not None:
        raise ConfigError(
            f"out is {str(out)!r}, which holds the evaluation of {other}; choose another folder"
        )
    return Path(out)


def _other(folder: Path, found: Evaluation) -> str | None:
    """Return of what the evaluation in a folder is, where it is another one; None: it is not."""
    file = folder / "evaluation.json"
    try:
        known = read_object(file, error=RunError, fix="delete it to evaluate again")
    except FileNotFoundError:
        return None
    wanted = {"side": found.side, "at_s": found.at, "chips": found.chips}
    if all(known.get(key) == value for key, value in wanted.items()):
        return None
    return ", ".join(f"{key} {known.get(key)}" for key in wanted)


def _scored(
    network: Network | AgedNetwork,
    side: Literal["val", "test"] | None,
    tta: bool | None,
    chips: int,
    progress: bool,
) -> Evaluation:
    bars: list[tqdm[Any]] = []

    def show(metrics: dict[str, float]) -> None:
        if not bars:  # not before the images are read, which has messages of its own
            bars.append(tqdm(total=chips, desc="evaluate", unit="chip", disable=not progress))
        monitor = network.monitor
        bars[0].set_postfix({monitor: f"{metrics[monitor]:.4f}"}, refresh=False)
        bars[0].update()

    try:
        return network.evaluate(split=side, tta=tta, on_scores=show)
    finally:
        for bar in bars:
            bar.close()


def _write(found: Evaluation, network: Network | AgedNetwork, folder: Path) -> tuple[Path, ...]:
    """Write ``evaluation.json``; of one class an image, and of single nuclei, pictures too."""
    from nasseg.report import classification_pictures, fates_png

    files: list[Path] = []
    if found.answers is not None and found.calibration_error is not None:
        probabilities, labels = found.answers
        state = "digital" if found.at is None else "analog"
        pictures = classification_pictures(network.classes, labels, probabilities, state)
        files = [write_bytes(folder / f"{name}.png", data) for name, data in pictures.items()]
    if found.table is not None:
        found.table.write(folder / "images.csv")
        files.append(folder / "images.csv")
        if found.pictures:
            picture = fates_png(found.pictures, found.table.together().fates)
            files.append(write_bytes(folder / "fates.png", picture))
    path = folder / "evaluation.json"
    write_json(
        path,
        {
            "side": found.side,
            "images": found.images,
            "at_s": found.at,
            "chips": found.chips,
            "metrics": found.metrics,
            "classes": found.classes,
            "calibration_error": found.calibration_error,
            "kinds": found.kinds,
        },
    )
    return (path, *files)


def format_evaluation(found: Evaluation) -> str:
    """Metrics, also by kind of image and by class where there are several, for the terminal."""
    from nasseg.tasks import bad_chip, lower_is_better, metrics_of
    from nasseg.text import number, time_name

    what = "digital" if found.at is None else f"analog after {time_name(found.at)}"
    shown = metrics_of(found.metrics, task=found.task)
    errors = [title for key, title in shown if lower_is_better(key, found.task)]
    other = f"; {', '.join(errors)}: 95th" if errors else ""
    over = (
        f", mean ± std over {found.chips} chips [5th percentile{other}]" if found.chips > 1 else ""
    )
    lines = [f"{what}, {found.images} {found.side} images{over}"]
    for key, title in shown:
        value = found.metrics.get(key)
        if value is None:
            continue
        text = number(value["mean"], 4)
        if found.chips > 1:
            text += f" ± {number(value['std'], 4)} [{number(value[bad_chip(key, found.task)], 4)}]"
        lines.append(f"  {title:20}{text}")
    if found.kinds:
        wide = max(len(entry["kind"]) for entry in found.kinds)
        lines += ["", f"  {'':{wide}}{'images':>9}{''.join(f'{title:>16}' for _, title in shown)}"]
        for entry in found.kinds:
            means = [number(entry["metrics"][key]["mean"], 4) for key, _ in shown]
            cells = "".join(f"{mean:>16}" for mean in means)
            lines.append(f"  {entry['kind']:{wide}}{entry['images']:>9}{cells}")
    one = " (first chip)" if found.chips > 1 else ""
    if found.calibration_error is not None:
        lines.append(f"  {'calibration error':20}{number(found.calibration_error, 4)}{one}")
    if found.classes:
        wide = min(32, max(len(entry["name"]) for entry in found.classes))
        heads = "".join(f"{head:>11}" for head in ("images", "precision", "recall", "F1", "AUC"))
        lines += ["", f"  {'':{wide}}{heads}{one}"]
        for entry in found.classes:
            cells = "".join(
                f"{number(entry[key]):>11}" for key in ("precision", "recall", "f1", "auc")
            )
            lines.append(f"  {entry['name'][:wide]:{wide}}{entry['images']:>11}{cells}")
    return "\n".join(lines)
