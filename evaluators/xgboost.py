"""Scores predicted by gradient-boosted trees, as in AnalogNAS (Benmeziane et al. 2023).

Three heads (1-day metric, AVM, chip-to-chip standard deviation) are fitted to a table of measured
architectures. A fitted surrogate is a folder: one UBJ model a head, ``schema.json`` that says what
they were fitted to and how well they rank, and the table.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb

from nasseg._io import read_json, write_bytes, write_json
from nasseg.errors import ConfigError
from nasseg.evaluators._boosting import (
    check_rows,
    cross_validate,
    fit_head,
    hyperparameters,
    predict,
)
from nasseg.evaluators.base import Arch, Evaluator, Matrix
from nasseg.evaluators.scores import Scores
from nasseg.evaluators.tables import TARGETS, read_tables

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

FORMAT = 1
SCHEMA_FILE = "schema.json"
TABLE_FILE = "table.csv"

__all__ = ["XGBoostEvaluator", "cross_validate", "fit_table", "read_schema"]


class XGBoostEvaluator(Evaluator):
    """Predicts ``day1``, ``avm`` and ``std`` from the encoding of an architecture.

    Args:
        space: The space of the architectures.
        nthread: Threads for fitting and predicting.
    """

    def __init__(self, space: SearchSpace, nthread: int = 1) -> None:
        if nthread < 1:
            raise ConfigError(f"nthread is {nthread!r}; allowed: 1 or more")
        self.space = space
        self.nthread = nthread
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
        folds: int = 5,
        repeats: int = 3,
    ) -> XGBoostEvaluator:
        """Fit the three heads; returns the evaluator itself.

        Args:
            archs: ``n`` architectures, or their encoding ``(n, F)``.
            scores: Their scores, with ``day1``, ``avm`` and ``std`` known in every row.
            seed: Seed of the trees and of the folds.
            params: Changes to the default hyperparameters.
            folds: Folds of the cross-validation that says how well a head ranks.
            repeats: Divisions into folds; 0 = no cross-validation (tau is unknown).

        Raises:
            ConfigError: too few architectures, values not finite, unknown hyperparameter.
        """
        X = self._features(archs)
        settings = hyperparameters(params)
        heads, targets = {}, {}
        for name in TARGETS:
            y = getattr(scores, name)
            check_rows(X, y, name)
            mean, std = math.nan, math.nan
            if repeats:
                mean, std = cross_validate(
                    X, y, folds, seed, repeats=repeats, params=params, nthread=self.nthread
                )
            heads[name] = fit_head(X, y, params, seed, self.nthread)
            targets[name] = {
                "file": f"{name}.ubj",
                "min": float(y.min()),
                "max": float(y.max()),
                "tau_mean": _finite(mean),
                "tau_std": _finite(std),
            }
        self._heads = heads
        self.schema = {
            "format": FORMAT,
            "space": {"name": self.space.name, "version": self.space.version},
            "features": list(self.space.feature_names),
            "targets": targets,
            "n": len(X),
            "seed": seed,
            "cross_validation": {"folds": folds, "repeats": repeats},
            "hyperparameters": settings,
            "xgboost": xgb.__version__,
            "table": None,
        }
        return self

    def evaluate(self, archs: Sequence[Arch]) -> Scores:
        """Scores with the three heads' predictions, of ``n`` architectures."""
        return self.evaluate_matrix(self.space.encode(archs))

    def evaluate_matrix(self, X: Matrix) -> Scores:
        """As :meth:`evaluate`, of float32 rows ``(n, F)``.

        Raises:
            ConfigError: not fitted, or the number of columns is not the space's.
        """
        if not self._heads:
            raise ConfigError("the surrogate is not fitted; call fit() or XGBoostEvaluator.load()")
        X = self._features(X)
        return Scores.of(len(X), **{name: predict(head, X) for name, head in self._heads.items()})

    def tau(self, target: str = "day1") -> float:
        """Cross-validated Kendall tau of a head; NaN where it was not measured."""
        value = self.schema["targets"][target]["tau_mean"]
        return math.nan if value is None else float(value)

    def save(self, folder: str | Path, table: bytes | None = None) -> Path:
        """Write the surrogate as a folder, with the CSV ``table`` it was fitted to.

        ``schema.json`` is written last and holds the hash of every other file, so that a folder
        interrupted half-way is never loaded.
        """
        if not self._heads:
            raise ConfigError("the surrogate is not fitted; there is nothing to save")
        target = Path(folder)
        schema = {**self.schema, "targets": {}}
        for name, head in self._heads.items():
            model = bytes(head.save_raw("ubj"))
            write_bytes(target / f"{name}.ubj", model)
            schema["targets"][name] = {**self.schema["targets"][name], "sha256": _sha256(model)}
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
        for name in TARGETS:
            entry = schema["targets"][name]
            file = source / str(entry["file"])
            try:
                model = file.read_bytes()
            except OSError as error:
                raise ConfigError(f"{file}: model of the {name} head unreadable: {error}") from None
            if _sha256(model) != entry["sha256"]:
                raise ConfigError(f"{file}: not the model that {SCHEMA_FILE} describes")
            head = xgb.Booster({"nthread": nthread})
            head.load_model(bytearray(model))
            head.set_param({"nthread": nthread})
            evaluator._heads[name] = head
        evaluator.schema = schema
        return evaluator

    def _features(self, archs: Sequence[Arch] | Matrix) -> Matrix:
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
) -> XGBoostEvaluator:
    """Fit a surrogate to one or more CSV tables; write its folder ``out`` with a copy of them.

    The columns are those of :func:`~nasseg.evaluators.tables.read_table`.
    """
    table = read_tables([path] if isinstance(path, str | Path) else list(path), space)
    evaluator = XGBoostEvaluator(space).fit(table.X, table.scores, seed)
    if out is not None:
        evaluator.save(out, table.data)
    return evaluator


def read_schema(folder: str | Path) -> dict[str, Any]:
    """The checked ``schema.json`` of a surrogate's folder."""
    file = Path(folder) / SCHEMA_FILE
    try:
        schema = read_json(file)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file}: no readable surrogate there ({error}); `nasseg fit` writes one"
        ) from None
    if not isinstance(schema, dict) or schema.get("format") != FORMAT:
        found = schema.get("format") if isinstance(schema, dict) else schema
        raise ConfigError(f"{file}: format is {found!r}; allowed: {FORMAT}")
    for key in ("space", "features", "targets"):
        if key not in schema:
            raise ConfigError(f"{file}: key {key!r} is missing")
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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
