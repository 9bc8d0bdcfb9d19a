"""The one loop in which a chip lives: it is programmed, drifts, and is recalibrated."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any
from weakref import WeakSet

from torch import nn

from nasseg.analog.calibrate import (
    Statistics,
    batch_norm_statistics,
    load_batch_norm_statistics,
    preserved_batch_norms,
    recalibrate_batch_norms,
)
from nasseg.analog.chips import Crossbars, programmable
from nasseg.analog.conversion import noise_source
from nasseg.analog.noise import derive_seed
from nasseg.errors import ConfigError

_carrying: WeakSet[nn.Module] = WeakSet()
"""Networks whose tiles are those of a chip at the moment."""


class Chips:
    """Programmed chips of one network, one at a time on its own tiles.

    A context manager: on leaving, weights, noise, mode and, unless ``keep_statistics`` is False,
    BatchNorm statistics are as they were. A network carries one chip: a second ``Chips`` of it has
    to wait until the first is left. Every draw is a function of the seed, the chip's number
    and its age, so chips may be visited in any order, each as often as is needed.

    Args:
        net: network from :func:`~nasseg.analog.convert`.
        seed: of the chips.
        images: batches whose images recalibrate a chip; None: chips cannot be recalibrated.
        keep_statistics: restore the BatchNorm statistics on leaving.

    Example:
        >>> with Chips(net, seed=0, images=batches) as chips:
        ...     chips.program(3)
        ...     chips.drift(86_400.0)
        ...     chips.recalibrate()
    """

    def __init__(
        self,
        net: nn.Module,
        seed: int,
        images: Iterable[Any] | None = None,
        *,
        keep_statistics: bool = True,
    ) -> None:
        self.net, self.images, self.source = net, images, noise_source(net)
        self._seed, self._keep_statistics = seed, keep_statistics
        self._inside = ExitStack()
        self._crossbars: Crossbars | None = None
        self._noise: tuple[int, ...] | None = None

    def __enter__(self) -> Chips:
        if self.net in _carrying:
            # A chip would be programmed with the noisy weights of the other.
            raise ConfigError(
                "the network carries a chip already; leave the loop over its chips first, or use "
                "another copy of the network"
            )
        with ExitStack() as stack:
            _carrying.add(self.net)
            stack.callback(_carrying.discard, self.net)
            stack.callback(self.net.train, self.net.training)
            stack.callback(self.source.load_state_dict, self.source.state_dict())
            self._crossbars = stack.enter_context(programmable(self.net))
            if self._keep_statistics:
                stack.enter_context(preserved_batch_norms(self.net))
            self._inside = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._crossbars = self._noise = None
        self._inside.__exit__(kind, error, trace)

    def program(self, chip: int, life: int = 0) -> None:
        """Write the network's weights onto a chip.

        Args:
            chip: its number.
            life: number of its programming where it is written several times, from 1; 0 where it
                is written once.
        """
        if self._crossbars is None:
            raise ConfigError("chips are programmed inside their context: with Chips(...) as chips")
        seed = derive_seed(self._seed, life) if life else self._seed
        self._noise = (self._seed, life, chip) if life else (self._seed, chip, 2)
        self._crossbars.program(seed, chip)

    def drift(self, time_s: float) -> None:
        """Let the chip drift until ``time_s`` seconds after programming; ages may go back.

        What it draws from then on, such as output noise, is a function of chip and age.

        Raises:
            ConfigError: no chip is programmed yet.
        """
        if self._crossbars is None or self._noise is None:
            raise ConfigError("no chip is programmed yet: call program(chip) before drift")
        self._crossbars.drift(time_s)
        self.source.reseed(derive_seed(*self._noise, int(time_s * 1000)))

    def recalibrate(self) -> bool:
        """Re-estimate the BatchNorm statistics on the chip as it is now.

        Returns:
            False where there is nothing to recalibrate, or nothing to do it with.
        """
        return self.images is not None and recalibrate_batch_norms(self.net, self.images) > 0

    @property
    def statistics(self) -> Statistics:
        """A copy of the BatchNorm statistics as they are now."""
        return batch_norm_statistics(self.net)

    @statistics.setter
    def statistics(self, states: Statistics) -> None:
        load_batch_norm_statistics(self.net, states)
