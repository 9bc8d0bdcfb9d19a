"""Images and labels, from a folder or built in, through MONAI transforms to batches."""

from nasseg.config import DataConfig
from nasseg.data._types import Data, EpochLoader, Loader
from nasseg.data.classes.dataset import ClassificationData
from nasseg.data.load import load_arrays, load_data
from nasseg.data.pixels.native import NativeData
from nasseg.data.pixels.resized import BatchLoader, SegmentationData

__all__ = [
    "BatchLoader",
    "ClassificationData",
    "Data",
    "DataConfig",
    "EpochLoader",
    "Loader",
    "NativeData",
    "SegmentationData",
    "load_arrays",
    "load_data",
]
