"""AnalogNAS's search runs on our spaces: the calls it makes, the objects it expects back."""

from __future__ import annotations

import random

import pytest

from nasseg.errors import ArchError
from nasseg.search_spaces import get_space


class Surrogate:
    """A stand-in with AnalogNAS's two queries; counts widths as accuracy."""

    def __init__(self, space) -> None:
        self.space = space

    def _score(self, arch: dict) -> tuple[float, float]:
        X = self.space.encode([self.space.repair(arch)])[0]
        return float(X.sum()) / 1000, float(X[1])

    def query_pop(self, P, **options):
        accuracy, avm = zip(*(self._score(one[0]) for one in P), strict=True)
        return list(accuracy), list(avm)

    def query(self, p):
        assert isinstance(p, list)
        assert len(p) == 1
        return self._score(p[0])


def constrained_evolution(cs, surrogate, size: int, iterations: int, limit: float):
    """The calls of AnalogNAS's unbatched search: populations of one-architecture lists."""
    P = [cs.sample_arch_uniformly(1)] * size
    while any(s > limit for s in surrogate.query_pop(P)[1]):
        for i, s in enumerate(surrogate.query_pop(P)[1]):
            if s > limit:
                P[i] = cs.sample_arch_uniformly(1)
    best, best_accuracy = None, 0.0
    for _ in range(iterations):
        P = [cs.sample_arch_uniformly(1) for _ in P]
        accuracies = [surrogate.query(p)[0] for p in P]
        if max(accuracies) > best_accuracy:
            best_accuracy = max(accuracies)
            best = P[accuracies.index(best_accuracy)][0]
    return best, best_accuracy


def mixing_evolution(cs, surrogate, size: int, iterations: int):
    """The calls of its batched search: half of an architecture's values put into a fresh one."""
    choose = random.Random(0)  # noqa: S311
    P = cs.sample_arch_uniformly(size)
    for _ in range(iterations):
        mixed = []
        for arch in P:
            fresh = cs.sample_arch_uniformly(1)[0]
            for name in arch:
                if choose.random() < 0.5:
                    fresh[name] = arch[name]
            mixed.append(fresh)
        accuracies, _ = surrogate.query_pop([[a] for a in mixed], should_bypass_eval=True)
        order = sorted(range(size), key=lambda i: -accuracies[i])
        P = [mixed[i] for i in order]
    return P[0], max(accuracies)


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_unbatched_search_gets_what_it_expects(name: str) -> None:
    cs = get_space(name, seed=1)
    best, accuracy = constrained_evolution(cs, Surrogate(cs), size=5, iterations=4, limit=3)
    cs.validate(best)
    assert accuracy > 0
    assert {str(key) for key in best.keys()} == set(cs.get_hyperparameters())  # noqa: SIM118


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_batched_search_mixes_architectures_that_repair_makes_valid(name: str) -> None:
    cs = get_space(name, seed=1)
    best, accuracy = mixing_evolution(cs, Surrogate(cs), size=5, iterations=4)
    cs.validate(cs.repair(best))
    assert accuracy > 0


def test_samples_are_separate_objects() -> None:
    a, b = get_space("unet").sample_arch_uniformly(2)
    a["M"] = -1
    assert b["M"] != -1


def test_names_follow_analognas() -> None:
    stage = ("R", "convblock", "widenfact", "B")
    wanted = {"out_channel0", "M"} | {f"{s}{i}" for s in stage for i in range(1, 6)}
    assert wanted == set(get_space("resnet").get_hyperparameters())
    assert wanted < set(get_space("unet").get_hyperparameters())


def test_spaces_of_one_name_do_not_share_edits() -> None:
    edited, other = get_space("unet"), get_space("unet")
    edited.remove_hyperparameter("upsample")
    edited.add_hyperparameter("temperature", "continuous", min_value=0, max_value=1)
    assert "temperature" in edited.get_hyperparameters()
    for space in (other, get_space("unet")):
        assert "upsample" in space.get_hyperparameters()
        assert "temperature" not in space.get_hyperparameters()
        assert space.name == "unet"
    assert edited.name == "unet-custom"


def test_an_edited_space_samples_counts_and_builds() -> None:
    cs = get_space("unet")
    size = cs.compute_cs_size()
    cs.remove_hyperparameter("upsample")
    cs.add_hyperparameter("patch", "discrete", min_value=0, max_value=6, step=2)
    cs.add_hyperparameter_range("loss", "discrete", range=["dice", "focal"])
    assert cs.compute_cs_size() == size // 2 * 3 * 2
    arch = cs.sample_arch_uniformly(1)[0]
    assert arch["patch"] in (0, 2, 4)
    assert arch["loss"] in ("dice", "focal")
    assert "upsample" not in arch
    assert cs.decode(cs.encode([arch])) == [arch]
    network = cs.build(arch)
    assert network.arch == arch
    assert network.space == "unet-custom"


def test_a_range_is_changed_by_removing_and_adding() -> None:
    cs = get_space("resnet")
    cs.remove_hyperparameter("R2")
    cs.add_hyperparameter("R2", "discrete", min_value=1, max_value=4)
    cs.remove_hyperparameter("M")
    cs.add_hyperparameter_range("M", "discrete", range=[1, 2])
    assert cs.get_hyperparameters() == get_space("resnet").get_hyperparameters()
    for arch in cs.sample_arch_uniformly(50):
        assert arch["M"] in (1, 2)
        assert arch["R2"] in ((1, 2, 3) if arch["M"] == 2 else (0,))
        assert arch["R3"] == 0
    assert cs.compute_cs_size() == 6 * (16 * 70 + 16 * 70 * 3 * 70)


def test_removing_a_parent_settles_what_depended_on_it() -> None:
    cs = get_space("unet")  # its default has four stages
    cs.remove_hyperparameter("M")
    assert "R4" in cs.get_hyperparameters()
    assert "R5" not in cs.get_hyperparameters()
    network = cs.build(cs.sample_arch_uniformly(1)[0])
    assert network.factor in (2, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cs: cs.add_hyperparameter("M", "discrete", 1, 3), "exists already"),
        (lambda cs: cs.add_hyperparameter("x", "discreet", 1, 3), "discreet"),
        (lambda cs: cs.add_hyperparameter("x", "discrete", 3, 3), "min_value < max_value"),
        (lambda cs: cs.add_hyperparameter_range("x", "discrete", []), "at least one"),
        (lambda cs: cs.remove_hyperparameter("widenfact"), "did you mean 'widenfact"),
        (lambda cs: cs.sample_arch_uniformly(-1), "-1"),
    ],
)
def test_wrong_edits_are_refused(call, message: str) -> None:
    cs = get_space("unet")
    with pytest.raises(ArchError, match=message):
        call(cs)
    assert cs.name == "unet"
