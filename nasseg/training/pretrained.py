"""Pretrained weights from a file: published names mapped onto a network's own, and a report."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nasseg._macs import FLOATS, weight_layers
from nasseg.analog.state import named_tensors, not_finite
from nasseg.errors import ConfigError

log = logging.getLogger(__name__)

PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "encoder.",
)
"""What wrappers put before the names of a network's tensors."""
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Keys under which checkpoints keep a state dict."""
LEAST_SHARE = 0.5
"""Of the network's weights, leaving out its first convolution and its head, that must be found."""
MOST_UNUSED = 0.1
"""Of the file's weights, in convolutions that the network does not have."""
SHOWN = 6
"""Tensors that a message names before it only counts."""


@dataclass
class Pretrained:
    """What became of a file of weights. Names are the network's, but for ``unused``."""

    file: str
    sha256: str
    loaded: int = 0
    """Tensors taken over, those that were adapted among them."""
    adapted: dict[str, str] = field(default_factory=dict)
    """Tensors taken over in another form, and how."""
    initial: dict[str, str] = field(default_factory=dict)
    """Tensors left at their initial values, and why."""
    unused: list[str] = field(default_factory=list)
    """Tensors of the file that have no place in the network."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        total = self.loaded + len(self.initial)
        lines = [f"weights: {self.loaded} of {total} tensors from {self.file}"]
        lines += [f"  {name}: {how}" for name, how in self.adapted.items()]
        lines += [f"  {_some(names)}: left at initial values, {why}" for why, names in self._whys()]
        if self.unused:
            lines.append(f"  not used: {_some(self.unused)}")
        return "\n".join(lines)

    def _whys(self) -> list[tuple[str, list[str]]]:
        grouped: dict[str, list[str]] = {}
        for name, why in self.initial.items():
            grouped.setdefault(why, []).append(name)
        return list(grouped.items())


_DAMAGE = (
    SafetensorError,
    RuntimeError,
    EOFError,
    ValueError,
    # What the reader of pickled files answers where there is none.
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
)


def load_pretrained(net: nn.Module, path: str | Path) -> Pretrained:
    """Copy the weights of a file into a digital network, as far as they fit.

    Names are taken as they are, without what wrappers put before them (:data:`PREFIXES`), or as
    torchvision (resnets, densenet121, efficientnets) and EfficientNet-PyTorch publish them. A
    first convolution for other image channels is adapted: for one channel its kernels are summed,
    from one channel they are spread evenly, a fourth channel begins at zero. A head for other
    classes is left as it is.

    Args:
        net: the network; changed in place.
        path: safetensors, or a torch file with nothing but tensors and plain values.

    Returns:
        What was loaded, what was not, and why.

    Raises:
        ConfigError: the file cannot be read, is of another network, or holds NaN, infinite
            values or whole numbers for weights.
    """
    path = Path(path)
    found = read_state(path)
    own = named_tensors(net)
    layers = [name for name, *_ in weight_layers(net)]
    stem, head = f"{layers[0]}.", f"{layers[-1]}."
    given = _matched(found, own)
    report = Pretrained(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    ready: dict[str, Tensor] = {}
    for name, target in own.items():
        if name not in given:
            # Counts of batches came with later versions of torch; statistics do without.
            if not name.endswith("num_batches_tracked"):
                report.initial[name] = "not in the file"
            continue
        tensor = found[given[name]]
        if tensor.shape == target.shape:
            ready[name] = tensor
        elif name.startswith(stem) and (how := _other_channels(tensor, target)) is not None:
            ready[name], report.adapted[name] = how
        elif name.startswith(head) and tensor.shape[1:] == target.shape[1:]:
            report.initial[name] = (
                f"the file's are of a head for {len(tensor)} classes, not {len(target)}"
            )
        else:
            report.initial[name] = (
                f"the file's have the shape {tuple(tensor.shape)}, not {tuple(target.shape)}"
            )
    used = set(given.values())
    report.unused = [name for name in found if name not in used]
    report.loaded = len(ready)
    counted = {
        name: target.numel()
        for name, target in own.items()
        if target.dim() >= 2 and not name.startswith((stem, head))
    }
    share = sum(n for name, n in counted.items() if name in ready) / max(1, sum(counted.values()))
    if share < LEAST_SHARE or not ready:
        raise ConfigError(_misfit(path, net, found, own, share))
    # A deeper network of the same family has all the names of this one, and more.
    left = sum(found[name].numel() for name in report.unused if found[name].dim() >= 4)
    if left > MOST_UNUSED * sum(tensor.numel() for tensor in found.values()):
        raise ConfigError(_misfit(path, net, found, own, share, report.unused))
    problems = [
        f"{given[name]}: {tensor.dtype}, the network has {own[name].dtype}"
        for name, tensor in ready.items()
        # Counts of batches become floating point with a network that is saved in half precision.
        if tensor.dtype not in (*FLOATS, own[name].dtype)
    ]
    # After the change of type: what is finite in double precision may not be in single.
    cast = {} if problems else {name: t.to(own[name].dtype) for name, t in ready.items()}
    problems += not_finite(cast, own)
    if problems:
        raise ConfigError(
            f"train.weights: {path} holds what are no weights: {_some(problems)}; allowed: finite "
            "numbers of 16, 32 or 64 bits floating point"
        )
    with torch.no_grad():
        for name, tensor in cast.items():
            own[name].copy_(tensor)
    return report


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without running code from it.

    Raises:
        ConfigError: the file cannot be read, or holds no tensors.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(
            f"train.weights: {path} cannot be read: {error.strerror or error}"
        ) from None
    except pickle.UnpicklingError:
        raise ConfigError(
            f"train.weights: {path} holds more than tensors and plain values, or is no file of "
            "weights; allowed: safetensors, or torch.save(net.state_dict(), FILE)"
        ) from None
    except _DAMAGE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"train.weights: {path} cannot be read: {first}") from None
    while isinstance(content, Mapping):
        # Beside the state dict, files hold an epoch, a best accuracy, an optimiser.
        inside = (content[key] for key in CONTAINERS if key in content)
        inner = next((value for value in inside if isinstance(value, Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {
        str(name): value
        for name, value in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise ConfigError(
            f"train.weights: {path} holds no tensors by name; allowed: a state dict, by itself or "
            f"under one of {', '.join(CONTAINERS)}"
        )
    return tensors


def _matched(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, str]:
    """The network's names to the file's names of what belongs there."""
    names = published_names(own)
    matched: dict[str, str] = {}
    for name in found:
        for bare in _unwrapped(name):
            # Files of 2017 have a dot inside these names.
            bare = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", bare)
            target = bare if bare in own else names.get(bare)
            if target is not None:
                matched.setdefault(target, name)
                break
    return matched


def _unwrapped(name: str) -> Iterator[str]:
    yield name
    while prefix := next((p for p in PREFIXES if name.startswith(p)), None):
        name = name[len(prefix) :]
        yield name


def published_names(own: Mapping[str, Any]) -> dict[str, str]:
    """Names that torchvision and EfficientNet-PyTorch publish, to those of MONAI's network.

    Args:
        own: tensors by name of a MONAI densenet or efficientnet. Resnets have torchvision's names
            already; other networks have no published names.
    """
    names: dict[str, str] = {}
    blocks = [name.split(".") for name in own if name.startswith("_blocks.")]
    last = 2 + max((int(block[1]) for block in blocks), default=0)
    for name in own:
        if "denselayer" in name:
            names[name.replace(".layers.", ".")] = name
        elif name.startswith("class_layers.out."):
            names[name.replace("class_layers.out.", "classifier.")] = name
        elif name.startswith("_blocks."):
            _, stage, number, rest = name.split(".", 3)
            names[f"_blocks.{number}.{rest}"] = name
            module, leaf = rest.rsplit(".", 1)
            first = next(block[2] for block in blocks if block[1] == stage)
            # Blocks without expansion are one module shorter.
            expands = f"_blocks.{stage}.{number}._expand_conv.weight" in own
            place = _BLOCK[module]
            inner = place if expands else _one_less(place)
            at = f"features.{int(stage) + 1}.{int(number) - int(first)}.block.{inner}"
            names[f"{at}.{leaf}"] = name
        elif blocks and (module := name.rpartition(".")[0]) in _ENDS:
            names[f"{_ENDS[module].format(last=last)}.{name.rpartition('.')[2]}"] = name
    return names


_BLOCK = {
    "_expand_conv": "0.0",
    "_bn0": "0.1",
    "_depthwise_conv": "1.0",
    "_bn1": "1.1",
    "_se_reduce": "2.fc1",
    "_se_expand": "2.fc2",
    "_project_conv": "3.0",
    "_bn2": "3.1",
}
"""Modules of MONAI's MBConvBlock, and where torchvision has them."""
_ENDS = {
    "_conv_stem": "features.0.0",
    "_bn0": "features.0.1",
    "_conv_head": "features.{last}.0",
    "_bn1": "features.{last}.1",
    "_fc": "classifier.1",
}
"""The same before and after the blocks."""


def _one_less(place: str) -> str:
    number, _, rest = place.partition(".")
    return f"{int(number) - 1}.{rest}"


def _other_channels(tensor: Tensor, target: Tensor) -> tuple[Tensor, str] | None:
    """A first convolution's kernels for other image channels, and in words; none = impossible."""
    if tensor.dim() != 4 or tensor.shape[0] != target.shape[0]:
        return None
    if tensor.shape[2:] != target.shape[2:]:
        return None
    before, after = tensor.shape[1], target.shape[1]
    if after == 1:
        return tensor.sum(1, keepdim=True), f"summed over the file's {before} channels"
    if before == 1:
        return tensor.expand(-1, after, -1, -1) / after, f"one channel spread over {after}"
    if (before, after) == (3, 4):
        extra = torch.zeros_like(tensor[:, :1])
        return torch.cat([tensor, extra], 1), "the file's 3 channels; the fourth begins at 0"
    return None


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _misfit(
    path: Path,
    net: nn.Module,
    found: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    share: float,
    unused: list[str] | None = None,
) -> str:
    arch = getattr(net, "arch", None)
    label = arch.get("network") if isinstance(arch, dict) else None
    near = _nearest_reference(found)
    hint = f"; they look like those of {near}" if near not in (None, label) else ""
    if unused:
        return (
            f"train.weights: {path} is of another network than {label or type(net).__name__}: "
            f"{len(unused)} of its {len(found)} tensors have no place there ({_some(unused)}){hint}"
        )
    return (
        f"train.weights: {path} fits {share:.0%} of the weights of "
        f"{label or type(net).__name__}, {LEAST_SHARE:.0%} are needed{hint}. Its tensors are "
        f"{_some(list(found))}; the network's are {_some(list(own))}"
    )


def _nearest_reference(found: Mapping[str, Tensor]) -> str | None:
    """The reference network that most of a file's tensors fit; none = under half of them do."""
    from nasseg.search_spaces import get_space
    from nasseg.search_spaces.reference import NETWORKS

    space, best, fits = get_space("reference"), None, len(found) / 2
    for name in NETWORKS:
        with torch.device("meta"):
            own = named_tensors(space.build({"network": name}))
        matched = _matched(found, own)
        # As many of the network's as of the file's: a deep network holds a shallow one's names.
        right = sum(found[source].shape == own[to].shape for to, source in matched.items())
        right -= len(own) - len(matched)
        if right > fits:
            best, fits = name, right
    return best
