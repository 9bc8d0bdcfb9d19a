"""Several processes on one study, one of them killed: nothing lost, nothing measured twice."""

from __future__ import annotations

import collections
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import toy_worker
from helpers.toy_worker import open_study

from nasseg.search.measured.trials import group

COUNT = 10


def start(storage, out, name, count=COUNT, sampler="analognas", seconds=0.3, kill_at=0):
    words = [storage, count, sampler, out / "log", out / f"{name}.csv", seconds, kill_at]
    return subprocess.Popen(
        [sys.executable, toy_worker.__file__, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


def finish(process):
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors.decode()


def lines(out):
    log = out / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """URL of a PostgreSQL of Debian's package, on loopback, in a temporary folder."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed in /usr/lib/postgresql")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the driver psycopg is not installed: pip install 'nasseg[postgresql]'")
    prefix = []
    folder = tmp_path_factory.mktemp("postgresql")
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
        prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == 0 and "pytest-of-" in str(parent):
                parent.chmod(0o755)
        shutil.chown(folder, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    subprocess.run(
        [*prefix, programs[-1] / "initdb", "-D", data, "-U", "nasseg", "--auth=trust", "-N"],
        check=True,
        capture_output=True,
    )
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
    words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    server = subprocess.Popen(
        [*prefix, programs[-1] / "postgres", "-D", data, "-p", str(port), *words],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            ready = [programs[-1] / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            if subprocess.run(ready, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.fail("PostgreSQL did not begin")
        yield f"postgresql://nasseg@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # its "fast shutdown"
        server.wait(30)


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def storage(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    forms = {"sqlite": "sqlite:///{}/s.db", "journal": "journal:{}/s.journal"}
    return forms[request.param].format(tmp_path)


def test_four_workers_one_of_them_killed(storage, tmp_path):
    workers = [start(storage, tmp_path, 0, kill_at=2)]
    while not lines(tmp_path):
        # The others may not be done before it dies.
        assert workers[0].poll() is None, finish(workers[0])
        time.sleep(0.05)
    workers += [start(storage, tmp_path, n) for n in range(1, 4)]
    results = [finish(worker) for worker in workers]
    assert results[0][0] == -signal.SIGKILL
    for status, errors in results[1:]:
        assert status == 0, errors

    measured = collections.Counter(arch_id for _, arch_id in lines(tmp_path))
    assert len(measured) == COUNT
    again = [arch_id for arch_id, times in measured.items() if times > 1]
    killed = [arch_id for pid, arch_id in lines(tmp_path) if int(pid) == workers[0].pid][-1]
    assert again == [killed]
    assert measured[killed] == 2

    study = open_study(storage)
    trials = study.study.trials
    slots = group(trials)
    assert [slot.state for slot in slots[:COUNT]] == ["measured"] * COUNT
    assert len(study.rows()) == COUNT
    states = collections.Counter(trial.state.name for trial in trials)
    assert states["COMPLETE"] == COUNT
    (retried,) = (
        t for t in trials if t.user_attrs.get("arch_id") == killed and "history" in t.user_attrs
    )
    assert [entry["interrupted"] for entry in retried.user_attrs["history"]] == ["its worker died"]
    # What the last worker wrote is the whole table.
    tables = {path.read_bytes() for path in tmp_path.glob("*.csv")}
    assert len(tables) == 1


@pytest.mark.parametrize("sampler", ["analognas", "tpe"])
def test_a_worker_killed_and_started_again_proposes_the_same(sampler, tmp_path):
    tables = []
    for name, kills in (("whole", [0]), ("killed", [4, 2, 0])):
        out = tmp_path / name
        out.mkdir()
        for kill_at in kills:
            worker = start(f"journal:{out}/j", out, "t", 14, sampler, 0, kill_at)
            status, errors = finish(worker)
            assert status == (-signal.SIGKILL if kill_at else 0), errors
        tables.append((out / "t.csv").read_bytes())
    assert tables[0] == tables[1]
    # The two that were under way, and no others, were begun again.
    assert len(lines(tmp_path / "killed")) == len(lines(tmp_path / "whole")) + 2


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_stopped_frees_its_trial_at_once(word, tmp_path):
    where = f"journal:{tmp_path}/j"
    worker = start(where, tmp_path, "t", 3, "lhs", seconds=60)
    while not lines(tmp_path):
        assert worker.poll() is None, finish(worker)
        time.sleep(0.05)
    worker.send_signal(word)
    status, errors = finish(worker)
    assert status != 0
    assert "KeyboardInterrupt" in errors
    stopped, free = open_study(where).study.trials
    assert stopped.user_attrs["interrupted"] == "stopped"
    assert free.state.name == "WAITING"
    assert free.params == stopped.params
