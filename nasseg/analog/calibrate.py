"""Digital settings made from data: DAC input ranges, BatchNorm statistics on a drifted chip."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nasseg.analog.batches import checked_inputs
from nasseg.analog.eager import uncompiled, without_compiler
from nasseg.analog.fused import fused_layers, layer_tiles
from nasseg.errors import ConversionError, DataError


@torch.no_grad()
def calibrate_input_ranges(
    analog: nn.Module,
    loader: Iterable[Any],
    *,
    quantile: float = 0.99,
    batches: int = 4,
) -> None:
    """Set every tile's DAC range to a quantile of the magnitudes that reach its rows.

    Args:
        analog: converted network; it runs in evaluation mode, on its present weights.
        loader: batches: (image, label, ...), dictionaries with the key ``image``, or images
            (B, C, H, W) alone.
        quantile: share of the inputs that the DAC does not clip.
        batches: batches used; their quantiles are averaged.

    Raises:
        DataError: the loader gives no batch, one without an image, or NaN.
        ConversionError: what reaches a layer is not finite; the layer is named.
    """
    analog = uncompiled(analog)
    names = {id(layer): name for name, layer in fused_layers(analog)}
    found: dict[int, list[Tensor]] = {}

    def hook(layer: Any, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        x = (*inputs, *named.values())[0].detach()
        for tile, first, last, _ in layer_tiles(layer):
            if tile.input_range is None:
                continue
            if isinstance(layer, nn.Linear):
                part = x[..., first:last]
            else:
                area = layer.kernel_size[0] * layer.kernel_size[1]
                part = x[:, first // area : -(-last // area)]
            flat = part.abs().flatten()
            # The few largest say the quantile exactly, without sorting the map or sampling it.
            clipped = max(1, round((1.0 - quantile) * flat.numel()))
            values = found.setdefault(id(tile), [])
            values.append(flat.topk(clipped).values[-1].float())
            # Set at once, before the layer runs: the layers behind it must be calibrated on what
            # they will see, not on maps that this layer clipped at a range not yet set. A map
            # that is zero everywhere still needs a range that can be divided by.
            top = float(torch.stack(values).mean().clamp(min=1e-6))
            if not math.isfinite(top):
                raise ConversionError(
                    f"{names[id(layer)] or 'the network'}: its input is {top}; allowed: finite "
                    "values. Look for NaN or infinite weights and statistics in the layers before"
                )
            tile.set_input_range(top)

    handles = [
        layer.register_forward_pre_hook(hook, with_kwargs=True) for _, layer in fused_layers(analog)
    ]
    device = next(analog.parameters()).device
    training = analog.training
    try:
        analog.eval()
        with without_compiler():
            for images in itertools.islice(checked_inputs(loader, device, "input ranges"), batches):
                analog(*images)
    finally:
        analog.train(training)
        for handle in handles:
            handle.remove()


def batch_norms(net: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """BatchNorm layers that track running statistics."""
    return [
        module
        for module in net.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]


Statistics = list[dict[str, Tensor]]
"""Parameters and running statistics of the BatchNorm layers of a network, in order."""


def batch_norm_statistics(net: nn.Module) -> Statistics:
    """Return a copy of the state of all BatchNorm layers."""
    return [
        {key: value.clone() for key, value in module.state_dict().items()}
        for module in batch_norms(net)
    ]


def load_batch_norm_statistics(net: nn.Module, states: Statistics) -> None:
    """Set the state of all BatchNorm layers to that of :func:`batch_norm_statistics`."""
    for module, state in zip(batch_norms(net), states, strict=True):
        module.load_state_dict(state)


@contextmanager
def preserved_batch_norms(net: nn.Module) -> Iterator[None]:
    """Restore the running statistics of all BatchNorm layers on leaving."""
    kept = batch_norm_statistics(net)
    try:
        yield
    finally:
        load_batch_norm_statistics(net, kept)


@torch.no_grad()
def recalibrate_batch_norms(
    net: nn.Module, loader: Iterable[Any], *, max_images: int | None = None
) -> int:
    """Estimate BatchNorm statistics anew on the network as it is now (AdaBS).

    Joshi et al., Nature Communications 2020. Needs images, no labels; weights do not change.

    Args:
        net: network, its tiles as programmed and drifted.
        loader: batches: (image, ...), dictionaries with the key ``image``, or images (B, C, H, W)
            alone.
        max_images: stop after this many; none = all.

    Returns:
        The number of images used; 0 where the network has no BatchNorm.

    Raises:
        DataError: the loader gives no batch, one without an image, or NaN.
    """
    net = uncompiled(net)
    layers = batch_norms(net)
    if not layers:
        return 0
    momenta = [module.momentum for module in layers]
    training = net.training
    device = next(net.parameters()).device
    kept = batch_norm_statistics(net)
    used = 0
    try:
        # Everything else, the tiles above all, stays in evaluation mode.
        net.eval()
        for module in layers:
            module.reset_running_stats()
            module.momentum = None  # cumulative mean over all batches
            module.train()
        for images in checked_inputs(loader, device, "recalibration"):
            net(*images)
            used += images[0].shape[0]
            if max_images is not None and used >= max_images:
                break
    except DataError:
        # Statistics of nothing, or of half of the images, are worse than those before.
        load_batch_norm_statistics(net, kept)
        raise
    finally:
        for module, momentum in zip(layers, momenta, strict=True):
            module.momentum = momentum
        net.train(training)
    return used
