"""Conversion never says more than is true: kinds of networks beside plain stacks of layers."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from aihwkit.optim import AnalogSGD
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from nasseg.analog import AnalogSpec, calibrate_input_ranges, convert, evaluate_drift, keep_digital
from nasseg.analog.chips import all_tiles
from nasseg.analog.fused import FusedAnalogConv2d, FusedAnalogLinear
from nasseg.errors import ConversionError

IDEAL = AnalogSpec.preset("ideal")


class Around(nn.Module):
    """A convolution, something in the middle, and a head."""

    def __init__(self, middle: nn.Module, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.middle = middle
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        out = self.middle(self.stem(x).flatten(2).transpose(1, 2))
        return self.head((out[0] if isinstance(out, tuple) else out).mean(1))


def image(batch: int = 2, side: int = 16) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def std(net, loader):
    return float(torch.cat([net(x).flatten() for x in loader]).float().std())


def rows(coverage):
    return {row.name: row for row in coverage.layers}


# --- modules in several places -------------------------------------------------------------------


class Listed(nn.Module):
    """One convolution by name, in a module list, in a plain list, and behind a function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.steps = nn.ModuleList([self.conv, nn.ReLU()])
        self.plain = [self.conv]
        self.table = {"conv": (self.conv,)}
        self.function = functools.partial(self.apply_twice, self.conv)
        self.nested = nn.Sequential(nn.Sequential(self.conv))

    @staticmethod
    def apply_twice(layer, x):
        return layer(layer(x))

    def forward(self, x):
        x = self.steps[0](self.stem(x))
        x = self.table["conv"][0](self.plain[0](x))
        return self.nested(self.function(x))


def test_a_module_in_several_places_is_on_one_set_of_tiles():
    net = Listed()
    analog, coverage = convert(net, IDEAL, input_size=(16, 16))
    places = [analog.steps[0], analog.plain[0], analog.table["conv"][0], analog.nested[0][0]]
    assert all(place is analog.conv for place in places)
    assert analog.function.args[0] is analog.conv
    assert isinstance(analog.conv, FusedAnalogConv2d)
    assert len(all_tiles(analog)) == 2
    row = rows(coverage)["conv"]
    assert row.macs == 6 * 4 * 4 * 9 * 256
    assert "also used as steps.0, nested.0.0" in row.why
    assert coverage.mac_fraction == 1.0
    assert torch.allclose(analog.eval()(image()), net.eval()(image()), atol=1e-5)


def test_a_shared_module_is_kept_digital_by_any_of_its_names_and_in_all_places():
    analog, coverage = convert(Listed(), IDEAL, digital_layers=["nested"])
    assert type(analog.plain[0]) is nn.Conv2d
    assert rows(coverage)["conv"].why == "kept digital as asked"
    both, _ = convert(Listed(), IDEAL)
    mixed = keep_digital(both, ["conv"])
    assert type(mixed.conv) is nn.Conv2d
    assert mixed.steps[0] is mixed.plain[0] is mixed.conv


@pytest.mark.parametrize("how", ["parameter", "data"])
def test_tied_weights_stay_digital_and_tied(how):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    if how == "parameter":
        net[3].weight = net[1].weight
    else:
        net[3].weight.data = net[1].weight.data
    _, coverage = convert(net, IDEAL)
    assert "its weight is that of 3 too" in rows(coverage)["1"].why
    assert "its weight is that of 1 too" in rows(coverage)["3"].why
    with pytest.raises(ConversionError, match="one module under both names"):
        coverage.require(0.9)


# --- products that no convertible layer computes -------------------------------------------------


class Functional(nn.Module):
    """Attention with the weights of layers that are never called."""

    def __init__(self, how: str = "linear", width: int = 8) -> None:
        super().__init__()
        self.how = how
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.held = [self.out.weight]

    def forward(self, x):
        if self.how == "linear":
            x = F.linear(x, self.qkv.weight, self.qkv.bias)[..., :8]
        elif self.how == "view":
            x = x @ self.qkv.weight[:8].t()
        elif self.how == "type":
            x = self.qkv(x.to(self.qkv.weight.dtype))[..., :8]
        elif self.how == "parameters":
            x = x @ next(iter(self.qkv.parameters()))[:8]
        return self.out(x) if self.how != "list" else x @ self.held[0]


@pytest.mark.parametrize(
    ("how", "layer"),
    [("linear", "qkv"), ("view", "qkv"), ("type", "qkv"), ("parameters", "qkv"), ("list", "out")],
)
def test_a_layer_whose_weight_is_read_past_it_stays_digital(how, layer):
    net = Around(Functional(how)).eval()
    analog, coverage = convert(net, IDEAL, input_size=(16, 16))
    row = rows(coverage)[f"middle.{layer}"]
    assert not row.analog
    assert "is read by middle without calling the layer" in row.why
    assert torch.allclose(analog.eval()(image()), net(image()), atol=1e-5)
    with pytest.raises(ConversionError, match=r"middle"):
        coverage.require(0.99)


@pytest.mark.parametrize(
    "middle",
    [
        nn.LSTM(8, 8, batch_first=True, bidirectional=False),
        nn.GRU(8, 8, 2, batch_first=True),
        nn.RNN(8, 8, batch_first=True),
        nn.MultiheadAttention(8, 2, batch_first=True),
        nn.Bilinear(8, 8, 8),
    ],
    ids=lambda module: type(module).__name__,
)
def test_recurrent_and_attention_layers_are_counted_and_named(middle):
    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = middle

        def forward(self, x):
            kind = type(self.inner)
            many = {nn.MultiheadAttention: 3, nn.Bilinear: 2}.get(kind, 1)
            return self.inner(*[x] * many)

    analog, coverage = convert(Around(Called()), IDEAL, input_size=(16, 16))
    row = rows(coverage)["middle.inner"]
    # Each weight meets each of the 16 positions at least once.
    own = sum(p.numel() for p in middle.parameters(recurse=False) if p.dim() >= 2)
    assert row.macs >= 16 * own
    assert type(middle).__name__ in row.why
    with pytest.raises(ConversionError, match=r"middle\.inner"):
        coverage.require(0.99)
    assert torch.isfinite(analog.eval()(image())).all()


def test_cells_and_products_of_parameters_and_activations_are_counted():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(8, 8)
            self.matrix = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            h = torch.zeros_like(x[:, 0])
            for step in x.unbind(1):
                h = self.cell(step, h)
            x = torch.einsum("bnc,cd->bnd", x, self.matrix) + h[:, None]
            return x @ (x.transpose(1, 2) @ x)

    _, coverage = convert(Around(Cell()), IDEAL, input_size=(16, 16))
    found = rows(coverage)
    assert found["middle.cell"].macs == 16 * 2 * 3 * 64
    assert found["middle"].macs == 16 * 64 + 2 * 16 * 64
    _, asked = convert(Around(Cell()), IDEAL, input_size=(16, 16), digital_layers=["middle"])
    assert asked.require(0.99) is asked


def test_products_without_weights_have_a_row_of_their_own():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(8, 8)

        def forward(self, x):
            return F.scaled_dot_product_attention(self.q(x), x, x)

    _, coverage = convert(Around(Attention()), IDEAL, input_size=(16, 16))
    row = rows(coverage)["middle"]
    assert (row.weights, row.tiles, row.macs) == (0, 0, 2 * 16 * 16 * 8)
    assert rows(coverage)["middle.q"].analog


def test_the_fast_path_of_transformer_layers_is_not_taken():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = Around(nn.TransformerEncoder(layer, 2)).eval()
    analog, coverage = convert(net, IDEAL, input_size=(16, 16))
    assert rows(coverage)["middle.layers.0.linear1"].analog
    calls = []
    analog.middle.layers[1].linear2.register_forward_hook(lambda *args: calls.append(1))
    with torch.no_grad():
        assert torch.allclose(analog.eval()(image()), net(image()), atol=1e-4)
    assert calls
    assert torch.backends.mha.get_fastpath_enabled()


# --- weights that are computed -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        weight_norm,
        spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight_norm", "spectral_norm", "orthogonal", "old weight_norm", "old spectral", "prune"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_computed_weights_stay_digital_with_what_makes_them_plain(change):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), change(nn.Conv2d(4, 16, 3)), nn.Conv2d(16, 1, 1))
    net.eval()
    net(image())
    analog, coverage = convert(net, IDEAL)
    row = rows(coverage)["1"]
    assert not row.analog
    assert "remove" in row.why
    assert row.macs > 0
    assert [name for name in rows(coverage) if "parametrizations" in name] == []
    with torch.no_grad():
        assert torch.allclose(analog.eval()(image()), net(image()), atol=1e-4)
    with pytest.raises(ConversionError, match="Digital layers"):
        coverage.require(0.99)


def test_a_replaced_forward_stays_and_hooks_come_along():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    net[0].forward = lambda x: torch.zeros(len(x), 4, *x.shape[2:])
    net[1].register_forward_hook(lambda module, inputs, output: output + 1)
    net[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    analog, coverage = convert(net, IDEAL)
    assert "its forward" in rows(coverage)["0"].why
    assert torch.allclose(analog.eval()(image()), net.eval()(image()), atol=1e-5)


class Odd(nn.Module):
    """A layer behind a closure, which no copy reaches, and inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.hidden = lambda x: self.b(x)

    def forward(self, x):
        return self.up(input=self.hidden(self.a(input=x)))


def test_a_layer_behind_a_closure_is_counted_as_digital():
    net = Odd().eval()
    analog, coverage = convert(net, IDEAL, input_size=(8, 8))
    found = rows(coverage)
    assert (found["b"].macs, found["b"].why) == (0, "not called on the example")
    assert found["(root)"].macs == 4 * 4 * 64
    assert found["up"].macs == 4 * 4 * 4 * 64
    with pytest.raises(ConversionError, match=r"\(root\)"):
        coverage.require(0.99)
    calibrate_input_ranges(analog, [image()])
    assert torch.allclose(analog.eval()(image()), net(image()), atol=1e-5)


# --- inputs --------------------------------------------------------------------------------------


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Linear(5, 4)

    def forward(self, x, t):
        return self.a(x) + self.b(t)[:, :, None, None]


def test_networks_of_several_inputs_take_a_tuple_or_names():
    x, t = image(), torch.rand(2, 5)
    _, named = convert(Two(), IDEAL, example={"t": t, "x": x})
    analog, coverage = convert(Two(), example=(x, t))
    assert coverage.mac_fraction == named.mac_fraction == 1.0
    assert rows(coverage)["a"].macs == rows(named)["a"].macs == 4 * 27 * 256
    with pytest.raises(ConversionError, match="a tuple of them where it takes several"):
        convert(Two())
    calibrate_input_ranges(analog, [((x, t), None)])

    def metric(net, loader):
        return float(torch.cat([net(*inputs) for inputs, _ in loader]).std())

    table = evaluate_drift(
        analog, [((x, t), None)], metric, times=(1.0,), chips=1, recalibrate_with=[((x, t), 0)]
    )
    assert table.value.notna().all()


@pytest.mark.parametrize(
    ("net", "example"),
    [
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(24, 2)), (1, 2, 8)),
        (nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(16, 2)), (1, 1, 4, 4, 4)),
    ],
    ids=["Conv1d", "Conv3d"],
)
def test_other_stems_ask_for_an_example_and_stay_digital(net, example):
    with pytest.raises(ConversionError, match=r"begins with 0 \(Conv.d\): give example="):
        convert(net)
    _, coverage = convert(net, example=torch.zeros(example))
    assert not rows(coverage)["0"].analog
    assert rows(coverage)["0"].macs > 0
    assert coverage.layers[-1].analog


def test_an_example_that_does_not_fit_is_an_error_that_says_so():
    fixed = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 32 * 32, 2))
    with pytest.raises(ConversionError, match=r"\(1, 3, 64, 64\).*input_size"):
        convert(fixed)
    with pytest.raises(ConversionError, match=r"does not run on example, \(1, 2, 8, 8\)"):
        convert(fixed, example=torch.zeros(1, 2, 8, 8))
    assert convert(fixed, input_size=(32, 32))[1].mac_fraction == 1.0


# --- what is carried over ------------------------------------------------------------------------


def test_frozen_layers_stay_frozen_and_are_neither_clipped_nor_remapped():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 1, 1))
    net[0].requires_grad_(False)
    net[2].bias.requires_grad_(False)
    analog, _ = convert(net, AnalogSpec.preset("pcm", learn_input_range=True), seed=1)
    calibrate_input_ranges(analog, [image()])
    assert not any(p.requires_grad for p in analog[0].parameters())
    assert not analog[2].analog_module.bias.requires_grad
    before = {name: p.detach().clone() for name, p in analog.named_parameters()}
    optimizer = AnalogSGD(analog.parameters(), lr=0.1)
    analog.train()
    for _ in range(2):
        optimizer.zero_grad()
        analog(image()).square().mean().backward()
        optimizer.step()
    after = dict(analog.named_parameters())
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if name.startswith("0.")} <= same
    assert "2.analog_module.tile.weight" not in same
    assert "2.analog_module.bias" in same


def test_a_layer_that_is_released_later_has_the_gradient_of_its_scale():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    spec = AnalogSpec.preset("pcm", out_noise=0.0, weight_noise=0.0)
    expected, _ = convert(net, spec)
    net.requires_grad_(False)
    analog, _ = convert(net, spec)
    analog.requires_grad_(True)
    for each in (expected, analog):
        each.train()(image()).square().mean().backward()
    (ours,), (theirs,) = all_tiles(analog), all_tiles(expected)
    assert torch.equal(ours.tile.weight.grad, theirs.tile.weight.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_weights_is_kept(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 300, 3))
    net = net.to(dtype).eval()
    x = image().to(dtype)
    analog, coverage = convert(net, IDEAL)
    calibrate_input_ranges(analog, [x])
    assert {p.dtype for p in analog.parameters()} == {dtype}
    assert not any(module.training for module in analog.modules())
    assert coverage.mac_fraction == 1.0
    with torch.no_grad():
        error = (analog(x) - net(x)).abs().max() / net(x).abs().max()
    assert error < {torch.float16: 0.01, torch.bfloat16: 0.05, torch.float64: 1e-6}[dtype]
    aged, _ = convert(net, AnalogSpec.preset("pcm"), seed=1)
    single, _ = convert(net.float(), AnalogSpec.preset("pcm"), seed=1)
    values = []
    for each, batch in ((aged, x), (single, x.float())):
        calibrate_input_ranges(each, [batch])
        table = evaluate_drift(each, [batch], std, times=(1.0, 3e7), chips=4)
        values.append(table.groupby("time_s").value.mean().to_numpy())
    assert values[0] == pytest.approx(values[1], rel=0.1)
    keep_digital(aged, ["0"])[0](x)


def test_weights_that_are_not_finite_have_no_values_or_no_shape_are_refused_by_name():
    def net():
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))

    for value in (float("nan"), float("inf")):
        broken = net()
        broken[2].weight.data[0, 0] = value
        with pytest.raises(ConversionError, match=r"2\.weight holds NaN or infinite"):
            convert(broken)
    with pytest.raises(ConversionError, match="no values"):
        convert(net().to("meta"))
    with pytest.raises(ConversionError, match="lazy"):
        convert(nn.Sequential(nn.Conv2d(3, 4, 1), nn.LazyConv2d(2, 1)))
    odd = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4, dtype=torch.complex64))
    with pytest.raises(ConversionError):
        convert(odd)


def test_copies_keep_the_gradient_of_their_scale():
    torch.manual_seed(0)
    spec = AnalogSpec.preset("pcm", out_noise=0.0, weight_noise=0.0)
    analog, _ = convert(nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 4)), spec, example=image())
    assert isinstance(analog[1], FusedAnalogLinear)
    copied = copy.deepcopy(analog)
    for each in (analog, copied):
        each.train()(image()).square().mean().backward()
    for ours, theirs in zip(all_tiles(copied), all_tiles(analog), strict=True):
        assert torch.equal(ours.tile.weight.grad, theirs.tile.weight.grad)
