"""What lies behind the numbers: architecture, search, coverage, pictures, budget, command."""

from __future__ import annotations

import base64
import shlex
from html import escape
from typing import Any

from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles
from nasseg.report._classes import STATES, shown_cells
from nasseg.report._html import count_text, definitions, in_words, row, table
from nasseg.report._numbers import chips_of
from nasseg.report._overlay import png
from nasseg.report._panels import COLUMNS, colour_key, panel_rows
from nasseg.text import duration_name, number, time_name


def architecture_table(run: RunFiles) -> str:
    """Active hyperparameters; inactive ones (0) are left out."""
    arch = (run.best or Best()).arch
    if arch is None:
        return ""
    items = [(key, value) for key, value in arch.items() if value != 0]
    cells = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in items)
    return f"<details><summary>Hyperparameters</summary><dl>{cells}</dl></details>"


def search_facts(run: RunFiles) -> str:
    """What the search did and predicted."""
    best = run.best or Best()
    facts: list[tuple[str, str]] = []
    for scores, metric, title in (
        (best.predicted, run.predicted_title, "predicted for the winner"),
        (best.measured, run.measured_title, "measured of the winner, after short training"),
    ):
        if not scores:
            continue
        parts = [
            f"{name} {number(scores.get(score), digits)}"
            for score, name, digits in (
                ("day1", f"{metric} after a day", 3),
                ("avm", "one-month variation (points)", 2),
                ("std", "chip-to-chip std", 3),
            )
            if scores.get(score) is not None
        ]
        facts.append((title, ", ".join(parts)))
    interval = best.interval
    if interval.get("low") is not None:
        text = f"{number(interval['low'], 3)} to {number(interval.get('high'), 3)}"
        if interval.get("outside"):
            text += "; unlike every architecture that was measured, so a guess"
        if interval.get("held") is not None:
            text += f" (such intervals held {number(100 * interval['held'], 0)} % of held-out ones)"
        facts.append(("interval of 90 %", text))
    surrogate = best.surrogate
    if surrogate.get("n") is not None:
        text = f"fitted to {in_words(surrogate['n'])} measured architectures"
        if taus := in_words({k: v for k, v in (surrogate.get("tau") or {}).items() if v}):
            text += f"; cross-validated Kendall tau: {taus}"
        facts.append(("surrogate", text))
    for key, name in (("runs", "evolutions"), ("budget", "budget")):
        if text := in_words(best.search.get(key)):
            facts.append((name, text))
    return definitions(facts)


def coverage_table(run: RunFiles) -> str:
    """Every layer: where it runs and why."""
    coverage = run.coverage or {}
    layers = coverage.get("layers") or []
    if not layers:
        return ""
    body = []
    for layer in layers:
        analog = bool(layer.get("analog"))
        cells = [
            f"<code>{escape(str(layer.get('name', '')))}</code>",
            escape(str(layer.get("type", ""))),
            "analog" if analog else "digital",
            count_text(layer.get("macs")),
            count_text(layer.get("weights")),
            count_text(layer.get("tiles")),
            escape(str(layer.get("why") or "")),
        ]
        body.append(row(cells, (1, 2, 6), "" if analog else "off"))
    shares = ", ".join(
        f"{100 * float(coverage[key]):.2f} % of the {name}"
        for key, name in (
            ("mac_fraction", "multiply-accumulates"),
            ("weight_fraction", "weights"),
        )
        if coverage.get(key) is not None
    )
    tiles = sum(int(layer.get("tiles") or 0) for layer in layers)
    on = sum(bool(layer.get("analog")) for layer in layers)
    intro = f"<p>{shares} run on {tiles:,} analog tiles ({on} of {len(layers)} layers).</p>"
    head = ["layer", "type", "runs", "MACs", "weights", "tiles", "why"]
    full = table(head, body, (1, 2, 6))
    return f"{intro}<details{' open' if len(layers) <= 40 else ''}><summary>Layers</summary>" + (
        f"{full}</details>"
    )


def panels_grid(run: RunFiles) -> str:
    """Pictures at their own resolution, scaled by the browser without smoothing."""
    if run.panels is None or len(run.panels["images"]) == 0:
        return ""
    cells = [f'<div class="head">{escape(name)}</div>' for name in COLUMNS]
    for name, pictures in panel_rows(run.panels):
        for column, (picture, score) in zip(COLUMNS, pictures, strict=True):
            data = base64.b64encode(png(picture)).decode("ascii")
            caption = f"Dice {score:.3f}" if score is not None else ""
            if column == "image":
                caption = name
            cells.append(
                f'<figure><img alt="{escape(column)} of {escape(name)}" '
                f'src="data:image/png;base64,{data}"><figcaption title="{escape(caption)}">'
                f"{escape(caption) or '&nbsp;'}</figcaption></figure>"
            )
    key = "".join(
        f'<span class="key" style="background:rgb{colour}"></span>{escape(name)}'
        for colour, name in colour_key(run.panels)
    )
    told = "Digital and analog masks (probability above 0.5), in colour where they differ from the "
    told += "label:"
    if "pixel_classes" in run.panels:
        told = "Classes of the pixels; Dice is the mean over those in the mask or the label:"
    return f'<div class="panels">{"".join(cells)}</div><p class="note">{told}{key}</p>'


def class_grid(run: RunFiles) -> str:
    """Classified images with their true class and what was said of them."""
    if run.panels is None or len(run.panels["images"]) == 0:
        return ""
    cells = []
    for cell in shown_cells(run.panels):
        data = base64.b64encode(png(cell["picture"])).decode("ascii")
        said = "".join(
            f'<br><span class="{"" if cell["said"][key]["right"] else "wrong"}">'
            f"{escape(title)}: {escape(cell['said'][key]['text'])}</span>"
            for key, title in STATES
        )
        cells.append(
            f'<figure><img alt="{escape(cell["id"])}" src="data:image/png;base64,{data}">'
            f'<figcaption title="{escape(cell["id"])}"><b>{escape(cell["true"])}</b>{said}'
            "</figcaption></figure>"
        )
    return f'<div class="panels classes">{"".join(cells)}</div>'


def budget(run: RunFiles) -> str:
    """Seed and effort behind every number."""
    if run.config is None:
        return ""
    setting = run.setting
    summary = run.summary or {}
    counts = summary.get("images")
    counts = counts if isinstance(counts, dict) else {}
    images = [
        f"{count_text(counts[key])} {name}"
        for key, name in (("train", "training"), ("val", "validation"), ("test", "test"))
        if counts.get(key) is not None
    ]
    size, crop = setting("data.image_size"), setting("data.crop")
    scale = f"crops of {crop} x {crop} pixels" if crop else f"{size} x {size} pixels"
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
            f"AdamW, peak learning rate {setting('train.lr')}",
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
    side, name = ("test", "test") if counts.get("test") else ("val", "validation")
    scored = counts.get(side)
    on = f" on {scored:,} {name} images" if scored else f" on the {name} images"
    note = f'<p class="note">Every score in this report was measured{on} with this seed.</p>'
    return definitions(facts) + note


def _search_budget(run: RunFiles) -> str:
    setting = run.setting
    space = f"space {setting('search.space')}"
    if setting("search.arch"):
        return f"architecture given: {setting('search.arch')}"
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


def reproduce_command(run: RunFiles) -> str:
    """The command of this run: every setting that is not the default, as a flag."""
    return f"<pre>{escape(command_words(run))}</pre>" if run.config is not None else ""


def command_words(run: RunFiles) -> str:
    """The command of this run as one line for a shell."""
    from nasseg.config import RunConfig, flatten, to_dict
    from nasseg.config.reading import following_defaults

    said = flatten(run.config or {})
    default = {**flatten(to_dict(RunConfig())), **following_defaults(RunConfig, said)}
    words = ["nasseg", "run"]
    short = {
        "data.path": "data",
        "data.image_size": "image-size",
        "data.crop": "crop",
        "data.channels": "channels",
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
