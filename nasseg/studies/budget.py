"""The search for an architecture within a budget, on the user's images at their scale.

Every rung (:mod:`nasseg.studies.rungs`) is a study of its own in one storage, so that any number
of workers share it and none measures what another has: the first one proposes candidates, each
later one has the best of the one before as its list. Candidates are trained on a part of the
training images and scored on the others; the images that results are of choose nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nasseg.analog.noise import derive_seed
from nasseg.config import DataConfig, LabelConfig, RunConfig, flatten, to_dict
from nasseg.config.search import Amount, space_for
from nasseg.data import load_data
from nasseg.errors import ConfigError, RunError
from nasseg.evaluators import Hardware
from nasseg.evaluators.cost import split_places
from nasseg.records.stopping import terminable
from nasseg.search.measured.bounds import iterate_spread
from nasseg.search.measured.study import HEARTBEAT, MeasuredStudy
from nasseg.search.objectives import Objective, parse_constraints, parse_objectives
from nasseg.statistics import DAY
from nasseg.studies.joint import (
    COUNTED,
    ChipCost,
    divided,
    joint_space,
    parse_joined,
    with_settings,
)
from nasseg.studies.prior import NEAR, SHARE, nearest_within, predicted_best
from nasseg.studies.proxy import candidate_data, proxy_config
from nasseg.studies.rungs import Plan, plan_rungs, ranked, whole_cost
from nasseg.studies.study import size_bounds, storage_of, study_defaults, study_settings
from nasseg.studies.workers import worker_places
from nasseg.tasks import get_task
from nasseg.text import duration_name
from nasseg.training.checkpoint import load_weights, save_weights
from nasseg.training.device import select_device
from nasseg.training.measure import (
    Trained,
    builder,
    put_on_chips,
    seconds_per_epoch,
    train_network,
)

if TYPE_CHECKING:
    from torch import nn

    from nasseg.data import Data
    from nasseg.tasks import Task

log = logging.getLogger(__name__)

SCORE = "score"
"""Column of the metric that candidates are ranked by; after the last rung that of a day after
programming."""
PLAN = "plan"
"""Attribute of the study of the first rung: the plan that all keep to."""
CUT = "cut"
"""Attribute of the study of a rung: how many go on, where the time allows fewer than planned."""
SAFETY = 0.8
"""Share of a time that is planned with: candidates differ from those that were timed."""
TIMED = 3
"""Candidates that are timed."""
COST_SIZE = 256
"""Side in pixels of the image that energy and time are of."""
FOLDER = "search"
"""Folder of a run with the checkpoints of candidates."""


def is_budgeted(config: RunConfig) -> bool:
    """Return True if the search of a run trains candidates within a budget."""
    return bool(Amount.of(config.search.budget)) and config.search.arch is None


def check_budget(config: RunConfig) -> None:
    """Refuse, before anything is written, a search that cannot be.

    Raises:
        ConfigError: a setting is not possible.
    """
    _goals(config)
    parse_joined(config.search.also)
    for key in ("weights", "freeze_until"):
        value = getattr(config.train, key)
        if value is not None:
            raise ConfigError(
                f"train.{key} is {value!r}; allowed with search.budget: none, since many networks "
                "are trained"
            )


class BudgetSearch:
    """A search within a budget, opened by every worker.

    Args:
        config: of the run.
        load: loads the images with other settings of the section ``data``.

    Raises:
        RunError: the study has other settings.
        ConfigError: a setting that is not possible, or nothing is within the bounds.
    """

    def __init__(self, config: RunConfig, load: Callable[[DataConfig], Data] = load_data) -> None:
        self.config = config
        self.data = load(candidate_data(config))
        self.networks = space_for(config.search.space, config.data)
        """The space of the networks."""
        self.joined = parse_joined(config.search.also)
        self.space = joint_space(self.networks, self.joined)
        """What is searched: the same, and the settings that join it."""
        kind = get_task(self.data.kind)
        asked = config.train.monitor
        self.metric = kind.ranking if asked == "auto" and kind.ranking else kind.monitored(asked)
        self.objectives, constraints = _goals(config)
        out_channels = kind.bind(self.data, config.train).out_channels
        places, others = split_places(self.networks, config.analog.named_digital_layers)
        if others:
            log.warning(
                "search: energy, time and crossbars of %s (analog.digital_layers) are counted as "
                "on crossbars: only the first and the last layer have a place in every "
                "architecture",
                ", ".join(others),
            )
        hardware = config.search.hardware
        self.cost = ChipCost(
            self.space,
            self.joined,
            config.analog,
            None if hardware is None else Hardware.load(hardware),
            in_channels=self.data.in_channels,
            out_channels=out_channels,
            input_size=(COST_SIZE, COST_SIZE),
            digital_layers=places,
        )
        self._base = proxy_config(config)
        self.bounds = dataclasses.replace(
            size_bounds(self._base, out_channels), constraints=constraints, cost=self.cost
        )
        self._plan: Plan | None = None

    # --- the plan ---------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """The rungs; made by the first worker, and kept with the study."""
        if self._plan is None:
            raise RunError("the plan is made with the study of the first rung")
        return self._plan

    @cached_property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch over the images that candidates are trained on, here, now."""
        train = self._train(1)
        found = [
            seconds_per_epoch(
                self._builder(arch),
                self.data,
                self._task(train),
                train,
                seed=self.config.seed,
                device=select_device(self.config.device),
            )
            for arch in self._some
        ]
        return sum(found) / len(found)

    @cached_property
    def _some(self) -> list[dict[str, Any]]:
        """Candidates that are timed.

        Raises:
            ConfigError: none is within the bounds.
        """
        archs = iterate_spread(self.space, self.config.seed, self.bounds)
        timed = list(itertools.islice(archs, TIMED))
        if not timed:
            raise ConfigError(
                f"no architecture of {self.space.name!r} found within {self.bounds}: widen the "
                "bounds"
            )
        return timed

    def _planned(self) -> Plan:
        """The plan of this worker.

        Raises:
            ConfigError: the budget does for nothing, or nothing is within the bounds.
        """
        _ = self._some
        amount = Amount.of(self.config.search.budget)
        train, analog = self.config.train, self.config.analog
        share = len(self.data.train_ids) / (len(self.data.train_ids) + len(self.data.val_ids))
        if amount.times:
            cost = amount.times * whole_cost(train.epochs, analog.epochs)
        else:
            parallel = self._parallel
            cost = SAFETY * amount.seconds * parallel / self.epoch_seconds * share
        return plan_rungs(
            cost,
            epochs=train.epochs,
            retraining=analog.epochs,
            share=share,
            scoring=_scoring(self.data),
        )

    @property
    def _parallel(self) -> int:
        """Workers that do not share what they compute with."""
        places = worker_places(self.config.search.workers, self.config.device, self.config.threads)
        return len({place.visible for place in places if place.visible is not None}) or 1

    def announce(self) -> None:
        """Say what will be done, and about how long it takes."""
        seconds = self.epoch_seconds * self.plan.cost / self._parallel
        log.info(
            "search: %s: about %s on this machine; scored by %s on %d images held out of %d for "
            "training",
            self.plan,
            duration_name(seconds),
            self.metric,
            len(self.data.val_ids),
            len(self.data.val_ids) + len(self.data.train_ids),
        )

    # --- rungs ------------------------------------------------------------------------------

    def _train(self, epochs: int) -> Any:
        return dataclasses.replace(
            self.config.train,
            epochs=epochs,
            eval_every=epochs,
            keep="last",
            patience=0,
            monitor=self.metric,
        )

    def _builder(self, arch: dict[str, Any]) -> Callable[[int], nn.Module]:
        network, _ = divided(arch, self.joined)
        channels = self.data.in_channels, self.bounds.out_channels
        return builder(self.networks, network, *channels)

    def _task(self, train: Any) -> Task:
        kind = get_task(self.data.kind)
        if kind.decoder_young:
            kind = kind.with_decoder({**kind.decoder, **kind.decoder_young})
        return kind.bind(self.data, train)

    def _label_config(self, place: int, plan: Plan | None) -> LabelConfig:
        """Settings of a rung, as those of a labelling."""
        rung = None if plan is None else plan.rungs[place]
        # Of a rung alone: its schedule falls to 0, and the next one begins anew.
        before = 0 if plan is None or not place else plan.rungs[place - 1].epochs
        epochs = 1 if rung is None else rung.epochs - before
        base = self._base
        return dataclasses.replace(
            base,
            study=f"{base.study}-{place}",
            data=candidate_data(self.config),
            train=self._train(epochs),
            analog=dataclasses.replace(
                self.config.analog,
                epochs=0 if rung is None else rung.retraining,
                digital_layers=base.analog.digital_layers,
            ),
            drift=dataclasses.replace(
                self.config.drift,
                chips=max(1, 0 if rung is None else rung.chips),
                times=(float(DAY),),
                # So few chips would differ by the images that they see.
                images=0,
            ),
        )

    def _open(self, place: int, archs: list[dict[str, Any]] | None) -> MeasuredStudy:
        plan = None if place == 0 else self.plan
        label = self._label_config(place, plan)
        settings = study_settings(label, self.space, self.data.fingerprint)
        settings["metric"] = self.metric
        settings["constraints"] = [str(constraint) for constraint in self.bounds.constraints]
        settings["objectives"] = [str(objective) for objective in self.objectives]
        if place == 0:
            # The budget says how many there are, and for how long: the plan is kept beside.
            settings["budget"] = self.config.search.budget
            settings["winner"] = {
                "epochs": self.config.train.epochs,
                "retraining": self.config.analog.epochs,
            }
        else:
            settings["rung"] = dict(vars(self.plan.rungs[place]), count=0)
        return MeasuredStudy(
            storage_of(label),
            label.study,
            self.space,
            settings,
            seed=self.config.seed,
            bounds=self.bounds,
            archs=archs,
            metric=SCORE,
            heartbeat=HEARTBEAT,
            defaults=study_defaults(self.config.data.kind),
        )

    @cached_property
    def _references(self) -> tuple[dict[str, Any], ...]:
        """Architectures measured first: the network that the space has by default and those near
        it, within the bounds, and those that a shipped surrogate expects most of, where it is of
        images like these, which are resized."""
        own = flatten(to_dict(self.config))
        arch = self.space.default()
        for one in self.joined:
            # As the run has it, where that is among the choices.
            arch[one.key] = own[one.key] if own[one.key] in one.choices else arch[one.key]
        count = self.plan.rungs[0].count
        found = nearest_within(self.space, arch, self.bounds, math.ceil(NEAR * count))
        if not self.joined and not self.config.data.crop:
            found += predicted_best(
                self.networks, self.bounds, int(SHARE * count), self.config.seed
            )
        return tuple(map(self.space.canonical, found))

    def open(self) -> MeasuredStudy:
        """The study of the first rung, with the plan that all workers keep to.

        Raises:
            RunError: it has other settings.
            ConfigError: the budget does for nothing, or nothing is within the bounds.
        """
        # First, so that a budget that does for nothing leaves no study behind.
        planned = self._planned()
        study = self._open(0, None)
        known = study.study.user_attrs
        if PLAN not in known:
            study.study.set_user_attr(PLAN, planned.to_dict())
            # Read back: two workers may have planned at once.
            known = study.study.user_attrs
        self._plan = Plan.of(known[PLAN])
        # How many there are follows from the plan that all workers keep to.
        study.first = self._references
        return study

    def work(self, progress: bool = True) -> list[list[dict[str, Any]]]:
        """Measure, with whoever else works on it, until all rungs are done.

        Returns:
            The rows of each rung, in the order of the rung before.

        Raises:
            RunError: no candidate of a rung could be measured.
        """
        found: list[list[dict[str, Any]]] = []
        study = self.open()
        with terminable(), self.bar(progress) as bar:
            for place, rung in enumerate(self.plan.rungs):
                if place:
                    study = self._open(place, self._promoted(found, study, place))
                count = rung.count if study.archs is None else len(study.archs)
                study.work(
                    self._measure(place),
                    count,
                    self.config.search.sampler,
                    on_finished=partial(self._finished, bar, found, study),
                    progress=False,
                )
                rows = study.rows()
                self._show(bar, found, rows)
                if not rows:
                    reasons = "; ".join(sorted({str(f["reason"]) for f in study.failures()}))
                    raise RunError(f"no candidate could be measured: {reasons}")
                found.append(rows)
        return found

    def watch(self, bar: Any) -> list[list[dict[str, Any]]]:
        """Rows of the rungs that there are so far, shown on a bar; for whoever does not work."""
        found: list[list[dict[str, Any]]] = []
        study = self.open()
        for place in range(len(self.plan.rungs)):
            if place:
                count = study.goal(self._count(place - 1, found))
                if study.finished(count) < count:
                    break
                study = self._open(place, self._promoted(found, study, place))
            found.append(study.rows())
        self._show(bar, found[:-1], found[-1])
        return found

    def _count(self, place: int, found: list[list[dict[str, Any]]]) -> int:
        if place == 0:
            return self.plan.rungs[0].count
        return min(self.plan.rungs[place].count, len(found[place - 1]))

    def _promoted(
        self, found: list[list[dict[str, Any]]], study: MeasuredStudy, place: int
    ) -> list[dict[str, Any]]:
        """Architectures that go on to a rung, the best first."""
        if CUT not in study.study.user_attrs:
            study.study.set_user_attr(CUT, self._affordable(found, place))
        count = int(study.study.user_attrs[CUT])
        rows = ranked(found[-1], self.objectives)[:count]
        return [self.space.from_json(str(row["arch"])) for row in rows]

    def _affordable(self, found: list[list[dict[str, Any]]], place: int) -> int:
        """Candidates of a rung, as planned or, where the time is short, fewer."""
        planned = self.plan.rungs[place].count
        seconds = Amount.of(self.config.search.budget).seconds
        if not seconds:
            return planned
        costs = self.plan.costs()
        spent = sum(float(row["seconds"]) for rows in found for row in rows)
        done = sum(len(rows) * cost for rows, cost in zip(found, costs, strict=False))
        left = seconds * self._parallel - spent
        ahead = sum(
            rung.count * cost
            for rung, cost in zip(self.plan.rungs[place:], costs[place:], strict=True)
        )
        share = left / (ahead * spent / done) if spent and done else 1.0
        return max(1, min(planned, math.floor(planned * share)))

    # --- a candidate ------------------------------------------------------------------------

    def _measure(self, place: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """The function that brings a candidate to the end of a rung."""
        rung = self.plan.rungs[place]
        planned = self._label_config(place, self.plan)

        def one(arch: dict[str, Any]) -> dict[str, Any]:
            begun = time.perf_counter()
            label = with_settings(planned, divided(arch, self.joined)[1])
            task = self._task(label.train)
            trained = self._trained(place, arch)
            row: dict[str, Any] = {SCORE: trained.metrics[self.metric], **self._counted(arch)}
            row |= {f"digital_{name}": value for name, value in trained.metrics.items()}
            if rung.chips:
                chips = put_on_chips(
                    trained.net,
                    self.data,
                    task,
                    label.train,
                    label.analog,
                    label.drift,
                    seed=self.config.seed,
                )
                best = any(bool(chip["recalibrated"]) for chip in chips.rows)
                values = [
                    float(chip[self.metric])
                    for chip in chips.rows
                    if bool(chip["recalibrated"]) is best
                ]
                row[SCORE] = sum(values) / len(values)
            row |= {
                "metric": self.metric,
                "epochs": rung.epochs,
                "seconds": round(time.perf_counter() - begun, 1),
            }
            return row

        return one

    def _trained(self, place: int, arch: dict[str, Any]) -> Trained:
        """A candidate after the training of a rung, which begins with the weights of the rung
        before; where these are on another machine, that rung is trained here too."""
        label = with_settings(self._label_config(place, self.plan), divided(arch, self.joined)[1])
        folder = Path(self.config.out) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.config.search.study}-{self.space.arch_id(arch)}"
        before = folder / f"{name}-{place - 1}.safetensors"
        if place and not before.exists():
            self._trained(place - 1, arch)
        fresh = self._builder(arch)

        def build(seed: int) -> nn.Module:
            net = fresh(seed)
            if place:
                load_weights(before, net)
            return net

        trained = train_network(
            build,
            self.data,
            self._task(label.train),
            label.train,
            # Other crops than in the rung before.
            seed=derive_seed(self.config.seed, place) if place else self.config.seed,
            device=select_device(self.config.device),
            scored="val",
            checkpoint=folder / f"{name}-{place}.ckpt",
        )
        save_weights(folder / f"{name}-{place}.safetensors", trained.net, {})
        return trained

    def _counted(self, arch: dict[str, Any]) -> dict[str, float]:
        scores = self.cost.evaluate([arch])
        return {name: float(scores.column(name)[0]) for name in COUNTED}

    # --- on screen --------------------------------------------------------------------------

    def bar(self, progress: bool) -> Any:
        """A bar of the epochs of all candidates."""
        return tqdm(total=round(self.plan.cost), desc="search", unit="epoch", disable=not progress)

    def _finished(self, bar: Any, found: list[list[dict[str, Any]]], study: MeasuredStudy) -> None:
        """After each candidate: show it, and end the rung where its time is over."""
        rows = study.rows()
        self._show(bar, found, rows)
        if self._is_late(found, rows):
            study.end()

    def _is_late(self, found: list[list[dict[str, Any]]], rows: list[dict[str, Any]]) -> bool:
        """Return True if another candidate would take time that is planned for the next rungs.

        Where candidates take longer than those that were timed, fewer are compared; two at least,
        or one of the last rung.
        """
        seconds = Amount.of(self.config.search.budget).seconds * self._parallel
        place, costs = len(found), self.plan.costs()
        last = place == len(self.plan.rungs) - 1
        if not seconds or len(rows) < (1 if last else 2):
            return False
        spent = [float(row["seconds"]) for rung in (*found, rows) for row in rung]
        each = sum(float(row["seconds"]) for row in rows) / len(rows)
        ahead = [
            rung.count * cost
            for rung, cost in zip(self.plan.rungs[place + 1 :], costs[place + 1 :], strict=True)
        ]
        # The rungs ahead may shrink to half of what is planned.
        kept = 0.5 * seconds * sum(ahead) / self.plan.cost
        return sum(spent) + each > seconds - kept

    def _show(
        self, bar: Any, found: list[list[dict[str, Any]]], rows: list[dict[str, Any]]
    ) -> None:
        """Bring the bar up to date: epochs of all candidates, and the best score."""
        costs = self.plan.costs()
        done = [*map(len, found), len(rows)]
        bar.n = round(sum(count * cost for count, cost in zip(done, costs, strict=False)))
        bar.set_description(f"search, rung {len(found) + 1} of {len(costs)}", refresh=False)
        if rows:
            best = max(float(row[SCORE]) for row in rows)
            bar.set_postfix({self.metric: f"{best:.4f}"}, refresh=False)
        bar.refresh()


def _goals(config: RunConfig) -> tuple[tuple[Objective, ...], Any]:
    """Objectives and constraints of a search within a budget, over what it knows.

    Raises:
        ConfigError: of a column that it does not know.
    """
    search = config.search
    columns = (SCORE, *COUNTED)
    try:
        objectives = parse_objectives(search.maximize, search.minimize, columns)
        constraints = parse_constraints(search.constraints, COUNTED)
    except ConfigError as error:
        raise ConfigError(f"search with a budget: {error}") from None
    return objectives or (Objective(SCORE, True, columns),), constraints


def _scoring(data: Data) -> float:
    """Epochs of training that take as long as scoring a network on the images held out."""
    scored = sum(image.shape[0] * math.prod(image.shape[2:]) for image, _ in data.val_loader(32))
    trained = len(data.train_ids) * data.size**2
    # Forward alone, a third of a step; images of which nuclei are told apart take two passes.
    passes = 2 if getattr(data, "diameter", 0) else 1
    return round(scored * passes / (3 * trained), 2)
