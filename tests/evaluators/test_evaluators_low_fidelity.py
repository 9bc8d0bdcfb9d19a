"""Short trainings of many architectures as an input of a surrogate."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from optuna.trial import create_trial

from nasseg.cli import main
from nasseg.errors import ConfigError, DataError
from nasseg.evaluators import NASSegBench, XGBoostEvaluator, fit_table
from nasseg.evaluators import shipping as _shipped
from nasseg.evaluators.bench import make_bench
from nasseg.evaluators.features import LOW_FIDELITY, Features
from nasseg.evaluators.low_fidelity import fit_low_fidelity
from nasseg.search.measured import study as measured
from nasseg.search.measured.bounds import SizeBounds
from nasseg.search.measured.distributions import distributions, to_params
from nasseg.search.measured.sampler import Request, propose
from nasseg.search.measured.study import MeasuredStudy
from nasseg.search_spaces import get_space

SPACE = get_space("unet")


def table(path, n, seed, noise=0.005):
    """Architectures with an invented score, in which three hyperparameters multiply, and with its
    monotone distortion ``digital``."""
    rng = np.random.default_rng(seed)
    X = SPACE.sample_matrix(n, rng)
    places = [SPACE.feature_names.index(name) for name in ("out_channel0", "kernel0", "dec_depth")]
    a, b, c = ((X[:, i] - X[:, i].mean()) / X[:, i].std() for i in places)
    y = 0.8 + 0.05 * np.tanh(a * b + b * c) + noise * rng.normal(size=len(X))
    columns = {"day1": y, "avm": 2 - y, "std": 0.01 + 0.01 * y, "digital": np.exp(3 * y) / 50}
    archs = [SPACE.to_json(arch) for arch in SPACE.decode(X)]
    ids = [SPACE.arch_id(arch) for arch in SPACE.decode(X)]
    pd.DataFrame({"arch_id": ids, "arch": archs, **columns}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return table(folder / "long.csv", 40, 1), table(folder / "short.csv", 400, 2)


@pytest.fixture(scope="module")
def surrogate(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("surrogate")
    return fit_table(tables[0], SPACE, folder, low_fidelity=tables[1]), folder


def test_short_trainings_of_many_make_up_for_long_ones_of_few(tables, surrogate):
    plain = fit_table(tables[0], SPACE)
    assert surrogate[0].tau() > plain.tau() + 0.1
    assert surrogate[0].features.names == [*plain.features.names, LOW_FIDELITY]
    facts = surrogate[0].schema["low_fidelity"]
    assert facts["n"] == 400
    assert facts["tau_mean"] > 0.2
    assert "short trainings of 400 other architectures" in (surrogate[1] / "card.md").read_text()


def test_it_is_saved_with_the_surrogate(surrogate):
    fitted, folder = surrogate
    again = XGBoostEvaluator.load(folder)
    X = SPACE.sample_matrix(200, np.random.default_rng(5))
    np.testing.assert_array_equal(again.evaluate_matrix(X).day1, fitted.evaluate_matrix(X).day1)
    np.testing.assert_array_equal(again.predict_day1(X).std, fitted.predict_day1(X).std)
    assert len(again.features.matrix(X[:0])) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["low_fidelity"].pop("sha256"), "low_fidelity lacks file, sha256 or channels"),
        (lambda s: s["low_fidelity"].update(sha256="0"), "not the model that schema.json"),
        (lambda s: s.pop("low_fidelity"), "the surrogate sees .*low_fidelity"),
    ],
)
def test_what_does_not_belong_together_is_refused(surrogate, tmp_path, change, message):
    fitted, _ = surrogate
    fitted.save(tmp_path)
    schema = json.loads((tmp_path / "schema.json").read_text())
    change(schema)
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(ConfigError, match=message):
        XGBoostEvaluator.load(tmp_path)


def test_what_is_held_out_is_new_to_the_short_trainings_too(tables, tmp_path):
    """Architectures of the table itself are no part of what the input was learned from."""
    long = pd.read_csv(tables[0])
    short = pd.read_csv(tables[1])
    both = pd.concat([short.assign(arch_id=""), long.assign(digital=0.0)])
    both.to_csv(tmp_path / "both.csv", index=False)
    see = Features(SPACE)
    known = SPACE.encode([SPACE.from_json(text) for text in long.arch])
    one = fit_low_fidelity(tables[1], see, known)
    two = fit_low_fidelity(tmp_path / "both.csv", see, known)
    Z = see.matrix(known)
    np.testing.assert_array_equal(one.predict(Z), two.predict(Z))


def test_short_trainings_that_say_nothing_are_refused(tables, tmp_path, capsys):
    same = pd.read_csv(tables[1]).assign(digital=0.0)
    same.to_csv(tmp_path / "same.csv", index=False)
    words = ["fit", str(tables[0]), "--out", str(tmp_path / "s"), "--low-fidelity"]
    assert main([*words, str(tmp_path / "same.csv")]) == 2
    assert "400 architectures have the same value, 0" in capsys.readouterr().err
    assert main([*words, str(tables[0])]) == 1
    assert "0 architectures that are not in the table itself (40 in all)" in capsys.readouterr().err


def test_networks_with_other_channels_are_seen_as_those_it_was_fitted_to(surrogate):
    known = surrogate[0].features.low_fidelity
    X = SPACE.sample_matrix(50, np.random.default_rng(4))
    grey = Features(SPACE, 1, 2, low_fidelity=known)
    np.testing.assert_array_equal(grey.matrix(X)[:, -1], surrogate[0].features.matrix(X)[:, -1])


def test_a_bench_holds_both(tables, tmp_path):
    entries = [
        {"path": path, "space": "unet", "budget": budget, "seed": 0}
        for path, budget in zip(tables, ("proxy", "screen"), strict=True)
    ]
    path = tmp_path / "bench.parquet"
    make_bench(entries, path)
    assert (len(NASSegBench(path)), len(NASSegBench(path, budget="screen"))) == (40, 400)
    schema = fit_table(path, SPACE, low_fidelity=path).schema
    assert (schema["n"], schema["low_fidelity"]["n"]) == (40, 400)
    with pytest.raises(DataError, match=r"of the spaces \['unet'\]; allowed: 'unet_half'"):
        fit_table(path, get_space("unet_half"))
    make_bench(entries[:1], path)
    with pytest.raises(DataError, match="no rows of budget 'screen'"):
        fit_table(path, SPACE, low_fidelity=path)


def test_a_measured_search_begins_with_what_is_known(surrogate):
    fitted, _ = surrogate
    bounds, known = SizeBounds(max_params=1_000_000), fitted.features.low_fidelity
    X = SPACE.sample_matrix(2000, np.random.default_rng(3))
    usual = fitted.features.matrix(X[bounds.within(SPACE, X)])[:, -1]

    def expected(arch):
        return fitted.features.matrix(SPACE.encode([arch]))[0, -1]

    first = propose("surrogate", Request(SPACE, 0, 0, bounds, known), []).arch
    assert expected(first) > np.quantile(usual, 0.98)
    # The second one covers the space, as where nothing is known.
    params = to_params(SPACE, first)
    chosen = {name: distributions(SPACE)[name] for name in params}
    done = create_trial(params=params, distributions=chosen, value=0.5)
    second = propose("surrogate", Request(SPACE, 0, 1, bounds, known), [done]).arch
    assert expected(second) < np.quantile(usual, 0.98)
    fourth = propose("surrogate", Request(SPACE, 0, 3, bounds, known), [done] * 3).arch
    assert expected(fourth) > np.quantile(usual, 0.98)


def test_bounds_that_hardly_anything_meets_are_met(surrogate):
    known = surrogate[0].features.low_fidelity
    tight = SizeBounds(max_macs_per_pixel=2000)
    arch = propose("surrogate", Request(SPACE, 0, 0, tight, known), []).arch
    assert tight.within(SPACE, SPACE.encode([arch]))[0]
    with pytest.raises(ConfigError, match="bounds"):
        propose("surrogate", Request(SPACE, 0, 0, SizeBounds(max_params=100), known), [])


def test_a_study_goes_on_with_what_it_began_with(surrogate, monkeypatch, tmp_path, caplog):
    known = XGBoostEvaluator.load(surrogate[1]).features.low_fidelity
    asked = []

    def study(name):
        return MeasuredStudy(f"sqlite:///{tmp_path / 'study.db'}", name, SPACE, {"budget": 1})

    def work(name, count, shipped):
        monkeypatch.setattr(measured, "shipped_low_fidelity", lambda space: shipped)
        one = study(name)
        one.work(lambda arch: {"day1": 0.5}, count, "surrogate", progress=False)
        asked.append(one._low_fidelity)

    work("old", 1, None)
    work("old", 2, known)
    work("new", 1, known)
    work("new", 2, known)
    work("new", 3, None)
    assert asked == [None, None, known, known, None]
    assert "another version of nasseg" in caplog.text


def test_nothing_is_known_of_a_space_without_a_surrogate():
    assert _shipped.shipped_low_fidelity("reference") is None


def test_the_command(tables, tmp_path, capsys):
    words = ["fit", str(tables[0]), "--low-fidelity", str(tables[1]), "--out", str(tmp_path / "s")]
    assert main(words) == 0
    assert "short trainings of 400 other architectures" in capsys.readouterr().out
    assert main([*words[:3], str(tmp_path / "gone.csv")]) == 2
    assert "no table" in capsys.readouterr().err
    few = pd.read_csv(tables[1]).drop(columns="digital")
    few.to_csv(tmp_path / "few.csv", index=False)
    assert main([*words[:3], str(tmp_path / "few.csv")]) == 1
    assert "no column 'digital'" in capsys.readouterr().err
    with pytest.raises(DataError, match="'digital'"):
        fit_low_fidelity(tmp_path / "few.csv", Features(SPACE), SPACE.encode([]))
