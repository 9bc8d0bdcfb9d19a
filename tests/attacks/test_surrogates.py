"""Forged models of a surrogate: refused before XGBoost, which trusts them, reads them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xgboost as xgb

from nasseg.errors import ConfigError
from nasseg.evaluators import ubj
from nasseg.evaluators.xgboost import XGBoostEvaluator, read_schema

SHIPPED = Path(ubj.__file__).parent / "weights" / "unet"


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    booster = xgb.Booster()
    booster.load_model(bytearray((SHIPPED / "day1.ubj").read_bytes()))
    found: dict[str, Any] = json.loads(booster.save_raw("json"))
    return found


def trees(model: dict[str, Any]) -> Any:
    return model["learner"]["gradient_booster"]["model"]["trees"]


def change(key: str, place: int, value: Any) -> Callable[[dict[str, Any]], None]:
    def forge(model: dict[str, Any]) -> None:
        trees(model)[0][key][place] = value

    return forge


def circle(model: dict[str, Any]) -> None:
    tree = trees(model)[0]
    inner = [k for k, child in enumerate(tree["left_children"]) if child != -1]
    a, b = inner[1], inner[2]
    tree["left_children"][a], tree["left_children"][b] = b, a


def to_itself(model: dict[str, Any]) -> None:
    tree = trees(model)[0]
    k = next(k for k, child in enumerate(tree["left_children"]) if k and child != -1)
    tree["left_children"][k] = k


def claims(key: str, value: str) -> Callable[[dict[str, Any]], None]:
    def forge(model: dict[str, Any]) -> None:
        trees(model)[0]["tree_param"][key] = value

    return forge


def more_trees(model: dict[str, Any]) -> None:
    model["learner"]["gradient_booster"]["model"]["gbtree_model_param"]["num_trees"] = "100000"


def other_booster(model: dict[str, Any]) -> None:
    model["learner"]["gradient_booster"]["name"] = "gblinear"


def other_features(model: dict[str, Any]) -> None:
    model["learner"]["learner_model_param"]["num_feature"] = "4000000000"


def other_objective(model: dict[str, Any]) -> None:
    model["learner"]["objective"]["name"] = "multi:softprob"


def by_category(model: dict[str, Any]) -> None:
    tree = trees(model)[0]
    tree["split_type"][0] = 1
    tree["categories_nodes"] = [0]


def short(model: dict[str, Any]) -> None:
    del trees(model)[0]["split_conditions"][3:]


def text_for_numbers(model: dict[str, Any]) -> None:
    trees(model)[0]["left_children"] = ["x"] * len(trees(model)[0]["left_children"])


def no_learner(model: dict[str, Any]) -> None:
    del model["learner"]


FORGED = {
    "child far away": change("left_children", 0, 1_000_000_000),
    "child before the first": change("right_children", 0, -7),
    "child is the root": change("left_children", 0, 0),
    "one child": change("left_children", 0, -1),
    "feature far away": change("split_indices", 0, 10_000_000),
    "feature before the first": change("split_indices", 0, -3),
    "huge feature": change("split_indices", 0, 10**40),
    "circle": circle,
    "itself": to_itself,
    "nodes": claims("num_nodes", "1000000000"),
    "no nodes": claims("num_nodes", "0"),
    "no number of nodes": claims("num_nodes", "many"),
    "vector leaves": claims("size_leaf_vector", "64"),
    "trees": more_trees,
    "booster": other_booster,
    "features": other_features,
    "objective": other_objective,
    "categories": by_category,
    "short array": short,
    "texts": text_for_numbers,
    "no learner": no_learner,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_model_is_refused(
    forge: Callable[[dict[str, Any]], None], model: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "surrogate"
    shutil.copytree(SHIPPED, folder)
    forged = json.loads(json.dumps(model))
    forge(forged)
    data = json.dumps(forged).encode()
    (folder / "day1.ubj").write_bytes(data)
    schema = read_schema(folder)
    schema["targets"]["day1"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(ConfigError, match=r"day1\.ubj: the model of the day1 head is refused"):
        XGBoostEvaluator.load(folder)


def test_a_sound_model_is_taken_as_ubj_and_as_json(model: dict[str, Any]) -> None:
    features = int(model["learner"]["learner_model_param"]["num_feature"])
    ubj.check_model((SHIPPED / "day1.ubj").read_bytes(), features)
    ubj.check_model(json.dumps(model).encode(), features)
    with pytest.raises(ValueError, match="features; allowed"):
        ubj.check_model((SHIPPED / "day1.ubj").read_bytes(), features + 1)


@pytest.mark.parametrize("k", range(40))
def test_a_damaged_ubj_is_read_or_refused_and_nothing_else(k: int) -> None:
    data = bytearray((SHIPPED / "day1.ubj").read_bytes())
    data[(k * 7919) % len(data)] ^= 1 << (k % 8)
    for damaged in (bytes(data), bytes(data[: k * 3000])):
        try:
            ubj.check_model(damaged, 45)
        except ValueError as error:
            assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{" + 3 * "\x00", "a number of the kind"),
        ("binf", "neither UBJ nor JSON"),
        ("{L" + "\x7f" * 8, "a length of"),
        ("{i\x01a" + "[" * 50, "nested"),
        ('{"a": 1}', "no model of trees"),
    ],
)
def test_what_is_no_model_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ubj.check_model(text.encode("latin-1"), 45)


def test_a_schema_names_files_beside_it_only(tmp_path: Path) -> None:
    folder = tmp_path / "surrogate"
    shutil.copytree(SHIPPED, folder)
    schema = json.loads((folder / "schema.json").read_text())
    schema["targets"]["day1"]["file"] = "../day1.ubj"
    (folder / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(ConfigError, match="allowed: a name, no path"):
        XGBoostEvaluator.load(folder)
