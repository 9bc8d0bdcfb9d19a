from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from nasseg.errors import ConfigError, DataError, UnknownName
from nasseg.evaluators import (
    Scores,
    XGBoostEvaluator,
    fit_table,
    list_surrogates,
    load_surrogate,
    shipped,
)
from nasseg.evaluators.boosting import GRID
from nasseg.evaluators.card import importance
from nasseg.evaluators.shipping import WEIGHTS
from nasseg.evaluators.tables import read_table
from nasseg.evaluators.xgboost import cross_validate, read_schema
from nasseg.search_spaces import get_space

CIFAR10 = Path(__file__).parents[3] / "shared/data/analognas/cifar10_dataset.csv"
HEADS = ("day1", "avm", "std")


def objective(X, noise=0.0, seed=0):
    """A smooth score of encoded architectures with an interaction, and noise."""
    rng = np.random.default_rng(seed)
    Z = (X - X.mean(0)) / (X.std(0) + 1e-9)
    signal = np.tanh(Z @ np.random.default_rng(99).normal(size=X.shape[1]) / 4)
    return 0.8 + 0.05 * signal + noise * rng.normal(size=len(X))


def measured(space, n=60, seed=0):
    X = space.sample_matrix(n, np.random.default_rng(seed))
    y = objective(X, 0.005)
    return X, Scores.of(n, day1=y, avm=8 - 40 * (y - 0.8), std=0.02 + 0.1 * (y - 0.8) ** 2)


@pytest.fixture(scope="module")
def fitted():
    space = get_space("unet")
    X, scores = measured(space)
    return XGBoostEvaluator(space).fit(X, scores, seed=1)


def write_csv(path, header, rows):
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def write_table(path, space, n=30, by="arch", changes=()):
    """A table of ``n`` architectures; ``changes``: (row, column, cell) put in afterwards."""
    X, scores = measured(space, n)
    names = ["arch"] if by == "arch" else space.feature_names
    cells = [[space.to_json(a)] for a in space.decode(X)] if by == "arch" else X.tolist()
    header = [*names, "day1", "avm", "std", "note"]
    rows = [
        [*c, *(repr(float(getattr(scores, h)[i])) for h in HEADS), "x"] for i, c in enumerate(cells)
    ]
    for row, column, cell in changes:
        rows[row][header.index(column)] = cell
    return write_csv(path, header, rows)


def test_predictions_survive_saving_and_loading_bit_for_bit(fitted, tmp_path):
    folder = fitted.save(tmp_path / "s", b"a,table\n")
    X = fitted.space.sample_matrix(500, np.random.default_rng(5))
    again = XGBoostEvaluator.load(folder)
    for head in HEADS:
        np.testing.assert_array_equal(
            getattr(fitted.evaluate_matrix(X), head), getattr(again.evaluate_matrix(X), head)
        )
    assert again.schema == fitted.schema
    said, same = fitted.predict_day1(X), again.predict_day1(X)
    np.testing.assert_array_equal(said.mean, same.mean)
    np.testing.assert_array_equal(said.std, same.std)
    np.testing.assert_array_equal(said.outside, same.outside)
    assert (folder / "table.csv").read_bytes() == b"a,table\n"


def test_schema_says_what_was_fitted_to_what(fitted, tmp_path):
    folder = fitted.save(tmp_path / "s", b"t")
    schema = json.loads((folder / "schema.json").read_text())
    assert schema["space"] == {"name": "unet", "version": fitted.space.version}
    assert schema["features"] == fitted.space.feature_names
    assert schema["n"] == 60
    assert schema["xgboost"]
    assert schema["hyperparameters"]["max_depth"] <= 3
    assert schema["table"] == {"file": "table.csv", "sha256": hashlib.sha256(b"t").hexdigest()}
    day1 = schema["targets"]["day1"]
    assert day1["min"] < day1["max"]
    assert 0 < day1["tau_mean"] <= 1
    assert fitted.tau("day1") == day1["tau_mean"]


def test_same_seed_gives_the_same_trees():
    space = get_space("unet")
    X, scores = measured(space, 40)
    Z = space.sample_matrix(200, np.random.default_rng(1))
    one, two, other = (
        XGBoostEvaluator(space).fit(X, scores, seed=s, repeats=0).evaluate_matrix(Z).day1
        for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_one_by_one_and_batched_predictions_are_equal(fitted):
    archs = fitted.space.sample_lhs(20, np.random.default_rng(2))
    scores = fitted.evaluate(archs)
    day1, avm = fitted.query_pop([[a] for a in archs])
    np.testing.assert_array_equal(day1, scores.day1)
    np.testing.assert_array_equal(avm, scores.avm)
    assert [fitted.query([a])[0] for a in archs] == scores.day1.tolist()
    assert np.isnan(scores.digital).all()
    assert len(fitted.evaluate([])) == 0


def test_a_population_is_scored_in_one_fast_batch(fitted):
    X = np.repeat(fitted.space.sample_matrix(1000, np.random.default_rng(2)), 50, axis=0)
    fitted.evaluate_matrix(X[:10])
    started = time.process_time()
    fitted.evaluate_matrix(X)
    assert len(X) / (time.process_time() - started) > 30_000


def test_an_unfitted_surrogate_and_wrong_shapes_are_refused(fitted):
    fresh = XGBoostEvaluator(fitted.space)
    with pytest.raises(ConfigError, match="not fitted"):
        fresh.evaluate([fitted.space.default()])
    with pytest.raises(ConfigError, match="nothing to save"):
        fresh.save("nowhere")
    with pytest.raises(ConfigError, match=r"features of shape \(2, 3\)"):
        fitted.evaluate_matrix(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"day1": np.nan}, "day1: row 4 is nan"),
        ({"std": np.inf}, "std: row 4 is inf"),
    ],
)
def test_targets_that_are_not_finite_are_refused(change, message):
    space = get_space("unet")
    X, scores = measured(space, 20)
    for name, value in change.items():
        getattr(scores, name)[4] = value
    with pytest.raises(ConfigError, match=message):
        XGBoostEvaluator(space).fit(X, scores, repeats=0)


def test_too_few_architectures_and_unknown_hyperparameters_are_refused():
    space = get_space("unet")
    X, scores = measured(space, 9)
    with pytest.raises(ConfigError, match="9 architectures; allowed: 10 or more"):
        XGBoostEvaluator(space).fit(X, scores)
    X, scores = measured(space, 12)
    with pytest.raises(ConfigError, match="unknown surrogate hyperparameters"):
        XGBoostEvaluator(space).fit(X, scores, params={"depth": 3})


def test_a_surrogate_of_another_space_is_refused(fitted, tmp_path):
    folder = fitted.save(tmp_path / "s")
    with pytest.raises(ConfigError, match=r"space 'unet' instead of 'resnet'.*features"):
        XGBoostEvaluator.load(folder, get_space("resnet"))


def edit_schema(folder, edit):
    file = folder / "schema.json"
    schema = json.loads(file.read_text())
    edit(schema)
    file.write_text(json.dumps(schema))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s["space"].update(version=0), "version 0 of the space instead of"),
        (lambda s: s["features"].append("B9"), "features the space no longer has: B9"),
        (lambda s: s["features"].remove("R2"), "features it was not fitted to: R2"),
        (lambda s: s["features"].reverse(), "features in another order: .*out_channel0"),
        (lambda s: s.update(format=7), "format is 7; allowed: 3"),
        (lambda s: s.pop("features"), "key 'features' is missing"),
        (lambda s: s["targets"].pop("avm"), "targets lack avm"),
        (lambda s: s["targets"]["std"].update(sha256="0"), "std.ubj: not the model"),
        (lambda s: s["targets"]["std"].update(file="gone.ubj"), "std head unreadable"),
    ],
)
def test_a_schema_that_does_not_match_is_refused(fitted, tmp_path, edit, message):
    folder = fitted.save(tmp_path / "s")
    edit_schema(folder, edit)
    with pytest.raises(ConfigError, match=message):
        XGBoostEvaluator.load(folder, fitted.space)


def test_a_folder_interrupted_before_its_schema_is_no_surrogate(fitted, tmp_path):
    folder = fitted.save(tmp_path / "s")
    (folder / "schema.json").unlink()
    with pytest.raises(ConfigError, match=r"no readable surrogate there.*nasseg fit"):
        XGBoostEvaluator.load(folder)


def test_cross_validation_finds_signal_and_no_signal_in_noise():
    space = get_space("unet")
    X = space.sample_matrix(80, np.random.default_rng(0))
    mean, std = cross_validate(X, objective(X), 5, 0)
    assert mean > 0.35
    assert std > 0
    noise = np.random.default_rng(1).random(80)
    assert abs(cross_validate(X, noise, 5, 0, repeats=2)[0]) < 0.2
    assert cross_validate(X, objective(X), 5, 0) == (mean, std)
    assert math.isnan(cross_validate(X, np.ones(80), 5, 0, repeats=1)[0])


def test_hyperparameters_are_chosen_inside_the_folds(monkeypatch):
    monkeypatch.setattr("nasseg.evaluators.boosting.TRIES", 2)
    monkeypatch.setitem(GRID, "rounds", (30, 60))
    space = get_space("unet")
    X, scores = measured(space, 40)
    tuned = XGBoostEvaluator(space).fit(X, scores, tuned=True)
    assert tuned.schema["tuned"]
    assert tuned.schema["cross_validation"] == {"folds": 5, "repeats": 1}
    chosen = {n: e["hyperparameters"] for n, e in tuned.schema["targets"].items()}
    assert chosen["day1"] == tuned.schema["hyperparameters"]
    assert 0 < tuned.tau("day1") <= 1
    # Noise stays noise, however many hyperparameters are tried.
    noise = Scores.of(40, **{h: np.random.default_rng(3).random(40) for h in HEADS})
    assert XGBoostEvaluator(space).fit(X, noise, tuned=True).tau("day1") < 0.35


def test_an_order_of_pairs_is_no_prediction_of_values():
    space = get_space("unet")
    X, scores = measured(space, 20)
    with pytest.raises(ConfigError, match="predicts an order and no values"):
        XGBoostEvaluator(space).fit(X, scores, params={"objective": "rank:pairwise"})
    assert cross_validate(X, scores.day1, params={"objective": "rank:pairwise"}, repeats=1)[0] > 0


def test_the_smallest_table_is_fitted_without_a_coverage():
    space = get_space("unet")
    X, scores = measured(space, 12)
    fitted = XGBoostEvaluator(space).fit(X, scores)
    assert fitted.schema["uncertainty"]["coverage"] is None


def test_the_card_says_what_the_surrogate_rests_on(tmp_path):
    space = get_space("unet")
    fitted = fit_table(write_table(tmp_path / "t.csv", space), space, tmp_path / "s")
    card = (tmp_path / "s/card.md").read_text()
    assert "30 measured architectures" in card
    table, images = tmp_path / "t.csv", "cells at 16 x 16"
    of_cells = fit_table(table, space, tmp_path / "cells", images=images)
    assert of_cells.schema["images"] == images
    assert XGBoostEvaluator.load(tmp_path / "cells").schema["images"] == images
    assert f"30 architectures measured on {images}" in (tmp_path / "cells/card.md").read_text()
    assert "number of parameters alone" in card
    assert (tmp_path / "s/importance.png").read_bytes().startswith(b"\x89PNG")
    shares = importance(fitted)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_a_table_may_say_what_its_scores_are_of_and_so_says_the_surrogate(tmp_path):
    space = get_space("unet")
    plain = write_table(tmp_path / "t.csv", space)
    header, *rows = csv.reader(plain.open())

    def named(name, *metrics):
        cells = itertools.cycle(metrics)
        write_csv(tmp_path / name, [*header, "metric"], [[*row, next(cells)] for row in rows])
        return tmp_path / name

    fit_table(plain, space, tmp_path / "plain")
    assert "metric" not in read_schema(tmp_path / "plain")
    fit_table([named("a.csv", "auc"), plain], space, tmp_path / "s")
    assert read_schema(tmp_path / "s")["metric"] == "auc"
    assert "are of the metric `auc`" in (tmp_path / "s/card.md").read_text()
    other = named("b.csv", "dice")
    for tables in ([named("c.csv", "auc", "dice")], [tmp_path / "a.csv", other]):
        with pytest.raises(DataError, match=r"day1 is of several metrics \(auc, dice\)"):
            fit_table(tables, space)


def test_repeated_rows_of_one_architecture_do_not_leak_between_folds():
    space = get_space("unet")
    X = space.sample_matrix(30, np.random.default_rng(0))
    noise = np.random.default_rng(1).random(30)
    mean, _ = cross_validate(np.repeat(X, 4, axis=0), np.repeat(noise, 4), 5, 0, repeats=2)
    assert mean < 0.35
    with pytest.raises(ConfigError, match="of 3 different architectures"):
        cross_validate(np.repeat(X[:3], 10, axis=0), np.arange(30.0), 5, 0)


def test_both_table_formats_give_the_same_surrogate(tmp_path):
    space = get_space("unet")
    a = fit_table(write_table(tmp_path / "a.csv", space), space, tmp_path / "out")
    b = fit_table(write_table(tmp_path / "b.csv", space, by="features"), space)
    Z = space.sample_matrix(100, np.random.default_rng(3))
    np.testing.assert_array_equal(a.evaluate_matrix(Z).day1, b.evaluate_matrix(Z).day1)
    assert (tmp_path / "out/table.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    np.testing.assert_array_equal(
        load_surrogate(tmp_path / "out", space).evaluate_matrix(Z).avm, a.evaluate_matrix(Z).avm
    )


@pytest.mark.parametrize(
    ("by", "change", "message"),
    [
        ("arch", (3, "day1", "n/a"), r"t.csv, row 5, column 'day1': 'n/a' is no finite number"),
        ("arch", (0, "avm", ""), r"row 2, column 'avm': ''"),
        ("arch", (1, "arch", "{"), r"row 3, column 'arch': no architecture of 'unet'"),
        ("arch", (1, "arch", '{"M": 99}'), r"row 3, column 'arch'"),
        ("features", (2, "M", "99"), r"row 4.*no architecture of 'unet'"),
        ("features", (2, "M", "four"), r"row 4, column 'M': 'four'"),
    ],
)
def test_a_bad_cell_is_named_by_file_row_and_column(tmp_path, by, change, message):
    space = get_space("unet")
    path = write_table(tmp_path / "t.csv", space, 12, by, [change])
    with pytest.raises(DataError, match=message):
        read_table(path, space)


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    space = get_space("unet")
    with pytest.raises(DataError, match=r"gone.csv: no such table"):
        read_table(tmp_path / "gone.csv", space)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="empty"):
        read_table(tmp_path / "empty.csv", space)
    write_csv(tmp_path / "short.csv", ["arch", "day1", "avm"], [])
    with pytest.raises(DataError, match="no column 'std'"):
        read_table(tmp_path / "short.csv", space)
    write_csv(tmp_path / "wide.csv", ["arch", "day1", "avm", "std"], [[1, 2]])
    with pytest.raises(DataError, match="row 2: 2 cells under 4 columns"):
        read_table(tmp_path / "wide.csv", space)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a readable CSV"):
        read_table(tmp_path / "binary.csv", space)


def test_auto_takes_the_surrogate_shipped_for_the_space(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("nasseg.evaluators.shipping.WEIGHTS", tmp_path)
    with pytest.raises(ConfigError, match=r"no surrogate is shipped for the space 'unet'.*fit"):
        load_surrogate("auto", fitted.space)
    fitted.save(tmp_path / "a-variant")
    assert shipped("unet") == tmp_path / "a-variant"
    fitted.save(tmp_path / "unet")
    assert shipped("unet") == tmp_path / "unet"
    assert list_surrogates() == ["a-variant", "unet"]
    assert load_surrogate("auto", fitted.space).schema == fitted.schema
    assert load_surrogate("a-variant", fitted.space).schema["n"] == 60
    with pytest.raises(UnknownName, match="did you mean 'a-variant'"):
        load_surrogate("a-varaint", fitted.space)


def test_every_shipped_surrogate_loads_with_its_table():
    for name in list_surrogates():
        evaluator = XGBoostEvaluator.load(WEIGHTS / name)
        table = evaluator.schema["table"]
        file = WEIGHTS / name / table["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == table["sha256"]
        assert len(read_table(file, evaluator.space).X) == evaluator.schema["n"]
        assert shipped(evaluator.space.name).is_dir()


@pytest.fixture(scope="module")
def cifar10():
    if not CIFAR10.is_file():
        pytest.skip(f"real data not found: {CIFAR10}")
    with CIFAR10.open() as handle:
        rows = list(csv.DictReader(handle))
    scores = ("1_day_accuracy", "AVM", "1_day_accuracy_std")
    names = [n for n in rows[0] if n not in scores]
    letters = {"0": 0, "A": 1, "B": 2, "C": 3, "D": 4}
    X = np.array([[float(letters.get(r[n], r[n])) for n in names] for r in rows], np.float32)
    return X, np.array([[float(r[s]) for s in scores] for r in rows])


def test_rank_correlation_on_the_published_table_is_at_least_as_published(cifar10):
    X, Y = cifar10
    mean, _ = cross_validate(X, Y[:, 0], 5, 0, repeats=2)
    assert mean >= 0.45


def test_forty_eight_architectures_already_rank_the_published_table(cifar10):
    from nasseg.evaluators.boosting import fit_head, predict

    X, Y = cifar10
    taus = []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(X))
        head = fit_head(X[order[:48]], Y[order[:48], 0], seed=seed)
        taus.append(kendalltau(predict(head, X[order[48:]]), Y[order[48:], 0]).statistic)
    assert np.mean(taus) > 0.35


def test_a_trend_is_followed_beyond_what_trees_have_seen():
    """The line goes on where the table ends, and is saved with the model."""
    from xgboost import Booster

    from nasseg.evaluators.boosting import fit_head, predict

    rng = np.random.default_rng(0)
    X = rng.random((60, 3)).astype(np.float32)
    y = 2 * X[:, 1].astype(float) - 1
    head = fit_head(X, y, {"trend": 1, "response": "values"})
    beyond = np.float32([[0.5, 3.0, 0.5]])
    assert predict(head, beyond) == pytest.approx([5.0], abs=1e-3)
    again = Booster()
    again.load_model(bytearray(head.save_raw("ubj")))
    np.testing.assert_array_equal(predict(again, X), predict(head, X))
    # Of ranks too: with them it goes on as the values at the end of the table do.
    ranked = fit_head(X, np.exp(y), {"trend": 1})
    said = predict(ranked, np.float32([[0.5, 0.98, 0.5], [0.5, 1.1, 0.5], [0.5, 1.4, 0.5]]))
    assert (np.diff(said) > 0.02).all()
    assert said[0] == pytest.approx(np.exp(0.96), abs=0.1)
    # A constant column has none.
    X[:, 1] = 1
    np.testing.assert_array_equal(
        predict(fit_head(X, y, {"trend": 1}), X), predict(fit_head(X, y), X)
    )


def test_normal_scores_are_mapped_back_to_values_in_the_order_of_the_trees():
    """What trees learned of ranks comes back as values, saved with the model."""
    from xgboost import Booster

    from nasseg.evaluators.boosting import fit_head, hyperparameters, predict

    rng = np.random.default_rng(0)
    X = rng.random((400, 3)).astype(np.float32)
    # Most architectures close together and a few that learned nothing.
    y = np.where(X[:, 0] < 0.1, 0.01, 0.8 + 0.05 * X[:, 1]).astype(float)
    head = fit_head(X, y)
    said = predict(head, X)
    # Predictions lie among the values of the table, not between its two groups of them.
    assert np.mean((said > 0.2) & (said < 0.79)) < 0.05
    assert said.min() == pytest.approx(0.01, abs=0.05)
    # More of what counts is more, beyond the best of the table too.
    margin = np.asarray(head.inplace_predict(X), dtype=float)
    order = np.argsort(margin)
    assert (np.diff(said[order])[np.diff(margin[order]) > 1e-6] > 0).all()
    again = Booster()
    again.load_model(bytearray(head.save_raw("ubj")))
    np.testing.assert_array_equal(predict(again, X), said)
    # Only ranks matter to the trees.
    np.testing.assert_array_equal(
        fit_head(X, np.exp(9 * y)).inplace_predict(X), head.inplace_predict(X)
    )
    with pytest.raises(ConfigError, match=r"response is 'ranks'; allowed: normal_scores, values"):
        hyperparameters({"response": "ranks"})
    # A constant has no order to learn.
    assert predict(fit_head(X, np.full(len(X), 0.5)), X) == pytest.approx(0.5)


def test_trees_of_many_rows_are_larger() -> None:
    from xgboost import Booster

    from nasseg.evaluators.boosting import fit_head
    from nasseg.evaluators.ensemble import Ensemble

    rng = np.random.default_rng(0)
    X = rng.random((500, 3)).astype(np.float32)
    y = X.sum(1).astype(np.float64)
    asked = {"rounds": 3}

    def depth(head: Booster) -> int:
        return max(line.count("\t") for tree in head.get_dump() for line in tree.splitlines())

    assert depth(fit_head(X, y, asked)) > 3 == depth(fit_head(X[1:], y[1:], asked))
    # What is asked for goes before.
    assert depth(fit_head(X, y, {**asked, "max_depth": 2})) == 2
    assert Ensemble(4, asked).fit(X, y).params["max_depth"] == 6


@pytest.mark.parametrize(
    "y",
    [
        np.repeat([0.0, 1.0], 20),
        np.repeat([0.2, 0.3, 0.9], [30, 5, 5]),
        np.concatenate([np.full(35, 1e-6), np.linspace(0.1, 0.5, 5)]),
        np.linspace(0.1, 0.5, 40),
    ],
)
def test_the_way_back_from_normal_scores_goes_through_the_values_and_on(y):
    from nasseg.evaluators.boosting import along, normal_scores, response_curve

    curve = response_curve(y)
    np.testing.assert_allclose(along(curve, normal_scores(y)), y)
    assert (np.diff(curve[0]) > 0).all()
    assert (np.diff(curve[1]) > 0).all()
    # A little beyond either end is a little beyond the values there.
    end = normal_scores(y)
    beyond = along(curve, np.array([end.min() - 0.5, end.max() + 0.5]))
    assert y.min() - 0.051 * np.ptp(y) <= beyond[0] < y.min()
    assert y.max() < beyond[1] <= y.max() + 0.051 * np.ptp(y)


def test_several_tables_are_fitted_as_one(tmp_path):
    space = get_space("unet")
    first = write_table(tmp_path / "a.csv", space)
    both = fit_table([first, write_table(tmp_path / "b.csv", space, by="features")], space)
    one = fit_table(first, space, tmp_path / "one")
    assert both.schema["n"] == 2 * one.schema["n"]
    fit_table([first, first], space, tmp_path / "two")
    again = fit_table(tmp_path / "two" / "table.csv", space)
    assert again.schema["n"] == 2 * one.schema["n"]
