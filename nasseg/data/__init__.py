"""Images and labels, from a folder or built in, through MONAI transforms to batches."""

from nasseg.config import DataConfig
from nasseg.data.dataset import BatchLoader, SegmentationData
from nasseg.data.load import load_data
from nasseg.data.native import NativeData

__all__ = [
    "BatchLoader",
    "Data",
    "DataConfig",
    "NativeData",
    "SegmentationData",
    "load_data",
]

Data = SegmentationData | NativeData
"""What :func:`load_data` gives: resized images, or images at their own scale."""
