"""Images and labels, from a folder or built in, through MONAI transforms to batches."""

from nasseg.config import DataConfig
from nasseg.data.dataset import BatchLoader, SegmentationData
from nasseg.data.load import load_data

__all__ = ["BatchLoader", "DataConfig", "SegmentationData", "load_data"]
