"""What is no weight is refused wherever weights are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasseg.errors import ConfigError, RunError
from nasseg.training import load_weights, save_weights
from nasseg.training.pretrained import load_pretrained


class Masked(nn.Module):
    """A network with a buffer that is infinite by design."""

    mask: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
        self.head = nn.Conv2d(8, 2, 1)
        self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))


def write(path: Path, state: dict[str, torch.Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save({"state_dict": state}, path)


CASES = {
    "nan": ("body.0.weight", lambda t: t.index_fill(0, torch.tensor([0]), float("nan"))),
    "inf": ("stem.bias", lambda t: t / 0),
    "statistics": ("body.1.running_var", lambda t: t * float("nan")),
    "overflow": ("head.weight", lambda t: t.double() + 1e300),
    "whole": ("body.2.weight", lambda t: t.to(torch.int8)),
    "complex": ("body.2.weight", lambda t: t.to(torch.complex64)),
    "float8": ("body.2.weight", lambda t: t.to(torch.float8_e4m3fn)),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", CASES)
def test_pretrained_weights_are_finite_numbers(tmp_path: Path, case: str, suffix: str) -> None:
    name, change = CASES[case]
    state = Masked().state_dict()
    state[name] = change(state[name])
    path, net = tmp_path / f"net{suffix}", Masked()
    write(path, state)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(ConfigError, match=rf"{path.name} .*{name}"):
        load_pretrained(net, path)
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_pretrained_weights_of_other_precision_are_taken(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    given, net = Masked().to(dtype), Masked()
    write(tmp_path / "net.pth", given.state_dict())
    load_pretrained(net, tmp_path / "net.pth")
    assert torch.equal(net.head.weight, given.head.weight.float())


@pytest.mark.parametrize("case", ["nan", "inf", "statistics", "whole", "overflow"])
def test_weights_of_a_run_folder_are_those_that_were_written(tmp_path: Path, case: str) -> None:
    name, change = CASES[case]
    path = tmp_path / "digital.safetensors"
    save_weights(path, Masked(), {})
    load_weights(path, Masked())
    state = Masked().state_dict()
    state[name] = change(state[name])
    write(path, state)
    with pytest.raises(RunError, match=rf"digital\.safetensors does not fit.*\n  {name}: "):
        load_weights(path, Masked())
