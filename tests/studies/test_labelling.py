"""Labelling and the measured search of a run, with real (tiny) trainings."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import optuna
import pandas as pd
import pytest
import torch
import yaml
from helpers import toy_worker

from nasseg import pipeline
from nasseg.config import (
    AnalogConfig,
    DataConfig,
    DriftConfig,
    LabelConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
    to_dict,
)
from nasseg.data import load_data
from nasseg.errors import BusyError, ConfigError, DataError, RunError
from nasseg.report import write_report
from nasseg.search_spaces import get_space
from nasseg.studies import proxy as proxies
from nasseg.studies import study as studies
from nasseg.studies import workers

DATA = DataConfig(image_size=16, synthetic_train=16, synthetic_val=8)
TRAIN = TrainConfig(epochs=1, batch_size=8)
DRIFT = DriftConfig(chips=2, times=(1.0, 86_400.0, 2_592_000.0))


def labels(out, **changes):
    return LabelConfig(
        out=str(out), count=2, threads=1, max_params=40_000, max_macs_per_pixel=3_000,
        data=DATA, train=TRAIN, analog=AnalogConfig(epochs=1), drift=DRIFT, **changes,
    )  # fmt: skip


@pytest.fixture
def toy(monkeypatch):
    """Measuring is a formula; the calls are counted."""
    calls = []

    def measure(space, arch, data, task, budget):
        calls.append(space.arch_id(arch))
        params = int(space.count_params(space.encode([arch]))[0])
        return {
            "arch_id": space.arch_id(arch), "arch": space.to_json(arch), "day1": 1 - params**-0.3,
            "std": 0.01, "avm": 0.5, "digital": 0.9, "params": params, "seconds": time.time(),
        }  # fmt: skip

    monkeypatch.setattr(studies, "measure", measure)
    return calls


def test_labels_from_before_there_were_studies_are_continued(tmp_path, toy):
    config = dataclasses.replace(labels(tmp_path / "a"), count=3)
    table = pipeline.label(config, progress=False)
    before = table.read_bytes()
    # A folder of then: no study, and settings without those of a study.
    (tmp_path / "a" / "study.db").unlink()
    saved = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    for key in ("storage", "study", "workers", "sampler", "heartbeat"):
        del saved[key]
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(saved))
    pipeline.label(config, progress=False)
    assert table.read_bytes() == before
    assert len(toy) == 3
    pipeline.label(dataclasses.replace(config, count=5), progress=False)
    assert len(toy) == 5
    assert table.read_bytes().startswith(before)


def test_two_folders_share_a_study_and_have_the_same_table(tmp_path, toy):
    where = f"journal:{tmp_path}/shared"
    one = pipeline.label(labels(tmp_path / "a", storage=where), progress=False)
    two = pipeline.label(labels(tmp_path / "b", storage=where), progress=False)
    assert one.read_bytes() == two.read_bytes()
    assert len(toy) == 2
    other = dataclasses.replace(labels(tmp_path / "c", storage=where), seed=4)
    with pytest.raises(RunError, match="seed: 0 -> 4"):
        pipeline.label(other, progress=False)


def test_listed_architectures_are_measured_in_their_order(tmp_path, toy):
    space = get_space("unet")
    drawn = pd.read_csv(pipeline.label(labels(tmp_path / "a"), progress=False))
    again = tmp_path / "again.csv"
    # Outside the bounds, and one of them twice.
    large = space.to_json(space.canonical({**space.default(), "out_channel0": 32}))
    archs = [drawn.arch[1], large, drawn.arch[1], drawn.arch[0]]
    pd.DataFrame({"arch": archs}).to_csv(again, index=False)
    listed = labels(tmp_path / "b", archs=str(again), seed=7)
    table = pipeline.label(listed, progress=False)
    assert list(pd.read_csv(table).arch) == [archs[0], large]
    # More of the same list, which has three.
    table = pipeline.label(dataclasses.replace(listed, count=9), progress=False)
    assert list(pd.read_csv(table).arch) == [archs[0], large, archs[3]]
    assert len(toy) == 2 + 3
    # Another list, and none.
    pd.DataFrame({"arch": archs[:1]}).to_csv(again, index=False)
    with pytest.raises(RunError, match=r"archs: '?3 of"):
        pipeline.label(listed, progress=False)
    with pytest.raises(RunError, match=r"archs: '?3 of"):
        pipeline.label(dataclasses.replace(listed, archs=None), progress=False)


def test_a_list_goes_on_from_a_table_with_other_rows(tmp_path, toy):
    drawn = pd.read_csv(pipeline.label(labels(tmp_path / "a"), progress=False))
    space = get_space("unet")
    large = space.to_json(space.canonical({**space.default(), "out_channel0": 32}))
    larger = space.to_json(space.canonical({**space.default(), "out_channel0": 24}))
    listed = [drawn.arch[1], large, larger]
    pd.DataFrame({"arch": listed}).to_csv(tmp_path / "list.csv", index=False)
    # Of its two rows, one is of the list, of which two are asked for.
    more = labels(tmp_path / "a", archs=str(tmp_path / "list.csv"), study="second")
    found = pd.read_csv(pipeline.label(more, progress=False))
    assert sorted(found.arch) == sorted([*drawn.arch, large])
    assert len(toy) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such table"),
        ("arch\n", "a header alone"),
        ("arch\n{}\n", "row 2, column 'arch'"),
        ("day1\n0.5\n", "no column 'out_channel0'"),
    ],
)
def test_a_list_that_is_none_is_refused_before_anything_is_written(tmp_path, toy, text, said):
    if text is not None:
        (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        pipeline.label(labels(tmp_path / "a", archs=str(tmp_path / "list.csv")), progress=False)
    assert not (tmp_path / "a").exists()


def test_a_password_is_written_nowhere(tmp_path):
    config = labels(tmp_path / "a", storage="postgresql://me:secret@127.0.0.1:9/d")
    with pytest.raises((RunError, ImportError)) as caught:
        pipeline.label(config, progress=False)
    assert "secret" not in str(caught.value)
    saved = (tmp_path / "a" / "config.yaml").read_text()
    assert "postgresql://me@127.0.0.1:9/d" in saved
    assert "secret" not in saved


def test_an_unknown_sampler_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(LookupError, match="did you mean 'nsgaii'"):
        pipeline.label(labels(tmp_path / "a", sampler="nsga2"))
    assert not (tmp_path / "a").exists()


def run_config(out, **search):
    chosen = {"max_params": 40_000, "max_macs_per_pixel": 3_000, **search}
    return RunConfig(
        out=str(out), threads=1, data=DATA, search=SearchConfig(**chosen), train=TRAIN,
        analog=AnalogConfig(epochs=1), drift=DRIFT,
    )  # fmt: skip


def test_a_measured_search_gives_a_run_its_architecture(tmp_path, toy):
    config = run_config(tmp_path / "run", measure=12, sampler="analognas")
    pipeline.run(config, stages=("search", "train"), progress=False)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    space = get_space("unet")
    assert best["arch_id"] == space.arch_id(best["arch"])
    assert best["measured"]["day1"] == max(entry["best"] for entry in best["history"])
    assert best["params"] <= 40_000
    assert best["budget"]["sampler"] == "analognas"
    assert len(toy) == len(set(toy)) == 12
    assert (tmp_path / "run" / "digital.safetensors").exists()
    assert "measured" in write_report(tmp_path / "run").read_text()
    # Done: another worker of the same search finds nothing to do.
    pipeline.run(config, stages=("search",), progress=False)
    assert len(toy) == 12


def test_a_run_needs_the_file_of_its_proxy_no_longer_than_its_search(tmp_path, toy):
    file = tmp_path / "proxy.yaml"
    file.write_text("train: {epochs: 1}\n")
    config = run_config(tmp_path / "run", measure=2, proxy=str(file))
    file.rename(tmp_path / "elsewhere.yaml")
    with pytest.raises(ConfigError, match=r"proxy\.yaml"):
        pipeline.run(config, stages=("search",), progress=False)
    moved = run_config(tmp_path / "run", measure=2, proxy=str(tmp_path / "elsewhere.yaml"))
    pipeline.run(moved, stages=("search",), progress=False)
    pipeline.run(config, stages=("search", "train"), progress=False)
    assert len(toy) == 2


def test_a_run_from_before_measured_search_is_continued(tmp_path, toy):
    config = run_config(tmp_path / "run", arch=None, measure=2)
    pipeline.run(config, stages=("search",), progress=False)
    file = tmp_path / "run" / "config.yaml"
    saved = yaml.safe_load(file.read_text())
    del saved["search"]["storage"]
    del saved["search"]["proxy"]
    file.write_text(yaml.safe_dump(saved))
    pipeline.run(config, stages=("search",), progress=False)
    with pytest.raises(RunError, match=r"search\.measure: 2 -> 3"):
        pipeline.run(run_config(tmp_path / "run", measure=3), stages=("search",), progress=False)


def test_a_proxy_says_how_a_search_measures(tmp_path):
    file = tmp_path / "proxy.yaml"
    file.write_text("train: {epochs: 3}\ndata: {image_size: 32}\ndrift: {chips: 4}\n")
    proxy = proxies.proxy_config(run_config(tmp_path / "run", measure=7, proxy=str(file)))
    assert (proxy.count, proxy.train.epochs, proxy.data.size, proxy.drift.chips) == (7, 3, 32, 4)
    assert proxy.train.batch_size == 8
    # The file of a labelling says which space it is of: this one, or it is not for this search.
    file.write_text("space: unet\ntrain: {epochs: 3}\n")
    proxy = proxies.proxy_config(run_config(tmp_path / "run", measure=7, proxy=str(file)))
    assert (proxy.space, proxy.train.epochs) == ("unet", 3)
    file.write_text("space: unet_half\n")
    with pytest.raises(ConfigError, match=r"space 'unet_half', but search\.space is 'unet'"):
        proxies.proxy_config(run_config(tmp_path / "run", measure=7, proxy=str(file)))
    for wrong in ("seed: 3", "analog: {preset: ideal}", "count: 4"):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match="no setting of a proxy"):
            proxies.proxy_config(run_config(tmp_path / "run", measure=7, proxy=str(file)))


@pytest.mark.parametrize(("free", "error"), [(40, BusyError), (85, RunError)])
def test_no_memory_is_the_fault_of_who_holds_it(tmp_path, monkeypatch, free, error):
    def measure(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(studies, "measure", measure)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free << 30, 100 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 << 30)
    config = labels(tmp_path / "labels")
    one = studies.measured_by(config, get_space("unet"), load_data(config.data))
    with pytest.raises(error, match="Tried to allocate 2 GiB") as caught:
        one({})
    assert type(caught.value) is error


def test_a_proxy_at_native_scale_retrains_as_short_trainings_do(tmp_path):
    followed = {"lr": 5e-4, "input_quantile": 0.9995, "digital_layers": "last"}
    for said, lr, quantile in ((followed, 2e-3, 0.99), ({**followed, "lr": 1e-4}, 1e-4, 0.99)):
        config = dataclasses.replace(
            run_config(tmp_path / "run", measure=7),
            data=dataclasses.replace(DATA, crop=32),
            analog=AnalogConfig(**said),
        )
        proxy = proxies.proxy_config(config)
        assert (proxy.analog.lr, proxy.analog.input_quantile) == (lr, quantile)
        # The chip is that of the run.
        assert proxy.analog.digital_layers == "last"
    for batch_size, kept in ((4, 4), (8, LabelConfig().train.batch_size)):
        train = dataclasses.replace(TRAIN, batch_size=batch_size)
        native = dataclasses.replace(config, train=train)
        assert proxies.proxy_config(native).train.batch_size == kept


def test_two_local_workers_make_one_table(tmp_path):
    config = labels(tmp_path / "labels", workers=2)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    done = subprocess.run(
        [sys.executable, "-m", "nasseg", "label", "--config", str(tmp_path / "config.yaml")],
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "table.csv" in done.stdout
    assert len(pd.read_csv(tmp_path / "labels" / "table.csv")) == 2
    study = optuna.load_study(
        study_name="nasseg", storage=f"sqlite:///{tmp_path / 'labels' / 'study.db'}"
    )
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_command_stops_its_workers(word, tmp_path, monkeypatch):
    where, log = f"journal:{tmp_path}/j", tmp_path / "log"
    study = toy_worker.open_study(where)
    words = [where, 40, "lhs", log, tmp_path / "t.csv", 60]
    started = []

    def start(kind, config, place):
        assert kind == "label"
        command = [sys.executable, toy_worker.__file__, *map(str, words)]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return started[-1]

    def stop_when_busy():
        while not log.exists() or len(log.read_text().splitlines()) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), word)

    monkeypatch.setattr(workers, "_start", start)
    threading.Thread(target=stop_when_busy, daemon=True).start()
    config = dataclasses.replace(labels(tmp_path / "labels", workers=2), count=40)
    with pytest.raises(KeyboardInterrupt):
        workers.run_workers(study, config, None, lambda: None, progress=False)
    assert all(worker.poll() is not None for worker in started)
    states = [trial.state.name for trial in study.study.trials]
    assert sorted(states) == ["FAIL", "FAIL", "WAITING", "WAITING"]


def test_workers_that_all_fail_are_an_error(tmp_path, monkeypatch):
    study = toy_worker.open_study(f"journal:{tmp_path}/j")
    broken = [sys.executable, "-c", "raise SystemExit(2)"]
    monkeypatch.setattr(workers, "_start", lambda *_: subprocess.Popen(broken))
    config = labels(tmp_path / "labels", workers=2)
    with pytest.raises(RunError, match=r"exit statuses 2, 2\) with 0 of 2"):
        workers.run_workers(study, config, None, lambda: None, progress=False)


def test_threads_and_gpus_are_shared_out(monkeypatch):
    places = workers.worker_places(3, "auto", 8)
    assert [place.threads for place in places] == [2, 2, 2]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    places = workers.worker_places(3, "auto", 8)
    assert [place.visible for place in places] == ["4", "6", "4"]
    ones = workers.worker_places(3, "cuda:1", 8)
    assert {(place.device, place.visible) for place in ones} == {("cuda:1", None)}
