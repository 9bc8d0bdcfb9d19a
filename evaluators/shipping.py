"""Evaluators by name: shipped surrogates, folders of fitted ones, and those of other packages.

A shipped surrogate has a folder under ``evaluators/weights``. An evaluator from outside is added
with :func:`register_evaluator`, by an entry point of the group ``nasseg.evaluators``, or named as
``module:Name``; ``--search.surrogate NAME`` then takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasseg._registry import Registry, factories, is_reference, unknown_name
from nasseg.errors import ConfigError

if TYPE_CHECKING:
    from nasseg.evaluators.low_fidelity import LowFidelity
    from nasseg.search_spaces import SearchSpace

WEIGHTS = Path(__file__).parent / "weights"
Factory = Callable[["SearchSpace"], Any]
"""Makes an evaluator of a space: an :class:`~nasseg.evaluators.Evaluator`, or an object with
AnalogNAS's ``query_pop``."""


EVALUATORS: Registry[Factory] = Registry(
    "evaluator",
    group="nasseg.evaluators",
    adopt=factories("evaluator", "a class or function from a search space to an evaluator"),
)
"""Evaluators of other packages by name."""


def register_evaluator(name: str) -> Callable[[Factory], Factory]:
    """Make what is decorated available as ``search.surrogate``: ``made(space)`` is the evaluator.

    Columns beside those of :class:`~nasseg.evaluators.Scores` are named by the attribute
    ``extra_columns`` of what is decorated.

    Raises:
        ValueError: the name is taken.

    Example:
        .. code-block:: python

            @register_evaluator("mine")
            class MyEvaluator(Evaluator):
                def __init__(self, space): ...
    """
    return EVALUATORS.register(name)


def extra_columns(name: str | Path) -> tuple[str, ...]:
    """Columns that the evaluator of a name has beside those of the scores."""
    factory = _factory(name)
    return () if factory is None else tuple(getattr(factory, "extra_columns", ()))


def _factory(name: str | Path) -> Factory | None:
    """The evaluator of a plug-in; None where the name is that of a fitted surrogate."""
    text = str(name)
    if text == "auto" or text in list_surrogates() or Path(name).is_dir():
        return None
    return EVALUATORS[text] if is_reference(text) or text in EVALUATORS else None


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


def load_surrogate(name: str | Path, space: SearchSpace, nthread: int = 1) -> Any:
    """A fitted surrogate, or the evaluator of a plug-in, for ``space``.

    Args:
        name: ``"auto"`` (the one shipped for the space), a shipped name, a folder, or the name of
            a registered evaluator.
        space: The space it shall score.
        nthread: Threads for predicting.

    Returns:
        An :class:`~nasseg.evaluators.XGBoostEvaluator`, or what the plug-in makes of the space.

    Raises:
        ConfigError: none is shipped, it was fitted to another space, or the plug-in gives no
            evaluator.
        UnknownName: neither a shipped name nor a folder nor a registered evaluator.
    """
    folder = find_surrogate(name, space)
    if folder is not None:
        from nasseg.evaluators.xgboost import XGBoostEvaluator

        return XGBoostEvaluator.load(folder, space, nthread)
    made = EVALUATORS[str(name)](space)
    if not hasattr(made, "query_pop"):
        raise ConfigError(
            f"evaluator {str(name)!r} gives {made!r}; allowed: an Evaluator, or an object with "
            "query_pop"
        )
    return made


@cache
def shipped_low_fidelity(space_name: str) -> LowFidelity | None:
    """What is known, from short trainings, of the architectures of a space that a surrogate is
    shipped for; none where nothing is."""
    from nasseg.evaluators.xgboost import XGBoostEvaluator

    if not _shipped_for(space_name):
        return None
    return XGBoostEvaluator.load(shipped(space_name)).features.low_fidelity


def find_surrogate(name: str | Path, space: SearchSpace) -> Path | None:
    """Folder of the fitted surrogate of a name; None for a registered evaluator.

    Arguments and errors as :func:`load_surrogate`, which also looks into the folder.
    """
    if _factory(name) is not None:
        return None
    if str(name) == "auto":
        return shipped(space.name)
    if Path(name).is_dir():
        return Path(name)
    if str(name) in list_surrogates():
        return WEIGHTS / str(name)
    known = {*list_surrogates(), *EVALUATORS}
    raise unknown_name("surrogate (shipped, or a folder)", str(name), known, EVALUATORS.group)
