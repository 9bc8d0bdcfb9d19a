"""The recipe of a network gives the same numbers in one call as step by step."""

import pytest
import torch

from nasseg.analog.noise import derive_seed
from nasseg.config import AnalogConfig, DataConfig, DriftConfig, TrainConfig
from nasseg.data import load_data
from nasseg.search_spaces import get_space
from nasseg.tasks import task_for
from nasseg.training.measure import (
    age,
    builder,
    measure_network,
    new_network,
    put_on_chips,
    train_network,
)
from nasseg.training.recipe import SEED_DRIFT, recalibration_loader


def test_the_recipe_is_a_function_of_the_seed_and_its_chips_of_their_numbers():
    space = get_space("unet")
    changes = {"out_channel0": 8, "M": 2}
    changes |= {f"{name}{i}": 0 for name in ("R", "convblock", "widenfact", "B") for i in (3, 4, 5)}
    arch = space.canonical({**space.default(), **changes})
    data = load_data(DataConfig(image_size=16, synthetic_train=8, synthetic_val=4))
    train = TrainConfig(epochs=1, batch_size=4)
    drift = DriftConfig(chips=2, times=(1.0, 86_400.0))
    task, cpu = task_for(data, train), torch.device("cpu")

    def measured():
        return measure_network(
            space, arch, data, task, train, AnalogConfig(epochs=1), drift, seed=3, device=cpu
        )

    found = measured()
    assert found.rows == measured().rows
    assert len(found.rows) == 2 * 2 * 2
    assert found.params == sum(p.numel() for p in found.net.parameters())
    assert set(found.digital) >= {task.monitor}
    (second,) = age(
        found.analog,
        data.val_loader(4),
        task,
        times=drift.times,
        chips=[1],
        images=recalibration_loader(data, train, drift, 3, found.analog),
        seed=derive_seed(3, SEED_DRIFT),
    )
    assert second == [row for row in found.rows if row["chip"] == 1]
    sizes = {"in_channels": data.in_channels, "out_channels": task.out_channels}
    first, again = (new_network(space, arch, **sizes, seed=3, device=cpu) for _ in range(2))
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def parts():
    data = load_data(DataConfig(image_size=16, synthetic_train=8, synthetic_val=4))
    space = get_space("basicunet")
    arch = {**space.default(), "width": 4}
    drift = DriftConfig(chips=2, times=(1.0, 86_400.0), recalibrate_images=4)
    return space, arch, data, task_for(data), TrainConfig(epochs=1), AnalogConfig(epochs=1), drift


def test_the_whole_recipe_is_its_parts(parts):
    space, arch, data, task, train, analog, drift = parts
    whole = measure_network(*parts, seed=1, device=torch.device("cpu"))
    build = builder(space, arch, data.in_channels, task.out_channels)
    trained = train_network(build, data, task, train, seed=1, device=torch.device("cpu"))
    assert trained.metrics == whole.digital
    assert trained.params == whole.params == sum(p.numel() for p in whole.net.parameters())
    assert trained.epochs == 1
    before = {name: value.clone() for name, value in trained.net.state_dict().items()}
    chips = put_on_chips(trained.net, data, task, train, analog, drift, seed=1)
    assert chips.rows == whole.rows
    assert {(row["chip"], row["time_s"]) for row in chips.rows} == {
        (chip, time_s) for chip in (0, 1) for time_s in (1.0, 86_400.0)
    }
    for name, value in trained.net.state_dict().items():
        assert torch.equal(value, before[name])


def test_images_that_are_given_recalibrate_the_chips(parts):
    space, arch, data, task, train, analog, drift = parts
    build = builder(space, arch, data.in_channels, task.out_channels)
    net = train_network(build, data, task, train, seed=1, device=torch.device("cpu")).net
    off = DriftConfig(chips=1, times=(1.0,), recalibrate=False)
    plain = put_on_chips(net, data, task, train, analog, off, seed=1)
    assert {row["recalibrated"] for row in plain.rows} == {False}
    images = recalibration_loader(data, train, drift, 1)
    given = put_on_chips(net, data, task, train, analog, off, seed=1, images=images)
    assert {row["recalibrated"] for row in given.rows} == {False, True}
