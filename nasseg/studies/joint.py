"""Settings of training and chip that are searched together with the architecture.

``train.lr=1e-3..1e-2`` makes a hyperparameter of a setting: the space that is searched has it
beside its own, and a candidate is trained, retrained and put onto chips as its values say. What
chip a candidate is for decides what it costs.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nasseg.config import AnalogConfig, RunConfig, analog_spec, flatten, settings, to_dict
from nasseg.config.reading import build_config
from nasseg.errors import ConfigError
from nasseg.evaluators import CostEvaluator, Hardware, Scores

if TYPE_CHECKING:
    from nasseg.search_spaces import SearchSpace

STEPS = 5
"""Values that a range is searched at."""
WIDE = 4.0
"""Ratio of its ends from which the values of a range are spaced by a factor."""
FIXED = (
    "train.epochs",
    "train.eval_every",
    "train.keep",
    "train.patience",
    "train.monitor",
    "train.weights",
    "train.freeze_until",
    "train.unfreeze_every",
    "train.unfreeze_lr",
    "analog.epochs",
    "analog.digital_layers",
    "analog.preset",
)
"""Settings of these sections that are none of a candidate: its length, and what is scored."""
SECTIONS = ("train", "analog")
COUNTED = ("params", "tiles", "energy_uj", "latency_us")
"""Columns that are known of a candidate before it is trained."""
ADC_BITS = 8
"""Resolution that the energy of a conversion of a chip is of."""

C = TypeVar("C")
Value = int | float | str


@dataclass(frozen=True)
class Joined:
    """A setting that is searched."""

    key: str
    """Dotted name, as in ``train.lr``."""
    choices: tuple[Value, ...]
    """Its values; those of a switch are ``true`` and ``false``."""


def parse_joined(texts: Sequence[str]) -> tuple[Joined, ...]:
    """Read settings that join a space.

    Args:
        texts: each ``KEY=A|B|C`` or ``KEY=LOW..HIGH``, or several with commas between.

    Raises:
        ConfigError: a text has another form, no such setting may be searched, or it is twice
            there.
    """
    words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    found = tuple(_joined(word) for word in words)
    keys = [joined.key for joined in found]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"search.also has {key} twice; allowed: each setting once")
    for joined in found:
        for choice in joined.choices:
            # Each value on its own, so that the message has it.
            with_settings(RunConfig(), {joined.key: choice})
    return found


def _joined(word: str) -> Joined:
    key, equals, text = (part.strip() for part in word.partition("="))
    known = {
        name: leaf
        for name, leaf in settings(RunConfig).items()
        if name.partition(".")[0] in SECTIONS and name not in FIXED
    }
    if not equals or not text:
        raise ConfigError(
            f"search.also has {word!r}; allowed: KEY=A|B|C or KEY=LOW..HIGH, as in "
            "train.lr=1e-3..1e-2"
        )
    if key not in known:
        raise ConfigError(
            f"search.also has {key!r}; allowed: settings of train and analog, but for "
            f"{', '.join(FIXED)}"
        )
    whole = "int" in known[key].allowed or known[key].type is int
    match = re.fullmatch(r"(\S+?)\.\.(\S+)", text)
    if match:
        low, high = (_number(end, word) for end in match.groups())
        if not low < high:
            raise ConfigError(f"search.also has {word!r}; allowed: LOW..HIGH with LOW below HIGH")
        spaced = np.geomspace if low > 0 and high / low >= WIDE else np.linspace
        values = [float(f"{value:.4g}") for value in spaced(low, high, STEPS)]
        numbers: list[Value] = [round(v) if whole else v for v in values]
        return Joined(key, tuple(dict.fromkeys(numbers)))
    parts = [part.strip() for part in text.split("|")]
    try:
        chosen: list[Value] = [_plain_number(part) for part in parts]
        chosen.sort(key=float)
    except ValueError:
        chosen = list(parts)
    if len(set(chosen)) != len(chosen):
        raise ConfigError(f"search.also has {word!r}; allowed: each value once")
    return Joined(key, tuple(chosen))


def _plain_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _number(text: str, word: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"search.also has {word!r}; allowed: numbers at both ends") from None


def joint_space(space: SearchSpace, joined: Sequence[Joined]) -> SearchSpace:
    """Return the space with the settings as further hyperparameters, if there are any."""
    if not joined:
        return space
    edited = copy.deepcopy(space)
    for one in joined:
        edited.add_hyperparameter_range(one.key, "discrete", one.choices)
    return edited


def divided(
    arch: Mapping[str, Any], joined: Sequence[Joined]
) -> tuple[dict[str, Any], dict[str, Value]]:
    """Divide an architecture of a joint space into that of the network, and settings."""
    keys = {one.key for one in joined}
    network = {name: value for name, value in arch.items() if name not in keys}
    return network, {one.key: arch[one.key] for one in joined}


def with_settings(config: C, values: Mapping[str, Any]) -> C:
    """Return a config with settings replaced, by their dotted keys.

    Raises:
        ConfigError: a value is not possible.
    """
    if not values:
        return config
    read = {key: {"true": True, "false": False}.get(value, value) for key, value in values.items()}
    origins = dict.fromkeys(read, "search.also")
    changed: C = build_config(type(config), {**flatten(to_dict(config)), **read}, origins)
    return changed


class ChipCost:
    """What candidates cost, each on the chip that its settings describe.

    Args:
        space: joint space of the candidates.
        joined: its settings.
        analog: hardware of the run, which they change.
        hardware: chip that energy and time are estimated for, at :data:`ADC_BITS` bits; its
            crossbars become those of the analog hardware where a setting changes these.
        more: further arguments of :class:`~nasseg.evaluators.CostEvaluator`.
    """

    def __init__(
        self,
        space: SearchSpace,
        joined: Sequence[Joined],
        analog: AnalogConfig,
        hardware: Hardware | None,
        **more: Any,
    ) -> None:
        self.space = space
        self._more = more
        self._analog = analog
        self._hardware = hardware
        names = list(space.feature_names)
        self._chip = [one for one in joined if one.key.partition(".")[0] == "analog"]
        self._columns = [names.index(one.key) for one in self._chip]
        self._by_chip: dict[tuple[float, ...], CostEvaluator] = {}

    def evaluate(self, archs: Sequence[Mapping[str, Any]]) -> Scores:
        """Counted columns of architectures of the joint space."""
        return self.evaluate_matrix(self.space.encode(list(archs)))

    def evaluate_matrix(self, X: Any) -> Scores:
        """As :meth:`evaluate`, of encoded rows ``(n, F)``."""
        X = np.asarray(X, dtype=np.float32)
        codes = X[:, self._columns]
        chips, which = np.unique(codes, axis=0, return_inverse=True)
        which = which.reshape(-1)
        columns = {name: np.empty(len(X)) for name in COUNTED}
        for number in range(len(chips)):
            rows = np.flatnonzero(which == number)
            scores = self._evaluator(X[rows[0]]).evaluate_matrix(X[rows])
            for name, column in columns.items():
                column[rows] = scores.column(name)
        return Scores.of(len(X), **columns)

    def _evaluator(self, row: Any) -> CostEvaluator:
        key = tuple(float(row[column]) for column in self._columns)
        if key not in self._by_chip:
            _, values = divided(self.space.decode(row[None])[0], self._chip)
            self._by_chip[key] = CostEvaluator(
                self.space, hardware=self._on_chip(values), **self._more
            )
        return self._by_chip[key]

    def _on_chip(self, values: Mapping[str, Value]) -> Hardware | None:
        if not values:
            return self._hardware
        before = analog_spec(self._analog)
        spec = analog_spec(with_settings(RunConfig(analog=self._analog), values).analog)
        chip = self._hardware or Hardware.preset()
        changes: dict[str, Any] = {}
        if self._hardware is None or (spec.tile_rows, spec.tile_cols) != (
            before.tile_rows,
            before.tile_cols,
        ):
            changes |= {"tile_rows": spec.tile_rows, "tile_columns": spec.tile_cols}
        if spec.adc_bits and spec.adc_bits != before.adc_bits:
            # A converter's energy doubles with each bit: its figure of merit is an energy a step.
            changes["adc_pj"] = chip.adc_pj * 2.0 ** (spec.adc_bits - (before.adc_bits or ADC_BITS))
        return dataclasses.replace(chip, **changes)
