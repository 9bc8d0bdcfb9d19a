"""The section of seed, effort and command behind every number."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from nasseg.config import RunConfig, aliases, flatten, to_dict
from nasseg.config.reading import following_defaults
from nasseg.records.run_files import RunFiles
from nasseg.report._numbers import chips_of
from nasseg.report.markup import count_text
from nasseg.report.sections.base import Section
from nasseg.text import duration_name, time_name


def budget(run: RunFiles) -> list[tuple[str, str]]:
    """Seed and effort behind every number."""
    setting = run.setting
    summary = run.summary or {}
    counts = _images(run)
    images = [
        f"{count_text(counts[key])} {name}"
        for key, name in (("train", "training"), ("val", "validation"), ("test", "test"))
        if counts.get(key) is not None
    ]
    size, crop = setting("data.image_size"), setting("data.crop")
    scale = f"crops of {crop} x {crop} pixels" if crop else f"{size} x {size} pixels"
    optimizer = "Muon" if setting("train.optimizer") == "muon" else "AdamW"
    source = summary.get("data") or setting("data.path") or "synthetic nuclei"
    facts = [
        ("seed", str(setting("seed"))),
        (
            "data",
            f"{source}; {scale}, {setting('data.channels')} channels"
            + (f"; {', '.join(images)} images" if images else ""),
        ),
        (
            "search",
            _search_budget(run),
        ),
        (
            "digital training",
            f"{setting('train.epochs')} epochs, batch {setting('train.batch_size')}, "
            f"{optimizer}, peak learning rate {setting('train.lr')}",
        ),
        (
            "hardware-aware retraining",
            f"{setting('analog.epochs')} epochs, preset {setting('analog.preset')}, weight noise "
            f"{_weight_noise(run)}, peak learning rate {setting('analog.lr')}",
        ),
        ("drift", f"{chips_of(run)} programmed chips, {_times(setting('drift.times'))}"),
    ]
    seconds = summary.get("seconds")
    if isinstance(seconds, dict) and seconds:
        parts = [f"{stage} {duration_name(float(taken))}" for stage, taken in seconds.items()]
        facts.append(("wall-clock time", ", ".join(parts)))
    return facts


def _images(run: RunFiles) -> Mapping[str, Any]:
    counts = (run.summary or {}).get("images")
    return counts if isinstance(counts, Mapping) else {}


def _scored_on(run: RunFiles) -> str:
    """The images that scores are of."""
    counts = _images(run)
    split, name = ("test", "test") if counts.get("test") else ("val", "validation")
    scored = counts.get(split)
    return f"{scored:,} {name} images" if scored else f"the {name} images"


def _search_budget(run: RunFiles) -> str:
    setting = run.setting
    space = f"space {setting('search.space')}"
    if setting("search.arch"):
        return f"architecture given: {setting('search.arch')}"
    if setting("search.budget") not in (None, "0"):
        return (
            f"{setting('search.budget')} (see below), sampler {setting('search.sampler')}, {space}"
        )
    if setting("search.measure"):
        how = f"{setting('search.measure')} architectures measured"
        if setting("search.strategy") == "darts":
            epochs = setting("search.darts_epochs")
            return f"{how}, proposed by a supernet of {epochs} epochs, {space}"
        return f"{how}, sampler {setting('search.sampler')}, {space}"
    if setting("search.strategy") == "darts":
        return f"a supernet, {setting('search.darts_epochs')} epochs, {space}"
    generations = f"{setting('search.nb_iter')} generations"
    if setting("search.strategy") == "random":
        return (
            f"as many random architectures as {setting('search.runs')} evolutions of {generations} "
            f"have, {space}"
        )
    return (
        f"{setting('search.runs')} evolutions of {generations}, population "
        f"{setting('search.population_size')}, {space}"
    )


def _weight_noise(run: RunFiles) -> str:
    if run.setting("analog.noise") == "memory":
        return f"{run.setting('analog.noise_scale')} x that of the memory"
    return f"Gaussian, {run.setting('analog.weight_noise')} of the largest weight"


def _times(times: Any) -> str:
    if not isinstance(times, (list, tuple)):
        return "times unknown"
    return ", ".join(time_name(float(time)) for time in times)


def command_words(run: RunFiles) -> str:
    """Return the command of this run as one line for a shell."""
    said = flatten(run.config or {})
    default = {**flatten(to_dict(RunConfig())), **following_defaults(RunConfig, said)}
    # Made out from others where it is not said.
    default["search.budget"] = None
    words = ["nasseg", "run"]
    short = {
        key: name.replace("_", "-")
        for name, key in aliases(RunConfig).items()
        if key.startswith("data.")
    }
    for key, value in said.items():
        if key not in default or default[key] != value:
            words += [f"--{short.get(key, key)}", _as_flag(value)]
    return shlex.join(words)


def _as_flag(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(item if isinstance(item, str) else f"{item:.16g}" for item in value)
    return str(value)


class BudgetSection(Section):
    """What a run took, and how to make it again."""

    title = "Seed, budget, command"
    template = "budget.html.j2"
    files = ("config.yaml",)

    def values(self, run: RunFiles) -> Mapping[str, Any]:
        """Facts of the effort, and the command with every setting that is not the default."""
        if run.config is None:
            return {"facts": []}
        return {
            "facts": budget(run),
            "scored_on": _scored_on(run),
            "command": command_words(run),
        }
