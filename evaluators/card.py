"""The model card of a surrogate: what it was fitted to, how far to trust it, what it looks at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasseg.evaluators.boosting import TREND, cross_validate, tau
from nasseg.evaluators.features import LOW_FIDELITY
from nasseg.io import write_bytes, write_text

if TYPE_CHECKING:
    from nasseg.evaluators.tables import Table
    from nasseg.evaluators.xgboost import XGBoostEvaluator

_OF = {"normal_scores": "of the normal scores of the ranks", "values": "of the values"}
SHOWN = 15
"""Features in the picture."""


def write_card(evaluator: XGBoostEvaluator, table: Table, folder: str | Path) -> Path:
    """Write ``card.md`` and ``importance.png`` beside the weights.

    Args:
        evaluator: fitted.
        table: what it was fitted to.
        folder: of the surrogate.
    """
    schema, target = evaluator.schema, Path(folder)
    X = evaluator.features.matrix(table.X)
    day1 = table.scores.day1
    names = evaluator.features.names
    params, macs = (X[:, names.index(name)] for name in ("log_params", "log_macs"))
    ranking = cross_validate(
        X,
        day1,
        schema["cross_validation"]["folds"],
        schema["seed"],
        repeats=max(1, schema["cross_validation"]["repeats"]),
        params={**schema["hyperparameters"], "objective": "rank:pairwise"},
    )[0]
    metric = schema.get("metric")
    images = schema.get("images")
    measured = f"architectures measured on {images}" if images else "measured architectures"
    said = f" `day1`, `std` and `p05` are of the metric `{metric}`." if metric else ""
    lines = [
        f"# Surrogate of `{schema['space']['name']}`, version {schema['space']['version']}\n",
        f"Fitted to {schema['n']} {measured} (their table is "
        f"`{(schema['table'] or {}).get('file', 'not kept')}`), by gradient-boosted trees "
        f"(xgboost {schema['xgboost']}).{said}\n",
        "| | range in the table | Kendall's tau, held out |",
        "|---|---|---|",
    ]
    for name, entry in schema["targets"].items():
        lines.append(
            f"| {name} | {entry['min']:.4g} to {entry['max']:.4g} | "
            f"{_number(entry['tau_mean'])} ± {_number(entry['tau_std'])} |"
        )
    uncertainty, noise = schema["uncertainty"], table.noise
    short, led = schema.get("low_fidelity"), TREND in schema["hyperparameters"]
    if short is not None:
        alone = X[:, names.index(LOW_FIDELITY)].astype(np.float64)
        lines += [
            "",
            f"One of its inputs, `{LOW_FIDELITY}`, is what short trainings of {short['n']} other "
            "architectures make expect: trees fitted to these rank held-out ones of their own "
            f"with a tau of {_number(short['tau_mean'])}, and those of this table, by `day1`, with "
            f"{_number(tau(day1, alone))}. "
            + (
                "Every head follows a straight line over it first, in the unit that it learns, "
                "and trees learn what that leaves."
                if led
                else "A straight line over it first would rank held-out ones less well."
            ),
        ]
    lines += [
        "",
        "Beside it, tau of `day1`:\n",
        f"- trees that learn the order of pairs: {_number(ranking)}",
        f"- the number of parameters alone: {_number(tau(day1, params.astype(np.float64)))}",
        "- the multiply-accumulates per pixel alone: "
        f"{_number(tau(day1, macs.astype(np.float64)))}",
        *(
            [
                f"- a second measurement with another seed: {_number(noise.agreement)} "
                f"({noise.several} architectures have several), so that the true values would have "
                f"{_number(noise.ceiling)} (the noise ceiling of single measurements)"
            ]
            if math.isfinite(noise.ceiling)
            else []
        ),
        "",
        f"Intervals of 90 % for `day1` hold {_number(uncertainty['coverage'], 3)} of held-out "
        f"architectures; their error out of bag is {uncertainty['error']:.4f} (root mean square). "
        "An architecture farther from those of the table than 99 % of them are from their "
        "neighbours is flagged as outside. The winner of a search was picked for a high "
        "prediction, so more often than not it is less good than predicted.",
        "",
        "Hyperparameters: "
        + ", ".join(
            f"{key} {value}" for key, value in schema["hyperparameters"].items() if key != TREND
        )
        + ".",
        "",
        "![importance](importance.png)",
        "",
        "Gain of each feature in the head of `day1`: what its splits take off the squared error "
        f"{_OF[schema['hyperparameters']['response']]}, as a share of all"
        + (f"; what the line over `{LOW_FIDELITY}` explains comes first." if led else "."),
        "",
    ]
    write_bytes(target / "importance.png", _picture(evaluator))
    return write_text(target / "card.md", "\n".join(lines))


def importance(evaluator: XGBoostEvaluator) -> dict[str, float]:
    """Share of each feature in the gain of the ``day1`` head, largest first."""
    gains = evaluator.heads["day1"].get_score(importance_type="total_gain")
    total = sum(gains.values()) or 1.0
    shares = {evaluator.features.names[int(key[1:])]: v / total for key, v in gains.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _picture(evaluator: XGBoostEvaluator) -> bytes:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = list(importance(evaluator).items())[:SHOWN]
    figure = Figure(figsize=(6, 0.3 * len(shares) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.barh([name for name, _ in shares][::-1], [share for _, share in shares][::-1], color="C0")
    axis.set_xlabel("share of the gain")
    axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130)
    return buffer.getvalue()


def _number(value: Any, digits: int = 2) -> str:
    known = value is not None and math.isfinite(value)
    return f"{value:.{digits}f}" if known else "unknown"
