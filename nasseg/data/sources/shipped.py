"""The kinds of source that nasseg brings, in the order in which they are asked."""

from nasseg.data.sources.arrays import ArraysSource
from nasseg.data.sources.base import register_source
from nasseg.data.sources.class_folder import ClassFolderSource
from nasseg.data.sources.class_table import ClassIndexSource, ClassTableSource
from nasseg.data.sources.folder import FolderSource
from nasseg.data.sources.kaggle import KaggleSource
from nasseg.data.sources.medmnist import MedMNISTSource, NpzSource
from nasseg.data.sources.semantic import ClassPixelsSource
from nasseg.data.sources.synthetic_cells import SyntheticCells
from nasseg.data.sources.synthetic_nuclei import SyntheticNuclei

# A set of MedMNIST is chosen by its task, with a path or without; all others by the path.
register_source("medmnist")(MedMNISTSource)
register_source("synthetic_nuclei")(SyntheticNuclei)
register_source("synthetic_cells")(SyntheticCells)
register_source("folder")(FolderSource)
register_source("kaggle")(KaggleSource)
register_source("class_pixels")(ClassPixelsSource)
register_source("class_folder")(ClassFolderSource)
register_source("class_index")(ClassIndexSource)
register_source("npz")(NpzSource)
register_source("class_table")(ClassTableSource)
register_source("arrays")(ArraysSource)
