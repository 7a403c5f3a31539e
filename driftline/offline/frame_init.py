"""`driftline.init`: the files with which a model is watched, from a frame in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from driftline.offline.first_files import FirstFiles, columns_as_options
from driftline.offline.tables.layout import layout_of, nothing_to_watch_error, require_loggable
from driftline.offline.tables.read_options import ReadOptions
from driftline.offline.tables.reference_profile import profile_of
from driftline.offline.tables.table_reader import table_of
from stream_monitor.reference.profile import ReferenceProfile, Task


class InitializedModel:
    """What `init` wrote: ``settings``, ``reference`` and ``program`` are paths.

    ``profile`` can be announced with `driftline.announce`; ``not_watched`` has the reason of each
    column that is not watched.  A notebook shows the next steps.
    """

    def __init__(self, files: FirstFiles, folder: Path, not_watched: dict[str, str]) -> None:
        self.profile: ReferenceProfile = files.profile
        self.settings = folder / files.SETTINGS
        self.reference = folder / files.reference
        self.program = folder / files.PROGRAM
        self.not_watched = not_watched
        self._lines = files.described(folder)

    def __repr__(self) -> str:
        left_out = [f"not watched: {name}: {why}" for name, why in self.not_watched.items()]
        return "\n".join([*self._lines[:3], *left_out, *self._lines[3:]])


def init(
    model: str,
    frame: pd.DataFrame,
    *,
    version: str = "1",
    prediction: str | None = None,
    label: str | None = None,
    positive: str | None = None,
    task: Task | None = None,
    time: str | None = None,
    ignore: Sequence[str] = (),
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    folder: str | Path = ".",
    force: bool = False,
) -> InitializedModel:
    """Write what a model needs to be watched, as ``driftline init`` does from a file.

    Args:
        model: the name of the model.
        frame: its training data, one row for each prediction.
        version: the version of the model.
        prediction: the column of the predictions, out of fold; the other columns are features.
        label: the column of the labels.
        positive: the label whose probability is predicted; by default 1 or True.
        task: ``binary``, ``multiclass`` or ``regression``; by default inferred.
        time: the column of the event time.
        ignore: columns that are not watched.
        numeric: columns to read as numbers.
        categorical: columns to read as categories, such as codes.
        folder: where to write.
        force: replace files that exist.

    Raises:
        SourceError: a column is missing, or the rows are no reference.
        FileExistsError: a file of an earlier run exists, and ``force`` is false.
    """
    chosen = ReadOptions(
        ignore=tuple(ignore), numeric=tuple(numeric), categorical=tuple(categorical)
    )
    table = table_of(frame.reset_index(drop=True), "the frame", chosen)
    layout = layout_of(table, time=time, prediction=prediction, label=label)
    require_loggable(layout)
    profile = profile_of(
        table.frame, layout, model=model, version=version, positive=positive, task=task
    )
    not_watched = layout.ignored | profile.skipped
    if not profile.features and profile.prediction is None:
        raise nothing_to_watch_error("the frame", not_watched)
    options = columns_as_options(prediction=prediction, label=label, time=time, read=chosen)
    files = FirstFiles(profile, table.frame, layout, options)
    files.write(Path(folder), force=force)
    return InitializedModel(files, Path(folder), not_watched)
