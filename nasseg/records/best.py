"""The architecture of a run: ``best.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasseg.files.forms import check_form, is_number, is_text, is_truth, is_whole
from nasseg.files.readers import checked, read_object
from nasseg.io import write_json


@dataclass(frozen=True)
class Best:
    """What the search stage found, and what is known of the network.

    The file of a run has every field but ``classes`` and ``multilabel``, which depend on the task,
    and ``decoder`` and ``decoder_fit``, which the train stage adds where the task has parameters.
    """

    arch: Mapping[str, Any] | None = None
    """Hyperparameters of the architecture."""
    space: str | None = None
    arch_id: str | None = None
    params: int | None = None
    macs: int | None = None
    """Multiply-accumulates of one image."""
    tiles: int | None = None
    monitor: str | None = None
    """Metric that the run is scored by."""
    out_channels: int | None = None
    classes: tuple[str, ...] | None = None
    """Names of the classes that images or pixels have; None: there are none."""
    multilabel: bool | None = None
    seed: int | None = None
    decoder: Mapping[str, float] | None = None
    """Parameters by which the task decodes; None: it has none, or is not trained yet, or was by a
    version that stored none."""
    decoder_fit: Mapping[str, Any] | None = None
    """How they were chosen: ``images`` (number of training images), ``score``, and
    ``default_score`` of the defaults; None: they are the defaults."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """How the architecture was found: ``predicted``, ``measured``, ``budget``, ``history``, and
    what else the search recorded, in the order of the file."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Best:
        """Return the record of the file's content; absent keys are None.

        Raises:
            ValueError: a fact has another form.
        """
        check_form(dict(values), _FORM)
        known = {name: values.get(name) for name in _FACTS}
        if known["classes"] is not None:
            known["classes"] = tuple(str(name) for name in known["classes"])
        rest = {key: value for key, value in values.items() if key not in _FACTS}
        return cls(**known, search=rest)

    @classmethod
    def read(cls, path: Path) -> Best:
        """Read the file.

        Raises:
            FileNotFoundError: there is no file.
            FileError: it is no record of an architecture.
        """
        values = checked(path, read_object(path, **_TOLD), _FORM, **_TOLD)
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Return the file's content, without what is not known."""
        facts = {name: getattr(self, name) for name in _FACTS}
        if self.classes is not None:
            facts["classes"] = list(self.classes)
        return {**{k: v for k, v in facts.items() if v is not None}, **self.search}

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_json(path, self.to_dict())

    def replace(self, **changes: Any) -> Best:
        """Return the record with facts changed."""
        return dataclasses.replace(self, **changes)

    def require_arch(self) -> dict[str, Any]:
        """Return the architecture.

        Raises:
            KeyError: the record has none.
        """
        if self.arch is None:
            raise KeyError("arch")
        return dict(self.arch)

    @property
    def predicted(self) -> Mapping[str, Any]:
        """Scores that the surrogate predicted; empty where none was asked."""
        return _mapping(self.search.get("predicted"))

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that were searched together with the architecture, by their dotted keys."""
        return _mapping(self.search.get("settings"))

    @property
    def measured(self) -> Mapping[str, Any]:
        """Scores after a short training; empty where the search measured nothing."""
        return _mapping(self.search.get("measured"))

    @property
    def surrogate(self) -> Mapping[str, Any]:
        """Facts of the surrogate that was asked."""
        return _mapping(self.search.get("surrogate"))

    @property
    def interval(self) -> Mapping[str, Any]:
        """Interval of 90 % of the prediction."""
        return _mapping(self.search.get("interval"))

    @property
    def weights(self) -> Mapping[str, Any]:
        """Facts of the pretrained weights; empty without them."""
        return _mapping(self.search.get("weights"))

    @property
    def objectives(self) -> Sequence[str]:
        """Objectives of a search for several, as in ``maximize day1``."""
        return list(self.search.get("objectives") or [])

    @property
    def history(self) -> list[Mapping[str, Any]]:
        """Entries of the search's course, a generation or an epoch each."""
        entries = self.search.get("history")
        return [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else []


_FACTS = (
    "space", "arch_id", "params", "macs", "tiles", "monitor", "out_channels", "classes",
    "multilabel", "seed", "arch", "decoder", "decoder_fit",
)  # fmt: skip
"""Keys of the file, in its order, before those of the search."""


_WHOLE, _TEXT = (is_whole,), (is_text,)
_FORM: dict[str, Any] = {
    **dict.fromkeys(("params", "macs", "tiles", "out_channels", "seed"), _WHOLE),
    **dict.fromkeys(("space", "arch_id", "monitor"), _TEXT),
    "classes": ([is_text],),
    "multilabel": (is_truth,),
    "arch": ({},),
    "decoder": ({"*": is_number},),
    "decoder_fit": ({},),
    "settings": ({},),
    "objectives": ([is_text],),
}
_FIX = "bring it back, or use another --out: the weights of the folder are of its architecture"
_TOLD: dict[str, Any] = {"fix": _FIX}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
