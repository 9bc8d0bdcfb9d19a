"""The ``unet2`` space: contract, size, its networks, and their layers by formula."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import FULL, train_one_step

from nasseg.analog import AnalogSpec, convert
from nasseg.evaluators import CostEvaluator
from nasseg.report.sections.architecture import draw_diagram
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.search_spaces.unet2 import MAX_WIDTH, decoder_widths, stage_widths
from nasseg.testing.spaces import SearchSpaceContract

SPACE = get_space("unet2")
QUARTER = Path(__file__).parents[2] / "docs" / "nuclei_quarter.json"
ODD = (33, 47)


class TestChipUNetSpace(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("unet2")


def chip_arch(**changes):
    return SPACE.repair({**SPACE.default(), **changes})


def drawn(n):
    """``n`` random architectures, as many of every stride and depth, with few products each."""
    X = SPACE.sample_matrix(40 * n, np.random.default_rng(11))
    cost = SPACE.layer_table(X, input_size=ODD).macs()
    order = np.argsort(cost, kind="stable")
    kinds = X[order][:, [SPACE.feature_names.index(name) for name in ("stride0", "M")]]
    ranked = [order[(kinds == kind).all(1)] for kind in np.unique(kinds, axis=0)]
    return X[[index for of_rank in zip(*ranked, strict=False) for index in of_rank][:n]]


def test_the_size_of_the_chip_space_is_that_of_a_count_by_hand() -> None:
    stem, decoder = 3 * (3 + 1) * 5 * 2, 2 * 3 * 3 * 2
    stage = 3 * 2 * 3 * 2 * 3
    expected = sum(stem * decoder * stage**m * 2 * 3 ** (m - 2) for m in (2, 3, 4, 5))
    assert SPACE.size() == expected


def test_the_default_is_the_documented_network_of_the_quarter_space() -> None:
    quarter = get_space("unet_quarter")
    theirs = quarter.build(json.loads(QUARTER.read_text()), 3, 2, seed=1).eval()
    ours = SPACE.build(SPACE.default(), 3, 2).eval()
    counts = [sum(p.numel() for p in net.parameters()) for net in (theirs, ours)]
    assert counts[0] == counts[1]
    image = torch.rand(2, 3, *ODD, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert not torch.equal(ours(image), theirs(image))
        weights = theirs.state_dict().values()
        ours.load_state_dict(dict(zip(ours.state_dict(), weights, strict=True)))
        assert torch.equal(ours(image), theirs(image))


@pytest.mark.timeout(3600 if FULL else 300)
def test_random_chip_networks_train_and_have_the_layers_of_the_formula() -> None:
    X = SPACE.sample_matrix(500, np.random.default_rng(11)) if FULL else drawn(25)
    archs = SPACE.decode(X)
    for name in ("stride0", "M", "stem", "norm", "upsample", "skip1", "skip2", "dec_width"):
        seen = {arch[name] for arch in archs} - {0}
        assert seen == set(SPACE.hyperparameters[SPACE.feature_names.index(name)].choices), name
    evaluator = CostEvaluator(SPACE, 3, 2, (64, 48), input_size=ODD)
    by_formula, counted = evaluator.estimate_matrix(X), evaluator._estimate_built(X, ODD)
    for column in dataclasses.fields(by_formula):
        expected = getattr(counted, column.name)
        np.testing.assert_array_equal(getattr(by_formula, column.name), expected, column.name)
    for arch in archs:
        train_one_step(SPACE, arch)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("stem", ["conv", "fold"])
def test_the_deepest_chip_network_takes_any_size(stride: int, stem: str) -> None:
    arch = chip_arch(M=5, stride0=stride, stem=stem, out_channel0=16, kernel3=7, skip2="add")
    arch |= {"dec_width": 0.5, "skip3": "none", "kernel5": 5}
    network = SPACE.build(arch, in_channels=2, out_channels=3)
    for size in [(16, 16), (17, 31), ODD]:
        assert network(torch.randn(1, 2, *size)).shape == (1, 3, *size)
    assert network.factor == stride * 16


def test_channels_of_chip_networks_are_multiples_of_eight_and_capped() -> None:
    archs = SPACE.sample_lhs(500, np.random.default_rng(0))
    stages = [width for arch in archs for width in stage_widths(arch)]
    levels = [width for arch in archs for width in decoder_widths(arch)]
    assert max(stages) == MAX_WIDTH
    assert not any(width % 8 for width in stages + levels)
    arch = chip_arch(out_channel0=24, widenfact1=1.5, widenfact2=1.0, dec_width=0.75)
    assert stage_widths(arch) == [40, 40, 72]
    assert decoder_widths(arch) == [32, 32]


def test_a_fold_at_full_resolution_is_a_convolution() -> None:
    fold, same, other = (
        chip_arch(stride0=1, stem="fold"),
        chip_arch(stride0=1, stem="conv", kernel0=3),
        chip_arch(stride0=1, stem="conv", kernel0=5),
    )
    keys = SPACE.network_keys(SPACE.encode([fold, same, other]))
    assert keys[0] == keys[1] != keys[2]
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(SPACE.build(fold)(image), SPACE.build(same)(image))
    halves = SPACE.encode([{**arch, "stride0": 2} for arch in (fold, same)])
    assert len(set(SPACE.network_keys(halves))) == 2


def test_a_fold_reads_every_pixel_of_three_by_three_positions() -> None:
    network = SPACE.build(chip_arch(stem="fold"), in_channels=1)
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    # The position in row and column 4 begins at pixel 16; one on either side is read too.
    network.stem[:2](image)[0, :, 4, 4].square().sum().backward()
    read = torch.zeros(64, 64, dtype=torch.bool)
    read[12:24, 12:24] = True
    assert torch.equal(image.grad[0, 0] != 0, read)


def test_a_chip_network_lies_on_as_many_crossbars_as_the_formula_counts() -> None:
    spec = AnalogSpec.preset("pcm")
    arch = chip_arch(stem="fold", stride0=2, skip1="add", dec_width=0.5, norm="group", kernel3=5)
    analog, coverage = convert(SPACE.build(arch, 2, 1), spec)
    coverage.require(min_mac_fraction=1.0)
    tile = (spec.tile_rows, spec.tile_cols)
    cost = CostEvaluator(SPACE, 2, 1, tile).estimate([arch])
    assert coverage.tiles == cost.tiles[0]
    with torch.no_grad():
        assert analog.eval()(torch.rand(1, 2, *ODD)).shape == (1, 1, *ODD)


def test_the_drawing_of_a_chip_network_names_the_skip_of_every_level() -> None:
    arch = chip_arch(M=4, stem="fold", kernel2=5, skip1="add", skip2="none", skip3="concat")
    diagram = SPACE.diagram(arch)
    assert diagram.stride == 4
    assert diagram.encoder[0].lines == ("fold 4", "3x3")
    assert "5x5" in diagram.encoder[2].lines
    assert [
        (box.level, skip) for box, skip in zip(diagram.decoder, diagram.skips, strict=True)
    ] == [
        (2, "concat"),
        (1, None),
        (0, "add"),
    ]
    texts = [text.get_text() for text in draw_diagram(diagram, 64).axes[0].texts]
    assert [texts.count(word) for word in ("add", "concat", "none")] == [1, 1, 0]
