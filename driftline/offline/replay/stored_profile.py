"""Use a profile as the reference of a replay, from a file or from the event topic."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import msgspec
import pandas as pd

from driftline.offline.tables.column_inference import ColumnKind
from driftline.offline.tables.layout import Feature, Layout, kind_of, require
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import Table
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data

SEGMENT: Final = "\x1fsegment of the event"
"""The column with the ``segment`` of events; names of features have no control characters."""
_PROFILE_KEYS: Final = {"features", "model", "version", "origin"}


def stored_profile(path: Path) -> ReferenceProfile | None:
    """The profile in a file; ``None`` if the file holds rows.

    Raises:
        SourceError: the file is an invalid profile.
    """
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    try:
        data = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError:
        return None  # JSON lines or damaged: the reader of rows reports it
    if not isinstance(data, dict) or not data.keys() >= _PROFILE_KEYS:
        return None
    try:
        return profile_from_data(data)
    except ValueError as error:
        raise SourceError(
            f"{path}: {error}", fix="build it again with driftline profile build"
        ) from error


def for_these_rows(profile: ReferenceProfile, layout: Layout) -> ReferenceProfile:
    """The profile for these rows; without predictions in the rows, without its predictions.

    Raises:
        SourceError: the profile has a season, and the rows have no times.
    """
    if layout.time is None and any(f.calendar is not None for f in profile.features.values()):
        raise SourceError(
            "the reference has a season, and the rows have no times",
            fix="name the column of times with --time",
        )
    if layout.prediction is not None:
        return profile
    segments = tuple(msgspec.structs.replace(s, prediction=None) for s in profile.segments)
    return msgspec.structs.replace(
        profile, prediction=None, loss=None, expected_loss=None, segments=segments
    )


def layout_of_profile(
    profile: ReferenceProfile,
    table: Table,
    *,
    time: str | None,
    prediction: str | None,
    label: str | None,
    events: bool,
) -> Layout:
    """The roles of the columns, given the profile.

    For ``events`` of a topic, every other column is a feature that the profile does not have, and
    is replayed.  For a file such columns are ignored.

    Raises:
        SourceError: a named column, or a feature of the profile, is not in the table.
    """
    frame = table.frame
    require(table.inferred, time, prediction, label)
    missing = [name for name in profile.features if name not in frame]
    if missing and not events:
        raise SourceError(
            f"the reference has a feature {missing[0]!r}, the file does not",
            fix=f"rename the column; the file has {', '.join(map(str, frame))}",
        )
    features = [
        Feature(name, name, cast("ColumnKind", feature.kind))
        for name, feature in profile.features.items()
    ]
    ignored: dict[str, str] = {}
    roles = {time, prediction, label, SEGMENT}
    for column in frame:
        name = str(column)
        if name in roles or name in profile.features:
            continue
        if events:
            kind = kind_of(table.inferred[name], wanted=True)
            features.append(Feature(name, name, kind or "categorical"))
        elif name not in profile.skipped:
            ignored[name] = "not in the reference"
    return Layout(tuple(features), time, prediction, label, ignored)


def with_all_features(frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """The frame with an empty column for each feature that no event has."""
    gone = [f.column for f in layout.features if f.column not in frame]
    return frame.assign(**dict.fromkeys(gone)) if gone else frame
