"""Analog networks in files: of nasseg's own, as state dicts, copied and pickled."""

import copy
import dataclasses
import io
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from nasseg.analog import (
    AnalogSpec,
    calibrate_input_ranges,
    convert,
    evaluate_drift,
    load,
    noise_source,
    save,
)
from nasseg.analog.fused import fused_layers
from nasseg.analog.memory import read_memory
from nasseg.analog.state import named_tensors
from nasseg.errors import ConversionError, RunError, SpecError

X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def digital(seed=0, width=300):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, width, 3),
        nn.Conv2d(width, 1, 1),
    )


def converted(spec=None, **settings):
    analog, _ = convert(digital(), spec, seed=3, **settings)
    calibrate_input_ranges(analog, [X])
    return analog.eval()


def aged(net):
    def std(net, loader):
        return float(torch.cat([net(x).flatten() for x in loader]).std())

    return evaluate_drift(net, [X], std, times=(1.0, 1e6), chips=2).value.tolist()


def step(net):
    """Weights after a step of training."""
    noise_source(net).reseed(7)
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net(X).square().mean().backward()
    optimizer.step()
    return [p.detach().clone() for p in net.parameters()]


SPECS = {
    "pcm": {},
    "learned ranges": {"learn_input_range": True},
    "one scale": {"column_scaling": False, "remap": False},
}


@pytest.mark.parametrize("changes", SPECS.values(), ids=SPECS)
def test_a_saved_network_is_loaded_into_a_new_one(tmp_path, changes):
    spec = AnalogSpec.preset("pcm", **changes)
    analog = converted(spec, digital_layers=["4"])
    save(analog, tmp_path / "net.safetensors")
    fresh = digital(seed=9)
    before = copy.deepcopy(fresh.state_dict())
    loaded = load(tmp_path / "net.safetensors", fresh).eval()
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())
    assert [name for name, _ in fused_layers(loaded)] == ["0", "3"]
    assert loaded[0].spec == spec
    assert aged(loaded) == aged(analog)
    assert all(torch.equal(a, b) for a, b in zip(step(loaded), step(analog), strict=True))
    save(load(tmp_path / "net.safetensors", fresh), tmp_path / "again.safetensors")
    again, first = (
        (tmp_path / name).read_bytes() for name in ("again.safetensors", "net.safetensors")
    )
    assert again == first


def test_a_memory_of_ones_own_is_kept_with_the_weights(tmp_path):
    (tmp_path / "cell.yaml").write_text(
        "name: mine\ng_max_us: 20.0\nprogramming_us: [0.3, 0.5]\n"
        "drift_conductance_us: [0.0, 20.0]\ndrift_mean: [0.05, 0.02]\ndrift_std: [0.01, 0.01]\n"
    )
    cell = read_memory(tmp_path / "cell.yaml")
    spec = AnalogSpec(memory="custom", coefficients=cell, g_max_us=cell.g_max_us)
    save(converted(spec), tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors", digital())[0].spec == spec


def test_every_form_of_a_copy_has_the_same_chips_and_learns_alike(tmp_path):
    analog = converted()
    expected = aged(analog)
    buffer = io.BytesIO()
    torch.save(analog.state_dict(), buffer)
    buffer.seek(0)
    stated = convert(digital(seed=9), seed=3)[0].eval()
    stated.load_state_dict(torch.load(buffer, weights_only=True))
    whole = io.BytesIO()
    torch.save(analog, whole)
    whole.seek(0)
    copies = [
        copy.deepcopy(analog),
        pickle.loads(pickle.dumps(analog)),  # noqa: S301
        torch.load(whole, weights_only=False),
        stated,
    ]
    weights = step(analog)
    for each in copies:
        assert aged(each) == expected
        assert all(torch.equal(a, b) for a, b in zip(step(each), weights, strict=True))


def test_state_dicts_can_be_copied_and_loaded_again():
    analog = converted()
    best = copy.deepcopy(analog.state_dict())
    expected = aged(analog)
    step(analog)
    analog.load_state_dict(best)
    assert aged(analog.eval()) == expected
    for bad, said in ((float("nan"), "holds NaN"), (None, r"is of torch\.int32")):
        state = dict(best)
        weight = state["3.analog_module.array.0.0.tile.weight"]
        state["3.analog_module.array.0.0.tile.weight"] = (
            weight.int() if bad is None else torch.full_like(weight, bad)
        )
        with pytest.raises(RuntimeError, match=said):
            convert(digital())[0].load_state_dict(state)
    with pytest.raises(RuntimeError, match="Missing key"):
        analog.load_state_dict({k: v for k, v in best.items() if "bias" not in k})


def test_networks_that_do_not_fit_are_refused_by_the_layers_names(tmp_path):
    path = tmp_path / "net.safetensors"
    save(converted(), path)
    with pytest.raises(RunError, match=r"shape \(1, 300\).*network has|3.analog_module"):
        load(path, digital(width=200))
    with pytest.raises(RunError, match="3: the network has no such layer"):
        load(path, digital()[:3])
    grouped = digital()
    grouped[3] = nn.Conv2d(8, 300, 3, groups=2)
    with pytest.raises(RunError, match="3: grouped convolution"):
        load(path, grouped)
    with pytest.raises(RunError, match=r"float32, network has torch\.float64"):
        load(path, digital().double())
    with pytest.raises(ConversionError, match="convert it first"):
        save(digital(), tmp_path / "digital.safetensors")


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    path, bad = tmp_path / "net.safetensors", tmp_path / "bad.safetensors"
    save(converted(), path)
    bad.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="cannot be read"):
        load(bad, digital())
    with pytest.raises(RunError, match="cannot be read"):
        load(tmp_path / "none.safetensors", digital())
    save_file(load_file(path), bad)
    with pytest.raises(RunError, match="is no analog network"):
        load(bad, digital())
    save_file(load_file(path), bad, metadata={"nasseg": "[1"})
    with pytest.raises(RunError, match="no JSON object"):
        load(bad, digital())
    with safe_open(path, "pt") as handle:
        packed = handle.metadata()["nasseg"]
    save_file(
        load_file(path), bad, metadata={"nasseg": packed.replace('"adc_bits": 8', '"adc_bits": 99')}
    )
    with pytest.raises(SpecError, match="adc_bits"):
        load(bad, digital())
    tensors = load_file(path)
    tensors["1.running_var"][0] = float("nan")
    save_file(tensors, bad, metadata={"nasseg": packed})
    with pytest.raises(RunError, match=r"1\.running_var: NaN or infinite"):
        load(bad, digital())
    whole = {name: t.int() if "tile.weight" in name else t for name, t in load_file(path).items()}
    save_file(whole, bad, metadata={"nasseg": packed})
    with pytest.raises(RunError, match=r"torch\.int32, network has torch\.float32"):
        load(bad, digital())


def test_every_field_of_a_specification_comes_back():
    spec = AnalogSpec.preset("hermes", adc_bits=6, drift_compensation="column")
    assert AnalogSpec.from_dict(dataclasses.asdict(spec), "x") == spec
    with pytest.raises(SpecError, match="x: the specification is"):
        AnalogSpec.from_dict({"memory": "pcm"}, "x")


def test_named_tensors_hold_what_a_state_dict_holds():
    analog = converted()
    tensors = {k for k, v in analog.state_dict().items() if isinstance(v, torch.Tensor)}
    assert named_tensors(analog).keys() == {k for k in tensors if not k.endswith("analog_ctx")}
