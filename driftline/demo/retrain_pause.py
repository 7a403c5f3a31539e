"""Pause the demo's year while the trainer fits a model.

A fit takes seconds.  In a year that takes a minute, that would be a month with the old model.  So
the year pauses from the start of a fit until the new model is in service, or rejected.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Self

from driftline.demo.retrain_events import unfinished_jobs
from driftline.serving import ChampionModel
from driftline.topics.topic_decoder import TopicDecoder
from driftline.topics.topic_reader import TopicReader
from trainer.contracts import RetrainEvent

MAX_WAIT_S: Final = 60.0
SWAP_S: Final = 10.0
_POLL_S: Final = 0.05


class RetrainPause:
    """Reads the retrain topic; use as a context manager."""

    def __init__(self, client: Mapping[str, Any], topic: str, champion: ChampionModel) -> None:
        self._reader = TopicReader(client, topic)
        self._event_of = TopicDecoder(topic, RetrainEvent)
        self._champion = champion
        self._events: list[RetrainEvent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def wait(self) -> float:
        """Wait while a job is running; return the waiting time (s)."""
        began = time.monotonic()
        promoted = self._poll(0.0)
        while unfinished_jobs(self._events) and time.monotonic() - began < MAX_WAIT_S:
            promoted = self._poll(_POLL_S) or promoted
        if promoted is not None:
            self._champion.wait(promoted, timeout_s=SWAP_S)
        return time.monotonic() - began

    def _poll(self, timeout_s: float) -> str | None:
        """Read new retrain events; the promoted version, if there is one."""
        read = map(self._event_of.of, self._reader.poll(timeout_s))
        new = [event for event in read if event is not None]
        self._events += new
        return next((event.challenger for event in new if event.step == "promoted"), None)
