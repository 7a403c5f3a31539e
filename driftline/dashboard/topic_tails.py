"""Reads the topics of alerts, retrains and models incrementally, each record once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from driftline.dashboard.observation import TrainerView
from driftline.topics.topic_reader import MissingTopicError, Record, TopicDecoder, TopicReader
from producer.kafka_client import consumer_of
from producer.routing import Topics
from stream_monitor.contracts import ALERT_CE_TYPE, HEALTH_CE_TYPE, DriftAlert, HealthEvent
from stream_monitor.trainer_heartbeat import last_heartbeat
from trainer.contracts import ModelVersion, RetrainEvent

_POLL_S: Final = 0.05
_BACKLOG_POLL_S: Final = 0.5
_METADATA_S: Final = 2.0


class TopicTails:
    """The contents of the topics that the monitor and the trainer publish, each record once.

    ``client`` is librdkafka's configuration.  `read` asks for new records; it may be called again
    after an error, and then continues where it stopped.
    """

    def __init__(self, client: Mapping[str, Any], topics: Topics) -> None:
        # Errors of librdkafka's own threads would be printed at every attempt to reconnect.
        self._client = {"log_level": 0, **client}
        self._topics = topics
        self._readers: dict[str, TopicReader] = {}
        self._alert_of = TopicDecoder(topics.alerts, DriftAlert, kind=ALERT_CE_TYPE)
        self._health_of = TopicDecoder(topics.alerts, HealthEvent, kind=HEALTH_CE_TYPE)
        self._retrain_of = TopicDecoder(topics.retrain, RetrainEvent)
        self._version_of = TopicDecoder(topics.models, ModelVersion)
        self.alerts: dict[str, DriftAlert] = {}
        self.health: dict[str, HealthEvent] = {}
        self.retrains: dict[str, RetrainEvent] = {}
        self.versions: dict[tuple[str, str], ModelVersion] = {}
        self.champions: dict[str, str] = {}

    def close(self) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def read(self) -> None:
        """Read the records since the last call.

        Raises:
            KafkaException: no broker answers, or Kafka denies a permission.
        """
        self._read_new(self._topics.alerts, self._take_alert)
        self._read_new(self._topics.retrain, self._take_retrain)
        self._read_new(self._topics.models, self._take_version)

    def _read_new(self, topic: str, take: Callable[[Record], None]) -> None:
        reader = self._readers.get(topic)
        wait_s = _POLL_S
        if reader is None:
            try:
                reader = self._readers[topic] = TopicReader(self._client, topic)
            except MissingTopicError:
                return  # the trainer's topics exist only where it has run; doctor names the others
            wait_s = _BACKLOG_POLL_S
        while records := reader.poll(wait_s):
            for record in records:
                take(record)

    def _take_alert(self, record: Record) -> None:
        if record.kind == HEALTH_CE_TYPE:
            event = self._health_of.of(record)
            if event is not None:
                self.health.setdefault(event.health_id, event)
            return
        alert = self._alert_of.of(record)
        if alert is not None and not alert.drill:
            self.alerts.setdefault(alert.alert_id, alert)

    def _take_retrain(self, record: Record) -> None:
        event = self._retrain_of.of(record)
        if event is not None:
            self.retrains.setdefault(event.id, event)

    def _take_version(self, record: Record) -> None:
        if record.value is None:
            return  # a deletion of a compacted topic
        version = self._version_of.of(record)
        if version is None:
            return
        if version.version_key.encode() == record.key:
            small = msgspec.structs.replace(version, profile=None)
            self.versions[version.model, version.version] = small
        else:
            self.champions[version.model] = version.version

    def skipped(self) -> list[str]:
        """A line about each topic with records that could not be read."""
        decoders = (self._alert_of, self._health_of, self._retrain_of, self._version_of)
        return [note for decoder in decoders for note in decoder.notes()]


class EventTopicEnds:
    """The end offsets of the event topic, and the trainer's heartbeat, over one connection."""

    def __init__(self, client: Mapping[str, Any], topics: Topics, prefix: str) -> None:
        self._client = {"log_level": 0, **client}
        self._topics, self._prefix = topics, prefix
        self._consumer: Any = None

    def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def ends(self) -> dict[int, int]:
        """The end offset of each partition.

        Raises:
            KafkaException: no broker answers, or the topic does not exist.
        """
        if self._consumer is None:
            self._consumer = consumer_of(self._client)
        topic = self._topics.events
        found = self._consumer.list_topics(topic, timeout=_METADATA_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        ends = {}
        for partition in sorted(found.partitions):
            place = TopicPartition(topic, partition)
            _low, ends[partition] = self._consumer.get_watermark_offsets(place, _METADATA_S)
        return ends

    def trainer(self) -> TrainerView | None:
        """The trainer's last heartbeat; ``None`` if no trainer has run."""
        topic = self._topics.alerts
        partitions = self._consumer.list_topics(topic, timeout=_METADATA_S).topics[topic].partitions
        seen = None
        with contextlib.suppress(KafkaException):  # a denied group is no reason to show nothing
            seen = last_heartbeat(self._client, self._prefix, topic, len(partitions))
        if seen is None:
            return None
        lag = 0
        for partition in partitions:
            _low, end = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), _METADATA_S
            )
            lag += max(0, end - seen.positions.get(partition, 0))
        beat = seen.heartbeat
        return TrainerView(time_ms=beat.time_ms, lag=lag, jobs=beat.jobs, models=beat.models)
