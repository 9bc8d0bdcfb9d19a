"""The fused forward is AIHWKit's own: exactly without noise, in distribution with it."""

import pytest
import torch
from aihwkit.nn.conversion import convert_to_analog
from torch import nn

from nasseg.analog import AnalogSpec, calibrate_input_ranges, convert, fused, noise_source
from nasseg.analog.chips import Crossbars, all_tiles
from nasseg.analog.fused import fused_layers, supports_fused
from nasseg.analog.rpu_config import set_weight_noise

QUIET = {"weight_noise": 0.0, "out_noise": 0.0}


def small_net(kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    torch.manual_seed(kernel + 10 * stride)
    return nn.Sequential(
        nn.Conv2d(3, 12, kernel, stride=stride, padding=kernel // 2, bias=bias),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 20, kernel, padding=kernel // 2, bias=bias),
    )


def pair(
    net: nn.Module, spec: AnalogSpec, x: torch.Tensor, share: float = 0.97
) -> tuple[nn.Module, nn.Module]:
    """The same network on our layers and on AIHWKit's, with the same state.

    ``share`` of the calibrated input ranges is taken.
    """
    ours, _ = convert(net, spec, example=x)
    calibrate_input_ranges(ours, [(x, x)])
    for tile in all_tiles(ours):
        # A calibrated range is the size of one input, which lies on the converter's very edge.
        # Whether its gradient passes there hangs on the last bit; off the edge there is no tie.
        if tile.input_range is not None:
            tile.set_input_range(share * float(tile.input_range.detach()))
    theirs = convert_to_analog(net, spec.to_rpu_config(), ensure_analog_root=False)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tile_rows": 40, "tile_cols": 8},
        {"column_scaling": False, "remap": False, "tile_rows": 0, "tile_cols": 0},
        {"adc_bits": 0, "adc_bound": 0.0, "drift_compensation": "column"},
        {"adc_bound": 0.7},
        {"learn_input_range": True},
        {"learn_input_range": True, "input_range_decay": 0.05, "tile_rows": 40, "tile_cols": 8},
    ],
    ids=["pcm", "many tiles", "layer scale", "ideal ADC", "clipping ADC", "learned", "decaying"],
)
def test_without_noise_outputs_and_gradients_equal_aihwkit(kernel, stride, changes, request):
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, 7, 12, 10, generator=generator)
    # One layer at a time: a value half-way between two levels may round either way, and behind a
    # second converter such a step would spread.
    net = nn.Sequential(
        nn.Conv2d(7, 20, kernel, stride=stride, padding=kernel // 2, bias=kernel != 5)
    )
    # A fifth of the inputs clipped is where a learned range has something to learn; a twentieth
    # still lets it decay.
    share = {"learned": 0.4, "decaying": 0.6}.get(request.node.callspec.id.split("-")[0], 0.97)
    ours, theirs = pair(net, AnalogSpec.preset("pcm", **QUIET, **changes), x, share)
    assert not any(supports_fused(tile) for tile in all_tiles(ours))
    for training in (False, True):
        ours.train(training)
        theirs.train(training)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        out, expected = ours(a), theirs(b)
        same = torch.isclose(out, expected, rtol=1e-4, atol=1e-5)
        assert same.float().mean() > 0.998
        cotangent = torch.randn(out.shape, generator=generator)
        (out * cotangent).sum().backward()
        (expected * cotangent).sum().backward()
        pairs = zip(
            [("x", a), *ours.named_parameters()],
            [("x", b), *theirs.named_parameters()],
            strict=True,
        )
        for (name, p), (_, q) in pairs:
            if q.grad is not None:
                atol = 1e-5 * float(q.grad.abs().max())
                if name.endswith("input_range"):
                    # The sum over outputs holds those that a tie rounded the other way.
                    atol += float((cotangent * (out - expected)).abs().sum() / q.min())
                assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=atol), name
                p.grad = q.grad = None


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("tiles", [(0, 0), (16, 8)])
def test_linear_layers_without_noise_equal_aihwkit(learned, tiles):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(5, 4, 30, generator=generator)
    spec = AnalogSpec.preset(
        "pcm", **QUIET, learn_input_range=learned, tile_rows=tiles[0], tile_cols=tiles[1]
    )
    ours, theirs = pair(nn.Sequential(nn.Linear(30, 20)), spec, x, 0.5)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = ours(a), theirs(b)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    cotangent = torch.randn(out.shape, generator=generator)
    (out * cotangent).sum().backward()
    (expected * cotangent).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    compared = 0
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        if q.grad is not None:
            compared += 1
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-4)
    assert compared >= (3 if learned else 2)


def test_learned_ranges_allow_work_in_place_behind_the_layer():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    spec = AnalogSpec.preset("pcm", learn_input_range=True)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    analog, _ = convert(net, spec, example=x)
    analog(x).sum().backward()
    assert all(float(tile.input_range.grad.abs()) > 0 for tile in all_tiles(analog))


def test_autocast_leaves_the_tiles_their_precision():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    spec = AnalogSpec.preset("pcm", **QUIET)
    analog, _ = convert(nn.Sequential(nn.Conv2d(3, 4, 3)), spec, example=x)
    exact = analog(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = analog(x.bfloat16().float())
    assert out.dtype == torch.float32
    assert float((out - exact).abs().max()) < 0.1
    out.sum().backward()


def test_tf32_is_only_used_where_it_was_asked_for():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    try:
        for asked in (False, True):
            cudnn.allow_tf32, matmul.allow_tf32 = True, asked
            with fused._precise(torch.device("cuda")):
                assert cudnn.allow_tf32 is asked
            assert cudnn.allow_tf32
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def test_a_converter_whose_bound_is_no_level_runs_aihwkits_own_forward():
    spec = AnalogSpec.preset("pcm", **QUIET)
    analog, _ = convert(nn.Sequential(nn.Conv2d(3, 4, 3)), spec, example=torch.zeros(1, 3, 8, 8))
    for tile in all_tiles(analog):
        tile.rpu_config.forward.out_res = 1 / 255
        assert "between two levels" in supports_fused(tile)


def test_after_drift_with_compensation_outputs_equal_aihwkit():
    x = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(1))
    spec = AnalogSpec.preset("pcm", **QUIET, tile_rows=40, tile_cols=8)
    ours, theirs = pair(small_net(), spec, x)
    crossbars = Crossbars(ours)
    crossbars.program(seed=0, chip=0)
    crossbars.drift(86_400.0)
    for tile, other in zip(all_tiles(ours), theirs.analog_tiles(), strict=True):
        other.tile.weight.data = tile.tile.weight.detach().clone()
        other.alpha = tile.alpha
    assert any(float(tile.alpha) != 1.0 for tile in all_tiles(ours))
    out, expected = ours.eval()(x), theirs.eval()(x)
    assert torch.isclose(out, expected, rtol=1e-3, atol=1e-4).float().mean() > 0.95
    assert torch.allclose(out.mean(), expected.mean(), atol=1e-3)


def test_output_noise_has_the_moments_of_aihwkit():
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    spec = AnalogSpec.preset("pcm", weight_noise=0.0, adc_bits=0, adc_bound=0.0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
    ours, theirs = pair(net, spec, x)
    ours.eval(), theirs.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        a = torch.stack([ours(x) for _ in range(60)])
        b = torch.stack([theirs(x) for _ in range(60)])
    assert torch.allclose(a.std(0).mean(), b.std(0).mean(), rtol=0.03)
    error = (a.var(0) / 60 + b.var(0) / 60).sqrt()
    z = (a.mean(0) - b.mean(0)) / error
    assert abs(float(z.mean())) < 0.1
    assert abs(float(z.std()) - 1) < 0.1


def test_training_injects_weight_noise_of_the_configured_size():
    spec = AnalogSpec.preset("ideal", weight_noise=0.1, column_scaling=False)
    net = nn.Sequential(nn.Conv2d(1, 200, 5, bias=False))
    analog, _ = convert(net, spec, example=torch.zeros(1, 1, 5, 5))
    # A one at each position in turn reads the weights out.
    probe = torch.eye(25).view(25, 1, 5, 5)
    quiet = analog.eval()(probe).squeeze()
    analog.train()
    first, second = analog(probe).squeeze(), analog(probe).squeeze()
    assert not torch.equal(first, second)
    wmax = net[0].weight.abs().max()
    for noisy in (first, second):
        # One draw a forward: the weights read by all probes are those of one noisy matrix.
        assert float((noisy - quiet).std() / wmax) == pytest.approx(0.1, rel=0.05)
    analog.eval()
    assert torch.equal(analog(probe).squeeze(), quiet)


def test_weight_noise_size_alone_is_not_left_without_a_type():
    config = AnalogSpec.preset("pcm").to_rpu_config()
    assert config.modifier.type.value == "AddNormal"
    set_weight_noise(config, 0.0)
    assert config.modifier.type.value == "None"


def test_noise_is_a_function_of_the_seed_and_leaves_global_state_alone():
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    spec = AnalogSpec.preset("pcm")
    outs = []
    for _ in range(2):
        analog, _ = convert(small_net(), spec, example=x, seed=5)
        state = torch.random.get_rng_state()
        outs.append(analog.train()(x))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(*outs)
    noise_source(analog).reseed(6)
    assert not torch.equal(analog(x), outs[0])


def test_what_cannot_be_fused_runs_aihwkits_own_forward_and_is_reported():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    ours, theirs = pair(small_net(), AnalogSpec.preset("pcm", **QUIET), x)
    for net in (ours, theirs):
        for tile in net.analog_tiles() if hasattr(net, "analog_tiles") else all_tiles(ours):
            tile.rpu_config.modifier.per_batch_sample = True
    assert all("per sample" in supports_fused(tile) for tile in all_tiles(ours))
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_state_dicts_load_both_ways():
    x = torch.randn(1, 3, 8, 8)
    ours, theirs = pair(small_net(), AnalogSpec.preset("pcm", **QUIET), x)
    ours.load_state_dict(theirs.state_dict())
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_zero_noise_and_ideal_converters_equal_digital():
    net = small_net().eval()
    x = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(2))
    analog, coverage = convert(net, AnalogSpec.preset("ideal"), example=x)
    assert torch.allclose(analog.eval()(x), net(x), rtol=1e-5, atol=1e-6)
    assert coverage.mac_fraction == 1.0
    assert len(list(fused_layers(analog))) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    x = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(1))
    analog, _ = convert(small_net(), AnalogSpec.preset("pcm", **QUIET), example=x)
    calibrate_input_ranges(analog, [(x, x)])
    expected = analog.eval()(x)
    out = analog.to(torch.device("cuda"))(x.cuda()).cpu()
    assert torch.isclose(out, expected, rtol=1e-3, atol=1e-4).float().mean() > 0.99
