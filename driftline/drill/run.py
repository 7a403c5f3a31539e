"""A drill on real topics: copies what comes, listens for the alert, and cleans up after itself."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import msgspec

from driftline.drill.live import Hashes, models_in
from driftline.drill.plan import Copier
from driftline.drill.verdict import Circumstances
from driftline.drill.watch import Watch
from driftline.partition_state import read_partition
from driftline.reading import END, Record, TopicReader, tail
from driftline.topic_values import TopicValues
from producer.codec import RefusedRecord, decode
from producer.events import CE_TYPE_OF, Command, InferenceEvent, ModelUpdate
from producer.identity import uuid7
from producer.writer import LogWriter, Undelivered
from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data

POLL_S: Final = 0.02
"""How long a look at a topic waits: the grain of what is measured."""
LOOK_S: Final = 0.5
ALERTS_TAIL: Final = 1_000
_INFERENCE: Final = (CE_TYPE_OF[InferenceEvent], None)


class Place(NamedTuple):
    """Where a drill takes place; ``client`` is librdkafka's."""

    client: Mapping[str, Any]
    bootstrap_servers: str
    prefix: str
    events: str
    alerts: str
    redis: Hashes
    shards: int


def new_drill_id() -> str:
    """An id that no other drill has."""
    return secrets.token_hex(6)


class Drill:
    """One drill.  Use as a context manager: however it ends, its shadow is forgotten.

    ``clock_s`` is a clock that never goes back; all that is measured is measured by it.

    Raises:
        KafkaException: nobody answers.
        LookupError: there is no such topic.
        Undelivered: Kafka did not take what was written.
    """

    def __init__(
        self, watch: Watch, place: Place, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._watch, self._place, self._clock_s = watch, place, clock_s
        self._copier = Copier(watch.plan)
        self._partitions: set[int] = set()
        self._alert_of = TopicValues(place.alerts, DriftAlert, kind=ALERT_CE_TYPE)
        self._started_s = clock_s()
        self._writer = writer(place, f"/driftline/drill/{watch.plan.shadow}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Undelivered):  # what is under way must be known, or be given up
            self._writer.flush()
        forget(self._writer, self._watch.plan.shadow, sorted(self._partitions))

    def run(self, profile: ReferenceProfile, timeout_s: float, max_changed: int) -> Circumstances:
        """Copy until the alert came, ``max_changed`` passed without one, or the time is over."""
        plan, place = self._watch.plan, self._place
        self._started_s = self._clock_s()
        with (
            TopicReader(place.client, place.alerts, start=tail(ALERTS_TAIL)) as alerts,
            TopicReader(place.client, place.events, start=END) as events,
        ):
            self._announce(profile)
            look_s = self._clock_s()
            while self._watch.alarm is None and self._elapsed_s() < timeout_s:
                if self._copier.n_copies < plan.after + max_changed:
                    self._copy(events.poll(POLL_S))
                elif self._clock_s() - look_s > LOOK_S:
                    look_s = self._clock_s()
                    if not self._unread():
                        self._listen(alerts.poll(LOOK_S))
                        break
                self._listen(alerts.poll(POLL_S))
        return Circumstances(self._elapsed_s(), self._unread(), self._known())

    def _elapsed_s(self) -> float:
        return self._clock_s() - self._started_s

    def _announce(self, profile: ReferenceProfile) -> None:
        """The shadow is compared with what the live version is compared with."""
        plan, now_ms = self._watch.plan, round(time.time() * 1000)
        update = ModelUpdate(
            id=uuid7(now_ms), model=plan.shadow, version=plan.version, time_ms=now_ms,
            profile=profile_to_data(msgspec.structs.replace(profile, model=plan.shadow)),
        )  # fmt: skip
        self._writer.write(update, on_arrival=lambda where, _: self._partitions.add(where))
        self._writer.flush()

    def _copy(self, records: Sequence[Record]) -> None:
        name = self._watch.plan.model.encode()
        for record in records:
            # Most records of a shared log are others': they are not even decoded.
            if record.kind not in _INFERENCE or name not in (record.value or b""):
                continue
            try:
                event = decode(record.value or b"", record.kind)
            except RefusedRecord:
                continue  # the monitor refuses it too
            copy = self._copier.copy(event) if isinstance(event, InferenceEvent) else None
            if copy is not None:
                self._write(copy, self._copier.n_copies - 1)
        if records:
            self._writer.flush()

    def _write(self, copy: InferenceEvent, number: int) -> None:
        def arrived(partition: int, offset: int) -> None:
            self._watch.arrived(number, partition, offset, self._clock_s())

        self._writer.write(copy, on_arrival=arrived)

    def _listen(self, records: Sequence[Record]) -> None:
        heard_s = self._clock_s()
        for record in records:
            alert = self._alert_of.of(record)
            if alert is not None:
                self._watch.heard(alert, heard_s)

    def _unread(self) -> int:
        """Records the monitor has not folded in, or alerts it has not published yet."""
        behind = 0
        for partition, end in self._watch.ends.items():
            state = read_partition(self._place.redis, self._place.events, partition)
            behind += max(0, end - (state.next or 0)) + state.waiting
        return behind

    def _known(self) -> bool:
        place, shadow = self._place, self._watch.plan.shadow
        return all(
            shadow in models_in(place.redis, place.events, partition)
            for partition in self._partitions
        )


def writer(place: Place, source: str) -> LogWriter:
    """Writes the log in the name of a drill."""
    librdkafka = {name: v for name, v in place.client.items() if name != "bootstrap.servers"}
    return LogWriter(
        place.bootstrap_servers, topic_prefix=place.prefix, source=source, shards=place.shards,
        librdkafka=librdkafka,
    )  # fmt: skip


def forget(log: LogWriter, shadow: str, partitions: Sequence[int]) -> None:
    """Have a shadow forgotten where it is known, after all that was written before.

    Raises:
        Undelivered: Kafka did not take it; the shadow stays.
    """
    now_ms = round(time.time() * 1000)
    for partition in partitions:
        order = Command(
            id=uuid7(now_ms), model=shadow, action="forget", episode="", actor="drill",
            time_ms=now_ms,
        )  # fmt: skip
        log.write(order, partition=partition)
    log.flush()
