"""MONAI transforms on plain tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from monai.data import get_track_meta, set_track_meta


@contextmanager
def plain_tensors() -> Iterator[None]:
    """MONAI transforms return plain tensors inside, and do as they did before outside.

    The meta tensors they otherwise return carry a record of every transform, which costs three
    times the transform itself on small images. MONAI's switch is one for the whole process.
    """
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
