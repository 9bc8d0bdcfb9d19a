"""Tasks: what is learned and how it is scored. One module a task, found by its name.

Importing them imports neither torch nor numpy.
"""

from nasseg.tasks.base import (
    TASKS,
    DecoderFit,
    ImageScores,
    Task,
    TaskContext,
    TaskData,
    TaskType,
    TrainOptions,
    bad_chip,
    get_task,
    known_task,
    lower_is_better,
    metric_title,
    metrics_of,
    register_task,
    task_for,
    task_of_metrics,
)

# The order is that of messages; of tasks that share metrics the first one names them.
# isort: off
from nasseg.tasks.segmentation import Segmentation
from nasseg.tasks.instances import Instances, InstanceTask
from nasseg.tasks.boundary import BoundaryInstances
from nasseg.tasks.gradient import GradientInstances
from nasseg.tasks.offset import OffsetInstances
from nasseg.tasks.star import StarInstances
from nasseg.tasks.semantic import Semantic
from nasseg.tasks.classification import Classification, Multilabel

# isort: on

__all__ = [
    "TASKS",
    "BoundaryInstances",
    "Classification",
    "DecoderFit",
    "GradientInstances",
    "ImageScores",
    "InstanceTask",
    "Instances",
    "Multilabel",
    "OffsetInstances",
    "Segmentation",
    "Semantic",
    "StarInstances",
    "Task",
    "TaskContext",
    "TaskData",
    "TaskType",
    "TrainOptions",
    "bad_chip",
    "get_task",
    "known_task",
    "lower_is_better",
    "metric_title",
    "metrics_of",
    "register_task",
    "task_for",
    "task_of_metrics",
]
