"""What a challenger learns from: labelled events, read back from the log by offset ranges."""

from trainer.dataset.collect import Collector
from trainer.dataset.frame import Columns, Dataset, assemble, split
from trainer.dataset.log import LogRange, Reading, log_ends
from trainer.dataset.training_set import TrainingSet

__all__ = [
    "Collector",
    "Columns",
    "Dataset",
    "LogRange",
    "Reading",
    "TrainingSet",
    "assemble",
    "log_ends",
    "split",
]
