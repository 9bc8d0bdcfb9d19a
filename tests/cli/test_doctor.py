"""``nasseg doctor``: says what is wrong instead of failing on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nasseg import doctor
from nasseg.cli import main
from nasseg.doctor import Package, diagnose, read_requirements
from nasseg.training import device as devices


def stub_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"analog forward": lambda device: f"on {device}"})


def test_this_machine_runs_an_analog_forward() -> None:
    assert "thread" in doctor.check_analog_layers("cpu")
    text = doctor.check_analog_forward("cpu")
    assert "TorchInferenceRPUConfig" in text


def test_the_analog_check_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    doctor.check_analog_forward("cpu")
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("check", [doctor.check_analog_forward, doctor.check_analog_layers])
def test_the_checks_fork_the_generator_of_their_device_only(
    check: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    fork = torch.random.fork_rng

    def fork_rng(devices: Any = None, **options: Any) -> Any:
        asked.append(devices)
        return fork(devices=devices, **options)

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    check("cpu")
    assert asked[0] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_here_is_refused_as_other_commands_do(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--device", device]) == 2
    said = capsys.readouterr().err
    assert f"device is '{device}', but this torch finds no CUDA device" in said


def test_a_second_gpu_is_checked_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_checks(monkeypatch)
    monkeypatch.setattr(devices, "select_device", torch.device)
    assert "analog forward: on cuda:1" in diagnose("cuda:1").text


def test_a_broken_torch_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str) -> str:
        raise ImportError("libtorch.so is missing")

    monkeypatch.setattr(devices, "select_device", fail)
    monkeypatch.setattr(doctor, "CHECKS", {"analog forward": fail})
    found = diagnose("auto")
    assert not found.ok
    assert "FAIL analog forward: ImportError: libtorch.so is missing" in found.text


def test_requirements_are_those_of_this_python_each_once() -> None:
    packages = read_requirements()
    names = [package.name for package in packages if not package.extra]
    assert len(names) == len(set(names))
    assert {"torch", "aihwkit", "monai", "xgboost", "optuna", "numpy"} <= set(names)
    assert {package.extra for package in packages} >= {"", "test", "dev"}


def test_a_ready_machine_has_status_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub_checks(monkeypatch)
    assert main(["doctor", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    for part in (
        "Python 3",
        "torch ",
        "aihwkit ",
        "CPU",
        "CUDA",
        "analog forward: on cpu",
        "ready",
    ):
        assert part in out


def test_a_failing_check_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(device: str) -> str:
        raise RuntimeError("weights must be\n a CPU tensor")

    monkeypatch.setattr(doctor, "CHECKS", {"analog forward": fail})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL analog forward: RuntimeError: weights must be a CPU tensor" in out
    assert out.rstrip().endswith("not ready: see FAIL above")


@pytest.mark.parametrize(
    ("package", "says"),
    [
        (Package("torch", ">=2.9,<2.14", "2.15.0", False), "2.15.0"),
        (Package("torch", ">=2.9,<2.14", None, False), "not installed"),
    ],
)
def test_a_package_outside_its_pin_is_a_failure(
    package: Package, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_checks(monkeypatch)
    monkeypatch.setattr(doctor, "read_requirements", lambda: [package])
    found = diagnose("cpu")
    assert not found.ok
    line = next(line for line in found.text.splitlines() if "FAIL" in line)
    assert says in line
    assert ">=2.9,<2.14" in line


def test_a_missing_extra_is_no_failure_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub_checks(monkeypatch)
    extra = Package("onnx", ">=1", None, False, extra="onnx")
    monkeypatch.setattr(doctor, "read_requirements", lambda: [extra])
    found = diagnose("cpu")
    assert found.ok
    assert "pip install 'nasseg[onnx]'" in found.text
