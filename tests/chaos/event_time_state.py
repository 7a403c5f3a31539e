"""A partition state with event-time watermarks of several models and delayed labels.

A record is ``m17:3`` (model m, event time 17, third of its partition, so at offset 6) or ``l3``,
the label of that event.  It keeps counts only, as `CountingFold` does.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Final

from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from tests.chaos.faulty_store import Flaw
from tests.integration.counting_worker import Counted, CountingFold, read_counts

MODELS: Final = "mn"
FAST_BY: Final = 500
"""How far ahead the clock of the second model is of the first one's."""
GRACE: Final = 6
SPACING: Final = 2
"""Every other offset holds no record, as after a transaction."""
HORIZON: Final = 80
"""Offsets after which a label comes too late."""


class Elsewhere:
    """Labels in a topic of their own: a read returns those that arrived since the previous read."""

    def __init__(self) -> None:
        self.arrived: list[str] = []

    def read(self) -> list[str]:
        """The labels since the last call of any owner."""
        labels, self.arrived = self.arrived, []
        return labels


class TimedFold(CountingFold):
    """Counts late events by a watermark per model, and joins labels to events by position."""

    def __init__(
        self,
        topic: str,
        partition: int,
        flaw: Flaw,
        elsewhere: Elsewhere,
        counts: Counter[str] | None = None,
    ) -> None:
        super().__init__(topic, partition, counts)
        if counts is not None:
            self.total = sum(n for name, n in counts.items() if len(name) == 1)
        self._flaw, self._elsewhere = flaw, elsewhere

    def observe(self, batch: RecordBatch) -> Counted:
        """As `CountingFold`, and in time."""
        for record in batch.records:
            text = (record.value or b"").decode()
            if text[0] in MODELS:
                self._event(text)
            elif text[0] == "l" and self._flaw is not Flaw.OUTSIDE_LABELS:
                self._label(text[1:], record)
            if self._flaw is Flaw.OUTSIDE_LABELS:
                for label in self._elsewhere.read():
                    self._label(label, record)
        return super().observe(batch)

    def _event(self, text: str) -> None:
        model, time = text[0], int(text[1:].partition(":")[0])
        clock = "watermark" if self._flaw is Flaw.PARTITION_WATERMARK else f"watermark {model}"
        if time < self.counts[clock] - GRACE:
            self._put(f"late {model}", self.counts[f"late {model}"] + 1)
        self._put(clock, max(self.counts[clock], time))

    def _label(self, number: str, record: ConsumerRecord) -> None:
        delay = record.offset - SPACING * int(number)
        if 0 < delay <= HORIZON:
            self._put("joined", self.counts["joined"] + 1)
            self._put("delay", self.counts["delay"] + delay)

    def _put(self, name: str, value: int) -> None:
        self.counts[name] = value
        self.changed.add(name)


class TimedFolds:
    """Makes folds, all with the same flaw."""

    def __init__(self, flaw: Flaw = Flaw.NONE) -> None:
        self.flaw = flaw
        self.elsewhere = Elsewhere()

    def new(self, topic: str, partition: int) -> TimedFold:
        """The state before the first record."""
        return TimedFold(topic, partition, self.flaw, self.elsewhere)

    def restore(self, topic: str, partition: int, fields: Mapping[str, bytes]) -> TimedFold:
        """The state that was committed."""
        fold = TimedFold(topic, partition, self.flaw, self.elsewhere, read_counts(fields))
        if self.flaw is Flaw.FORGOTTEN_STATE:
            fold.total = 0  # how far it is to the next alert
        return fold


def log_of(chance: random.Random, n_records: int) -> list[ConsumerRecord]:
    """Events of two models out of order, their labels later, and records that are rejected."""
    texts: list[str] = []
    waiting: list[str] = []
    while len(texts) < n_records:
        number = len(texts)
        if waiting and chance.random() < 0.3:
            texts.append("l" + waiting.pop(chance.randrange(len(waiting))))
        elif chance.random() < 0.1:
            texts.append("bad")
        else:
            model = chance.choice(MODELS)
            time = number + FAST_BY * MODELS.index(model) - chance.randrange(12)
            texts.append(f"{model}{max(0, time)}:{number}")
            waiting.append(str(number))
    return [ConsumerRecord(SPACING * i, i, None, text.encode()) for i, text in enumerate(texts)]
