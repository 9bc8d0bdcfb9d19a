"""Training continues bit for bit, keeps what it says it keeps, and refuses what it cannot do."""

import copy
import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from nasseg.analog import AnalogSpec, calibrate_input_ranges, convert
from nasseg.analog.chips import all_tiles
from nasseg.analog.state import named_tensors
from nasseg.config import AnalogConfig, DataConfig, TrainConfig
from nasseg.data import load_data
from nasseg.errors import ConfigError, RunError
from nasseg.search_spaces import get_space
from nasseg.tasks import get_task
from nasseg.tasks.metrics import SegmentationMetrics
from nasseg.training import evaluate, fit, load_weights, save_weights
from nasseg.training.checkpoint import load_checkpoint, save_checkpoint
from nasseg.training.optim import make_optimizer, orthogonal, warmup_cosine
from nasseg.training.recipe import fit_decoder, initialise, scores_from_drift, train_analog

TASK = get_task("segmentation").bind()


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(image_size=16, synthetic_train=24, synthetic_val=8))


def tiny() -> nn.Module:
    return initialise(
        lambda seed: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 1, 1)
        ),
        seed=0,
        device=torch.device("cpu"),
    )


def analog_of(data, spec: AnalogSpec | None = None) -> nn.Module:
    net, _ = convert(tiny(), spec or AnalogSpec.preset("pcm"), input_size=(16, 16))
    calibrate_input_ranges(net, data.calibration_loader(8))
    return net


CONFIG = TrainConfig(epochs=4, batch_size=8, eval_every=2)


def train(net, data, **changes):
    return fit(
        net,
        data.train_loader(8, seed=1),
        data.val_loader(8),
        TASK,
        changes.pop("config", CONFIG),
        seed=3,
        **changes,
    )


@pytest.mark.parametrize(
    ("kind", "optimizer"), [("digital", "adamw"), ("digital", "muon"), ("analog", "adamw")]
)
@pytest.mark.parametrize("keep", ["best", "last"])
def test_interrupted_training_equals_uninterrupted_bit_for_bit(
    data, tmp_path, kind, optimizer, keep
):
    make = tiny if kind == "digital" else lambda: analog_of(data)
    how = {"keep": keep, "config": dataclasses.replace(CONFIG, optimizer=optimizer)}
    whole = make()
    expected = train(whole, data, **how)
    path = tmp_path / "train.ckpt"
    train(make(), data, **how, checkpoint=path, stop_after=1)
    # Evaluation falls between the stops, and draws noise that training must not notice.
    train(make(), data, **how, checkpoint=path, stop_after=3)
    resumed = make()
    result = train(resumed, data, **how, checkpoint=path)
    assert result.history == expected.history
    assert result.metrics == expected.metrics
    ours, theirs = named_tensors(resumed), named_tensors(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_best_weights_are_those_of_the_best_evaluation(data):
    net = tiny()
    config = TrainConfig(epochs=6, batch_size=8, eval_every=1, lr=0.05)
    result = train(net, data, config=config, keep="best")
    dice = [entry["val_dice"] for entry in result.history]
    assert result.metrics["dice"] == max(dice)
    assert result.epoch == 1 + int(np.argmax(dice))
    assert evaluate(net, data.val_loader(8), TASK) == result.metrics


def test_patience_stops_early(data):
    config = TrainConfig(epochs=30, batch_size=8, eval_every=1, lr=1e-9, patience=2, ema_decay=0)
    assert train(tiny(), data, config=config, keep="best").epochs < 30
    with pytest.raises(ConfigError, match=r"train\.patience is 2; allowed: 0 where the last"):
        train(tiny(), data, config=config, keep="last")


def test_teacher_pulls_the_student(data):
    teacher = tiny()
    with torch.no_grad():
        teacher[3].bias.fill_(8.0)
    free, taught = tiny(), tiny()
    config = TrainConfig(epochs=6, batch_size=8, eval_every=6, lr=0.02)
    train(free, data, config=config, keep="last")
    train(taught, data, config=config, keep="last", teacher=teacher, distill=1.0)
    image, _ = next(iter(data.val_loader(8)))
    assert taught.eval()(image).mean() > free.eval()(image).mean() + 0.5


def test_a_loss_that_is_not_finite_is_said(data):
    net = tiny()
    with torch.no_grad():
        net[3].bias.fill_(float("nan"))
    with pytest.raises(RunError, match="the loss is nan at epoch 1; lower the learning rate"):
        train(net, data)


def test_checkpoint_of_another_training_is_refused(data, tmp_path):
    path = tmp_path / "train.ckpt"
    train(tiny(), data, checkpoint=path, stop_after=1)
    with pytest.raises(RunError, match="is of another training"):
        train(tiny(), data, checkpoint=path, config=TrainConfig(epochs=5, batch_size=8))


def test_damaged_checkpoints_and_foreign_objects_are_refused(tmp_path):
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match=r"damaged\.ckpt cannot be read"):
        load_checkpoint(damaged)

    class Code:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"x": Code()}, tmp_path / "code.ckpt")
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(tmp_path / "code.ckpt")
    save_checkpoint(tmp_path / "good.ckpt", {"a": torch.ones(2), "b": [1, "x", None]})
    assert load_checkpoint(tmp_path / "good.ckpt")["b"] == [1, "x", None]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["code.ckpt", "damaged.ckpt", "good.ckpt"]


def test_metrics_file_keeps_the_lines_of_other_stages(data, tmp_path):
    path = tmp_path / "metrics.jsonl"
    train(tiny(), data, metrics_file=path, stage="train")
    train(tiny(), data, metrics_file=path, stage="analog")
    train(tiny(), data, metrics_file=path, stage="train")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["analog"] * 4 + ["train"] * 4


def test_analog_weights_reload_to_identical_outputs(data, tmp_path):
    net = analog_of(data)
    train(net, data, keep="last")
    save_weights(tmp_path / "analog.safetensors", net, {"arch": "x"})
    other = analog_of(data)
    load_weights(tmp_path / "analog.safetensors", other)
    image, _ = next(iter(data.val_loader(8)))
    outputs = []
    for each in (net, other):
        each[0].noise.reseed(1)
        outputs.append(each.eval()(image))
    assert torch.equal(*outputs)
    with pytest.raises(RunError, match="does not fit the network"):
        load_weights(tmp_path / "analog.safetensors", tiny())


def test_tiles_are_clipped_and_remapped_by_the_optimiser(data):
    net = analog_of(data, AnalogSpec.preset("pcm", clip_sigma=1.5))
    train(net, data, config=TrainConfig(epochs=2, batch_size=8, lr=0.05, ema_decay=0), keep="last")
    for tile in all_tiles(net):
        assert torch.allclose(tile.tile.weight.abs().amax(1), torch.ones(tile.out_size))
        assert tile.mapping_scales.numel() == tile.out_size


@pytest.mark.parametrize("kind", ["digital", "analog"])
def test_adamw_in_one_pass_is_adamw(kind):
    """Also where a training goes on that was begun step by step, and without some gradients."""
    torch.manual_seed(0)
    net = tiny()
    if kind == "analog":
        net, _ = convert(net, AnalogSpec.preset("pcm"))
    other = copy.deepcopy(net)
    ours, theirs = (make_optimizer(n, lr=1e-2, weight_decay=0.1) for n in (net, other))
    assert all(group["fused"] for group in ours.param_groups)
    for group in theirs.param_groups:
        group["fused"] = None
    pairs = list(zip(net.parameters(), other.parameters(), strict=True))
    for step in range(6):
        if step == 3:
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
            for group in ours.param_groups:
                assert group["fused"] is None
                group["fused"] = True
        for number, (a, b) in enumerate(pairs):
            if a.requires_grad and a.numel() and number != step % 2:
                a.grad = torch.randn(a.shape)
                b.grad = a.grad.clone()
        for optimizer in (ours, theirs):
            optimizer.step()
            optimizer.zero_grad()
        for a, b in pairs:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_adamw_leaves_layouts_that_one_pass_does_not_know_to_torch():
    net = nn.Conv2d(3, 4, 3)
    net.weight.data = net.weight.data.contiguous(memory_format=torch.channels_last)
    assert make_optimizer(net, lr=1e-3, weight_decay=0.1).param_groups[0]["fused"] is None


@pytest.mark.parametrize("shape", [(4, 36), (40, 9), (7, 7)])
def test_singular_values_of_a_step_of_muon_are_near_to_one(shape):
    values = torch.linalg.svdvals(
        orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    )
    assert 0.6 < values.min() <= values.max() < 1.3


def test_muon_turns_kernels_and_leaves_vectors_to_adamw():
    torch.manual_seed(0)
    net = tiny()
    other = copy.deepcopy(net)
    ours = make_optimizer(net, lr=1e-2, weight_decay=0.0, name="muon")
    theirs = make_optimizer(other, lr=1e-2, weight_decay=0.0)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        a.grad = torch.randn(a.shape)
        b.grad = a.grad.clone()
    before = [p.detach().clone() for p in net.parameters()]
    ours.step()
    theirs.step()
    for a, b, start in zip(net.parameters(), other.parameters(), before, strict=True):
        if a.dim() < 2:
            assert torch.equal(a, b)
            continue
        step = (a.detach() - start).flatten(1) / (0.5e-2 * max(start.flatten(1).shape) ** 0.5)
        assert torch.linalg.svdvals(step).min() > 0.6
        assert torch.linalg.svdvals(step).max() < 1.3


def test_vectors_are_not_decayed():
    groups = make_optimizer(tiny(), lr=1e-3, weight_decay=0.1).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.dim() >= 2 for p in groups[0]["params"])


def test_learning_rate_rises_then_falls_to_zero():
    factors = [warmup_cosine(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == pytest.approx(1.0)
    assert factors[-1] < 0.001
    assert all(b <= a for a, b in itertools.pairwise(factors[10:]))


def test_hardware_aware_retraining_ramps_the_noise_and_covers_everything(data):
    net = get_space("unet").build(get_space("unet").default())
    config = AnalogConfig(epochs=2, noise="gaussian", weight_noise=0.08, noise_ramp=0.5)
    train_config = TrainConfig(epochs=1, batch_size=8)
    analog, coverage, result = train_analog(net, data, TASK, train_config, config, seed=0)
    assert result is not None
    assert [entry["weight_noise"] for entry in result.history] == pytest.approx([0.02, 0.08])
    assert coverage.mac_fraction == 1.0
    assert all(tile.rpu_config.modifier.std_dev == 0.08 for tile in all_tiles(analog))


def test_a_new_network_has_input_ranges_of_normalised_activations(data):
    net = get_space("unet").build(get_space("unet").default())
    config = AnalogConfig(epochs=0, start="random")
    analog, _, _ = train_analog(net, data, TASK, TrainConfig(batch_size=4), config, seed=0)
    ranges = [float(tile.input_range) for tile in all_tiles(analog)]
    assert min(ranges) > 0.5


def test_metrics_agree_with_counting_by_hand():
    label = torch.zeros(3, 1, 4, 4)
    prediction = torch.zeros(3, 1, 4, 4)
    label[0, 0, :2] = 1
    prediction[0, 0, 1:3] = 1  # 4 of 12 pixels shared
    prediction[1, 0, 0, 0] = 1  # one false pixel, empty label
    metrics = SegmentationMetrics()
    metrics.update(prediction[:2], label[:2])
    metrics.update(prediction[2:], label[2:])  # both empty
    values = metrics.compute()
    assert values["dice"] == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    assert values["iou"] == pytest.approx((4 / 12 + 0.0 + 1.0) / 3)
    assert values["iou_pooled"] == pytest.approx(4 / 13)


def test_scores_of_drift_rows_are_as_defined():
    rows = [
        {"chip": chip, "time_s": t, "recalibrated": r, "dice": value + 0.01 * chip - 0.1 * (not r)}
        for chip in range(3)
        for t, value in ((1.0, 0.9), (86_400.0, 0.85), (2_592_000.0, 0.8))
        for r in (False, True)
    ]
    scores = scores_from_drift(rows, "dice")
    assert scores["day1"] == pytest.approx(0.86)
    assert scores["avm"] == pytest.approx(10.0)
    assert scores["std"] == pytest.approx(0.01)
    assert scores["p05"] == pytest.approx(0.851)
    assert scores["day1_uncalibrated"] == pytest.approx(0.76)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_trains_on_cuda_with_mixed_precision(data):
    net = tiny().cuda()
    assert train(net, data).metrics["dice"] >= 0


def test_initial_weights_follow_the_seed():
    space = get_space("unet")
    nets = [
        initialise(lambda s: space.build(space.default(), seed=s), seed, torch.device("cpu"))
        for seed in (0, 0, 1)
    ]
    first, same, other = (net.head.weight for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_fitting_a_decoder_leaves_the_network_as_it_is():
    data = load_data(DataConfig(task="instances", crop=32, synthetic_train=2, synthetic_val=1))
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fit = fit_decoder(get_task("instances"), net, data, TrainConfig(batch_size=2))
    assert fit.images == 2
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
