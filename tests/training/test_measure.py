"""The recipe of a network gives the same numbers in one call as step by step."""

import torch

from nasseg.analog.noise import derive_seed
from nasseg.config import AnalogConfig, DataConfig, DriftConfig, TrainConfig
from nasseg.data import load_data
from nasseg.search_spaces import get_space
from nasseg.tasks import task_for
from nasseg.training.measure import age, measure_network, new_network
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
