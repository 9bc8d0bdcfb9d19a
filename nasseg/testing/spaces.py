"""What every search space promises, as tests.

.. code-block:: python

    class TestMySpace(SearchSpaceContract):
        @pytest.fixture
        def space(self):
            return MySpace()
"""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from nasseg.errors import ArchError
from nasseg.search_spaces import SearchSpace

ROWS = 500
KINDS = ("width", "depth", "other")


class SearchSpaceContract:
    """Subclass it, give ``space``, and ``output_shape`` where the networks do not segment.

    ``space.build`` and the ``forward`` of its networks raise :class:`~nasseg.errors.ArchError`,
    and nothing else, for what they cannot do: a number of channels that is no positive integer
    (the message names ``in_channels``), and an input that is not (B, in_channels, H, W) with H and
    W of :data:`~nasseg.search_spaces.MIN_INPUT` or more (the message names the network's
    ``arch_id``). A network has the attributes ``space`` (the name), ``arch`` and ``arch_id``.
    """

    networks_checked = 3
    """Random networks built by each test of the built network."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of hyperparameters that the space can mutate at its default architecture."""

    @pytest.fixture
    def space(self) -> SearchSpace:
        raise NotImplementedError("give a fixture named 'space' that returns the space under test")

    @pytest.fixture
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def output_shape(self, batch: int, channels: int, height: int, width: int) -> tuple[int, ...]:
        """Shape of the output for an input (batch, any, height, width)."""
        return (batch, channels, height, width)

    # -- one architecture -------------------------------------------------------------------

    @pytest.mark.parametrize("seed", range(20))
    def test_sample_is_valid_and_round_trips(self, space: SearchSpace, seed: int) -> None:
        arch = space.sample(np.random.default_rng(seed))
        space.validate(arch)
        assert list(arch) == space.feature_names
        assert space.from_json(space.to_json(arch)) == arch
        assert json.loads(json.dumps(arch)) == arch
        assert space.decode(space.encode([arch])) == [arch]
        assert space.sample(np.random.default_rng(seed)) == arch

    def test_default_is_valid(self, space: SearchSpace) -> None:
        space.validate(space.default())

    def test_a_diagram_has_the_stages_of_the_architecture(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        for _ in range(20):
            diagram = space.diagram(space.sample(rng))
            if diagram is None:
                continue
            assert diagram.encoder
            assert all(stage.channels > 0 for stage in diagram.encoder + diagram.decoder)
            levels = {stage.level for stage in diagram.encoder}
            assert {stage.level for stage in diagram.decoder} <= levels

    def test_canonical_sets_inactive_to_zero_and_ignores_key_order(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        for _ in range(50):
            arch = space.sample(rng)
            messy = dict(reversed(arch.items()))
            for h in space.hyperparameters:
                if h.conditions and arch[h.name] == 0:
                    messy[h.name] = h.choices[-1]
            before = dict(messy)
            assert space.canonical(messy) == arch
            assert space.canonical(arch) == arch
            assert space.arch_id(messy) == space.arch_id(arch)
            assert messy == before

    def test_validate_refuses_what_is_not_canonical(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        refused = 0
        for _ in range(50):
            arch = space.sample(rng)
            for h in space.hyperparameters:
                if h.conditions and arch[h.name] == 0:
                    with pytest.raises(ArchError, match=h.name):
                        space.validate({**arch, h.name: h.choices[0]})
                    refused += 1
        assert refused or not any(h.conditions for h in space.hyperparameters)

    def test_validate_names_unknown_missing_and_impossible(self, space: SearchSpace) -> None:
        arch = space.default()
        first = space.hyperparameters[0]
        with pytest.raises(ArchError, match=f"did you mean '{first.name}'"):
            space.validate({**arch, first.name + "x": 1})
        with pytest.raises(ArchError, match=f"{first.name} is missing"):
            space.validate({k: v for k, v in arch.items() if k != first.name})
        impossible: list[Any] = [-12345, "no such choice", None, True, [], float("nan")]
        for bad in impossible:
            with pytest.raises(ArchError, match=f"{first.name} cannot be .*allowed: ") as caught:
                space.validate({**arch, first.name: bad})
            assert repr(bad) in str(caught.value)
            assert repr(first.choices[-1]) in str(caught.value)

    def test_from_json_refuses_what_is_not_an_architecture(self, space: SearchSpace) -> None:
        for text in ("{", "[]", "3", '{"surely_unknown": 1}', "{}"):
            with pytest.raises(ArchError):
                space.from_json(text)

    def test_repair_makes_any_mixture_valid_and_keeps_valid_ones(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        for _ in range(50):
            a, b = space.sample(rng), space.sample(rng)
            mixed = {k: (a if rng.random() < 0.5 else b)[k] for k in a}
            space.validate(space.repair(mixed))
            assert space.repair(a) == a
        space.validate(space.repair({}))

    # -- variation --------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", [None, *KINDS])
    def test_mutation_is_pure_and_moves(
        self, space: SearchSpace, rng: np.random.Generator, kind: str | None
    ) -> None:
        if kind is not None and kind not in self.kinds:
            with pytest.raises(ArchError, match=f"no active {kind} hyperparameter"):
                space.mutate(space.default(), rng, kind)
            return
        for _ in range(20):
            arch = space.sample(rng)
            before = copy.deepcopy(arch)
            child = space.mutate(arch, rng, kind)
            space.validate(child)
            assert arch == before
            assert space.arch_id(child) != space.arch_id(arch)

    @pytest.mark.parametrize("kind", KINDS)
    def test_mutation_of_a_kind_changes_that_and_nothing_else(
        self, space: SearchSpace, rng: np.random.Generator, kind: str
    ) -> None:
        if kind not in self.kinds:
            pytest.skip(f"{space.name} has no {kind} to mutate")
        X = space.sample_matrix(ROWS, rng)
        before = X.copy()
        Y = space.mutate_matrix(X, rng, kind)
        assert np.array_equal(X, before)
        assert (X != Y).any(axis=1).all()
        own = np.array([h.kind == kind for h in space.hyperparameters])
        assert (X != Y)[:, own].any(axis=1).all()
        conditional = np.array([bool(h.conditions) for h in space.hyperparameters])
        # Outside the kind, only a hyperparameter that appeared or disappeared may differ.
        moved = (X != Y)[:, ~own]
        appeared = conditional[~own] & ((X[:, ~own] == 0) != (Y[:, ~own] == 0))
        assert not (moved & ~appeared).any()
        assert space.encode(space.decode(Y)).tolist() == Y.tolist()

    def test_mutation_refuses_an_unknown_kind(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        with pytest.raises(ArchError, match=r"width.*depth.*other"):
            space.mutate(space.default(), rng, "colour")

    def test_mutations_reach_every_choice(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        X = space.encode([space.default()] * 200)
        seen: list[set[float]] = [set() for _ in space.feature_names]
        for _ in range(60):
            X = space.mutate_matrix(X, rng)
            for j, column in enumerate(X.T):
                seen[j].update(column.tolist())
        for j, h in enumerate(space.hyperparameters):
            assert len(seen[j] - {0.0}) == len([c for c in h.codes if c != 0])

    def test_crossover_is_valid_and_takes_from_its_parents(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        A, B = space.sample_matrix(ROWS, rng), space.sample_matrix(ROWS, rng)
        child = space.crossover_matrix(A, B, rng)
        assert space.encode(space.decode(child)).tolist() == child.tolist()
        inherited = (child == A) | (child == B) | (child == 0)
        conditional = np.array([bool(h.conditions) for h in space.hyperparameters])
        neither = (A == 0) & (B == 0) & conditional
        assert (inherited | neither).all()
        a, b = space.decode(A[:1])[0], space.decode(B[:1])[0]
        before = (dict(a), dict(b))
        space.validate(space.crossover(a, b, rng))
        assert (a, b) == before

    # -- populations ------------------------------------------------------------------------

    def test_scalar_and_matrix_operations_are_the_same(self, space: SearchSpace) -> None:
        def generator() -> np.random.Generator:
            return np.random.default_rng(7)

        a = space.sample(generator())
        assert space.decode(space.sample_matrix(1, generator())) == [a]
        b = space.sample(np.random.default_rng(8))
        A, B = space.encode([a]), space.encode([b])
        assert space.decode(space.mutate_matrix(A, generator())) == [space.mutate(a, generator())]
        assert space.decode(space.crossover_matrix(A, B, generator())) == [
            space.crossover(a, b, generator())
        ]
        lhs = space.sample_lhs_matrix(9, generator())
        assert space.decode(lhs) == space.sample_lhs(9, generator())

    def test_encoding_has_the_named_schema(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        X = space.sample_matrix(ROWS, rng)
        assert X.dtype == np.float32
        assert X.shape == (ROWS, len(space.feature_names))
        assert np.array_equal(space.encode(space.decode(X)), X)
        assert space.encode([]).shape == (0, len(space.feature_names))
        assert space.decode(X[:0]) == []

    def test_decode_refuses_rows_that_are_no_architecture(self, space: SearchSpace) -> None:
        X = space.encode([space.default()] * 3)
        for bad in (np.nan, np.inf, -1.0, 1e6):
            Y = X.copy()
            Y[1, 0] = bad
            with pytest.raises(ArchError, match=f"row 1: {space.feature_names[0]}"):
                space.decode(Y)
        for shaped in (X[:, :-1], X[0], "text"):
            with pytest.raises(ArchError):
                space.decode(shaped)

    def test_latin_hypercube_uses_every_choice_equally_often(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        n = 60
        archs = space.sample_lhs(n, rng)
        assert len(archs) == n
        for arch in archs:
            space.validate(arch)
        for h in space.hyperparameters:
            if not h.conditions:
                for choice in h.choices:
                    count = sum(arch[h.name] == choice for arch in archs)
                    assert abs(count - n / len(h.choices)) < 2

    def test_size_counts_architectures(self, space: SearchSpace) -> None:
        assert space.size() == space.compute_cs_size()
        assert 0 < space.size() <= np.prod([float(h.size() + 1) for h in space.hyperparameters])

    def test_own_generator_is_seeded(self, space: SearchSpace) -> None:
        space.seed(3)
        first = space.sample_arch_uniformly(5)
        second = space.sample_arch_uniformly(5)
        space.seed(3)
        assert space.sample_arch_uniformly(5) == first != second
        for arch in first:
            space.validate(arch)

    # -- networks ---------------------------------------------------------------------------

    def _networks(self, space: SearchSpace, **kwargs: Any) -> list[Any]:
        archs = space.sample_lhs(self.networks_checked, np.random.default_rng(5))
        return [space.build(arch, **kwargs) for arch in archs]

    def test_architectures_with_equal_keys_build_equal_networks(
        self, space: SearchSpace, rng: np.random.Generator
    ) -> None:
        import torch

        X = space.sample_matrix(500, rng)
        if len(np.unique(X, axis=0)) > 100:  # what is left to mutate, in a space that is not tiny
            X = np.concatenate([X, *(space.mutate_matrix(X, rng) for _ in range(4))])
        X = np.unique(X, axis=0)
        found: dict[bytes, list[int]] = {}
        for row, key in enumerate(space.network_keys(X)):
            found.setdefault(key, []).append(row)
        sizes = space.count_params(X)
        assert all(len(set(sizes[rows])) == 1 for rows in found.values())
        image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        for rows in [rows for rows in found.values() if len(rows) > 1][:3]:
            archs = space.decode(X[rows[:2]])
            one, other = (space.build(arch, seed=1).eval()(image) for arch in archs)
            assert torch.equal(one, other), archs

    @pytest.mark.parametrize(
        ("channels", "height", "width"), [(1, 16, 16), (3, 33, 47), (4, 61, 17)]
    )
    def test_network_runs_at_odd_sizes(
        self, space: SearchSpace, channels: int, height: int, width: int
    ) -> None:
        import torch

        x = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(0))
        for network in self._networks(space, in_channels=channels, out_channels=2):
            for mode in (True, False):
                with torch.no_grad():
                    y = network.train(mode)(x)
                assert tuple(y.shape) == self.output_shape(2, 2, height, width)
                assert torch.isfinite(y).all()

    def test_every_parameter_gets_a_gradient(self, space: SearchSpace) -> None:
        import torch

        x = torch.randn(2, 3, 33, 47, generator=torch.Generator().manual_seed(0))
        for network in self._networks(space, out_channels=2):
            network(x).square().mean().backward()
            without = [
                name
                for name, p in network.named_parameters()
                if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()
            ]
            assert not without, f"{network.space}/{network.arch_id}: no gradient in {without}"

    def test_parameters_are_counted_without_building(self, space: SearchSpace) -> None:
        for channels in ((3, 1), (4, 5)):
            networks = self._networks(space, in_channels=channels[0], out_channels=channels[1])
            X = space.encode([network.arch for network in networks])
            built = [sum(p.numel() for p in network.parameters()) for network in networks]
            counted = space.count_params(X, *channels)
            assert counted.dtype == np.int64
            assert counted.tolist() == built

    def test_layers_by_formula_are_those_of_the_network(self, space: SearchSpace) -> None:
        import torch

        from nasseg._macs import count_macs

        size = (33, 47)
        table = space.layer_table(space.encode([space.default()]), 2, 3, size)
        if table is None:
            pytest.skip("the space has no formula for its layers")
        for network in self._networks(space, in_channels=2, out_channels=3):
            table = space.layer_table(space.encode([network.arch]), 2, 3, size)
            assert table is not None
            macs = count_macs(network, torch.zeros(1, 2, *size))
            assert table.macs().tolist() == [sum(macs.values())]
            assert table.count.sum() == len(macs)

    def test_network_has_only_layers_for_analog_tiles(self, space: SearchSpace) -> None:
        from torch import nn

        for network in self._networks(space):
            for name, module in network.named_modules():
                if next(module.parameters(recurse=False), None) is None:
                    continue
                assert type(module) in (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.GroupNorm), name
                assert getattr(module, "groups", 1) == 1, name

    def test_build_is_seeded_and_leaves_the_global_random_state(self, space: SearchSpace) -> None:
        import torch

        arch = space.default()
        state = torch.random.get_rng_state()
        first = space.build(arch, seed=1).state_dict()
        again = space.build(arch, seed=1).state_dict()
        other = space.build(arch, seed=2).state_dict()
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(torch.equal(first[k], again[k]) for k in first)
        assert any(not torch.equal(first[k], other[k]) for k in first)

    def test_network_says_what_it_is(self, space: SearchSpace, rng: np.random.Generator) -> None:
        arch = space.sample(rng)
        network: Any = space.build(arch)
        assert network.arch == arch
        assert network.arch_id == space.arch_id(arch)
        assert network.space == space.name

    def test_build_and_run_refuse_what_they_cannot_do(self, space: SearchSpace) -> None:
        import torch

        arch = space.default()
        impossible: list[Any] = [0, -1, 1.5, True]
        for bad in impossible:
            with pytest.raises(ArchError, match="in_channels"):
                space.build(arch, in_channels=bad)
        network = space.build(arch)
        for shape in ((1, 3, 15, 16), (1, 2, 16, 16), (3, 16, 16)):
            with pytest.raises(ArchError, match=space.arch_id(arch)):
                network(torch.zeros(shape))
