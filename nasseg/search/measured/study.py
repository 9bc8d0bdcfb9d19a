"""A study of measured architectures that many workers share.

Every worker takes one trial at a time, decides on its architecture, measures it and writes the
values down; the study in the storage is the one record, and files are exports of it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState, create_trial
from tqdm import tqdm

from nasseg.config import differences
from nasseg.errors import BusyError, ConfigError, NassegError, RunError
from nasseg.evaluators.shipping import shipped_low_fidelity
from nasseg.io import write_csv
from nasseg.records.stopping import terminable
from nasseg.records.storage import shown
from nasseg.search.measured._process import Heartbeat
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search.measured.distributions import distributions, from_params, to_params
from nasseg.search.measured.sampler import SAMPLERS, Proposal, Request, expected_gain, propose
from nasseg.search.measured.storage import open_storage
from nasseg.search.measured.trials import (
    MARKS,
    Slot,
    Taken,
    TrialQueue,
    arch_ids,
    as_history,
    plain,
)

if TYPE_CHECKING:
    from nasseg.evaluators.low_fidelity import LowFidelity
    from nasseg.search_spaces import SearchSpace

log = logging.getLogger(__name__)

HEARTBEAT = 60.0
"""Seconds between a worker's signs of life."""
GRACE_BEATS = 4
"""Signs of life that a worker may miss before its trial is given to another."""
ENDED_AT = "ended_at"
"""Attribute of a study that was ended: how many architectures it has."""
STOPPED_AT = "stopped_at"
"""Attribute of a study that ended early: its ``count`` and the ``stop_gain`` asked."""
STOP_AFTER = 5
"""Proposals in a row that must promise too little before a study ends early."""
LISTED = "archs"
"""Setting of a study with a list of architectures: a hash of their ids."""
METRIC = "day1"
"""What a study maximises by default: the task's metric a day after programming."""

LOW_FIDELITY = "low_fidelity"
"""Attribute of a study: hash of the short trainings that its surrogate began with, or none."""
BUSY_SECONDS = 60.0
"""Wait of a worker whose device had no room, five times as long after the second time."""
Measure = Callable[[dict[str, Any]], Mapping[str, Any]]
"""A canonical architecture to its measured values, ``day1`` among them."""


class MeasuredStudy:
    """A study in a storage; opened by every worker, made by the first.

    Args:
        storage: as :func:`~nasseg.search.measured.storage.open_storage` takes it.
        name: of the study in that storage.
        space: the search space.
        settings: everything that the measured values depend on (budget, data, space). A study
            remembers them.
        seed: of the proposals.
        bounds: what is measured at all.
        archs: the architectures to measure, in order; none = what a sampler proposes. A study
            keeps to the list that it began with.
        first: architectures that are measured before those that a sampler proposes.
        metric: measured value that is maximised.
        heartbeat: seconds between a worker's signs of life.
        grace: seconds without one after which its trial is given to another worker. A worker of
            this machine that has ended is noticed at once.
        defaults: of sections of the settings to which settings were added that leave everything as
            it was; a study from before is then still the same.

    Raises:
        ConfigError: no such kind of storage.
        MissingDependencyError: the database's driver is not installed.
        RunError: the storage cannot be opened, or the study there has other settings.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        space: SearchSpace,
        settings: Mapping[str, Any],
        *,
        seed: int = 0,
        bounds: SizeBounds | None = None,
        archs: Sequence[dict[str, Any]] | None = None,
        first: Sequence[dict[str, Any]] = (),
        metric: str = METRIC,
        heartbeat: float = HEARTBEAT,
        grace: float | None = None,
        defaults: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if heartbeat <= 0:
            raise ConfigError(f"heartbeat is {heartbeat!r}; allowed: seconds above 0")
        self.space = space
        self.seed = seed
        self.bounds = bounds or SizeBounds()
        self.archs = None if archs is None else {space.arch_id(arch): arch for arch in archs}
        self.first = tuple(space.canonical(arch) for arch in first)
        self.metric = metric
        self.where = f"study {name!r} in {shown(storage)}"
        opened = open_storage(storage)
        self.study = optuna.create_study(
            storage=opened, study_name=name, direction="maximize", load_if_exists=True
        )
        self.defaults = dict(defaults or {})
        listed = {} if self.archs is None else {LISTED: _digest(self.archs)}
        self._remember({**settings, **listed})
        grace = GRACE_BEATS * heartbeat if grace is None else grace
        self.queue = TrialQueue(self.study, opened, space, heartbeat, grace)
        self._poll = min(2.0, heartbeat / 4)
        self._pause = 0.0
        self._low_fidelity: LowFidelity | None = None

    def _remember(self, settings: dict[str, Any]) -> None:
        """Write the settings of a new study; refuse one that has others."""
        if "settings" not in self.study.user_attrs:
            foreign = bool(self.study.get_trials(deepcopy=False))
            # Looked at again: another worker may have begun the study between the two.
            if foreign and "settings" not in self.study.user_attrs:
                raise RunError(f"the {self.where} is not one of nasseg's; use another --study")
            if not foreign:
                self.study.set_user_attr("settings", settings)
                self.study.set_metric_names([self.metric])
        # Read back: two workers may have begun at once, with different settings.
        saved = self.study.user_attrs["settings"]
        # Settings younger than the study were as they are by default.
        saved = {
            key: {**self.defaults[key], **value} if key in self.defaults else value
            for key, value in saved.items()
        }
        changed = differences(saved, settings)
        if changed and saved.get(LISTED) != settings.get(LISTED):
            changed.append("(archs: the study keeps to the list of architectures it began with)")
        if changed:
            raise RunError(
                f"the {self.where} has other settings:\n  "
                + "\n  ".join(changed)
                + "\nUse the same settings to join it, or another --study"
            )

    # --- results ----------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """Measured values of every architecture, in the order of their places in the study."""
        return self._rows(self.queue.slots())

    def failures(self) -> list[dict[str, Any]]:
        """``arch_id``, ``arch`` and ``reason`` of what cannot be measured."""
        return _failures(self.queue.slots())

    def best(self) -> dict[str, Any] | None:
        """The row with the highest value, of equal ones the earliest; None without rows."""
        return max(self.rows(), key=lambda row: float(row[self.metric]), default=None)

    def goal(self, count: int, stop_gain: float = 0.0) -> int:
        """How many architectures the study ends with: ``count``, or fewer where its list has no
        more, or where it was found that going on promises less than ``stop_gain``."""
        if self.archs is not None:
            # What the study knows beside its list (an older table, what was enqueued) comes on top.
            others = sum(s.arch_id not in self.archs for s in self.queue.slots() if s.arch_id)
            count = min(count, len(self.archs)) + others
        count = min(count, int(self.study.user_attrs.get(ENDED_AT, count)))
        ended = self.study.user_attrs.get(STOPPED_AT)
        # Whoever asks for smaller gains goes on.
        if ended is None or not stop_gain or stop_gain < float(ended["stop_gain"]):
            return count
        return min(count, int(ended["count"]))

    def end(self) -> None:
        """Begin no further architecture, here or elsewhere; those under way are finished."""
        if ENDED_AT not in self.study.user_attrs:
            self.study.set_user_attr(ENDED_AT, len(self.queue.slots()))

    def finished(self, count: int) -> int:
        """How many of the first ``count`` architectures are measured or known to fail."""
        return sum(slot.finished for slot in self.queue.slots()[:count])

    def _rows(self, slots: list[Slot]) -> list[dict[str, Any]]:
        columns = ["arch_id", "arch", *self.study.user_attrs.get("columns", [])]
        rows = []
        for slot in slots:
            attrs = slot.last.user_attrs
            if slot.state != "measured" or "duplicate_of" in attrs or self.metric not in attrs:
                continue
            values = {key: value for key, value in attrs.items() if key not in MARKS}
            order = [*(c for c in columns if c in values), *sorted(values.keys() - {*columns})]
            rows.append({key: values[key] for key in order})
        return rows

    def export(self, table: Path) -> None:
        """Write ``table`` and, beside it, ``NAME_failures.csv``; each atomically."""
        slots = self.queue.slots()
        failures = table.with_name(f"{table.stem}_failures.csv")
        for path, rows in ((table, self._rows(slots)), (failures, _failures(slots))):
            # An empty file would not be a table; one that was there is brought up to date.
            if rows or path.exists():
                write_csv(path, rows)

    def add_known(
        self, rows: list[dict[str, Any]], failures: list[dict[str, Any]], source: str
    ) -> int:
        """Take over architectures measured before there was a study; how many were new to it.

        Args:
            rows: ``arch`` (JSON) and measured values.
            failures: ``arch`` and ``reason``.
            source: where they are from, as ``worker`` of their trials.
        """
        known = {slot.arch_id for slot in self.queue.slots()}
        known_distributions = distributions(self.space)
        added = 0
        for row in (*rows, *failures):
            arch = self.space.from_json(str(row["arch"]))
            arch_id = self.space.arch_id(arch)
            if arch_id in known:
                continue
            known.add(arch_id)
            values = {**plain(row), "arch": self.space.to_json(arch), "arch_id": arch_id}
            measured = "reason" not in row
            if measured:
                self._know_columns(values)
            params = to_params(self.space, arch)
            self.study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if measured else TrialState.FAIL,
                    value=float(row[self.metric]) if measured else None,
                    params=params,
                    distributions={name: known_distributions[name] for name in params},
                    user_attrs={**values, "worker": source},
                )
            )
            added += 1
        return added

    def _know_columns(self, row: Mapping[str, Any]) -> None:
        """Remember the order of the measured values, which storages do not keep."""
        known = list(self.study.user_attrs.get("columns", []))
        new = [name for name in row if name not in (*known, "arch_id", "arch")]
        if new:
            self.study.set_user_attr("columns", [*known, *new])

    def _known_beforehand(self) -> LowFidelity | None:
        """What the shipped surrogate of the space knows, where the study began with the same.

        A study goes on as it began, with whatever version of the package.
        """
        shipped = shipped_low_fidelity(self.space.name)
        installed = None if shipped is None else shipped.facts.get("sha256")
        if LOW_FIDELITY not in self.study.user_attrs:
            begun = any(slot.arch is not None for slot in self.queue.slots())
            self.study.set_user_attr(LOW_FIDELITY, None if begun else installed)
        used = self.study.user_attrs[LOW_FIDELITY]
        if used is not None and used != installed:
            log.warning(
                "the %s began with short trainings that another version of nasseg ships; it goes "
                "on without them",
                self.where,
            )
        return shipped if used is not None and used == installed else None

    # --- working ----------------------------------------------------------------------------

    def work(
        self,
        measure: Measure,
        count: int,
        sampler: str,
        *,
        stop_gain: float = 0.0,
        on_finished: Callable[[], object] | None = None,
        progress: bool = True,
    ) -> None:
        """Measure until the first ``count`` architectures of the study are done, by whomever.

        Waits for trials of other workers at the end, so that it can take over where one dies.
        An interruption (Ctrl-C, SIGTERM) frees the trial under way at once.

        Args:
            measure: what is done with an architecture. A :class:`NassegError` of it is the
                architecture's fault: recorded with its message, and not tried again. A
                :class:`BusyError` is nobody's: it frees the trial and counts as an attempt. Any
                other exception does, too, and is raised.
            count: architectures asked for; those that cannot be measured are not replaced.
            sampler: name of what proposes them.
            stop_gain: end earlier once :data:`STOP_AFTER` proposals in a row are expected to beat
                the best one by less than this; for the sampler ``surrogate``. 0 = never.
            on_finished: called after every trial that this worker finished.
            progress: show a bar of what all workers have done, where stderr is a terminal.

        Raises:
            UnknownName: no such sampler.
            ConfigError: nothing within the bounds is to be had.
            KeyboardInterrupt: stopped.
        """
        _ = SAMPLERS[sampler]
        self._low_fidelity = self._known_beforehand() if sampler == "surrogate" else None
        with (
            terminable(),
            tqdm(total=count, desc="measured", unit="arch", disable=not progress) as bar,
        ):
            while True:
                # Of what was asked, not of the goal before: the rest of a study may have grown.
                goal = self.goal(count, stop_gain)
                taken = self.queue.take(goal)
                self.show(bar, goal)
                if taken is not None:
                    if (
                        self._run_trial(taken, measure, sampler, stop_gain)
                        and on_finished is not None
                    ):
                        on_finished()
                    time.sleep(self._pause)
                    self._pause = 0.0
                elif self.finished(goal) >= goal:
                    break
                else:
                    time.sleep(self._poll)

    def show(self, bar: Any, count: int) -> None:
        """Bring a bar up to date: what all workers have finished, and the best."""
        slots = self.queue.slots()
        bar.total = count
        bar.n = sum(slot.finished for slot in slots[:count])
        values = [slot.last.value for slot in slots if slot.state == "measured"]
        if values:
            bar.set_postfix({f"best {self.metric}": f"{max(values):.4f}"}, refresh=False)
        bar.refresh()

    def _run_trial(self, taken: Taken, measure: Measure, sampler: str, stop_gain: float) -> bool:
        """Decide on, measure and finish one trial; False where it was given back instead."""
        try:
            with Heartbeat(lambda now: self.queue.beat(taken, now), self.queue.heartbeat):
                arch = self._decide(taken, sampler, stop_gain)
                if arch is None:
                    return True
                first = self._first_with(taken, arch)
                if first is not None:
                    return self._reuse_result(taken, first)
                return self._measure(taken, arch, measure)
        except (KeyboardInterrupt, ConfigError):
            self.queue.release(taken)
            raise
        except Exception as error:
            self.queue.release(taken, f"{type(error).__name__}: {error}")
            raise

    def _decide(self, taken: Taken, sampler: str, stop_gain: float) -> dict[str, Any] | None:
        """The architecture of a trial; None where the trial was failed for what it asks.

        Trials decide in the order of their numbers, so that each knows what those before it
        measure, and no two decide on the same.
        """
        if taken.arch is not None:
            return taken.arch
        while self.queue.undecided_before(taken.number):
            time.sleep(min(0.1, self._poll))
            self.queue.reap()
        slots = self.queue.slots()
        if taken.enqueued is not None:
            try:
                proposal = Proposal(from_params(self.space, taken.enqueued), {})
            except NassegError as error:
                self.queue.fail(taken, f"what was enqueued is no architecture: {error}")
                return None
        elif self.archs is not None:
            known = arch_ids(slots)
            left = next((arch for i, arch in self.archs.items() if i not in known), None)
            if left is None:
                self.queue.fail(taken, "every architecture of the list is in the study")
                return None
            proposal = Proposal(left, {})
        elif taken.place < len(self.first):
            proposal = Proposal(self.first[taken.place], {})
        else:
            request = Request(self.space, self.seed, taken.place, self.bounds, self._low_fidelity)
            history = as_history(slots, self.space, taken.place)
            if stop_gain and sampler == "surrogate":
                self._record_expected_gain(taken, expected_gain(request, history), slots, stop_gain)
            proposal = propose(sampler, request, history, arch_ids(slots).keys())
        self.queue.decide(taken, proposal.arch, proposal.system_attrs)
        return proposal.arch

    def _record_expected_gain(
        self, taken: Taken, gain: float, slots: list[Slot], stop_gain: float
    ) -> None:
        """Note what a trial promises; end the study after it where that is too little for long."""
        # Storages keep no infinity.
        promised = gain if math.isfinite(gain) else None
        self.queue.promise(taken, promised)
        before = [slot.gain for slot in slots[: taken.place]]
        recent = [*before[1 - STOP_AFTER :], promised]
        if len(recent) < STOP_AFTER or any(g is None or g >= stop_gain for g in recent):
            return
        ended = self.study.user_attrs.get(STOPPED_AT)
        if ended is None or stop_gain < float(ended["stop_gain"]):
            found = {"count": taken.place + 1, "stop_gain": stop_gain}
            self.study.set_user_attr(STOPPED_AT, found)

    def _first_with(self, taken: Taken, arch: dict[str, Any]) -> Slot | None:
        """The other slot that decided on this architecture before; waits until it is done."""
        arch_id = self.space.arch_id(arch)
        while True:
            first = arch_ids(self.queue.slots())[arch_id]
            if first.place == taken.place:
                return None
            if first.state != "running":
                return first
            time.sleep(self._poll)
            self.queue.reap()

    def _reuse_result(self, taken: Taken, first: Slot) -> bool:
        """End a trial with what is known of its architecture."""
        known = first.last
        if first.state == "failed":
            self.queue.fail(taken, str(first.reason), duplicate_of=known.number)
            return True
        if first.state == "measured":
            values = {k: v for k, v in known.user_attrs.items() if k not in MARKS}
            self.queue.complete(
                taken, values, float(values[self.metric]), duplicate_of=known.number
            )
            return True
        # Its worker died while this one waited: that trial comes first, then this one.
        self.queue.release(taken)
        return False

    def _measure(self, taken: Taken, arch: dict[str, Any], measure: Measure) -> bool:
        arch_id = self.space.arch_id(arch)
        try:
            row = dict(measure(arch))
            if plain(row).get(self.metric) is None:
                raise RunError(f"diverged: {self.metric} is {row.get(self.metric)}")
        except BusyError as error:
            log.warning("%s is given back: %s", arch_id, error)
            self.queue.release(taken, str(error))
            slot = next(s for s in self.queue.slots() if s.place == taken.place)
            if slot.state == "failed":
                return True
            # At once it would find what it found: the others need time to end.
            tried = sum(trial.state == TrialState.FAIL for trial in slot.trials)
            self._pause = BUSY_SECONDS * 5 ** (tried - 1)
            return False
        except NassegError as error:
            log.warning("%s cannot be measured: %s", arch_id, error)
            self.queue.fail(taken, str(error))
            return True
        row |= {"arch_id": arch_id, "arch": self.space.to_json(arch)}
        self._know_columns(row)
        self.queue.complete(taken, row, float(row[self.metric]))
        return True


def _digest(ids: Collection[str]) -> str:
    joined = "\n".join(ids)
    return f"{len(ids)} of {hashlib.sha256(joined.encode()).hexdigest()[:12]}"


def _failures(slots: list[Slot]) -> list[dict[str, Any]]:
    return [
        {
            "arch_id": slot.arch_id,
            "arch": slot.decider.user_attrs["arch"],
            "reason": slot.reason,
        }
        for slot in slots
        if slot.state == "failed"
        and slot.decider is not None
        and "duplicate_of" not in slot.last.user_attrs
    ]
