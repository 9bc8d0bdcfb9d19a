"""Images and labels, from a folder or built in, through MONAI transforms to batches."""

from nasseg.config import DataConfig
from nasseg.data._types import Data, EpochLoader, Loader, Side, evenly_spaced
from nasseg.data.classes.dataset import ClassificationData
from nasseg.data.load import load_arrays, load_data, load_labelled
from nasseg.data.pixels.native import NativeData
from nasseg.data.pixels.resized import BatchLoader, SegmentationData
from nasseg.data.sources.arrays import Arrays

__all__ = [
    "Arrays",
    "BatchLoader",
    "ClassificationData",
    "Data",
    "DataConfig",
    "EpochLoader",
    "Loader",
    "NativeData",
    "SegmentationData",
    "Side",
    "evenly_spaced",
    "load_arrays",
    "load_data",
    "load_labelled",
]
