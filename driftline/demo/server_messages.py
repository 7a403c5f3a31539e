"""What the model server tells the demo on its stdout: one JSON object a line."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from driftline.demo.reconciliation import ServerCounts


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ready"):
    """The model is trained and the champion, its profile in the log; the year begins."""

    trained_on: int
    out_of_fold_error: float


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """How far the year is."""

    done: int
    of: int
    event_time_ms: int


class VersionChanged(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="swapped"):
    """Another version answers from now on."""

    version: str
    event_time_ms: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="done"):
    """All is written; the last line."""

    written: ServerCounts


ServerMessage: TypeAlias = Ready | Progress | VersionChanged | Done
