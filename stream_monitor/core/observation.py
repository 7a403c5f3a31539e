"""The results of one batch of records."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from msgspec.structs import replace

from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.control_records import ControlOutcome
from stream_monitor.ingest.event_numbers import EventNumbers
from stream_monitor.windows.closed_window import ClosedWindow

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that pauses between its steps, so that an event loop can run other tasks."""


def finished(steps: Steps[T]) -> T:
    """The result of all steps, without pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class Observation(NamedTuple):
    """Results of one batch of records, in order of the numbers of events.

    ``batch_rows`` has the rows of each of its records of many events, by offset.
    """

    alerts: list[DriftAlert]
    dead_letters: list[DeadLetter]
    windows: list[ClosedWindow]
    controls: list[ControlOutcome]
    batch_rows: Mapping[int, int] = {}

    def located(self, numbers: EventNumbers) -> Observation:
        """Return the same results with positions instead of event numbers."""
        place = numbers.place
        return Observation(
            [_located_alert(alert, numbers) for alert in self.alerts],
            [replace(one, offset=place(one.offset).offset) for one in self.dead_letters],
            [_located_window(window, numbers) for window in self.windows],
            [one._replace(offset=place(one.offset).offset) for one in self.controls],
            self.batch_rows,
        )


def _located_alert(alert: DriftAlert, numbers: EventNumbers) -> DriftAlert:
    onset, detected, decided = map(
        numbers.place, (alert.onset_offset, alert.detected_offset, alert.decided_offset)
    )
    return replace(
        alert,
        onset_offset=onset.offset,
        onset_row=onset.row,
        detected_offset=detected.offset,
        detected_row=detected.row,
        decided_offset=decided.offset,
        decided_row=decided.row,
    )


def _located_window(window: ClosedWindow, numbers: EventNumbers) -> ClosedWindow:
    return replace(
        window,
        first_offset=numbers.place(window.first_offset).offset,
        last_offset=numbers.place(window.last_offset).offset,
        closed_offset=numbers.place(window.closed_offset).offset,
    )
