"""Read the alerts topic from recorded positions on, through any outage of Kafka."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from driftline.topics.topic_reader import Record, as_record
from producer.kafka_client import consumer_of, most_specific_error
from producer.permission import explained_denial, is_denied, is_of_unused_group
from stream_monitor.commit_metadata import offsets_with_metadata

log = structlog.get_logger(__name__)

BATCH: Final = 1_000
METADATA_TIMEOUT_S: Final = 2.0
_OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001
_MAX_ERRORS: Final = 20


class FeedProblem(NamedTuple):
    """Why the topic cannot be read, and what to do."""

    why: str
    fix: str


class AlertFeed:
    """Reads all partitions from ``positions`` on, others from their beginning.

    ``commit`` reports the positions and a text to ``group``, which is never joined.
    """

    def __init__(
        self, client: Mapping[str, Any], topic: str, group: str, positions: Mapping[int, int]
    ) -> None:
        self._client, self._topic, self._group = client, topic, group
        self.positions = dict(positions)
        self._assigned: set[int] = set()
        self._earliest: dict[int, int] = {}
        self._errors: list[KafkaError] = []
        required = {"auto.offset.reset": "error", "error_cb": self._on_error}
        self._consumer = consumer_of(client, group=group, required=required)
        self.lags: dict[int, int] = {}
        self._read_problem: FeedProblem | None = None

    def _on_error(self, error: KafkaError) -> None:
        del self._errors[:-_MAX_ERRORS]
        self._errors.append(error)

    def check(self) -> FeedProblem | None:
        """Find new partitions and measure ``lags``; the problem if Kafka or the topic is away."""
        try:
            found = self._consumer.list_topics(self._topic, timeout=METADATA_TIMEOUT_S).topics[
                self._topic
            ]
            if found.error is not None and is_denied(found.error):
                return self._denied(found.error, "Describe", f"topic {self._topic}")
            if found.error is not None or not found.partitions:
                return FeedProblem(
                    f"there is no topic {self._topic}", "create it: driftline topics create"
                )
            self._assign(set(found.partitions))
            self.lags = {partition: self._lag(partition) for partition in found.partitions}
            problem, self._read_problem = self._read_problem, None
        except KafkaException as error:
            reason = most_specific_error([error.args[0], *self._errors])
            self._errors.clear()
            servers = self._client.get("bootstrap.servers", "")
            return FeedProblem(
                f"Kafka at {servers} does not answer ({reason.str()})",
                "check that Kafka runs, and [kafka] bootstrap_servers",
            )
        return problem

    def _assign(self, partitions: set[int]) -> None:
        new = [
            TopicPartition(self._topic, p, self.positions.get(p, OFFSET_BEGINNING))
            for p in sorted(partitions - self._assigned)
        ]
        if new:
            self._consumer.incremental_assign(new)
            self._assigned |= partitions

    def _lag(self, partition: int) -> int:
        place = TopicPartition(self._topic, partition)
        ends = self._consumer.get_watermark_offsets(place, METADATA_TIMEOUT_S)
        low, high = ends if ends is not None else (0, 0)
        self._earliest[partition] = max(0, low)
        return max(0, high - self._next_offset(partition))

    def _next_offset(self, partition: int) -> int:
        return max(self.positions.get(partition, 0), self._earliest.get(partition, 0))

    def poll(self, timeout_s: float) -> list[Record]:
        """The next records; an empty list if none arrives within ``timeout_s`` seconds."""
        records = []
        for message in self._consumer.consume(BATCH, timeout_s):
            error, partition = message.error(), message.partition()
            if error is None:
                record = as_record(message)
                self.positions[record.partition] = record.offset + 1
                records.append(record)
            elif error.code() in _OUT_OF_RANGE and partition is not None:
                self._begin_at_earliest(partition)
            elif is_denied(error) and not is_of_unused_group(error):
                self._read_problem = self._denied(error, "Read", f"topic {self._topic}")
            else:
                self._on_error(error)  # librdkafka retries, and `check` reports an outage
        return records

    def _begin_at_earliest(self, partition: int) -> None:
        log.warning(
            "the alerts topic no longer has the recorded position",
            partition=partition,
            position=self.positions.get(partition),
            why="retention removed records that were not read, or the topic was recreated",
            then="reading continues at the first record left",
        )
        place = TopicPartition(self._topic, partition, OFFSET_BEGINNING)
        self.positions.pop(partition, None)
        self._consumer.incremental_unassign([place])
        self._consumer.incremental_assign([place])

    def commit(self, text: str) -> None:
        """Commit the positions with ``text`` for other processes; errors are ignored."""
        positions = {partition: self._next_offset(partition) for partition in self._assigned}
        if positions:
            offsets = offsets_with_metadata(self._topic, positions, text)
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=offsets, asynchronous=True)

    def committed_texts(self) -> list[str]:
        """The texts of the group's last commits; none if they cannot be read."""
        places = [TopicPartition(self._topic, p) for p in sorted(self._assigned)]
        with contextlib.suppress(KafkaException):
            found = self._consumer.committed(places, timeout=METADATA_TIMEOUT_S)
            return [place.metadata for place in found if place.metadata]
        return []

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _denied(self, error: KafkaError, operation: str, resource: str) -> FeedProblem:
        why = explained_denial(error, operation, resource, self._client)
        return FeedProblem(why.str(), "grant the permission; SECURITY.md has the list")
