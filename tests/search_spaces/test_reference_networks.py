"""Reference networks: by name everywhere, pretrained weights, frozen layers, on chips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasseg import pipeline
from nasseg.analog import AnalogSpec, calibrate_input_ranges, convert, evaluate_drift
from nasseg.analog.state import named_tensors
from nasseg.cli import main
from nasseg.config import (
    DataConfig,
    LabelConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
)
from nasseg.data.classes.dataset import ClassificationData
from nasseg.errors import ArchError, ConfigError, ConversionError
from nasseg.runs import job
from nasseg.search_spaces import SearchSpace, get_space
from nasseg.search_spaces.reference import NETWORKS, REFERENCES
from nasseg.tasks import task_for
from nasseg.testing.spaces import SearchSpaceContract
from nasseg.training import fit
from nasseg.training.freeze import Freezing
from nasseg.training.optim import make_optimizer
from nasseg.training.pretrained import load_pretrained
from nasseg.training.recipe import training_batches

SPACE = get_space("reference")
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnet152": 60_192_808,
    "efficientnet-b0": 5_288_548,
    "efficientnet-b1": 7_794_184,
    "efficientnet-b2": 9_109_994,
    "densenet121": 7_978_856,
}
"""Parameters for RGB and the 1000 classes of ImageNet, as torchvision's documentation has them."""


def on_meta(name: str, channels: int = 3, classes: int = 2) -> nn.Module:
    """The network with shapes, without weights."""
    with torch.device("meta"):
        return SPACE.build({"network": name}, channels, classes)


def blobs(size: int = 32, channels: int = 3, seed: int = 0) -> ClassificationData:
    """Bright left halves against dark ones: 16 images to train on, 8 to validate."""
    rng = np.random.default_rng(seed)
    labels = torch.arange(24) % 2
    images = torch.from_numpy(rng.integers(0, 120, (24, channels, size, size), dtype=np.uint8))
    images[labels == 1, :, :, : size // 2] += 100
    return ClassificationData(
        source="blobs",
        in_channels=channels,
        classes=("dark", "bright"),
        multilabel=False,
        ids={
            "train": tuple(f"t{i}" for i in range(16)),
            "val": tuple(f"v{i}" for i in range(8)),
        },
        fingerprint="blobs",
        images=images,
        labels=labels,
        rows={"train": np.arange(16), "val": np.arange(16, 24)},
        augment="none",
    )


# --- the space ------------------------------------------------------------------------------


class TestReferenceSpace(SearchSpaceContract):
    """Two exceptions: names have no width or depth to mutate, and EfficientNet has depthwise
    convolutions, which stay digital and are reported as such."""

    kinds = ("other",)

    @pytest.fixture
    def space(self) -> SearchSpace:
        return SPACE

    @pytest.fixture(autouse=True)
    def same_drops(self) -> Iterator[None]:
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(0)
            yield

    def output_shape(self, batch: int, channels: int, height: int, width: int) -> tuple[int, ...]:
        return (batch, channels)

    def _networks(self, space: SearchSpace, **kwargs: Any) -> list[Any]:
        names = ("resnet18-imagenet", "efficientnet-b0", "densenet121")
        return [space.build({"network": name}, **kwargs) for name in names]

    def test_network_has_only_layers_for_analog_tiles(self, space: SearchSpace) -> None:
        for network in self._networks(space):
            for name, module in network.named_modules():
                if next(module.parameters(recurse=False), None) is not None:
                    assert type(module) in (nn.Conv2d, nn.Linear, nn.BatchNorm2d), name
                    depthwise = name.endswith("_depthwise_conv")
                    assert (getattr(module, "groups", 1) == 1) != depthwise, name


class TestBasicUNetSpace(SearchSpaceContract):
    kinds = ("width",)
    networks_checked = 2

    @pytest.fixture
    def space(self) -> SearchSpace:
        return get_space("basicunet")


def test_a_basic_unet_is_monais_with_layers_for_tiles() -> None:
    from monai.networks.nets import BasicUNet

    space = get_space("basicunet")
    ours = space.build({"width": 32}, 3, 1)
    plain = BasicUNet(2, 3, 1, norm="batch", act="relu", bias=False, upsample="nontrainable")
    own, theirs = ours.state_dict(), plain.state_dict()
    assert {n: v.shape for n, v in own.items()} == {n: v.shape for n, v in theirs.items()}
    plain.load_state_dict(own)
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x))
    with pytest.raises(ArchError, match="last maps have one pixel"):
        ours.train()(torch.zeros(1, 3, 16, 16))


def test_parameters_are_those_that_were_published() -> None:
    names = [f"{name}-imagenet" for name in NETWORKS]
    X = SPACE.encode([{"network": name} for name in names])
    assert SPACE.count_params(X, 3, 1000).tolist() == list(PUBLISHED.values())
    for name in REFERENCES:
        built = sum(p.numel() for p in on_meta(name, 4, 5).parameters())
        assert SPACE.count_params(SPACE.encode([{"network": name}]), 4, 5).tolist() == [built]


@pytest.mark.parametrize("name", REFERENCES)
def test_every_network_takes_every_size(name: str) -> None:
    network = on_meta(name, 1, 3).eval()
    for size in ((16, 16), (28, 28), (17, 90), (224, 224)):
        assert network(torch.zeros(2, 1, *size, device="meta")).shape == (2, 3)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-b0", "densenet121"])
def test_untrained_networks_are_not_sure_of_anything(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    net = SPACE.build({"network": name}, 1, 2).train()
    with torch.no_grad():
        logits = net(torch.randn(16, 1, 28, 28, generator=generator))
    assert float(logits.abs().max()) < 4


def test_batches_too_small_for_statistics_are_said_so() -> None:
    network = SPACE.build({"network": "resnet18-imagenet"})
    with pytest.raises(ArchError, match="last maps have one pixel"):
        network(torch.zeros(1, 3, 16, 16))


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(
        ArchError, match=r"cannot be 'resnet81', did you mean 'resnet18'\?; allowed"
    ):
        SPACE.validate({"network": "resnet81"})


# --- names in commands ----------------------------------------------------------------------


def settings(tmp_path: Any, arch: str | None = "resnet18", **changes: Any) -> RunConfig:
    return RunConfig(
        out=str(tmp_path / "run"),
        data=DataConfig(task="classification", image_size=32),
        search=SearchConfig(arch=arch),
        threads=1,
        **changes,
    )


def test_a_name_selects_its_space(tmp_path: Any) -> None:
    assert settings(tmp_path).search.space == "reference"
    assert settings(tmp_path, "arch.json").search.space == "resnet"
    unet = RunConfig(search=SearchConfig(arch="basicunet-12"))
    assert unet.search.space == "basicunet"
    with pytest.raises(ConfigError, match=r"search.space is 'unet'.*auto or basicunet"):
        RunConfig(search=SearchConfig(arch="basicunet-12", space="unet"))
    with pytest.raises(ConfigError, match=r"search.space is 'resnet'.*reference"):
        RunConfig(
            data=DataConfig(task="classification"),
            search=SearchConfig(arch="resnet18", space="resnet"),
        )


def test_the_command_line_decides_the_space_after_the_flags(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    assert main(["search", "--task", "classification", "--arch", "resnet81", "--out", out]) == 2
    said = capsys.readouterr().err
    assert "no reference network of that name; did you mean 'resnet18'?" in said
    assert not (tmp_path / "run").exists()
    assert main(["search", "--arch", "resnet18", "--out", out]) == 2
    assert "the task is segmentation" in capsys.readouterr().err


def test_cost_takes_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cost", "efficientnet-b0", "--image-size", "32", "--channels", "1"]
    assert main([*words, "--out-channels", "2"]) == 0
    said = capsys.readouterr().out
    assert "reference/" in said
    assert "4,009,534" in said
    assert any("_depthwise_conv" in line and "digital" in line for line in said.splitlines())
    assert main(["cost", "resnet81"]) == 2
    assert "did you mean 'resnet18'" in capsys.readouterr().err


def test_cost_takes_a_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "basicunet-8"]) == 0
    assert "116,057" in capsys.readouterr().out
    assert main(["cost", "basicunet-9"]) == 2
    assert "did you mean 'basicunet-" in capsys.readouterr().err


def test_search_stage_writes_the_named_network(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "load_data", lambda config: blobs())
    pipeline.run(settings(tmp_path), stages=("search",), progress=False)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert (best["space"], best["arch"]) == ("reference", {"network": "resnet18"})
    assert best["out_channels"] == 2
    assert best["params"] == int(SPACE.count_params(SPACE.encode([best["arch"]]), 3, 2)[0])


def test_what_stays_digital_is_said_with_the_setting_that_accepts_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "load_data", lambda config: blobs())
    with pytest.raises(ConversionError) as caught:
        pipeline.run(settings(tmp_path, "efficientnet-b0"), stages=("search",), progress=False)
    said = str(caught.value)
    assert "analog.min_mac_fraction) to 0.91" in said
    assert said.count("grouped convolution") == 16


# --- pretrained weights ---------------------------------------------------------------------


def published(name: str) -> dict[str, torch.Tensor]:
    """Random weights of our network for RGB and 7 classes, under torchvision's names."""
    net = SPACE.build({"network": f"{name}-imagenet"}, 3, 7, seed=5)
    names = {own: own for own in named_tensors(net)}
    if name == "densenet121":
        for own in names:
            names[own] = own.replace(".layers.", ".").replace("class_layers.out", "classifier")
    return {names[own]: tensor.clone() for own, tensor in named_tensors(net).items()}


def test_wrapped_weights_for_other_classes_and_channels_are_taken(tmp_path: Any) -> None:
    given = published("resnet18")
    wrapped = {f"module.backbone.{name}": tensor for name, tensor in given.items()}
    path = tmp_path / "weights.pt"
    torch.save({"epoch": 3, "state_dict": {**wrapped, "projector.weight": torch.ones(2, 2)}}, path)
    net = SPACE.build({"network": "resnet18-imagenet"}, 1, 2)
    before = net.fc.weight.clone()
    report = load_pretrained(net, path)
    own = named_tensors(net)
    assert torch.equal(own["conv1.weight"], given["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(own["layer4.1.conv2.weight"], given["layer4.1.conv2.weight"])
    assert torch.equal(own["layer2.0.downsample.1.bias"], given["layer2.0.downsample.1.bias"])
    assert torch.equal(own["fc.weight"], before)
    assert report.loaded == len(own) - 2
    assert report.adapted == {"conv1.weight": "summed over the file's 3 channels"}
    assert set(report.initial) == {"fc.weight", "fc.bias"}
    assert "7 classes, not 2" in report.initial["fc.bias"]
    assert report.unused == ["projector.weight"]
    assert json.loads(json.dumps(report.to_dict()))["sha256"] == report.sha256


def test_a_stem_of_another_size_is_left_and_said(tmp_path: Any) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(published("densenet121"), path)
    net = SPACE.build({"network": "densenet121"}, 3, 7)
    report = load_pretrained(net, path)
    assert list(report.initial) == ["features.conv0.weight"]
    assert "(64, 3, 7, 7), not (64, 3, 3, 3)" in str(report)
    assert not report.unused


def test_published_names_of_efficientnet_find_their_places() -> None:
    from nasseg.training.pretrained import published_names

    own = named_tensors(on_meta("efficientnet-b0"))
    names = published_names(own)
    # As listed in the state dicts of torchvision and of EfficientNet-PyTorch.
    expected = {
        "features.0.0.weight": "_conv_stem.weight",
        "features.0.1.running_var": "_bn0.running_var",
        "features.1.0.block.0.0.weight": "_blocks.0.0._depthwise_conv.weight",
        "features.1.0.block.1.fc1.bias": "_blocks.0.0._se_reduce.bias",
        "features.1.0.block.2.0.weight": "_blocks.0.0._project_conv.weight",
        "features.2.1.block.0.0.weight": "_blocks.1.2._expand_conv.weight",
        "features.2.1.block.1.1.bias": "_blocks.1.2._bn1.bias",
        "features.7.0.block.2.fc2.weight": "_blocks.6.15._se_expand.weight",
        "features.7.0.block.3.1.weight": "_blocks.6.15._bn2.weight",
        "features.8.0.weight": "_conv_head.weight",
        "features.8.1.bias": "_bn1.bias",
        "classifier.1.weight": "_fc.weight",
        "_blocks.15._bn2.weight": "_blocks.6.15._bn2.weight",
    }
    assert {name: names[name] for name in expected} == expected
    # A file in either naming fills the whole network; stem and ends have names of their own.
    torchvision = [name for name in names if name.startswith(("features.", "classifier."))]
    assert sorted(names[name] for name in torchvision) == sorted(own)
    assert len(own) == 360


def test_weights_of_another_network_are_refused_with_a_hint(tmp_path: Any) -> None:
    path = tmp_path / "weights.pt"
    torch.save(published("resnet18"), path)
    net = SPACE.build({"network": "efficientnet-b0"})
    before = {name: tensor.clone() for name, tensor in named_tensors(net).items()}
    with pytest.raises(ConfigError, match=r"fits 0% of the weights.*like those of resnet18"):
        load_pretrained(net, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in named_tensors(net).items())


class Stranger:
    """What only an unsafe load would make."""


def test_files_that_are_no_state_dicts_are_refused(tmp_path: Any) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Linear(1, 1))
    for name, content, match in (
        ("missing.pt", None, "cannot be read"),
        ("text.pt", b"no weights", "no file of weights|cannot be read"),
        ("text.safetensors", b"no weights", "cannot be read"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=match):
            load_pretrained(net, path)
    torch.save({"net": Stranger()}, tmp_path / "object.pt")
    with pytest.raises(ConfigError, match="more than tensors"):
        load_pretrained(net, tmp_path / "object.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ConfigError, match="holds no tensors"):
        load_pretrained(net, tmp_path / "empty.pt")


def test_a_run_reports_what_its_weights_became(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any space: weights of a run are the start of another, for other classes."""
    monkeypatch.setattr(job, "load_data", lambda config: blobs())
    space = get_space("resnet")
    arch = space.repair({"out_channel0": 8, "M": 1, "R1": 1, "B1": 1, "convblock1": 1})
    (tmp_path / "arch.json").write_text(json.dumps(arch))
    save_file(named_tensors(space.build(arch, 3, 9, seed=7)), tmp_path / "other.safetensors")
    train = TrainConfig(
        epochs=1,
        batch_size=8,
        weights=str(tmp_path / "other.safetensors"),
        freeze_until="head",
        ema_decay=0.0,
    )
    run = settings(tmp_path, str(tmp_path / "arch.json"), train=train)
    pipeline.run(run, stages=("search", "train"), progress=False)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    stages = json.loads((tmp_path / "run" / "stages.json").read_text())
    assert stages["train"]["weights"] == best["weights"]
    assert set(best["weights"]["initial"]) == {"head.weight", "head.bias"}
    from safetensors.torch import load_file

    given, trained = (
        load_file(path)
        for path in (tmp_path / "other.safetensors", tmp_path / "run" / "digital.safetensors")
    )
    kept = [name for name in given if torch.equal(given[name], trained[name])]
    assert set(given) - set(kept) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("name", ["weights", "freeze_until"])
def test_weights_and_frozen_layers_need_a_known_architecture(tmp_path: Any, name: str) -> None:
    train = TrainConfig(**{name: "x"})
    with pytest.raises(ConfigError, match=rf"train.{name} is 'x'.*search.arch"):
        settings(tmp_path, None, train=train)
    with pytest.raises(ConfigError, match=rf"train.{name} is 'x'.*many networks"):
        LabelConfig(train=train)


# --- frozen layers --------------------------------------------------------------------------


def small() -> nn.Module:
    """Five layers, with random dropping in front of one and behind another."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3),
        nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                      nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8), nn.Linear(8, 2),
    )  # fmt: skip


def train(net: nn.Module, config: TrainConfig, data: ClassificationData, **more: Any) -> Any:
    return fit(
        net,
        training_batches(data, config, 1),
        data.val_loader(8),
        task_for(data, config),
        config,
        seed=3,
        **more,
    )


def test_one_layer_more_is_trained_every_so_many_epochs() -> None:
    freezing = Freezing(small(), until="8", every=2)
    assert freezing.names == ["0", "4.0", "4.3"]
    assert [freezing.frozen(epoch) for epoch in range(8)] == [3, 3, 2, 2, 1, 1, 0, 0]
    net = small()
    freezing = Freezing(net, until="8", every=2)
    freezing.apply(2)
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == [
        "0.weight", "1.weight", "1.bias", "4.0.weight", "4.1.weight", "4.1.bias",
    ]  # fmt: skip
    assert [name for name, m in net.named_modules() if not m.training] == ["0", "1", "4.0", "4.1"]
    freezing.close()
    assert all(p.requires_grad for p in net.parameters())


def test_a_module_stands_for_its_first_layer_and_unknown_names_are_listed() -> None:
    assert Freezing(on_meta("resnet18"), "layer2").names == [
        "conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2",
    ]  # fmt: skip
    assert Freezing(on_meta("resnet18"), "conv1").names == []
    assert (
        Freezing(on_meta("efficientnet-b0"), "_blocks.2").names[-1] == "_blocks.1.2._project_conv"
    )
    with pytest.raises(ConfigError, match=r"no layer 'layer9'; did you mean 'layer.*layer4\.1.*fc"):
        Freezing(on_meta("resnet18"), "layer9")


def test_frozen_layers_keep_weights_and_statistics_until_released() -> None:
    data, net = blobs(16), small()
    before = {name: tensor.clone() for name, tensor in named_tensors(net).items()}
    config = TrainConfig(
        epochs=3, batch_size=8, eval_every=1, freeze_until="8", unfreeze_every=2, lr=0.05
    )
    result = train(net, config, data, keep="last")
    assert [entry["frozen"] for entry in result.history] == [3, 3, 2]
    after = named_tensors(net)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith(("0.", "1.", "4.0.", "4.1.")) for name in changed)
    assert {"4.3.weight", "4.4.running_mean", "8.weight", "9.bias"} <= changed
    assert all(p.requires_grad for p in net.parameters())


def test_released_layers_learn_slowly() -> None:
    net = small()
    optimizer = make_optimizer(net, 1.0, 0.0, Freezing(net, "8").parameters, 0.25)
    factors = [group.get("lr_factor", 1.0) for group in optimizer.param_groups]
    assert factors == [1.0, 1.0, 0.25, 0.25]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        list(net.parameters())
    )


def test_an_interrupted_training_with_dropout_and_frozen_layers_ends_the_same(
    tmp_path: Any,
) -> None:
    data = blobs(16)
    config = TrainConfig(epochs=4, batch_size=8, eval_every=2, freeze_until="8", unfreeze_every=1)
    whole, parts = small(), small()
    torch.manual_seed(1)
    one = train(whole, config, data)
    for stop in (1, 3, None):
        torch.manual_seed(2)  # what the caller drew before has no part in it
        state = torch.random.get_rng_state()
        again = train(parts, config, data, checkpoint=tmp_path / "c", stop_after=stop)
        assert torch.equal(torch.random.get_rng_state(), state)
        if stop is not None:
            parts = small()
    assert one.history == again.history
    for name, tensor in named_tensors(whole).items():
        assert torch.equal(tensor, named_tensors(parts)[name]), name


def test_drop_connect_is_a_function_of_the_seed() -> None:
    data = blobs(16)
    config = TrainConfig(epochs=1, batch_size=8, ema_decay=0.0)
    losses = []
    for seed in (1, 2):
        net = SPACE.build({"network": "efficientnet-b0"}, 3, 2, seed=0)
        torch.manual_seed(seed)
        losses.append(train(net, config, data).history[0]["loss"])
    assert losses[0] == losses[1]


# --- on chips -------------------------------------------------------------------------------


def test_efficientnet_goes_onto_chips_but_for_its_depthwise_convolutions() -> None:
    data = blobs(16)
    net = SPACE.build({"network": "efficientnet-b0"}, 3, 2).eval()
    example = torch.zeros(1, 3, 16, 16)
    ideal, coverage = convert(net, AnalogSpec.preset("ideal"), example=example)
    digital = [layer for layer in coverage.layers if not layer.analog]
    assert len(digital) == 16
    assert all("grouped convolution" in layer.why for layer in digital)
    assert coverage.analog_layers == len(coverage.layers) - 16
    image = next(iter(data.val_loader(8)))[0]
    with torch.no_grad():
        torch.testing.assert_close(ideal.eval()(image), net(image), rtol=1e-4, atol=1e-4)
    analog, _ = convert(net, AnalogSpec.preset("pcm"), example=example)
    calibrate_input_ranges(analog, data.calibration_loader(8), batches=1)
    config = TrainConfig(epochs=1, batch_size=16, ema_decay=0.0)
    result = train(analog, config, data, keep="last")
    assert np.isfinite(result.history[0]["loss"])

    def accuracy(chip: nn.Module, loader: Any) -> float:
        return float(np.mean([(chip(x).argmax(1) == y).float().mean().item() for x, y in loader]))

    table = evaluate_drift(
        analog.eval(),
        data.val_loader(8),
        accuracy,
        times=(1.0, 86_400.0),
        chips=1,
        recalibrate_with=list(data.train_loader(16, seed=0)),
        seed=0,
    )
    assert len(table) == 4
    assert table["value"].between(0, 1).all()


# --- what must not happen in silence --------------------------------------------------------


def test_a_deeper_network_of_the_family_is_another_network(tmp_path: Any) -> None:
    tensors = dict(published("resnet18"))
    for layer in range(4):
        tensors[f"layer4.2.conv{layer}.weight"] = torch.zeros(512, 512, 3, 3)
    save_file(tensors, tmp_path / "deeper.safetensors")
    net = SPACE.build({"network": "resnet18-imagenet"}, 3, 7)
    with pytest.raises(ConfigError, match=r"4 of its .* have no place"):
        load_pretrained(net, tmp_path / "deeper.safetensors")


def test_checkpoints_of_training_scripts_hold_more_than_weights(tmp_path: Any) -> None:
    state = published("resnet18")
    checkpoint = {"epoch": 3, "best_acc1": torch.tensor(70.1), "state_dict": state, "model": "r18"}
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    net = SPACE.build({"network": "resnet18-imagenet"}, 3, 7)
    assert not load_pretrained(net, tmp_path / "checkpoint.pth").initial


def test_layers_are_not_frozen_as_they_are_drawn(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"train\.weights: layers would be frozen"):
        RunConfig(search=SearchConfig(arch="resnet18"), train=TrainConfig(freeze_until="layer3"))


def test_a_slip_in_the_first_stage_does_not_lock_the_folder(tmp_path: Any) -> None:
    wrong = settings(tmp_path, train=TrainConfig(weights=str(tmp_path / "nowhere.pth"), epochs=1))
    with pytest.raises(ConfigError, match="cannot be read"):
        pipeline.run(wrong, stages=["search"], progress=False)
    pipeline.run(settings(tmp_path), stages=["search"], progress=False)
