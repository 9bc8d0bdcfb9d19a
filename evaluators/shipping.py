"""The surrogates that come with the package, one folder each under ``evaluators/weights``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nasseg._registry import unknown_name
from nasseg.errors import ConfigError

if TYPE_CHECKING:
    from nasseg.evaluators.low_fidelity import LowFidelity
    from nasseg.evaluators.xgboost import XGBoostEvaluator
    from nasseg.search_spaces import SearchSpace

WEIGHTS = Path(__file__).parent / "weights"


def list_surrogates() -> list[str]:
    """Names of the shipped surrogates, sorted."""
    return sorted(file.parent.name for file in WEIGHTS.glob("*/schema.json"))


def shipped(space_name: str) -> Path:
    """Folder of the surrogate shipped for a space; of several, the one named like the space.

    Raises:
        ConfigError: none is shipped for it.
    """
    names = _shipped_for(space_name)
    if not names:
        raise ConfigError(
            f"no surrogate is shipped for the space {space_name!r} "
            f"(shipped: {', '.join(list_surrogates()) or 'none'}); search by measuring (--measure "
            "N), or fit one (`nasseg label`, `nasseg fit`) and give its folder as search.surrogate"
        )
    return WEIGHTS / (space_name if space_name in names else names[0])


def _shipped_for(space_name: str) -> list[str]:
    from nasseg.evaluators.xgboost import read_schema

    return [
        name
        for name in list_surrogates()
        if read_schema(WEIGHTS / name)["space"]["name"] == space_name
    ]


def load_surrogate(name: str | Path, space: SearchSpace, nthread: int = 1) -> XGBoostEvaluator:
    """A fitted surrogate for ``space``.

    Args:
        name: ``"auto"`` (the one shipped for the space), a shipped name, or a folder.
        space: The space it shall score.
        nthread: Threads for predicting.

    Raises:
        ConfigError: none is shipped, or it was fitted to another space.
        UnknownName: neither a shipped name nor a folder.
    """
    from nasseg.evaluators.xgboost import XGBoostEvaluator

    return XGBoostEvaluator.load(find_surrogate(name, space), space, nthread)


@cache
def shipped_low_fidelity(space_name: str) -> LowFidelity | None:
    """What is known, from short trainings, of the architectures of a space that a surrogate is
    shipped for; none where nothing is."""
    from nasseg.evaluators.xgboost import XGBoostEvaluator

    if not _shipped_for(space_name):
        return None
    return XGBoostEvaluator.load(shipped(space_name)).features.low_fidelity


def find_surrogate(name: str | Path, space: SearchSpace) -> Path:
    """Where the surrogate of a name is; arguments and errors as :func:`load_surrogate`, which also
    looks into it."""
    if str(name) == "auto":
        return shipped(space.name)
    if Path(name).is_dir():
        return Path(name)
    if str(name) in list_surrogates():
        return WEIGHTS / str(name)
    raise unknown_name("surrogate (shipped, or a folder)", str(name), list_surrogates())
