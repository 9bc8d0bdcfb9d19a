"""The trials of a measured study: what is to be done, by whom, and what became of it.

A *slot* is one architecture asked for. Its first trial gives it its place (the rank among first
trials, so that places have no gaps and are the same for every worker); a trial that was
interrupted is followed by a retry, a trial of its own that names the first one. All changes of
hands are single changes of state in the storage, of which one worker's succeeds.

Optuna's own heartbeat is not used: its journal storage has none, its databases overlook a trial
whose worker died before the first beat, and it counts a worker that was stopped in good order as
one that died. Here the beat is a system attribute of the trial, in every storage alike.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from nasseg.search.measured import _process
from nasseg.search.measured.distributions import distributions, to_params

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study

    from nasseg.search_spaces import SearchSpace

log = logging.getLogger(__name__)

MAX_RETRIES = 2
"""Times a trial is begun again whose worker died."""
BEAT, PROCESS = "nasseg:beat", "nasseg:process"
"""System attributes: last sign of life (seconds since 1970), and the process."""
STOPPED, SURPLUS, KILLED = "stopped", "not needed", "its worker died"
"""Why a trial was interrupted. The first two are nobody's fault and are not counted."""
GAIN = "expected_gain"
"""By how much a trial was expected to beat the best before it; None = nothing to go by."""
MARKS = (
    "worker",
    "interrupted",
    "superseded_by",
    "retry_of",
    "history",
    "duplicate_of",
    "reason",
    GAIN,
)
"""User attributes that are not measured values."""
STALE_SECONDS = 3600.0
"""A heartbeat older than this, and than ten times the grace, is no sign of life anywhere."""
HANDOVER_SECONDS = 10.0
"""Longest time in which the worker that frees a trial also queues its retry."""

State = Literal["measured", "failed", "running", "waiting", "open"]


@dataclass(frozen=True)
class Slot:
    """One architecture asked for: its first trial and its retries."""

    place: int
    """From 0."""
    trials: tuple[FrozenTrial, ...]
    """In order; those that another trial of the slot superseded are left out."""

    @property
    def state(self) -> State:
        """What has become of it; ``open`` = a worker must take it up (again)."""
        states = [trial.state for trial in self.trials]
        if TrialState.COMPLETE in states:
            return "measured"
        if self.reason is not None:
            return "failed"
        if TrialState.RUNNING in states:
            return "running"
        return "waiting" if TrialState.WAITING in states else "open"

    @property
    def reason(self) -> str | None:
        """Why it cannot be measured, if so."""
        for trial in self.trials:
            if trial.state == TrialState.FAIL and "reason" in trial.user_attrs:
                return str(trial.user_attrs["reason"])
            if trial.state == TrialState.PRUNED:
                return "pruned"
        dead = [t.number for t in self.trials if _died(t)]
        if len(dead) <= MAX_RETRIES:
            return None
        why = {self.trial(number).user_attrs.get("interrupted", "failed") for number in dead}
        return f"given up after {len(dead)} attempts (trials {dead}): {'; '.join(sorted(why))}"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("measured", "failed")

    @property
    def last(self) -> FrozenTrial:
        """The trial that decides: the one that finished, else the latest."""
        for trial in self.trials:
            if trial.state == TrialState.COMPLETE:
                return trial
        return self.trials[-1]

    @property
    def decider(self) -> FrozenTrial | None:
        """The trial that decided on the architecture; None where that is not done yet."""
        # The id is written last: without it, the rest may be of a proposal that was never made.
        return next((t for t in self.trials if "arch_id" in t.user_attrs), None)

    @property
    def arch_id(self) -> str | None:
        """What it measures; None where that is not decided yet."""
        return None if self.decider is None else str(self.decider.user_attrs["arch_id"])

    @property
    def arch(self) -> dict[str, Any] | None:
        """The architecture; None where that is not decided yet."""
        if self.decider is None:
            return None
        arch: dict[str, Any] = json.loads(self.decider.user_attrs["arch"])
        return arch

    @property
    def gain(self) -> float | None:
        """What was expected of it, where that was asked."""
        return next((t.user_attrs[GAIN] for t in self.trials if GAIN in t.user_attrs), None)

    def trial(self, number: int) -> FrozenTrial:
        """The trial of that number."""
        return next(trial for trial in self.trials if trial.number == number)


def _died(trial: FrozenTrial) -> bool:
    why = trial.user_attrs.get("interrupted")
    return trial.state == TrialState.FAIL and why not in (STOPPED, SURPLUS)


def group(trials: Sequence[FrozenTrial]) -> list[Slot]:
    """Trials by slot, in order of place."""
    groups: list[list[FrozenTrial]] = []
    place_of: dict[int, int] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        first = trial.user_attrs.get("retry_of")
        if first is None:
            place_of[trial.number] = len(groups)
            groups.append([trial])
        elif "superseded_by" not in trial.user_attrs:
            groups[place_of[first]].append(trial)
    return [Slot(place, tuple(members)) for place, members in enumerate(groups)]


@dataclass(frozen=True)
class Taken:
    """A trial that this worker works on."""

    place: int
    """Of its slot."""
    trial_id: int
    """In the storage."""
    number: int
    """In the study."""
    arch: dict[str, Any] | None
    """The architecture, where an earlier attempt had decided on it."""
    enqueued: dict[str, Any] | None = None
    """Parameters that somebody put into the queue by hand."""


class TrialQueue:
    """Takes trials of a study, one at a time, and writes down what became of them.

    Args:
        study: the study, in a storage that other workers use too.
        storage: that storage.
        space: the search space.
        heartbeat: seconds between signs of life.
        grace: seconds without one after which a worker counts as dead.
    """

    def __init__(
        self,
        study: Study,
        storage: BaseStorage,
        space: SearchSpace,
        heartbeat: float,
        grace: float,
    ) -> None:
        self.study = study
        self.storage = storage
        self.space = space
        self.heartbeat = heartbeat
        self.grace = grace
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._distributions = distributions(space)
        self._beats: dict[int, tuple[Any, float]] = {}

    def slots(self) -> list[Slot]:
        """All slots, as they are in the storage now."""
        return group(self.study.get_trials(deepcopy=False))

    # --- taking -----------------------------------------------------------------------------

    def take(self, count: int) -> Taken | None:
        """A trial of the first ``count`` slots to work on; None where there is none just now."""
        self.reap()
        slots = self.slots()
        for slot in slots[:count]:
            taken = None
            if slot.state == "waiting":
                taken = self._pop(slot)
            elif slot.state == "open" and not self._being_handed_over(slot):
                taken = self._begin(count, slot)
            if taken is not None:
                return taken
        return self._begin(count) if len(slots) < count else None

    def _pop(self, slot: Slot) -> Taken | None:
        """Take a waiting trial, if no other worker does."""
        trial = slot.last
        if slot.arch is None:
            # Put in by hand. Trials decide on their architecture in the order of their numbers,
            # so it is begun anew under a number that is last now.
            self._end(trial, "interrupted", STOPPED)
            return None
        try:
            if not self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                return None
        except UpdateFinishedTrialError:
            return None
        for key, value in self._mine().items():
            self.storage.set_trial_system_attr(trial._trial_id, key, value)
        self.storage.set_trial_user_attr(trial._trial_id, "worker", _process.worker_name())
        return self._unless_superseded(trial._trial_id, slot.place + 1)

    def _begin(self, count: int, slot: Slot | None = None) -> Taken | None:
        """Begin a new slot, or a retry of an interrupted one."""
        template = (
            create_trial(state=TrialState.RUNNING)
            if slot is None
            else self._retry(slot, TrialState.RUNNING)
        )
        template.user_attrs["worker"] = _process.worker_name()
        template.system_attrs |= self._mine()
        trial_id = self.storage.create_new_trial(self._study_id, template_trial=template)
        return self._unless_superseded(trial_id, count)

    def _unless_superseded(self, trial_id: int, count: int) -> Taken | None:
        """The trial just taken, unless another worker was first with the same idea."""
        mine = self.storage.get_trial(trial_id)
        slot = next(s for s in self.slots() if any(t.number == mine.number for t in s.trials))
        if slot.place >= count:
            self._end(mine, "interrupted", SURPLUS)
            return None
        for other in slot.trials:
            before = other.number < mine.number and other.state != TrialState.FAIL
            if before or other.state == TrialState.COMPLETE:
                self._end(mine, "superseded_by", other.number)
                return None
        enqueued = next(
            (
                t.system_attrs["fixed_params"]
                for t in slot.trials
                if "fixed_params" in t.system_attrs
            ),
            None,
        )
        return Taken(slot.place, trial_id, mine.number, slot.arch, enqueued)

    def _retry(self, slot: Slot, state: TrialState) -> FrozenTrial:
        """A further trial of a slot, with its architecture and its history."""
        attrs: dict[str, Any] = {
            "retry_of": slot.trials[0].number,
            "history": [
                {
                    "trial": trial.number,
                    "worker": trial.user_attrs.get("worker"),
                    "interrupted": trial.user_attrs.get("interrupted"),
                }
                for trial in slot.trials
            ],
        }
        if slot.arch is None or slot.decider is None:
            return create_trial(state=state, user_attrs=attrs)
        params = to_params(self.space, slot.arch)
        attrs |= {"arch": self.space.to_json(slot.arch), "arch_id": slot.arch_id}
        return create_trial(
            state=state,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            user_attrs=attrs,
            system_attrs=sampler_attrs(slot.decider),
        )

    def _mine(self) -> dict[str, Any]:
        return {BEAT: time.time(), PROCESS: _process.identity()}

    # --- the dead and the stopped -----------------------------------------------------------

    def reap(self) -> None:
        """Free the trials of workers that died."""
        for slot in self.slots():
            if slot.state == "running":
                for trial in slot.trials:
                    if trial.state == TrialState.RUNNING and self._is_dead(trial):
                        self._free(slot, trial, KILLED)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        who = trial.system_attrs.get(PROCESS, ())
        alive = _process.alive(who)
        if alive is not None:
            return not alive
        # The other machine's clock may be wrong: what counts is for how long, by this one's, its
        # heartbeat has not changed. None where it was taken a moment ago.
        beat, now = trial.system_attrs.get(BEAT), time.monotonic()
        if beat is not None and time.time() - float(beat) > max(STALE_SECONDS, 10 * self.grace):
            # No clock is that wrong: a study that is taken up later need not wait.
            return True
        last, since = self._beats.get(trial._trial_id, (None, now))
        if beat != last:
            since = now
        self._beats[trial._trial_id] = beat, since
        return now - since > self.grace

    def promise(self, taken: Taken, gain: float | None) -> None:
        """Write down what is expected of a trial."""
        self.storage.set_trial_user_attr(taken.trial_id, GAIN, gain)

    def release(self, taken: Taken, why: str = STOPPED) -> None:
        """Free a trial of this worker for others, at once."""
        slot = next(s for s in self.slots() if s.place == taken.place)
        self._free(slot, slot.trial(taken.number), why)

    def _free(self, slot: Slot, trial: FrozenTrial, why: str) -> None:
        """End a trial and queue its retry; of several workers that want to, one does."""
        if not self._end(trial, "interrupted", why):
            return
        slot = next(s for s in self.slots() if s.place == slot.place)
        log.info("trial %d: %s", trial.number, slot.reason or f"{why}; it is free again")
        # What was not decided yet is decided by whoever takes the slot up.
        if slot.state == "open" and slot.arch is not None:
            self.study.add_trial(self._retry(slot, TrialState.WAITING))

    def _end(self, trial: FrozenTrial, key: str, value: Any) -> bool:
        """Set a trial to FAIL with an attribute; whether it was this worker that did."""
        try:
            self.storage.set_trial_user_attr(trial._trial_id, key, value)
            return bool(self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL))
        except UpdateFinishedTrialError:
            return False

    def _being_handed_over(self, slot: Slot) -> bool:
        """Whether the worker that freed it may be about to queue its retry."""
        ended = slot.last.datetime_complete
        if slot.arch is None or ended is None:
            return False
        return bool(0 <= datetime.now().timestamp() - ended.timestamp() < HANDOVER_SECONDS)

    # --- deciding and finishing -------------------------------------------------------------

    def undecided_before(self, number: int) -> bool:
        """Whether a running trial with a lower number has not said yet what it measures."""
        return any(
            trial.state == TrialState.RUNNING and "arch_id" not in trial.user_attrs
            for trial in self.study.get_trials(deepcopy=False)
            if trial.number < number
        )

    def decide(self, taken: Taken, arch: Mapping[str, Any], attrs: Mapping[str, Any]) -> None:
        """Say what a trial measures: its parameters and, last, the architecture's id.

        Args:
            taken: the trial.
            arch: canonical.
            attrs: what the sampler remembers of it.
        """
        for name, value in to_params(self.space, arch).items():
            known = self._distributions[name]
            self.storage.set_trial_param(taken.trial_id, name, known.to_internal_repr(value), known)
        for key, value in attrs.items():
            self.storage.set_trial_system_attr(taken.trial_id, key, value)
        self.storage.set_trial_user_attr(taken.trial_id, "arch", self.space.to_json(arch))
        self.storage.set_trial_user_attr(taken.trial_id, "arch_id", self.space.arch_id(arch))

    def beat(self, taken: Taken, now: float) -> None:
        """Sign of life of the worker of a trial."""
        self.storage.set_trial_system_attr(taken.trial_id, BEAT, now)

    def complete(self, taken: Taken, row: Mapping[str, Any], value: float, **marks: Any) -> None:
        """End a trial with its measured values, of which ``value`` is compared."""
        self._finish(taken, {**plain(row), **marks}, TrialState.COMPLETE, [value])

    def fail(self, taken: Taken, reason: str, **marks: Any) -> None:
        """End a trial that cannot be measured."""
        self._finish(taken, {"reason": reason, **marks}, TrialState.FAIL, None)

    def _finish(
        self, taken: Taken, attrs: dict[str, Any], state: TrialState, values: list[float] | None
    ) -> None:
        try:
            for key, value in attrs.items():
                self.storage.set_trial_user_attr(taken.trial_id, key, value)
            self.storage.set_trial_state_values(taken.trial_id, state, values)
        except UpdateFinishedTrialError:
            log.warning(
                "trial %d was given to another worker, as nothing was heard of this one for %g "
                "seconds; what was measured here is dropped",
                taken.number,
                self.grace,
            )


def sampler_attrs(trial: FrozenTrial) -> dict[str, Any]:
    """What the sampler remembers of a trial."""
    own = (BEAT, PROCESS, "fixed_params")
    return {key: value for key, value in trial.system_attrs.items() if key not in own}


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Measured values as JSON takes them; what is not a finite number is None."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        known = value.item() if isinstance(value, np.generic) else value
        values[key] = None if isinstance(known, float) and not math.isfinite(known) else known
    return values


def as_history(slots: Sequence[Slot], space: SearchSpace, before: int) -> list[FrozenTrial]:
    """The slots before a place as trials for a sampler: one a slot, in order."""
    known = distributions(space)
    history = []
    for slot in slots[:before]:
        arch, state = slot.arch, slot.state
        if arch is None or slot.decider is None:
            history.append(create_trial(state=TrialState.FAIL))
            continue
        params = to_params(space, arch)
        ended = {"measured": TrialState.COMPLETE, "failed": TrialState.FAIL}
        history.append(
            create_trial(
                state=ended.get(state, TrialState.RUNNING),
                value=slot.last.value if state == "measured" else None,
                params=params,
                distributions={name: known[name] for name in params},
                user_attrs={"arch_id": slot.arch_id},
                system_attrs=sampler_attrs(slot.decider),
            )
        )
    return history


def arch_ids(slots: Collection[Slot]) -> dict[str, Slot]:
    """The slot that decided first on each architecture, by its id."""
    found: dict[str, Slot] = {}
    decided = [(slot.decider.number, slot) for slot in slots if slot.decider is not None]
    for _, slot in sorted(decided, key=lambda pair: pair[0]):
        found.setdefault(str(slot.arch_id), slot)
    return found
