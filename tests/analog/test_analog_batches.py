"""Loaders of any form give the same numbers; empty ones and NaN are errors."""

import pytest
import torch
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    average_batch_norms,
    calibrate_input_ranges,
    convert,
    evaluate_drift,
    layer_sensitivity,
    plan_refresh,
    recalibrate_batch_norms,
)
from nasseg.analog.batches import inputs
from nasseg.analog.chips import all_tiles
from nasseg.analog.sampled import Sample
from nasseg.errors import ConversionError, DataError

FORMS = {
    "pair": lambda x, y: (x, y),
    "list": lambda x, y: [x, y],
    "three": lambda x, y: (x, y, torch.arange(len(x))),
    "names": lambda x, y: (x, y, [f"{k}.png" for k in range(len(x))]),
    "dictionary": lambda x, y: {"image": x, "label": y},
    "label first": lambda x, y: {"label": y, "image": x, "path": ["a"] * len(x)},
    "alone": lambda x, y: x,
    "one": lambda x, y: (x,),
}


def batches(form):
    g = torch.Generator().manual_seed(0)
    pairs = [(torch.rand(4, 3, 12, 12, generator=g), torch.zeros(4, 1)) for _ in range(3)]
    return [FORMS[form](x, y) for x, y in pairs]


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 1, 1))
    return convert(net, AnalogSpec.preset("pcm"), seed=1)[0]


def std(net, loader):
    return float(torch.cat([net(inputs(batch)[0]).flatten() for batch in loader]).std())


@pytest.mark.parametrize("form", [form for form in FORMS if form != "pair"])
def test_every_form_of_batches_gives_the_numbers_of_pairs(form):
    found = []
    for kind in ("pair", form):
        analog, data = network(), batches(kind)
        calibrate_input_ranges(analog, data)
        ranges = [float(tile.input_range) for tile in all_tiles(analog)]
        args = {"times": (1.0, 1e6), "chips": 2, "recalibrate_with": data}
        table = evaluate_drift(analog, data, std, **args)
        sampled = evaluate_drift(analog, data, std, images=4, **args)
        used = recalibrate_batch_norms(analog, data, max_images=6)
        average_batch_norms(analog, data, chips=2)
        means = analog[1].running_mean.tolist()
        found.append((ranges, table.value.tolist(), sampled.value.tolist(), used, means))
    assert found[0] == found[1]
    assert len(Sample.of(batches(form), 4).parts) == len(Sample.of(batches("pair"), 4).parts)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("form", ["pair", "dictionary", "alone"])
def test_empty_loaders_and_images_that_are_not_finite_are_errors(form, value):
    analog, good, bad = network(), batches(form), batches(form)
    inputs(bad[1])[0][0, 0, 0, 0] = value
    state = {name: buffer.clone() for name, buffer in analog.named_buffers()}
    for loader, said in ((bad, "batch 1 holds NaN or infinite"), ([], "gave no batch")):
        for use in (
            lambda loader=loader: calibrate_input_ranges(analog, loader),
            lambda loader=loader: recalibrate_batch_norms(analog, loader),
            lambda loader=loader: average_batch_norms(analog, loader, chips=1),
            lambda loader=loader: evaluate_drift(analog, loader, std, times=(1.0,), chips=1),
            lambda loader=loader: evaluate_drift(
                analog, good, std, times=(1.0,), chips=1, recalibrate_with=loader
            ),
            lambda loader=loader: plan_refresh(
                analog, loader, std, min_value=0.0, recalibrate_with=None, chips=1
            ),
            lambda loader=loader: layer_sensitivity(analog, loader, std, {}, chips=1),
        ):
            with pytest.raises(DataError, match=said):
                use()
    names = [name for name, _ in analog.named_buffers() if name.startswith("1.")]
    assert all(torch.equal(analog.get_buffer(name), state[name]) for name in names)


def test_a_generator_that_is_used_up_is_said_to_be():
    analog = network()
    loader = iter(batches("pair"))
    calibrate_input_ranges(analog, loader)
    list(loader)
    with pytest.raises(DataError, match="generator gives its batches only once"):
        recalibrate_batch_norms(analog, loader)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"img": torch.zeros(1, 3, 8, 8)}, "a dict with the keys 'img'"),
        (("a.png", 1), "a batch is a tuple"),
        (None, "a batch is a NoneType"),
        ((), "a batch is a tuple"),
    ],
)
def test_a_batch_without_an_image_names_the_forms_that_are_taken(batch, said):
    for use in (calibrate_input_ranges, recalibrate_batch_norms):
        with pytest.raises(DataError, match=said) as caught:
            use(network(), [batch])
        assert "the key 'image'" in str(caught.value)


def test_a_layer_that_is_given_nan_is_named():
    analog = network()
    analog[1].running_var.fill_(float("nan"))
    with pytest.raises(ConversionError, match="3: its input is nan"):
        calibrate_input_ranges(analog, batches("pair"))
