"""The compiled kernels do what torch does step by step, and draw good normal deviates."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from nasseg.analog import AnalogSpec, NoiseProfile, NoiseSource, convert, elementwise

kernels = pytest.importorskip("nasseg.analog._kernels", reason="Numba is not installed")


@pytest.fixture
def in_torch(monkeypatch):
    """A function that runs another without the kernels."""

    def run(function, *args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(elementwise, "_kernels", lambda: None)
            return function(*args, **kwargs)

    return run


def normal(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_normal_deviates_are_normal_and_independent():
    draw = kernels.normal(torch.Size((400_003,)), key=5).double()
    assert kstest(draw.numpy(), "norm").pvalue > 0.01
    count = draw.numel()
    assert abs(float((draw**4).mean()) - 3) < 5 * (96 / count) ** 0.5
    # Neighbours, the two of a pair, lanes and chunks of the generator.
    for lag in (1, 2, 256, 512, 768, 1024, 4096):
        product = float((draw[:-lag] * draw[lag:]).mean()) * count**0.5
        assert abs(product) < 4, lag
    others = [kernels.normal(torch.Size((400_003,)), key).double() for key in (6, 5 + (1 << 40))]
    for other in others:
        assert abs(float((draw * other).mean())) * count**0.5 < 4


def test_draws_depend_on_the_key_alone_not_on_threads(monkeypatch):
    shape = torch.Size((3, 7, 61, 67))
    before = kernels.normal(shape, key=9)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(kernels.normal(shape, key=9), before)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(kernels, "_library", None)
    assert torch.equal(kernels.normal(shape, key=9), before)
    # A shorter draw is the beginning of a longer one.
    assert torch.equal(kernels.normal(torch.Size((1000,)), key=9), before.flatten()[:1000])


def test_keys_of_a_source_differ_and_resume():
    source = NoiseSource(3)
    keys = [source.key() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert all(0 <= key < 2**63 for key in keys)
    again = NoiseSource(0)
    again.load_state_dict(source.state_dict())
    assert again.key() == source.key()
    source.reseed(3)
    assert [source.key() for _ in range(1000)] == keys
    assert {NoiseSource(seed).key() for seed in range(1000)}.isdisjoint(keys[1:])


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 7, 11), (2, 6, 80, 90), (9, 4)])
@pytest.mark.parametrize("step", [0.0, 2 / 254])
def test_quantiser_is_that_of_torch(shape, step, in_torch):
    x = normal(shape)
    x.view(-1)[0] = 0.8  # on the bound: it passes
    args = (0.8, 0.7, step)
    torch.testing.assert_close(
        elementwise.quantise(x, *args), in_torch(elementwise.quantise, x, *args)
    )
    part = x[:, : shape[1] // 2 + 1]
    torch.testing.assert_close(
        elementwise.quantise(part, *args), in_torch(elementwise.quantise, part, *args)
    )
    grad = normal(part.shape, 1)
    torch.testing.assert_close(
        elementwise.quantise_backward(grad.clone(), part, 0.8, 0.7),
        in_torch(elementwise.quantise_backward, grad.clone(), part, 0.8, 0.7),
    )


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 7, 11), (2, 6, 80, 90), (9, 4)])
@pytest.mark.parametrize(("step", "bound"), [(0.0, 1.5), (3.0 / 254, 1.5), (0.0, float("inf"))])
def test_output_side_is_that_of_torch(shape, step, bound, in_torch):
    y = normal(shape)
    columns = shape[1]
    scale, bias = torch.linspace(0.5, 2, columns), torch.linspace(-1, 1, columns)
    dim = 1 if len(shape) == 4 else -1
    for offset in (bias, None):
        results = []
        for run in (lambda f, *a, **k: f(*a, **k), in_torch):
            results.append(
                run(
                    elementwise.finish,
                    y.clone(),
                    scale,
                    offset,
                    dim,
                    noise=0.0,
                    step=step,
                    bound=bound,
                    source=NoiseSource(0),
                    mark=True,
                )
            )
        (ours, clipped), (theirs, expected) = results
        torch.testing.assert_close(ours, theirs)
        if expected is not None and expected.any():
            assert torch.equal(clipped, expected)
        else:
            assert clipped is None


def test_output_noise_has_its_size_in_every_column():
    y = torch.zeros(4, 3, 90, 90)
    scale = torch.tensor([1.0, 2.0, 4.0])
    out, _ = elementwise.finish(
        y,
        scale,
        None,
        1,
        noise=0.3,
        step=0.0,
        bound=float("inf"),
        source=NoiseSource(1),
        mark=False,
    )
    sizes = out.transpose(0, 1).flatten(1).std(1)
    np.testing.assert_allclose(sizes, 0.3 * scale, rtol=0.02)


def test_layers_agree_with_and_without_the_kernels(in_torch):
    spec = AnalogSpec.preset(
        "pcm", weight_noise=0.0, out_noise=0.0, tile_rows=40, tile_cols=8, adc_bound=1.0
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(7, 20, 3), nn.Flatten(), nn.Linear(20 * 36, 5))
    analog, _ = convert(net, spec, example=torch.zeros(1, 7, 8, 8))
    x = normal((4, 7, 8, 8))

    def gradients():
        analog.zero_grad()
        own = x.clone().requires_grad_()
        out = analog(own)
        out.square().sum().backward()
        return [
            out.detach(),
            own.grad,
            *(p.grad.clone() for p in analog.parameters() if p.grad is not None),
        ]

    for ours, theirs in zip(gradients(), in_torch(gradients), strict=True):
        error = (ours - theirs).norm() / theirs.norm()
        assert float(error) < 0.01  # a tie may round either way


def test_double_precision_takes_torch():
    x = normal((2, 3, 4, 4)).double()
    assert elementwise.compiled(x) is None
    assert elementwise.quantise(x, 1.0, 1.0, 0.1).dtype == torch.float64


@pytest.mark.parametrize("columns", [1, 2, 12, 40, 1030])
def test_finish_scales_each_column_in_either_memory_layout(columns):
    y = torch.randn(2, columns, 9, 7, generator=torch.Generator().manual_seed(0)) * 6
    scale, bias = torch.linspace(0.5, 2, columns), torch.linspace(-1, 1, columns)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        out, clipped = elementwise.finish(
            y.clone(memory_format=layout),
            scale,
            bias,
            1,
            noise=0.0,
            step=0.1,
            bound=10.0,
            source=NoiseSource(0),
            mark=True,
        )
        found.append((out, clipped))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=0)
    assert torch.equal(found[0][1], found[1][1])


def test_output_noise_has_unit_variance_in_every_column_with_channels_last():
    y = torch.zeros(4, 24, 64, 64).to(memory_format=torch.channels_last)
    one = torch.ones(24)
    out, _ = elementwise.finish(
        y, one, None, 1, noise=1.0, step=0.0, bound=math.inf, source=NoiseSource(3), mark=False
    )
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.std((0, 2, 3)), one, rtol=0, atol=0.03)
    torch.testing.assert_close(out.mean((0, 2, 3)), 0 * one, rtol=0, atol=0.04)


def test_quantising_gives_the_same_in_either_memory_layout():
    x = torch.randn(3, 6, 8, 10, generator=torch.Generator().manual_seed(1))
    last = x.to(memory_format=torch.channels_last)
    plain = elementwise.quantise(x, 1.5, 1.5, 2 / 254)
    for given in (last, torch.cat([last, last], 1)[:, 6:]):
        assert torch.equal(plain, elementwise.quantise(given, 1.5, 1.5, 2 / 254))
        grad = torch.ones_like(x)
        assert torch.equal(
            elementwise.quantise_backward(grad.clone(), x, 1.0, 2.0),
            elementwise.quantise_backward(grad.clone(), given, 1.0, 2.0),
        )


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 61), (256, 512)])
@pytest.mark.parametrize("compensation", ["global", "none"])
def test_what_a_memory_makes_of_weights_is_that_of_torch(
    shape, compensation, in_torch, monkeypatch
):
    profile = NoiseProfile.of(AnalogSpec.preset("pcm", drift_compensation=compensation))
    profile = dataclasses.replace(profile, scale=0.7)
    weight = normal(shape).clamp_(-2, 2)
    draw = kernels.normal(weight.shape, NoiseSource(4).key())
    ours = profile.disturb(weight, NoiseSource(4))

    same = NoiseSource(4)
    same.key()  # the one of the deviates
    monkeypatch.setattr(same, "normal_like", lambda reference: draw.clone())
    torch.testing.assert_close(ours, in_torch(profile.disturb, weight, same), atol=3e-6, rtol=0)
    if weight.numel() > 1:
        assert not torch.equal(ours, profile.disturb(weight, NoiseSource(5)))


def test_disturbed_weights_depend_on_neither_threads_nor_layout():
    profile = NoiseProfile.of(AnalogSpec.preset("pcm"))
    weight = normal((300, 512))
    before = profile.disturb(weight, NoiseSource(1))
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(profile.disturb(weight, NoiseSource(1)), before)
    finally:
        torch.set_num_threads(threads)
    turned = weight.T.contiguous().T
    assert torch.equal(profile.disturb(turned, NoiseSource(1)), before)


def test_weights_of_zero_stay_near_it():
    profile = NoiseProfile.of(AnalogSpec.preset("pcm"))
    assert float(profile.disturb(torch.zeros(8, 8), NoiseSource(0)).abs().max()) < 1e-6


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_tile_with_a_weight_that_is_not_finite_is_not_a_number(value, in_torch):
    profile = NoiseProfile.of(AnalogSpec.preset("pcm"))
    weight = normal((8, 8))
    weight[2, 3] = float(value)
    for disturbed in (
        profile.disturb(weight, NoiseSource(0)),
        in_torch(profile.disturb, weight, NoiseSource(0)),
    ):
        assert bool(disturbed.isnan().all())
