"""What ``torch.compile`` makes of analog networks gives their own numbers."""

import pytest
import torch
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    calibrate_input_ranges,
    convert,
    evaluate_drift,
    recalibrate_batch_norms,
    save,
)
from nasseg.analog.chips import all_tiles
from nasseg.analog.fused import fused_layers

pytestmark = pytest.mark.filterwarnings("ignore")
X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
SPEC = AnalogSpec.preset("pcm", out_noise=0.0)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.pool(self.encoder(x)).mean((2, 3)))


def std(net, loader):
    return float(torch.cat([net(x).flatten() for x in loader]).std())


def converted():
    analog, _ = convert(Parts(), SPEC, seed=1)
    calibrate_input_ranges(analog, [X])
    return analog.eval()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_network_gives_the_same_numbers_and_follows_its_chip(backend):
    analog = converted()
    compiled = torch.compile(analog, backend=backend)
    args = {"times": (1.0, 3e7), "chips": 2, "recalibrate_with": [X]}
    with torch.no_grad():
        assert torch.equal(compiled(X), analog(X))
        for tile in all_tiles(analog):
            tile.set_input_range(0.3)
        assert torch.equal(compiled(X), analog(X))
    expected = evaluate_drift(analog, [X], std, **args).value.tolist()
    assert evaluate_drift(compiled, [X], std, **args).value.tolist() == expected
    calibrate_input_ranges(compiled, [X])
    assert recalibrate_batch_norms(compiled, [X]) == 2
    compiled.train()
    compiled(X).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in analog.parameters() if p.grad is not None)


def test_compiled_parts_of_a_network_are_calibrated_and_aged_too():
    plain, parts = converted(), converted()
    parts.encoder = torch.compile(parts.encoder, backend="eager")
    with torch.no_grad():
        parts(X)
    for net in (plain, parts):
        calibrate_input_ranges(net, [X * 3])
    assert [float(t.input_range) for t in all_tiles(parts)] == [
        float(t.input_range) for t in all_tiles(plain)
    ]
    values = [
        evaluate_drift(net, [X], std, times=(1.0, 3e7), chips=2).value.tolist()
        for net in (plain, parts)
    ]
    assert values[0] == values[1]


def test_compiled_networks_and_networks_with_compiled_parts_are_converted(tmp_path):
    whole, parts = torch.compile(Parts(), backend="eager"), Parts()
    parts.encoder = torch.compile(parts.encoder, backend="eager")
    with torch.no_grad():
        expected = converted()(X)
        for net in (whole, parts):
            net.train()(X)
            net.eval()
            for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.reset_running_stats()
            analog, coverage = convert(net, SPEC, seed=1)
            calibrate_input_ranges(analog, [X])
            assert [name for name, _ in fused_layers(analog)] == ["encoder.0", "head"]
            assert coverage.mac_fraction == 1.0
            assert torch.equal(analog(X), expected)
    save(torch.compile(analog, backend="eager"), tmp_path / "net.safetensors")


def test_a_full_graph_is_refused_with_what_to_do():
    compiled = torch.compile(converted(), backend="eager", fullgraph=True)
    with torch.no_grad(), pytest.raises(Exception, match="without fullgraph=True"):
        compiled(X)
