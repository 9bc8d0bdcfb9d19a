"""``nasseg doctor``: is this machine ready? Versions, devices, extras, and one analog forward."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nasseg._version import __version__
from nasseg.errors import ConfigError


@dataclass(frozen=True)
class Package:
    """A requirement of nasseg against what is installed."""

    name: str
    required: str
    """Version specifier, empty where any version does."""
    installed: str | None
    """Installed version; None = not installed."""
    satisfied: bool
    extra: str = ""
    """The extra that asks for it; empty for a required package."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    ok: bool
    """No required package is missing or outside its pin, and every check passed."""
    text: str
    """The whole, for a terminal."""


def read_requirements(distribution: str = "nasseg") -> list[Package]:
    """Return the requirements of a distribution that apply here, with the installed versions.

    Requirements are read from the distribution's own metadata, so that there is one place for
    pins. Extras that name the distribution itself (``nasseg[test]``) are left out.

    Raises:
        importlib.metadata.PackageNotFoundError: the distribution is not installed.
    """
    from packaging.requirements import Requirement

    metadata = importlib.metadata.metadata(distribution)
    extras = metadata.get_all("Provides-Extra") or []
    found = []
    for line in importlib.metadata.requires(distribution) or []:
        requirement = Requirement(line)
        if requirement.name == distribution:
            continue
        for extra in ["", *extras]:
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            try:
                installed = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                installed = None
            satisfied = installed is not None and requirement.specifier.contains(
                installed, prereleases=True
            )
            specifier = ",".join(sorted(map(str, requirement.specifier), reverse=True))
            found.append(Package(requirement.name, specifier, installed, satisfied, extra))
            # A requirement without an extra marker is true under every extra: once is enough.
            break
    return found


def check_digital_forward(device: str) -> str:
    """Run one convolution of torch and return its description."""
    import torch

    weight = torch.ones(4, 3, 3, 3, device=device)
    out = torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8, device=device), weight, padding=1)
    if out[0, 0, 4, 4].item() != 27.0:
        raise RuntimeError(f"a sum of 27 ones came out as {out[0, 0, 4, 4].item()}")
    return f"3x3 convolution on {device}"


def check_analog_forward(device: str) -> str:
    """Run a 3x3 analog convolution on AIHWKit's torch tile, programmed and drifted by a day."""
    import torch
    from aihwkit.nn import AnalogConv2d
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

    # The tile draws from torch's global generator: leave it as it was found.
    with torch.random.fork_rng(_cuda_devices(device)), torch.no_grad():
        torch.manual_seed(0)
        layer = AnalogConv2d(3, 4, 3, padding=1, rpu_config=TorchInferenceRPUConfig())
        layer = layer.to(device).eval()
        image = torch.rand(1, 3, 16, 16).to(device)
        programmed = layer(image)
        layer.program_analog_weights()
        layer.drift_analog_weights(86_400.0)
        drifted = layer(image)
    for name, out in (("programmed", programmed), ("drifted", drifted)):
        if tuple(out.shape) != (1, 4, 16, 16) or not bool(out.isfinite().all()):
            raise RuntimeError(f"{name} output {tuple(out.shape)} is not (1, 4, 16, 16) and finite")
    if bool((programmed == drifted).all()):
        raise RuntimeError("programming and a day of drift changed nothing")
    return f"AnalogConv2d on TorchInferenceRPUConfig, programmed, after a day, on {device}"


def check_analog_layers(device: str) -> str:
    """Convert a convolution as runs do, and return what computes around its products."""
    import torch

    from nasseg.analog import AnalogSpec, convert
    from nasseg.analog.elementwise import backend

    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    image = image.to(device)
    with torch.random.fork_rng(_cuda_devices(device)):  # initial weights are drawn: no trace
        layer = torch.nn.Conv2d(3, 4, 3, bias=False).to(device)
        torch.nn.init.constant_(layer.weight, 0.1)
        analog, _ = convert(layer, AnalogSpec.preset("pcm", out_noise=0.0), example=image)
    with torch.no_grad():
        wrong = float((analog.eval()(image) - layer(image)).abs().max())
    if not wrong < 0.2:
        raise RuntimeError(f"a convolution on quiet tiles is off by {wrong:g}; allowed: 0.2")
    return backend(image.device)


def _cuda_devices(device: str) -> list[str]:
    """Return the devices whose generator a check draws from, beside that of the CPU."""
    return [] if device == "cpu" else [device]


CHECKS: dict[str, Callable[[str], str]] = {
    "digital forward": check_digital_forward,
    "analog forward": check_analog_forward,
    "analog layers": check_analog_layers,
}


def diagnose(device: str = "auto") -> Diagnosis:
    """Look at packages and devices, and run the checks on one device.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` of several.

    Raises:
        ConfigError: there is no such device here.
    """
    device = _resolve(device)
    packages = read_requirements()
    required = [package for package in packages if not package.extra]
    system = f"{platform.system()} {platform.machine()}"
    lines = [f"nasseg {__version__}, Python {platform.python_version()}, {system}", "", "packages"]
    for package in required:
        state = "ok" if package.satisfied else "FAIL"
        version = package.installed or "not installed"
        lines.append(f"  {state:5}{package.name:14}{version:16}needs {package.required or 'any'}")
    ok = all(package.satisfied for package in required)
    if not ok:
        lines.append("  repair with: pip install --upgrade nasseg")
    lines += ["", "hardware", *_hardware(), "", "checks"]
    for name, passed, text in _run_checks(device):
        ok = ok and passed
        lines.append(f"  {'ok' if passed else 'FAIL':5}{name}: {text}")
    lines += list(_extras(packages))
    lines += ["", "ready" if ok else "not ready: see FAIL above"]
    return Diagnosis(ok, "\n".join(lines) + "\n")


def _hardware() -> Iterator[str]:
    try:
        import torch
    except Exception as error:  # a broken torch is a finding, not a crash of the doctor
        yield f"  torch does not import: {_reason(error)}"
        return
    cores = os.cpu_count() or 1
    yield f"  CPU   {cores} cores, torch uses {torch.get_num_threads()} threads (--threads)"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties: Any = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            yield f"  CUDA  {index}: {properties.name}, {memory:.0f} GiB"
    else:
        built = torch.version.cuda
        why = f"torch built for CUDA {built} finds no device" if built else "torch built without"
        yield f"  CUDA  none ({why})"


def _run_checks(device: str) -> Iterator[tuple[str, bool, str]]:
    for name, check in CHECKS.items():
        try:
            yield name, True, check(device)
        except Exception as error:  # whatever is wrong is what the user came to hear
            yield name, False, _reason(error)


def _resolve(device: str) -> str:
    """Return the device that a run would take; ``device`` itself where that is unknown.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        from nasseg.training.device import select_device

        return str(select_device(device))
    except ConfigError:
        raise
    except Exception:  # a package that does not import is a finding of the checks
        return device


def _reason(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _extras(packages: list[Package]) -> Iterator[str]:
    names = list(dict.fromkeys(package.extra for package in packages if package.extra))
    if names:
        yield ""
        yield "optional"
    for name in names:
        own = [package for package in packages if package.extra == name]
        missing = [package.name for package in own if not package.satisfied]
        if missing:
            yield f"  {name:14}lacks {', '.join(missing)}: pip install 'nasseg[{name}]'"
        else:
            yield f"  {name:14}installed ({', '.join(package.name for package in own)})"
