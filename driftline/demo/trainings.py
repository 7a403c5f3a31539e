"""Waiting for the trainer.

A fit takes seconds.  In a year that takes a minute they would be a month, in which an old model
answers; so the demo's year stands still from the moment a fit starts until its model answers, or
is rejected.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Self

from driftline.demo.retrains import under_way
from driftline.reading import TopicReader
from driftline.serving import ChampionModel
from driftline.topic_values import TopicValues
from trainer.contracts import RetrainEvent

LONGEST_S: Final = 60.0
SWAP_S: Final = 10.0
_POLL_S: Final = 0.05


class Trainings:
    """Follows the trainer's topic; use as a context manager."""

    def __init__(self, client: Mapping[str, Any], topic: str, champion: ChampionModel) -> None:
        self._reader = TopicReader(client, topic)
        self._event_of = TopicValues(topic, RetrainEvent)
        self._champion = champion
        self._events: list[RetrainEvent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def wait(self) -> float:
        """Wait while a job is under way; answers for how long, in seconds."""
        began = time.monotonic()
        promoted = self._hear(0.0)
        while under_way(self._events) and time.monotonic() - began < LONGEST_S:
            promoted = self._hear(_POLL_S) or promoted
        if promoted is not None:
            self._champion.wait(promoted, timeout_s=SWAP_S)
        return time.monotonic() - began

    def _hear(self, timeout_s: float) -> str | None:
        """Read on; the version that was promoted, if one was."""
        read = map(self._event_of.of, self._reader.poll(timeout_s))
        new = [event for event in read if event is not None]
        self._events += new
        return next((event.challenger for event in new if event.step == "promoted"), None)
