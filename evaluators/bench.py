"""NASSeg-Bench: a table of measured architectures that answers in microseconds.

What takes a minute of training and drift for each architecture was done once; search algorithms
are then compared on the answers (as in NAS-Bench-101, Ying et al., ICML 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nasseg.errors import ArchError, ConfigError, DataError
from nasseg.evaluators._repeats import Noise, repeat_noise
from nasseg.evaluators.base import Arch, Evaluator, Matrix
from nasseg.evaluators.boosting import tau
from nasseg.evaluators.budgets import FULL, PROXY, SCREEN
from nasseg.evaluators.scores import COLUMNS, FloatArray, Scores

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

SHIPPED = Path(__file__).parent / "bench" / "nasseg_bench_v1.parquet"
"""The table that comes with the package."""
KEYS = ("arch_id", "arch", "space", "space_version", "budget", "seed")
"""Columns that say what was measured; all others but ``DRAWN`` are what came out."""
DRAWN = "drawn"
"""Column that says why an architecture was measured: ``RANDOM`` or ``SEARCHED``. Tables without it
have none of the latter."""
RANDOM, SEARCHED = "random", "search"
"""Drawn at random (a Latin hypercube), or proposed by a search that knew others of the table."""


class NASSegBench(Evaluator):
    """Measured architectures of one space, with the calls of an evaluator.

    Several seeds of one architecture count as repeats: scores are their mean.

    Args:
        path: a Parquet table with the columns ``KEYS`` and the measured ones; none = the one that
            is shipped.
        budget: which rows: ``"proxy"``, ``"full"``, or ``"screen"`` (seconds of training, of other
            architectures).

    Raises:
        DataError: no such table, or it lacks a column; or has no row of that budget; or is of
            another version of the space.
    """

    def __init__(self, path: str | Path | None = None, budget: str = PROXY) -> None:
        from nasseg.search_spaces import get_space

        self.path = SHIPPED if path is None else Path(path)
        whole = read_bench(self.path)
        self._rows = of_budget(whole, budget, self.path).reset_index(drop=True)
        self.budgets = sorted(set(whole.budget))
        """Budgets of which the table has rows."""
        self.budget = budget
        self.space: SearchSpace = get_space(whole.space.iloc[0])
        self._whole = whole
        metrics = [name for name in self._rows if name not in (*KEYS, DRAWN)]
        self._means = self._rows.groupby("arch_id", sort=False)[metrics].mean()
        archs = self._rows.drop_duplicates("arch_id").set_index("arch_id").arch
        self._archs = {key: self.space.from_json(archs[key]) for key in self._means.index}

    def __len__(self) -> int:
        return len(self._archs)

    @property
    def table(self) -> pd.DataFrame:
        """A copy of the rows of this budget, one an architecture and seed."""
        return self._rows.copy()

    @property
    def metrics(self) -> list[str]:
        """Names of what was measured."""
        return list(self._means.columns)

    @property
    def archs(self) -> list[dict[str, Any]]:
        """The architectures, in the order of :meth:`scores`."""
        return [dict(arch) for arch in self._archs.values()]

    @cached_property
    def matrix(self) -> Matrix:
        """The architectures, encoded: float32 ``(n, F)``."""
        return self.space.encode(list(self._archs.values()))

    @property
    def searched(self) -> NDArray[np.bool_]:
        """Which of :attr:`archs` a search proposed ``(n,)``; the others were drawn at random."""
        if DRAWN not in self._rows:
            return np.zeros(len(self), dtype=bool)
        found = self._rows.drop_duplicates("arch_id").set_index("arch_id")[DRAWN]
        return np.asarray(found[self._means.index] == SEARCHED, dtype=bool)

    def values(self, metric: str = "day1") -> FloatArray:
        """One metric of all architectures ``(n,)``, means over seeds.

        Raises:
            ConfigError: no such metric.
        """
        if metric not in self._means:
            from nasseg._registry import near_name

            hint = near_name(metric, self.metrics)
            raise ConfigError(
                f"the bench has no metric {metric!r}{hint} (it has {', '.join(self.metrics)})"
            )
        return np.asarray(self._means[metric], dtype=np.float64)

    def lookup(self, arch: Arch, metric: str | None = None, seed: int | None = None) -> Any:
        """What was measured of one architecture.

        Args:
            arch: the architecture.
            metric: a name of :attr:`metrics`; none = all, as a dict.
            seed: one training; none = the mean over all.

        Raises:
            ArchError: it is not in the table, or not with that seed.
        """
        key = self._key(arch)
        if seed is None:
            found = self._means.loc[key]
        else:
            own = self._rows[(self._rows.arch_id == key) & (self._rows.seed == seed)]
            if not len(own):
                raise ArchError(
                    f"{key} was not measured with seed {seed}; it was with {self.seeds(arch)}"
                )
            found = own.iloc[0][self.metrics]
        if metric is None:
            return {name: float(value) for name, value in found.items()}
        self.values(metric)
        return float(found[metric])

    def seeds(self, arch: Arch) -> list[int]:
        """Seeds with which an architecture was trained."""
        key = self._key(arch)
        return sorted(int(seed) for seed in self._rows[self._rows.arch_id == key].seed)

    def evaluate(self, archs: Sequence[Arch]) -> Scores:
        """Scores of architectures of the table, in order.

        Raises:
            ArchError: one is not in it.
        """
        known = [name for name in COLUMNS if name in self._means]
        rows = self._means.loc[[self._key(arch) for arch in archs], known]
        return Scores.of(len(rows), **{name: np.asarray(rows[name]) for name in known})

    def scores(self) -> Scores:
        """Scores of all architectures."""
        return self.evaluate(self.archs)

    def noise(self, metric: str = "day1") -> Noise:
        """What a repeat of the measurement with another seed changes."""
        self.values(metric)
        rows = self._rows
        return repeat_noise(rows.arch_id.tolist(), rows.seed.tolist(), np.asarray(rows[metric]))

    def proxy_tau(self, metric: str = "day1", *, drawn_only: bool = False) -> tuple[float, int]:
        """Kendall's tau between the proxy and the full budget, and over how many architectures.

        Args:
            metric: what is compared.
            drawn_only: leave out what a search proposed, which is good and much alike.

        Returns:
            NaN where fewer than three were measured at both.
        """
        rows = self._whole
        if drawn_only and DRAWN in rows:
            rows = rows[rows[DRAWN] != SEARCHED]
        means = rows.groupby(["budget", "arch_id"])[metric].mean()
        budgets = means.index.get_level_values(0)
        if FULL not in budgets or PROXY not in budgets:
            return np.nan, 0
        both = pd.concat([means[PROXY], means[FULL]], axis=1, join="inner").to_numpy()
        return (tau(both[:, 0], both[:, 1]) if len(both) > 2 else np.nan), len(both)

    def _key(self, arch: Arch) -> str:
        key = self.space.arch_id(arch)
        if key not in self._archs:
            raise ArchError(
                f"{key} is not one of the {len(self)} architectures of {self.path.name}"
            )
        return key


def read_bench(path: str | Path, space: str | None = None) -> pd.DataFrame:
    """The table of a Parquet file, with the columns ``KEYS`` checked.

    Args:
        path: the file.
        space: name of the space that its architectures shall be of; none = any.

    Raises:
        DataError: it cannot be read, lacks a column, or is of several spaces, of another one, or of
            another version of it.
    """
    from nasseg.search_spaces import get_space

    file = Path(path)
    try:
        table = pd.read_parquet(file)
    except FileNotFoundError:
        raise DataError(f"{file}: no such table") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: no readable Parquet table: {error}") from None
    missing = [name for name in KEYS if name not in table]
    if missing:
        raise DataError(
            f"{file}: no column {', '.join(missing)}; scripts/make_bench.py makes a bench"
        )
    names = sorted(set(table.space))
    if len(names) != 1 or names[0] != (space or names[0]):
        wanted = "one is allowed" if space is None else f"allowed: {space!r}"
        raise DataError(f"{file}: architectures of the spaces {names}; {wanted}")
    current = get_space(names[0]).version
    for version in sorted(set(table.space_version) - {current}):
        raise DataError(
            f"{file}: measured with version {version} of the space {names[0]!r}, whose "
            f"architectures mean something else than those of version {current}"
        )
    return table


def of_budget(table: pd.DataFrame, budget: str, file: Path) -> pd.DataFrame:
    """The rows of a budget.

    Raises:
        DataError: there is none.
    """
    rows = table[table.budget == budget]
    if not len(rows):
        raise DataError(f"{file}: no rows of budget {budget!r}; it has {sorted(set(table.budget))}")
    return rows


def make_bench(tables: Sequence[Mapping[str, Any]], out: str | Path) -> pd.DataFrame:
    """Join tables of ``nasseg label`` to one Parquet file.

    Args:
        tables: for each ``path`` (CSV), ``space``, ``budget`` and ``seed``, and perhaps ``drawn``
            (``RANDOM``). What a search was begun with may be in the table of the search too: the
            same training counts once. What the first table with a network says of it holds: what it
            was drawn for, and which of several architectures that build it stands for all. A path
            that ends in ``.parquet`` is a bench that others are added to; of its entry the space
            alone counts.
        out: the file.

    Returns:
        What was written, sorted by budget, architecture and seed.

    Raises:
        DataError: a table cannot be read, lacks a column or is of another space, or an architecture
            was measured twice with one budget and seed.
    """
    from nasseg.io import atomic_write

    table = pd.concat([_measured(entry) for entry in tables], ignore_index=True)
    training = ["space", "budget", "arch_id", "seed"]
    table = table.drop_duplicates([*training, "day1"])
    twice = table.duplicated(training)
    if twice.any():
        raise DataError(f"{table.arch_id[twice].iloc[0]} is there twice with one budget and seed")
    # Of a network under several names the first stands for all: what it was drawn for, and that a
    # training of another is a repeat of it. Short trainings have a say only where there is no
    # other.
    table = table.iloc[np.argsort(table.budget == SCREEN, kind="stable")]
    same = table.groupby(["space", "network"], sort=False)
    table = table.assign(**{k: same[k].transform("first") for k in ("arch_id", "arch", DRAWN)})
    table = table.drop_duplicates(training).drop(columns="network")
    table = table.sort_values(["budget", "arch_id", "seed"], ignore_index=True)
    first = (*KEYS, DRAWN)
    table = table[[*first, *(name for name in table if name not in first)]]
    atomic_write(out, lambda handle: table.to_parquet(handle, index=False))
    return table


def _measured(entry: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of one table of :func:`make_bench`, with ``KEYS``, ``DRAWN`` and ``network``."""
    from nasseg.search_spaces import get_space

    file, space = Path(entry["path"]), get_space(entry["space"])
    if file.suffix == ".parquet":
        part = read_bench(file, space.name)
        known = {DRAWN: part.get(DRAWN, RANDOM)}
    else:
        try:
            part = pd.read_csv(file)
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: no readable CSV table: {error}") from None
        # Tables from before versions were written down are of the first one.
        version = part.get("space_version", pd.Series(1, part.index)).fillna(1).astype(int)
        known = {k: entry[k] for k in ("space", "budget", "seed")}
        known |= {DRAWN: entry.get(DRAWN, RANDOM), "space_version": version}
    if missing := [name for name in ("arch_id", "arch", "day1") if name not in part]:
        raise DataError(f"{file}: no column {', '.join(missing)}")
    archs = []
    for number, text in enumerate(part.arch, 2):
        try:
            archs.append(space.from_json(text))
        except ArchError as error:
            raise DataError(f"{file}, row {number}: {error}") from None
    return part.assign(**known, network=space.network_keys(space.encode(archs)))
