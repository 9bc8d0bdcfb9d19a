"""``nasseg cost``: energy and time of an architecture on a crossbar chip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasseg.cli._command import Command, at_most, say
from nasseg.cli._flags import Flag, Given, whole
from nasseg.errors import ConfigError
from nasseg.io import write_bytes

if TYPE_CHECKING:
    from nasseg.evaluators import CostEvaluator, Estimate, Hardware, LayerCost
    from nasseg.search_spaces import SearchSpace


def _cost(given: Given, words: list[str]) -> int:
    if not words:
        raise ConfigError("which architecture? nasseg cost ARCH.json, a run folder, or a name")
    from nasseg.evaluators import CostEvaluator, Hardware

    chip = Hardware.load(given["hardware"])
    subject = read_subject(words[0], given)
    evaluator = CostEvaluator(
        subject.space,
        subject.in_channels,
        subject.out_channels,
        hardware=chip,
        input_size=(subject.image_size, subject.image_size),
        digital_layers=subject.digital_layers,
    )
    layers = evaluator.layer_costs(subject.arch)
    say(describe_cost(subject, evaluator, layers))
    if "figure" in given:
        from nasseg.report import cost_png

        title = f"{chip.name}: energy of one image of {subject.image_size} x {subject.image_size}"
        write_bytes(Path(given["figure"]), cost_png(layers, title))
        say(f"figure: {given['figure']}")
    return 0


def _png(name: str, value: str) -> str:
    if not value.endswith(".png"):
        raise ConfigError(f"{name} is {value!r}; allowed: a name that ends in .png")
    return value


def _layers(name: str, value: str) -> tuple[str, ...]:
    from nasseg.config import AnalogConfig

    if value == "auto" or not value.strip(" ,"):
        raise ConfigError(
            f"{name} is {value!r}; allowed: none, first, last, or names with commas between"
        )
    return AnalogConfig(digital_layers=value).named_digital_layers


@dataclass(frozen=True)
class Subject:
    """An architecture to estimate, with its input and output."""

    space: SearchSpace
    arch: dict[str, Any]
    in_channels: int
    out_channels: int
    image_size: int
    """Height and width of the image in pixels."""
    digital_layers: tuple[str, ...] = ()
    """Layers that are kept digital."""
    passes: float | None = None
    """Products that an image of the run takes over those of one pass, where it takes two."""


def read_subject(source: str, given: Given) -> Subject:
    """Read the architecture of a reference network, a JSON file or a run folder.

    Flags win over the settings of the run.

    Raises:
        ConfigError: there is no architecture.
        UnknownName: no such space.
    """
    from nasseg.records.architecture import read_arch
    from nasseg.search_spaces import get_space
    from nasseg.search_spaces.reference import reference_arch

    path = Path(source)
    defaults: dict[str, Any] = {
        "space": "unet",
        "channels": 3,
        "out_channels": 1,
        "image_size": 256,
        "digital_layers": (),
    }
    passes = None
    if reference_arch(source) is None and path.is_dir():
        defaults |= _of_run(path)
        passes = defaults.pop("passes")
        path = path / "best.json"
        if not path.exists():
            raise ConfigError(f"{path} is missing; run the search stage first")
    named, values = read_arch(str(path))
    if named is not None:
        defaults["space"] = named
    settings = {key: given.get(key, value) for key, value in defaults.items()}
    space = get_space(settings["space"])
    try:
        arch = space.canonical(values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error} (--space names the search space)") from None
    return Subject(
        space,
        arch,
        settings["channels"],
        settings["out_channels"],
        settings["image_size"],
        settings["digital_layers"],
        passes,
    )


def _of_run(folder: Path) -> dict[str, Any]:
    from nasseg.records.folder import RunFolder, read_run_config

    config = read_run_config(folder)
    opened = RunFolder(config, readonly=True)
    return {
        "space": config.search.space,
        "channels": config.data.channels,
        "out_channels": _out_channels(folder / "best.json", config.data.kind),
        "image_size": config.data.size,
        "digital_layers": opened.digital_layers,
        "passes": opened.stages.get("train", {}).get("passes"),
    }


def _out_channels(best: Path, kind: str) -> int:
    """Return the channels that the run recorded; runs that recorded none segment."""
    from nasseg.errors import NassegError
    from nasseg.records.best import Best
    from nasseg.tasks import get_task

    with suppress(FileNotFoundError, NassegError):
        if (known := Best.read(best).out_channels) is not None:
            return int(known)
    return get_task(kind).channels or 1


def describe_cost(subject: Subject, evaluator: CostEvaluator, layers: Sequence[LayerCost]) -> str:
    """Return the totals and the table of layers."""
    space, size = subject.space, subject.image_size
    head = (
        f"{space.name}/{space.arch_id(subject.arch)}, one image of {size} x {size}, "
        f"{subject.in_channels} to {subject.out_channels} channels"
    )
    return "\n".join(
        [
            head,
            _chip(evaluator.hardware),
            "",
            _totals(evaluator.estimate([subject.arch]), layers, subject.passes),
            "",
            format_layers(layers),
            "",
            "An estimate from published constants, no measurement; docs/hardware.md says what",
            "it leaves out.",
        ]
    )


def _chip(chip: Hardware) -> str:
    return (
        f"chip: {chip.name}; crossbars of {chip.tile_rows} x {chip.tile_columns} weights, "
        f"{chip.mvm_ns:g} ns a product"
    )


def _totals(cost: Estimate, layers: Sequence[LayerCost], passes: float | None) -> str:
    from nasseg.evaluators.estimate import COMPONENTS

    energy = float(cost.energy_uj[0])
    parts = [(part, float(getattr(cost, f"{part}_uj")[0])) for part in COMPONENTS]
    # A chip may be given without energies, for the sake of its times.
    shares = ", ".join(f"{part} {value / (energy or 1):.0%}" for part, value in parts)
    latency, interval = float(cost.latency_us[0]), float(cost.interval_us[0])
    digital = [layer for layer in layers if not layer.tiles]
    share = sum(layer.macs for layer in digital) / cost.macs[0]
    count = f"{len(digital)} layer{'s' * (len(digital) > 1)}"
    rows = (
        ("parameters", f"{cost.params[0]:,}"),
        ("MACs", f"{cost.macs[0]:,}"),
        *([("digital", f"{count}, {share:.2%} of the MACs")] if digital else ()),
        ("crossbars", f"{cost.tiles[0]:,}, of whose weights {cost.utilisation[0]:.1%} are used"),
        ("products", f"{cost.mvms[0]:,} of a crossbar with a vector"),
        ("energy", f"{_figure(energy)} uJ an image ({shares})"),
        *([("two passes", _of_both(passes, energy))] if passes else ()),
        ("efficiency", f"{2e-6 * cost.macs[0] / energy:.3g} TOPS/W" if energy else "unknown"),
        ("latency", f"{_figure(latency)} us, layer after layer"),
        (
            "pipeline",
            f"{_figure(interval)} us from image to image, {_figure(1e6 / interval)} a second",
        ),
    )
    return "\n".join(f"{name:12}{text}" for name, text in rows)


def _of_both(passes: float, energy: float) -> str:
    whole = _figure(passes * energy)
    return f"{passes:.2f} times that, {whole} uJ, for an image of the run (data.diameter)"


def format_layers(layers: Sequence[LayerCost]) -> str:
    """Return one line a layer; energies in microjoules, time in microseconds."""
    from nasseg.evaluators.estimate import COMPONENTS

    width = max(len("layer"), *(len(layer.name) for layer in layers))
    names = ("matrix", "positions", "tiles", "used", "mvms", "uJ", *COMPONENTS, "us")
    sizes = (9, 9, 5, 5, 8, 8, *(8 for _ in COMPONENTS), 8)
    lines = ["  ".join([f"{'layer':{width}}", *_right(names, sizes)])]
    for layer in layers:
        cells = (
            f"{layer.rows}x{layer.columns}" if layer.tiles else "digital",
            f"{layer.positions}",
            f"{layer.tiles}",
            f"{layer.utilisation:.0%}",
            f"{layer.mvms}",
            *(f"{value:.3g}" for value in (layer.energy_uj, *layer.energy.values())),
            f"{layer.latency_us:.5g}",
        )
        lines.append("  ".join([f"{layer.name:{width}}", *_right(cells, sizes)]))
    return "\n".join(lines)


def _figure(value: float) -> str:
    """Return three figures at least, without an exponent for large values."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _right(cells: Sequence[str], sizes: Sequence[int]) -> list[str]:
    return [f"{cell:>{size}}" for cell, size in zip(cells, sizes, strict=True)]


COMMAND = Command(
    name="cost",
    purpose="energy and time of an architecture on a crossbar chip",
    usage="ARCH.json|RUN|NAME [--hardware CHIP]",
    description=(
        "Estimate crossbars, energy and time of an architecture (a JSON file, that of a run "
        "folder, or a reference network such as resnet18) on a chip, in all and layer by "
        "layer. No measurement: docs/hardware.md says how, and what is left out."
    ),
    flags=(
        Flag("space", "NAME", "Search space of a file's architecture. [unet; a run's own]"),
        Flag(
            "image_size",
            "N",
            "Side of the image in pixels. [256; what a run is trained on]",
            whole(16),
        ),
        Flag("channels", "N", "Image channels. [3; a run's own]", whole(1)),
        Flag("out_channels", "N", "Output channels. [1; a run's own]", whole(1)),
        Flag(
            "hardware",
            "CHIP",
            "hermes, hermes_1phase, isaac, or a YAML file.",
            default="hermes",
        ),
        Flag(
            "digital_layers",
            "NAMES",
            "Layers kept digital: first, last, or names of modules with commas between; or "
            "none. [none; a run's own]",
            _layers,
        ),
        Flag("figure", "FILE.png", "Also draw the energy of every layer.", _png),
    ),
    run=_cost,
    check_words=at_most(1),
)
