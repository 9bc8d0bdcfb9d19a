"""nasseg: find, train and stress-test networks for analog in-memory hardware.

Importing the package is cheap: torch, MONAI and AIHWKit are imported by the modules that need
them (``nasseg.analog``, ``nasseg.training``, ...), never from here.
"""

from nasseg._version import __version__
from nasseg.errors import NassegError

__all__ = ["NassegError", "__version__"]
