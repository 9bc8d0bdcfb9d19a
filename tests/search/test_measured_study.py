"""Studies of measured architectures: interruption, failure, duplicates, and what Optuna sees."""

from __future__ import annotations

import csv
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest
from helpers.toy_worker import BOUNDS, SPACE, formula, open_study
from optuna.trial import TrialState

from nasseg.errors import BusyError, ConfigError, MissingDependencyError, RunError, UnknownName
from nasseg.records.storage import shown
from nasseg.search import AnalogNASSampler, MeasuredStudy, suggest
from nasseg.search.measured import _process
from nasseg.search.measured import study as measured
from nasseg.search.measured._process import alive, identity
from nasseg.search.measured.bounds import SizeBounds, iterate_spread, spread_architectures
from nasseg.search.measured.distributions import distributions, from_params, to_params
from nasseg.search.measured.sampler import (
    SAMPLERS,
    HypercubeSampler,
    Request,
    list_samplers,
    propose,
)
from nasseg.search.measured.storage import database_url, journal_path, open_storage
from nasseg.search.measured.trials import BEAT, PROCESS
from nasseg.search_spaces import get_space, list_spaces


@pytest.fixture
def storage(tmp_path):
    return f"journal:{tmp_path / 'study.journal'}"


def ids(study):
    return [row["arch_id"] for row in study.rows()]


class Interrupts:
    """Measures; at the n-th call raises instead, once."""

    def __init__(self, at, error):
        self.left, self.error, self.calls = at, error, []

    def __call__(self, arch):
        self.left -= 1
        self.calls.append(SPACE.arch_id(arch))
        if self.left == 0:
            raise self.error
        return formula(arch)


# --- spaces for Optuna ----------------------------------------------------------------------


@pytest.mark.parametrize("name", list_spaces())
def test_architectures_and_parameters_are_each_others_inverse(name):
    space, rng = get_space(name), np.random.default_rng(0)
    known = distributions(space)
    for arch in [space.default(), *(space.sample(rng) for _ in range(50))]:
        params = to_params(space, arch)
        assert from_params(space, params) == arch
        assert suggest(optuna.trial.FixedTrial(params), space) == arch
        # What is not there is not suggested.
        active = sum(value != 0 for value in arch.values())
        assert len(params) == active
        for key, value in params.items():
            assert known[key]._contains(known[key].to_internal_repr(value))


def test_ordered_choices_stay_ordered_for_samplers():
    known = distributions(SPACE)
    assert known["M"] == optuna.distributions.IntDistribution(2, 5)
    assert known["kernel0"] == optuna.distributions.IntDistribution(3, 7, step=2)
    assert known["widenfact2"] == optuna.distributions.FloatDistribution(1.25, 2.0, step=0.25)
    # 8, 12, 16, 24, 32 are not evenly spaced
    assert known["out_channel0_position"] == optuna.distributions.IntDistribution(0, 4)
    assert isinstance(known["skip"], optuna.distributions.CategoricalDistribution)


@pytest.mark.parametrize("name", ["random", "tpe", "nsgaii", "gp"])
def test_optunas_own_samplers_search_the_space(name):
    made = SAMPLERS[name].make(Request(SPACE, 0, 3, SizeBounds()))
    study = optuna.create_study(direction="maximize", sampler=made)
    study.optimize(lambda trial: formula(suggest(trial, SPACE))["day1"], n_trials=12)
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


def test_analognas_evolves_on_any_optuna_study():
    def run():
        sampler = AnalogNASSampler(SPACE, seed=3, population_size=6, bounds=BOUNDS)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(lambda trial: formula(suggest(trial, SPACE))["day1"], n_trials=40)
        return study

    study = run()
    archs = [from_params(SPACE, trial.params) for trial in study.trials]
    assert len({SPACE.arch_id(arch) for arch in archs}) == 40
    assert BOUNDS.within(SPACE, SPACE.encode(archs)).all()
    for trial, arch in zip(study.trials, archs, strict=True):
        assert trial.params == to_params(SPACE, arch)
    values = [trial.value for trial in study.trials]
    assert np.mean(values[-12:]) > np.mean(values[:6])
    assert [trial.params for trial in run().trials] == [trial.params for trial in study.trials]


def test_wrong_settings_of_the_evolution_are_named():
    with pytest.raises(ConfigError, match="population_size is 1"):
        AnalogNASSampler(SPACE, population_size=1)
    with pytest.raises(ConfigError, match="mutation_prob is 2"):
        AnalogNASSampler(SPACE, mutation_prob=2)


@pytest.mark.parametrize("name", list_samplers())
def test_a_proposal_is_new_within_the_bounds_and_a_function_of_its_history(name):
    taken = [SPACE.arch_id(arch) for arch in spread_architectures(SPACE, 3, 0, BOUNDS)]
    request = Request(SPACE, 0, 0, BOUNDS)
    proposal = propose(name, request, [], taken)
    assert SPACE.arch_id(proposal.arch) not in taken
    assert BOUNDS.within(SPACE, SPACE.encode([proposal.arch]))[0]
    assert propose(name, request, [], taken) == proposal
    assert propose(name, Request(SPACE, 1, 0, BOUNDS), [], taken).arch != proposal.arch


def test_the_surrogate_learns_from_what_is_measured_and_counts_the_rest_as_known():
    archs = spread_architectures(SPACE, 16, 3, BOUNDS)
    known = distributions(SPACE)
    study = optuna.create_study(direction="maximize")
    for k, arch in enumerate(archs):
        params = to_params(SPACE, arch)
        running, failed = k == 14, k == 15
        state = "RUNNING" if running else "FAIL" if failed else "COMPLETE"
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                value=None if running or failed else 0.1 * arch["M"],
                params=params,
                distributions={name: known[name] for name in params},
            )
        )
    seen = {SPACE.arch_id(arch) for arch in archs}
    proposals = [
        propose("surrogate", Request(SPACE, 0, slot, BOUNDS), study.trials).arch
        for slot in (16, 17, 18)
    ]
    assert not seen & {SPACE.arch_id(arch) for arch in proposals}
    # What was measured says that more stages are better.
    assert np.mean([arch["M"] for arch in proposals]) > np.mean([arch["M"] for arch in archs])


def test_a_study_may_minimise_and_has_one_direction():
    def stages(trial):
        return suggest(trial, SPACE)["M"]

    study = optuna.create_study(direction="minimize", sampler=AnalogNASSampler(SPACE))
    study.optimize(stages, n_trials=40)
    values = [trial.value for trial in study.trials]
    assert np.mean(values[-15:]) < np.mean(values[:10])
    both = optuna.create_study(directions=["minimize", "maximize"], sampler=AnalogNASSampler(SPACE))
    with pytest.raises(ConfigError, match="2 directions"):
        both.optimize(lambda t: (stages(t), 1), n_trials=30)


def test_impossible_bounds_are_an_error_not_an_endless_search(monkeypatch):
    monkeypatch.setattr("nasseg.search.measured.bounds.LHS_BLOCKS", 2)
    for name in ("lhs", "random"):
        with pytest.raises(ConfigError, match="widen the bounds"):
            propose(name, Request(SPACE, 0, 0, SizeBounds(max_params=10)), [])
    with pytest.raises(UnknownName, match="did you mean 'analognas'"):
        propose("analogna", Request(SPACE, 0, 0, BOUNDS), [])


# --- interruption ---------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["lhs", "analognas", "tpe", "nsgaii", "surrogate"])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(sampler, tmp_path):
    tables = []
    for name, stops in (("whole", []), ("stopped", [KeyboardInterrupt, KeyboardInterrupt])):
        where = f"journal:{tmp_path / name}.journal"
        for error in stops:
            with pytest.raises(KeyboardInterrupt):
                open_study(where).work(Interrupts(7, error()), 16, sampler, progress=False)
        study = open_study(where)
        study.work(formula, 16, sampler, progress=False)
        study.export(tmp_path / f"{name}.csv")
        tables.append((tmp_path / f"{name}.csv").read_bytes())
    assert tables[0] == tables[1]
    assert len(set(ids(study))) == 16


def test_a_stopped_trial_is_free_at_once_and_tells_its_history(storage):
    study = open_study(storage)
    with pytest.raises(KeyboardInterrupt):
        study.work(Interrupts(2, KeyboardInterrupt()), 4, "lhs", progress=False)
    stopped, freed = study.study.trials[1:]
    assert (stopped.state, freed.state) == (TrialState.FAIL, TrialState.WAITING)
    assert freed.params == stopped.params
    assert freed.user_attrs["retry_of"] == 1
    assert freed.user_attrs["history"][0]["interrupted"] == "stopped"
    for _ in range(4):  # being stopped is not held against it, however often
        with pytest.raises(KeyboardInterrupt):
            study.work(Interrupts(1, KeyboardInterrupt()), 4, "lhs", progress=False)
    study.work(formula, 4, "lhs", progress=False)
    assert len(study.rows()) == 4
    assert study.failures() == []


def test_an_error_of_the_program_is_raised_and_given_up_after_two_retries(storage):
    study = open_study(storage)
    first = None
    for _ in range(3):
        broken = Interrupts(1, ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError):
            study.work(broken, 2, "lhs", progress=False)
        first = first or broken.calls[0]
        assert broken.calls == [first]
    study.work(formula, 2, "lhs", progress=False)
    (failure,) = study.failures()
    assert failure["arch_id"] == first
    assert failure["reason"] == (
        "given up after 3 attempts (trials [0, 1, 2]): ZeroDivisionError: a bug"
    )
    assert len(study.rows()) == 1


def test_a_worker_that_is_gone_is_noticed_and_its_trial_taken_over(storage):
    study = open_study(storage)
    # One that is running, but was begun by a process that has ended; the process number may by
    # now be another's, which its start time tells.
    taken = study.queue.take(3)
    gone = [*identity()[:3], "1"]
    study.queue.storage.set_trial_system_attr(taken.trial_id, PROCESS, gone)
    study.work(formula, 3, "lhs", progress=False)
    assert len(study.rows()) == 3
    assert study.study.trials[0].user_attrs["interrupted"] == "its worker died"


def test_a_worker_of_another_machine_counts_as_dead_once_its_heartbeat_stops(storage, monkeypatch):
    """For as long as that takes by this machine's clock, whatever the other's says."""
    study = open_study(storage)
    taken = study.queue.take(3)
    keep = study.queue.storage.set_trial_system_attr
    keep(taken.trial_id, PROCESS, ["another boot", "another namespace", "1", "1"])
    start, now, grace = time.monotonic(), time.time(), study.queue.grace
    for after, beat in ((0, -900), (grace - 1, -900), (grace + 1, 2000), (2 * grace, 2000)):
        keep(taken.trial_id, BEAT, now + beat)
        monkeypatch.setattr(time, "monotonic", lambda after=after: start + after)
        study.queue.reap()
        assert study.study.trials[0].state == TrialState.RUNNING, after
    monkeypatch.setattr(time, "monotonic", lambda: start + 2 * grace + 2)
    study.queue.reap()
    assert study.study.trials[0].state == TrialState.FAIL
    # No clock is wrong by a day: a study that is taken up later does not wait.
    taken = study.queue.take(3)
    keep(taken.trial_id, PROCESS, ["another boot", "another namespace", "1", "1"])
    keep(taken.trial_id, BEAT, now - 86_400)
    study.queue.reap()
    assert study.study.trials[taken.number].state == TrialState.FAIL


def test_processes_are_known_by_more_than_their_number():
    assert alive(identity()) is True
    assert alive([*identity()[:3], "0"]) is False
    assert alive(["", "", str(os.getpid()), "0"]) is None
    assert alive([]) is None


def test_processes_from_before_a_reboot_are_gone(monkeypatch):
    before = ["another boot", *identity()[1:4]]
    monkeypatch.setattr(_process, "_machine", lambda: "host:1")
    assert alive([*before, "host:1"]) is False
    assert alive([*before, "host:2"]) is None
    assert alive([*before, ""]) is None
    assert alive(before) is None


# --- failures and duplicates ----------------------------------------------------------------


def test_a_busy_device_is_tried_again_and_not_for_ever(storage, monkeypatch):
    waited: list[float] = []
    real = time.sleep
    monkeypatch.setattr(measured, "BUSY_SECONDS", 1000.0)
    monkeypatch.setattr(time, "sleep", lambda s: waited.append(s) if s >= 1000 else real(s))
    study = open_study(storage)
    calls = []

    def measure(arch):
        calls.append(SPACE.arch_id(arch))
        # The first architecture finds room at the second attempt, the second one never.
        if len(calls) == 1 or calls[-1] not in calls[:1]:
            raise BusyError(f"out of memory, {len(calls)}")
        return formula(arch)

    finished: list[int] = []
    study.work(measure, 2, "lhs", on_finished=lambda: finished.append(1), progress=False)
    assert waited == [1000, 1000, 5000]
    assert len(finished) == 2
    assert calls == [calls[0]] * 2 + [calls[2]] * 3
    assert [row["arch_id"] for row in study.rows()] == calls[:1]
    (failure,) = study.failures()
    assert failure["reason"].endswith("out of memory, 5")
    assert "given up after 3 attempts" in failure["reason"]


def test_failures_have_their_reason_and_are_not_tried_again(storage, tmp_path):
    study = open_study(storage)
    calls = []

    def measure(arch):
        calls.append(SPACE.arch_id(arch))
        if len(calls) == 2:
            raise RunError("out of memory: 3 GiB asked for")
        return {**formula(arch), **({"day1": float("nan")} if len(calls) == 3 else {})}

    for _ in range(2):
        study.work(measure, 5, "lhs", progress=False)
    assert len(calls) == len(set(calls)) == 5
    assert [f["reason"] for f in study.failures()] == [
        "out of memory: 3 GiB asked for",
        "diverged: day1 is nan",
    ]
    assert [f["arch_id"] for f in study.failures()] == calls[1:3]
    study.export(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["arch_id"] for row in rows] == [calls[0], *calls[3:]]
    assert list(rows[0]) == ["arch_id", "arch", "day1", "avm", "std", "params"]
    with (tmp_path / "table_failures.csv").open() as lines:
        assert [row["arch_id"] for row in csv.DictReader(lines)] == calls[1:3]


def test_a_duplicate_has_the_known_values_and_names_the_trial(storage):
    study = open_study(storage)
    study.work(formula, 2, "lhs", progress=False)
    known = study.study.trials[0]
    study.study.enqueue_trial(known.params)
    calls = Interrupts(0, None)
    study.work(calls, 4, "lhs", progress=False)
    (copy,) = (t for t in study.study.trials if "duplicate_of" in t.user_attrs)
    assert copy.user_attrs["duplicate_of"] == known.number
    assert copy.value == known.value
    assert len(calls.calls) == 1
    assert len(study.rows()) == 3


def test_what_is_enqueued_by_hand_is_measured_if_it_is_an_architecture(storage):
    study = open_study(storage)
    wanted = SPACE.default()
    study.study.enqueue_trial(to_params(SPACE, wanted))
    study.study.enqueue_trial({"M": 99})
    study.work(formula, 3, "lhs", progress=False)
    assert ids(study)[0] == SPACE.arch_id(wanted)
    assert study.study.trials[-1].state.is_finished()
    reasons = [slot.reason for slot in study.queue.slots() if slot.state == "failed"]
    assert len(reasons) == 1
    assert "no architecture" in reasons[0]


@pytest.mark.parametrize("sampler", ["lhs", "random", "analognas"])
def test_a_space_that_is_used_up_ends_in_duplicates(sampler, storage, monkeypatch):
    monkeypatch.setattr("nasseg.search.measured.sampler.ROUNDS", 2)
    small = get_space("unet")
    while names := [h.name for h in small.hyperparameters if h.name != "skip"]:
        small.remove_hyperparameter(names[0])
    study = MeasuredStudy(storage, "small", small, {})
    study.work(lambda arch: {"day1": len(arch["skip"]) / 10}, 5, sampler, progress=False)
    assert len(study.rows()) == small.size() == 3
    copies = [t for t in study.study.trials if "duplicate_of" in t.user_attrs]
    assert len(copies) == 2
    assert all(t.value == study.study.trials[t.user_attrs["duplicate_of"]].value for t in copies)


def test_rows_from_before_there_was_a_study_are_not_measured_again(storage):
    whole = open_study(storage)
    whole.work(formula, 6, "lhs", progress=False)
    rows = whole.rows()
    other = open_study(storage + "2")
    failure = {"arch_id": rows[1]["arch_id"], "arch": rows[1]["arch"], "reason": "too deep"}
    assert other.add_known([rows[0], rows[2]], [failure], "table.csv") == 3
    assert other.add_known([rows[0], rows[2]], [failure], "table.csv") == 0
    measured = Interrupts(0, None)
    other.work(measured, 6, "lhs", progress=False)
    assert measured.calls == [row["arch_id"] for row in rows[3:]]
    assert ids(other) == [rows[0]["arch_id"], *(row["arch_id"] for row in rows[2:])]
    assert other.failures() == [failure]


def test_a_hypercube_that_is_used_up_begins_again_and_an_empty_one_is_an_error(monkeypatch):
    monkeypatch.setattr("nasseg.search.measured.bounds.LHS_BLOCKS", 1)
    sampler = HypercubeSampler(SPACE, bounds=BOUNDS)

    def key(arch):
        return SPACE.network_keys(SPACE.encode([arch]))[0]

    known = {key(arch) for arch in iterate_spread(SPACE, 0, BOUNDS)}
    assert key(sampler.from_hypercube(0, known)) in known
    one = sorted(known)[0]
    assert key(sampler.from_hypercube(10_000, known - {one})) == one
    with pytest.raises(ConfigError, match="widen the bounds"):
        HypercubeSampler(SPACE, bounds=SizeBounds(max_params=10)).from_hypercube(0, set())


# --- what the study is to others ------------------------------------------------------------


def test_a_study_shows_parameters_values_and_attributes(tmp_path):
    where = f"sqlite:///{tmp_path / 'study.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("error", optuna.exceptions.ExperimentalWarning)
        open_study(where).work(formula, 3, "analognas", progress=False)
    study = optuna.load_study(study_name="toy", storage=where)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.metric_names == ["day1"]
    for trial in study.trials:
        arch = json.loads(trial.user_attrs["arch"])
        assert trial.params == to_params(SPACE, arch)
        assert trial.value == trial.user_attrs["day1"] == formula(arch)["day1"]
        assert trial.user_attrs["arch_id"] == SPACE.arch_id(arch)
        assert trial.user_attrs["worker"].endswith(f":{os.getpid()}")


def test_a_worker_with_other_settings_is_refused_with_the_difference(storage):
    open_study(storage, train={"epochs": 8})
    with pytest.raises(RunError, match=r"train\.epochs: 8 -> 9"):
        open_study(storage, train={"epochs": 9})
    optuna.create_study(
        storage=open_storage(f"{storage}x"), study_name="toy", direction="maximize"
    ).add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(RunError, match="not one of nasseg's"):
        open_study(f"{storage}x")


def test_storages_are_told_by_their_form():
    assert journal_path("journal:a/b") == Path("a/b")
    assert journal_path("journal:///a/b") == Path("/a/b")
    assert journal_path("a/b.log") == Path("a/b.log")
    assert journal_path("sqlite:///a.journal") is None
    assert database_url("postgresql://u@h/d").drivername == "postgresql+psycopg"
    assert database_url("postgres://u@h/d").drivername == "postgresql+psycopg"
    assert database_url("postgresql+psycopg2://u@h/d").drivername == "postgresql+psycopg2"
    assert database_url("mysql://u@h/d").drivername == "mysql+pymysql"
    assert shown("postgresql://u:secret@h:1/d") == "postgresql://u@h:1/d"
    for wrong in ("study.db", "sqlite://", "redis://h", "mongodb://u:secret@h/d"):
        with pytest.raises(ConfigError, match=r"storage is .* allowed: sqlite:///FILE") as caught:
            database_url(wrong)
        assert "secret" not in str(caught.value)


def test_a_missing_driver_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymysql", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nasseg\[mysql\]'") as caught:
        open_storage("mysql://u:secret@localhost/d")
    assert "secret" not in str(caught.value)


def test_a_storage_out_of_reach_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match="cannot be opened"):
        open_storage(f"journal:{tmp_path / 'file' / 'j'}")
    (tmp_path / "broken.db").write_text("not a database" * 100)
    start = time.monotonic()
    with pytest.raises(RunError, match="cannot be opened"):
        open_storage(f"sqlite:///{tmp_path / 'broken.db'}")
    assert time.monotonic() - start < 60


# --- ending early ---------------------------------------------------------------------------


def test_a_search_ends_once_going_on_promises_less_than_the_noise(tmp_path):
    def flat(arch):
        return {**formula(arch), "day1": 0.8}

    studies = {}
    for name, stops in (("whole", []), ("stopped", [12, 2])):
        where = f"journal:{tmp_path / name}.journal"
        for at in stops:
            study = open_study(where)
            interrupts = Interrupts(at, KeyboardInterrupt())

            def measure(arch, one=interrupts):
                return one(arch) and flat(arch)

            with pytest.raises(KeyboardInterrupt):
                study.work(measure, 60, "surrogate", stop_gain=0.01, progress=False)
        studies[name] = open_study(where)
        studies[name].work(flat, 60, "surrogate", stop_gain=0.01, progress=False)
    whole, stopped = studies.values()
    # Ten to begin with, then five in a row that promise nothing.
    assert len(ids(whole)) == whole.goal(60, 0.01) == 15
    assert ids(stopped) == ids(whole)
    assert "expected_gain" not in whole.rows()[-1]


def test_a_search_goes_on_while_it_promises_more_or_where_it_is_not_asked(tmp_path):
    for name, stop_gain in (("much", 1e-9), ("never", 0.0)):
        study = open_study(f"journal:{tmp_path / name}.journal")
        study.work(formula, 12, "surrogate", stop_gain=stop_gain, progress=False)
        assert len(ids(study)) == study.goal(12, stop_gain) == 12
