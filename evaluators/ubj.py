"""Models of XGBoost as plain values: Universal Binary JSON, checked before XGBoost sees them.

XGBoost trusts a model that it loads: a child or a feature that does not exist is read from where
nothing of the model is, and a tree with a circle is followed for ever. So what a file holds is
looked at here first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg.files.readers import parse_json

MAX_DEPTH = 32
"""Brackets within brackets; a model has 8."""
MAX_NODES = 2_000_000
"""Nodes of all trees of a model together."""
_NUMBERS = {
    b"i": ">i1",
    b"U": ">u1",
    b"I": ">i2",
    b"l": ">i4",
    b"L": ">i8",
    b"d": ">f4",
    b"D": ">f8",
}
_PLAIN: dict[bytes, Any] = {b"T": True, b"F": False, b"Z": None}
_OF_NODES = (
    "left_children", "right_children", "parents", "split_indices", "split_conditions",
    "split_type", "default_left", "base_weights",
)  # fmt: skip
"""Arrays of a tree with a value for each node."""
_OF_CATEGORIES = (
    "categories", "categories_nodes", "categories_segments", "categories_sizes",
)  # fmt: skip
"""Arrays of a tree with splits by category, which no surrogate has."""


def check_model(data: bytes, features: int | None) -> None:
    """Refuse a model that is not made of sound trees over so many features.

    Args:
        data: the file, UBJ or JSON.
        features: columns of the matrix that the model is asked about; None: as many as it claims.

    Raises:
        ValueError: it is no such model; the message says what is wrong.
    """
    model = parse_model(data)
    try:
        _check(model, features)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"it is no model of trees ({type(error).__name__}: {error})") from None


def parse_model(data: bytes) -> Any:
    """Return the value of a model file.

    Raises:
        ValueError: it is neither UBJ nor JSON.
    """
    if data[:1] != b"{":
        raise ValueError("it is neither UBJ nor JSON")
    if data[1:2] in b'"} \n\r\t':
        try:
            return parse_json(data.decode("utf-8"))
        except UnicodeDecodeError:
            raise ValueError("it is no UTF-8 text") from None
    try:
        reader = _Reader(data)
        value = reader.value(reader.take(1), 0)
    except struct.error:
        raise ValueError("it ends too early") from None
    if reader.place != len(data):
        raise ValueError(f"{len(data) - reader.place} bytes follow its end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        part = self.data[self.place : self.place + count]
        if count < 0 or len(part) < count:
            raise ValueError("it ends too early")
        self.place += count
        return part

    def number(self, kind: bytes) -> Any:
        if kind not in _NUMBERS:
            raise ValueError(f"a number of the kind {kind!r}")
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self.take(dtype.itemsize), dtype)[0].item()

    def length(self) -> int:
        count = self.number(self.take(1))
        if not isinstance(count, int) or not 0 <= count <= len(self.data):
            raise ValueError(f"a length of {count}")
        return count

    def text(self) -> str:
        return self.take(self.length()).decode("utf-8", "replace")

    def value(self, kind: bytes, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"brackets are nested more than {MAX_DEPTH} deep")
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind == b"S":
            return self.text()
        if kind == b"{":
            return self.object(depth)
        if kind == b"[":
            return self.array(depth)
        return self.number(kind)

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.data[self.place : self.place + 1] != b"}":
            key = self.text()
            if key in found:
                raise ValueError(f"the key {key!r} is there twice")
            found[key] = self.value(self.take(1), depth + 1)
        self.place += 1
        return found

    def array(self, depth: int) -> Any:
        following = self.data[self.place : self.place + 1]
        if following == b"$":
            self.place += 1
            kind = self.take(1)
            if kind not in _NUMBERS or self.take(1) != b"#":
                raise ValueError(f"an array of the kind {kind!r}")
            count, dtype = self.length(), np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(count * dtype.itemsize), dtype)
        if following == b"#":
            self.place += 1
            return [self.value(self.take(1), depth + 1) for _ in range(self.length())]
        found = []
        while self.data[self.place : self.place + 1] != b"]":
            found.append(self.value(self.take(1), depth + 1))
        self.place += 1
        return found


def _check(model: Any, features: int | None) -> None:
    learner = model["learner"]
    facts = learner["learner_model_param"]
    if features is None:
        features = int(facts["num_feature"])
    if int(facts["num_feature"]) != features or features < 1:
        raise ValueError(f"it is over {facts['num_feature']} features; allowed: {features}")
    if int(facts.get("num_class", 0)) or int(facts.get("num_target", 1)) != 1:
        raise ValueError("it predicts several values; allowed: one")
    if not str(learner["objective"]["name"]).startswith("reg:"):
        raise ValueError(f"its objective is {learner['objective']['name']!r}; allowed: reg:...")
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise ValueError(f"it is a {booster['name']!r}; allowed: gbtree")
    forest = booster["model"]
    trees = forest["trees"]
    if not isinstance(trees, list) or not trees:
        raise ValueError("it has no trees")
    count = int(forest["gbtree_model_param"]["num_trees"])
    if count != len(trees) or int(forest["gbtree_model_param"].get("num_parallel_tree", 1)) != 1:
        raise ValueError(f"it has {len(trees)} trees and claims {count}")
    if len(forest["tree_info"]) != count or _array(forest["tree_info"]).any():
        raise ValueError("its trees are of several groups; allowed: one")
    if "iteration_indptr" in forest:
        steps = _array(forest["iteration_indptr"])
        if steps.tolist() != list(range(count + 1)):
            raise ValueError("its trees are not one an iteration")
    nodes = 0
    for number, tree in enumerate(trees):
        try:
            nodes += _check_tree(tree, features)
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from None
        if nodes > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES:,} nodes")


def _check_tree(tree: Mapping[str, Any], features: int) -> int:
    """Return the number of nodes of a sound tree."""
    facts = tree["tree_param"]
    count = int(facts["num_nodes"])
    if count < 1 or int(facts.get("size_leaf_vector", 1)) > 1:
        raise ValueError(f"it has {count} nodes, or several values a leaf")
    if int(facts.get("num_feature", features)) != features:
        raise ValueError(f"it is over {facts['num_feature']} features; allowed: {features}")
    arrays = {name: _array(tree[name]) for name in _OF_NODES}
    for name, values in arrays.items():
        if values.shape != (count,):
            raise ValueError(f"{name} has {values.size} values for {count} nodes")
    if any(len(tree.get(name, ())) for name in _OF_CATEGORIES) or arrays["split_type"].any():
        raise ValueError("it splits by category")
    for name in ("split_conditions", "base_weights"):
        if not np.isfinite(arrays[name].astype(np.float64)).all():
            raise ValueError(f"{name} has a value that is not finite")
    left, right = arrays["left_children"], arrays["right_children"]
    inner = left != -1
    if ((right != -1) != inner).any():
        raise ValueError("a node has one child")
    children = np.concatenate([left[inner], right[inner]])
    if children.size and not (children.min() >= 1 and children.max() < count):
        raise ValueError(f"a child is none of {count} nodes")
    if len(np.unique(children)) != children.size:
        raise ValueError("a node has two parents")
    split = arrays["split_indices"][inner]
    if split.size and not (split.min() >= 0 and split.max() < features):
        raise ValueError(f"a split is by none of {features} features")
    # Every node has one parent at most, and the root none: what the root does not reach is a
    # circle, or was pruned.
    pairs = np.stack([left, right], axis=1)
    level, seen = np.zeros(1, dtype=np.int64), 1
    while level.size:
        level = pairs[level[inner[level]]].reshape(-1).astype(np.int64)
        seen += level.size
    if seen != children.size + 1:
        raise ValueError("its nodes form a circle")
    return count


def _array(values: Sequence[Any]) -> npt.NDArray[Any]:
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iufb":
        raise ValueError("an array of other values than numbers")
    return found
