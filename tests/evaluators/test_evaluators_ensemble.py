from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xgboost as xgb

from nasseg.errors import ArchError, ConfigError
from nasseg.evaluators.ensemble import Ensemble, coverage
from nasseg.evaluators.features import Features
from nasseg.search_spaces import get_space
from nasseg.search_spaces.networks.blocks import ResidualBlock


def table(n, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 6, size=(n, 8)).astype(np.float32)
    y = 0.5 + 0.05 * X[:, 0] - 0.02 * X[:, 1] * X[:, 2] / 5
    return X, y + noise * rng.normal(size=n)


def test_intervals_hold_what_they_claim_on_architectures_not_seen():
    X, y = table(160)
    assert 0.84 <= coverage(X, y, 5, 0) <= 0.96
    low, high = Ensemble().fit(X, y).predict(table(400, 1)[0]).interval(0.5)
    truth = table(400, 1)[1]
    assert 0.4 <= np.mean((low <= truth) & (truth <= high)) <= 0.7


def test_a_wider_claim_is_a_wider_interval():
    X, y = table(80)
    said = Ensemble().fit(X, y).predict(X[:5])
    (a, b), (c, d) = said.interval(0.5), said.interval(0.95)
    assert (c < a).all()
    assert (b < d).all()
    assert (said.std > 0).all()


def test_what_is_printed_are_values_and_not_the_curve_behind_them():
    X, y = table(80)
    said = Ensemble().fit(X, y).predict(X[:2])
    assert said.curve is not None
    assert repr(said).startswith(f"Prediction(mean={said.mean!r}, std=")
    assert "curve" not in repr(said)
    assert len(repr(said)) < 300


def with_failures(n, seed=0):
    """A table in which one of seven has learned nothing, and the others lie close together."""
    X, _ = table(n, seed)
    rng = np.random.default_rng(seed + 1)
    y = 0.8 + 0.01 * X[:, 0] - 0.004 * X[:, 1] + 0.005 * rng.normal(size=n)
    failed = (X[:, 2] == 0) & (X[:, 3] < 5)
    return X, np.where(failed, 0.02 * rng.random(n), y)


def test_failures_in_the_table_neither_widen_intervals_nor_promise_gains():
    X, y = with_failures(120)
    Z, truth = with_failures(1000, 5)
    said = Ensemble().fit(X, y).predict(Z)
    span = np.ptp(y)
    assert said.std.max() < 0.5 * span
    good = truth > 0.5
    assert np.median(said.std[good]) < 0.03
    low, high = said.interval(0.9)
    assert low.min() > y.min() - 0.2 * span
    assert high.max() < y.max() + 0.05
    assert np.mean((low <= truth) & (truth <= high)) >= 0.8
    # What is expected to beat the best is what is predicted to be good, and not the unknown.
    gain = said.gain(float(y.max()))
    assert (gain >= 0).all()
    assert gain.max() < 0.02
    assert said.mean[np.argmax(gain)] > 0.8


@pytest.mark.parametrize("objective", ["reg:squarederror", "reg:absoluteerror"])
def test_an_expected_gain_is_that_of_a_normal_error(objective):
    """Where values are learned as they are, Jones et al.'s formula."""
    from scipy.stats import norm

    X, y = table(80)
    said = Ensemble(params={"response": "values", "objective": objective}).fit(X, y).predict(X[:9])
    best = float(np.quantile(y, 0.8))
    ahead = (said.mean - best) / said.std
    expected = said.std * (ahead * norm.cdf(ahead) + norm.pdf(ahead))
    np.testing.assert_allclose(said.gain(best), expected, rtol=0.02, atol=1e-4)


def test_what_is_far_from_the_table_is_flagged_and_the_table_is_not():
    X, y = table(100)
    model = Ensemble().fit(X, y)
    assert model.predict(X).outside.mean() == 0
    assert model.predict(X + 40).outside.all()
    assert (model.distance(X) == 0).all()


def test_same_seed_same_ensemble_and_restored_is_the_same():
    X, y = table(60)
    one, two, other = (Ensemble().fit(X, y, seed) for seed in (1, 1, 2))
    Z = table(50, 3)[0]
    state, models = one.dump()
    boosters = []
    for model in models:
        boosters.append(xgb.Booster())
        boosters[-1].load_model(bytearray(model))
    again = Ensemble.restore(json.loads(json.dumps(state)), boosters)
    for same in (two, again):
        np.testing.assert_array_equal(one.predict(Z).std, same.predict(Z).std)
        np.testing.assert_array_equal(one.predict(Z).mean, same.predict(Z).mean)
        np.testing.assert_array_equal(one.predict(Z + 9).outside, same.predict(Z + 9).outside)
    assert (one.predict(Z).mean != other.predict(Z).mean).any()


def test_repeats_of_an_architecture_do_not_make_intervals_narrow():
    X, y = table(60, noise=0.03)
    rng = np.random.default_rng(7)
    again = np.concatenate([y, y + 0.03 * rng.normal(size=60), y + 0.03 * rng.normal(size=60)])
    model = Ensemble().fit(np.tile(X, (3, 1)), again)
    Z, truth = table(300, 5, noise=0.03)
    low, high = model.predict(Z).interval(0.9)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.85


def test_everyone_is_unseen_by_as_many_members():
    seen = Ensemble(8)._shares(33, np.random.default_rng(0))
    unseen_by = (~seen).sum(0)
    assert np.ptp(unseen_by) <= 1
    assert ((~seen).sum(1) == 13).all()
    with pytest.raises(ConfigError, match="members is 2; allowed: 4 or more"):
        Ensemble(2)


def test_too_few_or_unknown_values_are_refused_and_nothing_is_predicted_for_nothing():
    X, y = table(30)
    with pytest.raises(ConfigError, match="9 architectures; allowed: 10 or more"):
        Ensemble().fit(X[:9], y[:9])
    y[3] = np.nan
    with pytest.raises(ConfigError, match="row 3 is nan"):
        Ensemble().fit(X, y)
    model = Ensemble().fit(*table(30))
    assert len(model.predict(X[:0]).mean) == 0


@pytest.mark.parametrize("name", ["unet", "unet2", "unet_half", "resnet"])
def test_features_are_the_encoding_and_what_follows_from_it(name):
    space = get_space(name)
    X = space.sample_matrix(3000, np.random.default_rng(0))
    features = Features(space)
    Z = features.matrix(X)
    assert Z.shape == (3000, len(features.names))
    assert np.isfinite(Z).all()
    for j, h in enumerate(space.hyperparameters):
        if not h.categorical:
            np.testing.assert_array_equal(Z[:, features.names.index(h.name)], X[:, j])
    words = [j for j, name in enumerate(features.names) if "=" in name]
    assert set(np.unique(Z[:, words])) <= {0, 1}
    coded = Features(space, one_hot=False).matrix(X)
    np.testing.assert_array_equal(coded[:, : X.shape[1]], X)
    params = Z[:, features.names.index("log_params")]
    np.testing.assert_allclose(np.exp(params.astype(float)), space.count_params(X), rtol=1e-4)
    # The blocks they are computed in do not show.
    np.testing.assert_array_equal(features.matrix(X[2000:2100]), Z[2000:2100])
    assert features.matrix(X[:0]).shape == (0, len(features.names))


def test_the_described_depth_and_view_are_those_of_a_known_network():
    space = get_space("unet")
    said = {k: v[0] for k, v in space.describe_matrix(space.encode([space.default()])).items()}
    assert said["blocks"] == 4
    assert said["convolutions"] == 8
    assert said["halvings"] == 3
    assert said["width_last"] == 128
    # 3x3 stem: 3 pixels; two 3x3 convolutions a stage at strides 1, 2, 4, 8; three poolings.
    assert np.exp(said["field_of_view"]) == pytest.approx(3 + 4 * (1 + 2 + 4 + 8) + 1 + 2 + 4)
    with pytest.raises(ArchError):
        space.describe_matrix(np.full((1, len(space.feature_names)), 77.0))


@pytest.mark.parametrize(
    ("space", "changes", "said"),
    [
        # Skips lead around all halvings: everything passes the 16 channels of the stem.
        ("unet", {}, {"unskipped": 0, "narrowest": 4, "bottom": 7 - 6, "unresidual": 4}),
        # Without them it passes 64 channels at an eighth of the resolution; the shortcuts of three
        # stages widen; three levels of a way up and two convolutions.
        ("unet", {"skip": "none"}, {"unskipped": 3, "narrowest": 0, "unresidual": 2 + 3 + 9}),
        ("unet", {"dec_kernel": 5, "dec_depth": 1}, {"decoder_view": 5, "fine_view": 3 + 4 + 4}),
        ("unet", {"convblock1": 2, "R1": 3}, {"decoder_view": 5, "fine_view": 3 + 3 * 2 + 4}),
        ("unet_half", {}, {"decoder_view": 9, "fine_view": 3 + 8 + 8}),
        # 32 channels at a quarter of the resolution: 32 / 16 numbers a pixel.
        ("unet2", {}, {"unskipped": 0, "narrowest": 5 - 4, "bottom": 7 - 4 - 4, "unresidual": 4}),
        ("unet2", {"dec_width": 0.5, "skip1": "add"}, {"narrowest": 4 - 4, "unresidual": 5}),
        # 7x7 stem; two 3x3 convolutions a stage at strides 4, 8, 16; two poolings.
        ("unet2", {}, {"field_of_view": np.log(7 + 4 * 4 + 4 * 8 + 4 * 16 + 4 + 8)}),
        ("unet2", {"stem": "fold", "kernel1": 7}, {"fine_view": 12 + 4 * 2 * 6 + 4 * 2 * 2}),
    ],
)
def test_what_decides_how_soon_a_network_learns_is_described(space, changes, said):
    space = get_space(space)
    arch = space.default() | changes
    told = space.describe_matrix(space.encode([space.canonical(arch)]))
    assert {name: told[name][0] for name in said} == pytest.approx(said)


def fewest_convolutions(net):
    """Convolutions on the shortest way through: each takes eight orders of magnitude off, so that
    of what is summed or joined the shortest way's share is all there is."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.fill_(1e-8 / module.weight[0].numel())
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0
        left = net.double().eval()(torch.ones(1, 3, 32, 32, dtype=torch.float64))
    return round(-float(left.max().log10()) / 8)


def narrowest_map(net, alone):
    """Numbers in the narrowest encoder map that everything passes, for each of the stem's."""
    sizes = []

    def note(module, inputs, output):
        sizes.append(output[0].numel())

    first = [net.stem, *net.encoder[0]]
    passed = [net.stem, net.pool, *net.encoder.modules()] if alone else first
    for module in passed:
        if module in (net.stem, net.pool) or isinstance(module, ResidualBlock):
            module.register_forward_hook(note)
    positions = []
    net.stem.register_forward_hook(lambda m, i, o: positions.append(o[0, 0].numel()))
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    return min(sizes) / positions[0]


@pytest.mark.parametrize("name", ["unet", "unet_half"])
def test_descriptions_are_those_of_the_networks_that_are_built(name):
    space = get_space(name)
    drawn = space.decode(space.sample_matrix(400, np.random.default_rng(3)))
    # Small ones of every kind of skip, topology and way up.
    kinds = {}
    for arch in sorted(drawn, key=lambda a: sum(a[f"R{i}"] for i in range(1, 6))):
        kinds.setdefault((arch["skip"], arch["topology"], arch["upsample"]), arch)
    archs = list(kinds.values())
    assert len(archs) == 12
    told = space.describe_matrix(space.encode(archs))
    for k, arch in enumerate(archs):
        narrow = narrowest_map(space.build(arch), arch["skip"] == "none")
        assert told["narrowest"][k] == pytest.approx(np.log2(narrow)), arch
        assert told["unresidual"][k] == fewest_convolutions(space.build(arch)), arch


def test_the_described_shortest_way_is_that_of_chip_networks_that_are_built():
    space = get_space("unet2")
    archs = [
        space.repair({**space.default(), "norm": "batch", "M": M, "stride0": stride} | changes)
        for M, stride in [(2, 1), (3, 2), (3, 4)]
        for changes in (
            {"widenfact1": 1.5, "skip1": "add", "dec_width": 0.5},
            {"skip1": "add", "skip2": "none"},
            {"skip1": "concat", "dec_width": 0.75, "stem": "fold", "dec_depth": 1},
        )
    ]
    told = space.describe_matrix(space.encode(archs))["unresidual"]
    assert told.tolist() == [fewest_convolutions(space.build(arch)) for arch in archs]
