"""The images in what a loader gives, whatever the form of its batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nasseg.errors import DataError

IMAGE = "image"
"""Key of the image in a batch that is a dictionary, as MONAI has it."""
FORMS = (
    f"a tensor, (image, label, ...), or a dictionary with the key {IMAGE!r}; an image is a tensor, "
    "or a tuple of the tensors that a network of several inputs takes"
)


def items(batch: Any) -> list[Any]:
    """Items of a batch: those of a tuple or list, the values of a dictionary, or the batch
    itself."""
    if isinstance(batch, Mapping):
        return list(batch.values())
    return list(batch) if isinstance(batch, tuple | list) else [batch]


def rebuilt(batch: Any, values: Sequence[Any]) -> Any:
    """A batch of the form of ``batch`` from other :func:`items`; lists become tuples."""
    if isinstance(batch, Mapping):
        return dict(zip(batch, values, strict=True))
    return tuple(values) if isinstance(batch, tuple | list) else values[0]


def inputs(batch: Any) -> tuple[Tensor, ...]:
    """The tensors that a network is called with; none if they cannot be told."""
    if isinstance(batch, Tensor):
        return (batch,)
    if isinstance(batch, Mapping):
        first = batch.get(IMAGE)
    else:
        first = batch[0] if isinstance(batch, tuple | list) and batch else None
    if isinstance(first, Tensor):
        return (first,)
    if isinstance(first, tuple | list) and all(isinstance(x, Tensor) for x in first):
        return tuple(first)
    return ()


def _refuse_nan(batch: Any, number: int, use: str) -> None:
    for x in inputs(batch):
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise DataError(
                f"{use}: the image of batch {number} holds NaN or infinite values; allowed: finite "
                "ones"
            )


def checked(loader: Iterable[Any], use: str) -> Iterator[Any]:
    """The batches of a loader, which must not be empty, with finite images.

    Args:
        loader: gives batches of any form; an image that cannot be told is not looked at.
        use: what they are for, for the error.

    Raises:
        DataError: the loader gives nothing, or an image with NaN or infinite values.
    """
    number = -1
    for number, batch in enumerate(loader):
        _refuse_nan(batch, number, use)
        yield batch
    if number < 0:
        raise DataError(
            f"{use}: the loader gave no batch; allowed: one or more. A generator gives its batches "
            "only once: give a list or a DataLoader"
        )


def checked_inputs(
    loader: Iterable[Any], device: torch.device, use: str
) -> Iterator[tuple[Tensor, ...]]:
    """Inputs of a network, batch by batch, on a device.

    Raises:
        DataError: as :func:`checked`, or a batch of another form than :data:`FORMS`.
    """
    for batch in checked(loader, use):
        found = inputs(batch)
        if not found:
            held = f" with the keys {', '.join(map(repr, batch))}" if type(batch) is dict else ""
            raise DataError(f"{use}: a batch is a {type(batch).__name__}{held}; allowed: {FORMS}")
        yield tuple(x.to(device) for x in found)
