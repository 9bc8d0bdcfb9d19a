"""Scores predicted by gradient-boosted trees, as in AnalogNAS (Benmeziane et al. 2023).

Heads for the 1-day metric, the AVM, the chip-to-chip standard deviation and, where the table has
it, the 5th percentile chip are fitted to a table of measured architectures; an ensemble says how
far off the 1-day metric may be. A fitted surrogate is a folder: one UBJ model a head, those of the
ensemble, ``schema.json`` that says what they were fitted to and how well they rank, and the table.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb

from nasseg.errors import ConfigError
from nasseg.evaluators.base import Arch, Evaluator, Matrix
from nasseg.evaluators.boosting import (
    TREND,
    check_rows,
    cross_validate,
    fit_head,
    hyperparameters,
    predict,
    tune,
)
from nasseg.evaluators.ensemble import Ensemble, Prediction, coverage
from nasseg.evaluators.features import Features
from nasseg.evaluators.low_fidelity import LowFidelity, fit_low_fidelity
from nasseg.evaluators.scores import FloatArray, Scores
from nasseg.evaluators.tables import MORE, TARGETS, read_tables
from nasseg.evaluators.ubj import check_model
from nasseg.files.forms import is_number, is_text, is_whole
from nasseg.files.readers import checked, read_bytes, read_json
from nasseg.io import write_bytes, write_json

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

FORMAT = 3
SCHEMA_FILE = "schema.json"
TABLE_FILE = "table.csv"
LOW_FIDELITY_FILE = "low_fidelity.ubj"

_SKEWED = {"std": {"response": "values"}}
"""Hyperparameters of heads that are not the default's. The spread over chips has a long tail and no
group of failures: ranks would cost rank correlation (0.05 on 93 architectures of NASSeg-Bench) and
make most predictions too low."""

__all__ = ["XGBoostEvaluator", "cross_validate", "fit_table", "read_schema"]


class XGBoostEvaluator(Evaluator):
    """Predicts ``day1``, ``avm``, ``std`` and ``p05`` from the encoding of an architecture.

    Args:
        space: The space of the architectures.
        nthread: Threads for fitting and predicting.
        low_fidelity: What short trainings of other architectures say, as one more input.
    """

    def __init__(
        self, space: SearchSpace, nthread: int = 1, low_fidelity: LowFidelity | None = None
    ) -> None:
        if nthread < 1:
            raise ConfigError(f"nthread is {nthread!r}; allowed: 1 or more")
        self.space = space
        self.nthread = nthread
        self.features = Features(space, low_fidelity=low_fidelity)
        """What the heads see of an encoded architecture."""
        self._ensemble: Ensemble | None = None
        self.schema: dict[str, Any] = {}
        """What the heads were fitted to, as ``schema.json`` has it; empty until fitted."""
        self._heads: dict[str, xgb.Booster] = {}

    def fit(
        self,
        archs: Sequence[Arch] | Matrix,
        scores: Scores,
        seed: int = 0,
        *,
        params: Mapping[str, Any] | None = None,
        tuned: bool = False,
        folds: int = 5,
        repeats: int = 3,
    ) -> XGBoostEvaluator:
        """Fit the heads; returns the evaluator itself.

        Args:
            archs: ``n`` architectures, or their encoding ``(n, F)``.
            scores: Their scores, with ``day1``, ``avm`` and ``std`` known in every row; ``p05``
                gets a head too where it is.
            seed: Seed of the trees and of the folds.
            params: Changes to the default hyperparameters.
            tuned: Choose the hyperparameters of each head by cross-validation. The tau and the
                coverage that are stated are then of one cross-validation around that choice.
            folds: Folds of the cross-validation that says how well a head ranks.
            repeats: Divisions into folds; 0 = no cross-validation (tau and coverage are unknown).
                It also says whether the heads follow a line over the low fidelity first, where
                there is one; without it they do.

        Raises:
            ConfigError: too few architectures, values not finite, unknown hyperparameter.
        """
        X = self.features.matrix(self._encoded(archs))
        for name in TARGETS:
            check_rows(X, getattr(scores, name), name)
        names = [*TARGETS, *(n for n in MORE if np.isfinite(getattr(scores, n)).all())]
        if not hyperparameters(params)["objective"].startswith("reg:"):
            raise ConfigError(
                f"objective is {(params or {})['objective']!r}, which predicts an order and no "
                "values; allowed: reg:squarederror, reg:absoluteerror"
            )
        repeats = min(repeats, 1) if tuned else repeats
        params = dict(params or {})

        def rank(y: FloatArray, own: Mapping[str, Any], choosing: bool) -> tuple[float, float]:
            if not repeats:
                return math.nan, math.nan
            more: dict[str, Any] = {"repeats": repeats, "tuned": choosing, "nthread": self.nthread}
            return cross_validate(X, y, folds, seed, params=own, **more)

        known: dict[str, tuple[float, float]] = {}
        if self.features.trend is not None and TREND not in params:
            # A line first is worth much where there are few rows, and in the way where trees have
            # enough of them to learn from.
            led = {**params, TREND: self.features.trend}
            by_line, without = (rank(scores.day1, own, False) for own in (led, params))
            found, params = (without, params) if without[0] > by_line[0] else (by_line, led)
            if not tuned:
                known["day1"] = found
        heads, targets = {}, {}
        chosen: dict[str, Any] = {}
        for name in names:
            y = getattr(scores, name)
            own = {**_SKEWED.get(name, {}), **params}
            inner = tune(X, y, seed, base=own, nthread=self.nthread) if tuned else own
            if name == "day1":
                chosen = inner
            mean, std = known.get(name) or rank(y, own, tuned)
            heads[name] = fit_head(X, y, inner, seed, self.nthread)
            targets[name] = {
                "file": f"{name}.ubj",
                "min": float(y.min()),
                "max": float(y.max()),
                "tau_mean": _finite(mean),
                "tau_std": _finite(std),
                "hyperparameters": hyperparameters(inner, len(X)),
            }
        self._heads = heads
        ensemble = Ensemble(params=chosen, nthread=self.nthread, groups=self.features.groups)
        self._ensemble = ensemble.fit(X, scores.day1, seed)
        covered = math.nan
        if repeats:
            covered = coverage(
                X, scores.day1, folds, seed, params=params, tuned=tuned, nthread=self.nthread
            )
        self.schema = {
            "format": FORMAT,
            "space": {"name": self.space.name, "version": self.space.version},
            "features": list(self.space.feature_names),
            "inputs": list(self.features.names),
            "targets": targets,
            "uncertainty": {
                "of": "day1",
                "interval": 0.9,
                "coverage": _finite(covered),
                "error": self._ensemble.error,
            },
            "n": len(X),
            "seed": seed,
            "cross_validation": {"folds": folds, "repeats": repeats},
            "hyperparameters": hyperparameters(chosen, len(X)),
            "tuned": tuned,
            "xgboost": xgb.__version__,
            "table": None,
        }
        if self.features.low_fidelity is not None:
            self.schema["low_fidelity"] = self.features.low_fidelity.facts
        return self

    def evaluate(self, archs: Sequence[Arch]) -> Scores:
        """Scores with the heads' predictions, of ``n`` architectures."""
        return self.evaluate_matrix(self.space.encode(archs))

    def evaluate_matrix(self, X: Matrix) -> Scores:
        """As :meth:`evaluate`, of float32 rows ``(n, F)``.

        Raises:
            ConfigError: not fitted, or the number of columns is not the space's.
        """
        if not self._heads:
            raise ConfigError("the surrogate is not fitted; call fit() or XGBoostEvaluator.load()")
        X = self.features.matrix(self._encoded(X))
        return Scores.of(len(X), **{name: predict(head, X) for name, head in self._heads.items()})

    def predict_day1(self, archs: Sequence[Arch] | Matrix) -> Prediction:
        """The 1-day metric with its uncertainty, of architectures or float32 rows ``(n, F)``.

        The mean is the ensemble's, each of whose members saw a part of the table, and differs from
        the head's.

        Raises:
            ConfigError: not fitted, or the number of columns is not the space's.
        """
        if self._ensemble is None:
            raise ConfigError("the surrogate is not fitted; call fit() or XGBoostEvaluator.load()")
        return self._ensemble.predict(self.features.matrix(self._encoded(archs)))

    @property
    def heads(self) -> Mapping[str, xgb.Booster]:
        """The fitted models by target."""
        return self._heads

    def tau(self, target: str = "day1") -> float:
        """Cross-validated Kendall tau of a head; NaN where it was not measured."""
        value = self.schema["targets"][target]["tau_mean"]
        return math.nan if value is None else float(value)

    def save(self, folder: str | Path, table: bytes | None = None) -> Path:
        """Write the surrogate as a folder, with the CSV ``table`` it was fitted to.

        ``schema.json`` is written last and holds the hash of every model and of the table, so that
        a folder interrupted half-way is never loaded.
        """
        if not self._heads:
            raise ConfigError("the surrogate is not fitted; there is nothing to save")
        target = Path(folder)
        schema = {**self.schema, "targets": {}}
        for name, head in self._heads.items():
            model = bytes(head.save_raw("ubj"))
            write_bytes(target / f"{name}.ubj", model)
            schema["targets"][name] = {**self.schema["targets"][name], "sha256": _sha256(model)}
        if self._ensemble is not None:
            state, models = self._ensemble.dump()
            files = {}
            for k, model in enumerate(models):
                files[f"ensemble{k}.ubj"] = _sha256(model)
                write_bytes(target / f"ensemble{k}.ubj", model)
            schema["uncertainty"] = {**schema["uncertainty"], **state, "files": files}
        if self.features.low_fidelity is not None:
            model = bytes(self.features.low_fidelity.head.save_raw("ubj"))
            write_bytes(target / LOW_FIDELITY_FILE, model)
            told = {"file": LOW_FIDELITY_FILE, "sha256": _sha256(model)}
            schema["low_fidelity"] = {**schema["low_fidelity"], **told}
        if table is not None:
            write_bytes(target / TABLE_FILE, table)
            schema["table"] = {"file": TABLE_FILE, "sha256": _sha256(table)}
        write_json(target / SCHEMA_FILE, schema)
        self.schema = schema
        return target

    @classmethod
    def load(
        cls, folder: str | Path, space: SearchSpace | None = None, nthread: int = 1
    ) -> XGBoostEvaluator:
        """Read a surrogate from its folder.

        Args:
            folder: What :meth:`save` wrote.
            space: The space it shall score; none = the one named in its schema.
            nthread: Threads for predicting.

        Raises:
            ConfigError: no surrogate there, a damaged file, or one of another space, version or
                encoding; the message names what differs.
        """
        source = Path(folder)
        schema = read_schema(source)
        if space is None:
            from nasseg.search_spaces import get_space

            space = get_space(schema["space"]["name"])
        _check_space(source, schema, space)
        evaluator = cls(space, nthread)
        short = _read_low_fidelity(source, schema, nthread)
        try:
            evaluator.features = Features.named(schema["inputs"], space, low_fidelity=short)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        width = len(schema["inputs"])
        for name, entry in schema["targets"].items():
            evaluator._heads[name] = _read_head(
                source, entry["file"], entry["sha256"], f"{name} head", nthread, width
            )
        uncertainty = schema["uncertainty"]
        if missing := [key for key in Ensemble.STATE if key not in uncertainty]:
            raise ConfigError(f"{source / SCHEMA_FILE}: uncertainty lacks {', '.join(missing)}")
        members = [
            _read_head(source, file, sha256, "ensemble", nthread, width)
            for file, sha256 in uncertainty["files"].items()
        ]
        evaluator._ensemble = Ensemble.restore(uncertainty, members)
        evaluator.schema = schema
        return evaluator

    def _encoded(self, archs: Sequence[Arch] | Matrix) -> Matrix:
        X = archs if isinstance(archs, np.ndarray) else self.space.encode(archs)
        X = np.ascontiguousarray(X, dtype=np.float32)
        if X.ndim != 2 or X.shape[1] != len(self.space.feature_names):
            raise ConfigError(
                f"features of shape {X.shape}; allowed for {self.space.name!r}: "
                f"(n, {len(self.space.feature_names)})"
            )
        return X


def fit_table(
    path: str | Path | Sequence[str | Path],
    space: SearchSpace,
    out: str | Path | None = None,
    seed: int = 0,
    *,
    tuned: bool = False,
    low_fidelity: str | Path | None = None,
    images: str | None = None,
) -> XGBoostEvaluator:
    """Fit a surrogate to one or more tables; write its folder ``out`` with a copy of them and a
    model card (:func:`~nasseg.evaluators.card.write_card`).

    The columns are those of :func:`~nasseg.evaluators.tables.read_table`. ``low_fidelity`` is a
    table of short trainings (:func:`~nasseg.evaluators.low_fidelity.fit_low_fidelity`), what is
    learned from it one more input. ``images`` says in words of which images the scores are, as in
    "DSB2018 at 32 x 32"; every prediction is reported with it.
    """
    table = read_tables([path] if isinstance(path, str | Path) else list(path), space)
    short = None
    if low_fidelity is not None:
        short = fit_low_fidelity(low_fidelity, Features(space), table.X, seed)
    evaluator = XGBoostEvaluator(space, low_fidelity=short).fit(
        table.X, table.scores, seed, tuned=tuned
    )
    if table.metric:
        evaluator.schema["metric"] = table.metric
    if images:
        evaluator.schema["images"] = images
    if out is not None:
        from nasseg.evaluators.card import write_card

        evaluator.save(out, table.data)
        write_card(evaluator, table, out)
    return evaluator


_FORM: dict[str, Any] = {
    "space": {"!name": is_text},
    "features": [is_text],
    "inputs": [is_text],
    "targets": {"*": {"!file": is_text, "!sha256": is_text, "tau_mean": (is_number,)}},
    "uncertainty": {"files": {"*": is_text}},
    "n": is_whole,
}
"""Of ``schema.json``, as far as a surrogate is loaded by it."""


def read_schema(folder: str | Path) -> dict[str, Any]:
    """The checked ``schema.json`` of a surrogate's folder."""
    file = Path(folder) / SCHEMA_FILE
    fix = "`nasseg fit` writes one"
    try:
        schema = read_json(file, error=ConfigError, fix=fix)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{file}: no readable surrogate there ({error.strerror}); {fix}"
        ) from None
    if not isinstance(schema, dict) or schema.get("format") != FORMAT:
        found = schema.get("format") if isinstance(schema, dict) else schema
        raise ConfigError(
            f"{file}: format is {found!r}; allowed: {FORMAT} (`nasseg fit` writes it)"
        )
    for key in ("space", "features", "inputs", "targets", "uncertainty"):
        if key not in schema:
            raise ConfigError(f"{file}: key {key!r} is missing")
    checked(file, schema, _FORM, error=ConfigError, fix=fix)
    missing = [name for name in TARGETS if name not in schema["targets"]]
    if missing:
        raise ConfigError(f"{file}: targets lack {', '.join(missing)}")
    return schema


def _check_space(folder: Path, schema: Mapping[str, Any], space: SearchSpace) -> None:
    differs = []
    named = schema["space"]
    if named["name"] != space.name:
        differs.append(f"space {named['name']!r} instead of {space.name!r}")
    if named["version"] != space.version:
        differs.append(f"version {named['version']} of the space instead of {space.version}")
    fitted, current = list(schema["features"]), list(space.feature_names)
    if gone := [name for name in fitted if name not in current]:
        differs.append(f"features the space no longer has: {', '.join(gone)}")
    if new := [name for name in current if name not in fitted]:
        differs.append(f"features it was not fitted to: {', '.join(new)}")
    if not gone and not new and fitted != current:
        moved = [a for a, b in zip(fitted, current, strict=False) if a != b]
        differs.append(f"features in another order: {', '.join(moved)}")
    if differs:
        raise ConfigError(
            f"{folder}: the surrogate does not fit the space: {'; '.join(differs)} "
            "(fit one anew: `nasseg fit`)"
        )


def _read_low_fidelity(folder: Path, schema: Mapping[str, Any], nthread: int) -> LowFidelity | None:
    facts = schema.get("low_fidelity")
    if facts is None:
        return None
    if not isinstance(facts, dict) or not {"file", "sha256", "channels"} <= facts.keys():
        raise ConfigError(f"{folder / SCHEMA_FILE}: low_fidelity lacks file, sha256 or channels")
    head = _read_head(
        folder, str(facts["file"]), str(facts["sha256"]), "low fidelity", nthread, None
    )
    return LowFidelity(head, facts)


def _read_head(
    folder: Path, name: str, sha256: str, what: str, nthread: int, features: int | None
) -> xgb.Booster:
    """Return a model that was checked before XGBoost, which trusts it, reads it.

    Raises:
        ConfigError: the file is no sound model of trees over so many features, or another one.
    """
    file = folder / name
    if Path(name).name != name:
        raise ConfigError(f"{folder / SCHEMA_FILE}: file is {name!r}; allowed: a name, no path")
    try:
        model = read_bytes(file, error=ConfigError)
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: model of the {what} unreadable: {error}") from None
    if _sha256(model) != sha256:
        raise ConfigError(f"{file}: not the model that {SCHEMA_FILE} describes")
    try:
        check_model(model, features)
    except ValueError as error:
        raise ConfigError(
            f"{file}: the model of the {what} is refused: {error}; `nasseg fit` writes another"
        ) from None
    head = xgb.Booster({"nthread": nthread})
    head.load_model(bytearray(model))
    head.set_param({"nthread": nthread})
    return head


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
