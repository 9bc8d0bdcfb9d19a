"""nasseg: find, train and stress-test networks for analog in-memory hardware.

    import nasseg

    run = nasseg.run("my_nuclei/", out="runs/mine")  # search, train, analog, drift, report
    net = nasseg.load("runs/mine")
    net.predict(image).labels  # image: an array (H, W) or (H, W, C)
    net.age("1 year").predict(image).uncertainty

Importing the package is cheap: torch, MONAI and AIHWKit are imported when they are first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nasseg._version import __version__
from nasseg.errors import NassegError

if TYPE_CHECKING:
    from nasseg.analog import AnalogSpec
    from nasseg.front import Run, run
    from nasseg.network import AgedNetwork, Network, Prediction, load
    from nasseg.search_spaces import get_space

_LAZY = {
    "AgedNetwork": "nasseg.network",
    "AnalogSpec": "nasseg.analog",
    "Network": "nasseg.network",
    "Prediction": "nasseg.network",
    "Run": "nasseg.front",
    "get_space": "nasseg.search_spaces",
    "load": "nasseg.network",
    "run": "nasseg.front",
}

__all__ = [
    "AgedNetwork",
    "AnalogSpec",
    "NassegError",
    "Network",
    "Prediction",
    "Run",
    "__version__",
    "get_space",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
