"""Detections: the signals of detectors, which are suspicions until they are confirmed."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Direction: TypeAlias = Literal["up", "down"]
DetectorName: TypeAlias = Literal["adwin", "page_hinkley"]


class DetectorAlarm(NamedTuple):
    """An alarm of one detector at block ``block`` of those it just received.

    ``onset_blocks``: how many blocks before that one the change is estimated to have begun.
    """

    block: int
    direction: Direction
    onset_blocks: int


class Detection(NamedTuple):
    """A suspicion about one channel of one series.

    ``position`` is the index, in the array just observed, of the event that completed the block.
    The change is estimated to have begun ``onset_blocks`` blocks before that block, which is
    ``onset_events`` events before that event.
    """

    position: int
    detector: DetectorName
    channel: str
    direction: Direction
    onset_blocks: int
    onset_events: int
