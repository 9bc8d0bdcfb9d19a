"""The spaces that come with the package: contract, registry, counting, import cost."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from nasseg import _registry, search_spaces
from nasseg.errors import ArchError, ConfigError, UnknownName
from nasseg.search_spaces import (
    Condition,
    Hyperparameter,
    SearchSpace,
    get_space,
    list_spaces,
    register_space,
)
from nasseg.testing.spaces import SearchSpaceContract


class TestUNetSpace(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("unet")


@pytest.mark.parametrize("name", ["unet_half", "unet_quarter", "unet_group", "unet_half_group"])
class TestUNetVariants(SearchSpaceContract):
    networks_checked = 2

    @pytest.fixture
    def space(self, name: str) -> SearchSpace:
        return get_space(name)


class TestResNetSpace(SearchSpaceContract):
    networks_checked = 2

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("resnet")

    def output_shape(self, batch: int, channels: int, height: int, width: int) -> tuple[int, ...]:
        return (batch, channels)


class TinySpace(SearchSpace):
    """Small enough to list: a parent that is itself conditional, and a categorical."""

    base_name = "tiny"
    base_hyperparameters = (
        Hyperparameter("M", (1, 2, 3), "depth"),
        Hyperparameter("mode", ("a", "b"), "other", (Condition("M", (2, 3)),)),
        Hyperparameter("w", (0.5, 1.0, 2.0), "width", (Condition("mode", ("b",)),)),
        Hyperparameter("v", (8, 16), "width"),
        Hyperparameter("both", (1, 2), "other", (Condition("M", (3,)), Condition("mode", ("a",)))),
    )


def test_size_equals_a_full_enumeration() -> None:
    space = TinySpace()
    members = set()
    options = [(0, *h.choices) for h in space.hyperparameters]
    for values in itertools.product(*options):
        arch = dict(zip(space.feature_names, values, strict=True))
        try:
            space.validate(arch)
        except ArchError:
            continue
        members.add(space.arch_id(arch))
    assert len(members) == space.size() == 2 * (1 + (1 + 3) + (2 + 3))


def test_sampling_reaches_every_member_of_a_small_space() -> None:
    space = TinySpace()
    X = space.sample_matrix(2000, np.random.default_rng(0))
    assert len({tuple(row) for row in X.tolist()}) == space.size()


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_size_agrees_with_a_count_by_hand(name: str) -> None:
    space = get_space(name)
    if name == "resnet":
        a_stage = 16 * 2 * 7 * 5
        expected = 6 * sum(a_stage**m for m in range(1, 6))
    else:
        decoder = 3 * 3 * 2 * 3 * 2
        first, later = 3 * 2 * 3 * 3, 3 * 2 * 3
        expected = sum(
            5 * decoder * first * later ** (m - 1) * (4 ** (m - 1) + 1) for m in (2, 3, 4, 5)
        )
    assert space.size() == expected


def test_registry_lists_and_names_the_nearest() -> None:
    unets = ["unet", "unet2", "unet_group", "unet_half", "unet_half_group", "unet_quarter"]
    assert list_spaces() == ["basicunet", "cells", "reference", "resnet", *unets]
    assert list_spaces("*net*") == ["basicunet", "resnet", *unets]
    assert list_spaces("r*") == ["reference", "resnet"]
    with pytest.raises(UnknownName, match="did you mean 'unet'"):
        get_space("unett")
    with pytest.raises(ValueError, match="registered already"):
        register_space("unet", TinySpace)


def test_import_needs_neither_torch_nor_aihwkit_nor_pandas() -> None:
    code = (
        "import sys, numpy as np\n"
        "from nasseg.search_spaces import get_space\n"
        "s = get_space('unet'); r = np.random.default_rng(0)\n"
        "s.crossover(s.mutate(s.sample(r), r), s.sample_lhs(3, r)[0], r); s.size()\n"
        "heavy = {'torch', 'aihwkit', 'pandas', 'monai', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arch_id_is_stable_across_releases() -> None:
    # Changing a hash orphans every stored table and run: raise the space version if you must.
    assert get_space("unet").arch_id(get_space("unet").default()) == "68179a217f4b"


def test_open_mutations_have_the_published_proportions() -> None:
    space = get_space("unet")
    X = space.sample_matrix(20_000, np.random.default_rng(0))
    Y = space.mutate_matrix(X, np.random.default_rng(1))
    kinds = np.array([h.kind for h in space.hyperparameters])
    moved = X != Y
    # A depth mutation may move widths of stages that appear or go; so count depth first.
    depth = moved[:, kinds == "depth"].any(axis=1)
    width = ~depth & moved[:, kinds == "width"].any(axis=1)
    topology = moved[:, space.feature_names.index("topology")]
    width &= ~topology
    assert depth.mean() == pytest.approx(0.4, abs=0.02)
    assert width.mean() == pytest.approx(0.4, abs=0.02)


def test_mutation_without_anything_to_change_is_refused() -> None:
    class Fixed(SearchSpace):
        base_name = "fixed"
        base_hyperparameters = (Hyperparameter("a", (1,)), Hyperparameter("v", (1, 2), "width"))

    space, rng = Fixed(), np.random.default_rng(0)
    assert space.mutate({"a": 1, "v": 1}, rng) == {"a": 1, "v": 2}
    with pytest.raises(ArchError, match="no active depth hyperparameter"):
        space.mutate({"a": 1, "v": 1}, rng, "depth")


@pytest.mark.parametrize(
    ("choices", "options", "reason"),
    [
        ((), {}, "at least one"),
        ((1, 1), {}, "differ"),
        ((2, 1), {}, "increase"),
        ((1, "a"), {}, "all numbers or all strings"),
        ((True, 2), {}, "numbers or strings"),
        ((1, float("inf")), {}, "finite"),
        ((0, 1), {"conditions": (Condition("M", (1,)),)}, "inactive"),
        ((1, 2), {"kind": "colour"}, "kind"),
        ((1, 2), {"default": 3}, "default"),
    ],
)
def test_hyperparameter_refuses_bad_choices(choices: tuple, options: dict, reason: str) -> None:
    with pytest.raises(ArchError, match=reason):
        Hyperparameter("h", choices, **options)


def test_a_condition_must_name_an_earlier_hyperparameter() -> None:
    class Backwards(SearchSpace):
        base_hyperparameters = (
            Hyperparameter("a", (1, 2), "other", (Condition("b", (1,)),)),
            Hyperparameter("b", (1, 2)),
        )

    with pytest.raises(ArchError, match="'a' depends on 'b'"):
        Backwards()


def test_values_of_numpy_and_float32_are_understood() -> None:
    space = get_space("resnet")
    arch = space.default()
    typed = {**arch, "M": np.int64(arch["M"]), "widenfact1": np.float32(arch["widenfact1"])}
    assert space.canonical(typed) == arch
    assert type(space.canonical(typed)["M"]) is int
    with pytest.raises(ArchError):
        space.canonical({**arch, "M": np.bool_(True)})


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_multiply_accumulates_per_pixel_are_those_of_the_built_networks(name):
    import torch

    from nasseg._macs import count_macs

    space = get_space(name)
    X = space.sample_matrix(200, np.random.default_rng(3))
    X = X[space.count_params(X) < 300_000][:4]
    counted = space.count_macs_per_pixel(X, 3, 2)
    for arch, value in zip(space.decode(X), counted, strict=True):
        built = space.build(arch, in_channels=3, out_channels=2)
        macs = sum(count_macs(built, torch.zeros(1, 3, 64, 64)).values())
        assert macs == pytest.approx(value * 64**2)


def arch_of(space, **changes):
    return space.repair({**space.default(), **changes})


def keys_of(space, *archs):
    return space.network_keys(space.encode(list(archs)))


def test_blocks_of_one_kind_are_one_network_whatever_their_stage():
    unet = get_space("unet")
    flat = {"M": 4, "topology": "isotropic", "R2": 1, "R3": 2, "R4": 1}
    one = arch_of(unet, **flat)
    # The halving after the first stage divides; kinds that differ do, too.
    twin, stem, kind, pyramid = (
        arch_of(unet, **flat | {"R2": 2, "R3": 1}),
        arch_of(unet, **flat | {"R1": 2, "R2": 1, "R3": 1}),
        arch_of(unet, **flat | {"B3": 2}),
        arch_of(unet, **flat | {"topology": "pyramidal"}),
    )
    shorter = arch_of(unet, M=3, topology="isotropic", R2=2, R3=2)
    keys = keys_of(unet, one, twin, shorter, stem, kind, pyramid)
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 4
    moved = arch_of(unet, **flat | {"topology": "pyramidal", "R2": 2, "R3": 1})
    assert keys_of(unet, moved) != keys[-1:]
    # Factors that end in the same channels, at the end where nothing follows from them.
    widths = [arch_of(unet, out_channel0=8, M=2, widenfact1=1.0, widenfact2=f) for f in (1.25, 1.5)]
    assert len(set(keys_of(unet, *widths))) == 1
    assert unet.network_keys(unet.encode([])) == []


def test_groups_of_the_resnet_are_one_where_nothing_is_between_them():
    resnet = get_space("resnet")
    wide = {"out_channel0": 64, "M": 5, **{f"widenfact{i}": 0.5 for i in range(1, 6)}}
    one, other, halved = (
        arch_of(resnet, **wide, R4=4, R5=1),
        arch_of(resnet, **wide, R4=2, R5=3),
        arch_of(resnet, **wide, R3=3, R4=2, R5=1),
    )
    keys = keys_of(resnet, one, other, halved)
    assert keys[0] == keys[1] != keys[2]
    # Below the cap of the channels, group 5 widens.
    narrow = {**wide, "out_channel0": 8}
    widening = [arch_of(resnet, **narrow, R4=a, R5=5 - a) for a in (1, 4)]
    assert len(set(keys_of(resnet, *widening))) == 2


def test_what_a_space_knows_nothing_of_counts_as_another_network():
    known = type(get_space("unet"))

    class More(known):
        base_name = "more"
        base_hyperparameters = (*known.base_hyperparameters, Hyperparameter("extra", (1, 2)))

    space = More()
    one, other = ({**space.default(), "extra": k} for k in (1, 2))
    assert len(set(keys_of(space, one, other))) == 2
    cells = get_space("cells")
    assert len(set(keys_of(cells, *cells.enumerate()))) == 1800


def test_a_space_is_registered_by_a_decorator_of_its_class(monkeypatch) -> None:
    monkeypatch.setattr(search_spaces._SPACES, "_entries", {})

    @register_space("decorated")
    class Decorated(TinySpace):
        pass

    assert type(get_space("decorated", 3)) is Decorated
    register_space("no space", lambda seed: seed)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match="'no space' gives 0; allowed: a SearchSpace"):
        get_space("no space")


def test_a_space_of_a_module_is_used_once_it_is_allowed(tmp_path, monkeypatch) -> None:
    (tmp_path / "own_space.py").write_text(
        "from nasseg.search_spaces import UNetSpace\n"
        "class Mine(UNetSpace):\n    base_name = 'mine'\n"
        "nothing = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_registry, "_allowed", [])
    with pytest.raises(ConfigError, match="a file alone does not make nasseg import"):
        get_space("own_space:Mine")
    _registry.allow("own_space")
    assert get_space("own_space:Mine").name == "mine"
    with pytest.raises(ConfigError, match="is 3; allowed: a subclass of SearchSpace"):
        get_space("own_space:nothing")
