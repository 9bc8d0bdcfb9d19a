"""Layers that keep their weights, and their gradual release."""

from __future__ import annotations

from torch import nn

from nasseg._macs import weight_layers
from nasseg._registry import near_name
from nasseg.config import TrainConfig
from nasseg.errors import ConfigError


class Freezing:
    """Freezes a network's layers before a named one and releases them, the last one first.

    A *layer* is a convolution or linear layer with the normalisation that follows it, in the order
    in which the network's modules are listed. What is frozen has no gradient and acts as in
    evaluation: BatchNorm keeps and uses its statistics, nothing is dropped at random. It is a
    function of the epoch alone. Gradual unfreezing is after Howard and Ruder, ACL 2018.

    Args:
        net: digital network of any space.
        until: name of a layer, or of a module with layers in it, from which on all are trained;
            none = nothing is frozen.
        every: epochs after which one more layer is trained; 0 = never.

    Raises:
        ConfigError: there is no such layer; the message has the nearest name and the known ones.
    """

    def __init__(self, net: nn.Module, until: str | None, every: int = 0) -> None:
        self._net = net
        self._every = every
        self.names: list[str] = []
        """The layers frozen at first, in order."""
        self._parameters: list[list[nn.Parameter]] = []
        if until is None:
            return
        layers = [name for name, *_ in weight_layers(net)]
        at = [i for i, name in enumerate(layers) if name == until or name.startswith(f"{until}.")]
        if not at:
            raise ConfigError(_unknown(until, layers))
        self.names = layers[: at[0]]
        self._parameters = [[] for _ in self.names]
        place = 0
        for name, module in net.named_modules():
            if not self.names or name in (until, layers[at[0]]):
                break
            # What comes before the first layer, if anything, goes with it.
            place = self.names.index(name) if name in self.names else place
            self._parameters[place] += module.parameters(recurse=False)

    @classmethod
    def of(cls, net: nn.Module, config: TrainConfig) -> Freezing:
        """What the settings of a training ask for."""
        return cls(net, config.freeze_until, config.unfreeze_every)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that are frozen at first."""
        return [parameter for layer in self._parameters for parameter in layer]

    def frozen(self, epoch: int) -> int:
        """How many layers, from the first on, are frozen in an epoch (from 0)."""
        released = epoch // self._every if self._every else 0
        return max(0, len(self.names) - released)

    def apply(self, epoch: int) -> None:
        """Freeze what is frozen in an epoch, in a network in training mode."""
        if not self.names:
            return
        frozen = self.frozen(epoch)
        for number, layer in enumerate(self._parameters):
            for parameter in layer:
                parameter.requires_grad_(number >= frozen)
        for module in self._net.modules():
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()

    def close(self) -> None:
        """Release everything: all layers can be trained again; the mode is the caller's."""
        for parameter in self.parameters:
            parameter.requires_grad_(True)


def _unknown(name: str, layers: list[str]) -> str:
    parts = {".".join(layer.split(".")[:k]) for layer in layers for k in range(1, 9)}
    hint = near_name(name, parts)
    # Networks have hundreds: those inside the ones listed are meant too.
    listed = dict.fromkeys(".".join(layer.split(".")[:2]) for layer in layers)
    return (
        f"train.freeze_until: the network has no layer {name!r}{hint} "
        f"(known, with those inside them: {', '.join(listed)})"
    )
