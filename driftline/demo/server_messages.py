"""Messages of the model server to the demo: one JSON object a line on its stdout."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from driftline.demo.reconciliation import ServerCounts


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ready"):
    """The model is trained, announced and in service; the year begins."""

    trained_on: int
    out_of_fold_error: float


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """The progress of the year."""

    done: int
    of: int
    event_time_ms: int


class VersionChanged(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="swapped"):
    """Another version is in service from now on."""

    version: str
    event_time_ms: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="done"):
    """The last message: everything is written."""

    written: ServerCounts


ServerMessage: TypeAlias = Ready | Progress | VersionChanged | Done
