"""The outbox relay: publishes the outbox in order until Kafka acknowledges each record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from producer.cloudevents import cloudevent_headers
from producer.failpoints import failpoint
from producer.kafka_client import service_producer
from producer.permission import explained_denial
from producer.writer import DeliveryError
from trainer.jobs.database import Database
from trainer.jobs.outbox import OutboundRecord, mark_sent, unsent_records

log = structlog.get_logger(__name__)

FLUSH_S: Final = 30.0
SOURCE: Final = "/driftline/trainer"


class OutboxRelay:
    """Publishes the outbox of one database.

    A crash between acknowledgement and its record repeats a Kafka record with the same id.
    """

    def __init__(self, client: Mapping[str, Any], database: Database) -> None:
        self._client, self._database = client, database
        self._producer = service_producer(
            client, {"linger.ms": 0, "message.timeout.ms": int(FLUSH_S * 1000)}
        )

    def send_pending(self) -> bool:
        """Send all records; return whether all arrived."""
        why = self._send_all()
        if why is not None:
            log.warning("Kafka does not accept events; they stay in the outbox", why=why)
        return why is None

    def send_all_or_raise(self) -> None:
        """Send all records.

        Raises:
            DeliveryError: not all arrived.
        """
        why = self._send_all()
        if why is not None:
            raise DeliveryError(f"the trainer's events did not arrive and are kept: {why}")

    def _send_all(self) -> str | None:
        while outbound_records := unsent_records(self._database.rows):
            why = self._send(outbound_records)
            if why is not None:
                return why
            failpoint("trainer.outbox.published")
            with self._database.transaction() as rows:
                mark_sent(rows, outbound_records)
        return None

    def _send(self, outbound_records: list[OutboundRecord]) -> str | None:
        """Send records in order; return the error if not all arrived."""
        failures: list[str] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                topic = f"topic {message.topic()}"
                failures.append(explained_denial(error, "Write", topic, self._client).str())

        try:
            for outbound_record in outbound_records:
                self._producer.produce(
                    outbound_record.topic,
                    outbound_record.value,
                    key=outbound_record.key,
                    headers=cloudevent_headers(
                        outbound_record.kind,
                        outbound_record.id,
                        SOURCE,
                        subject=outbound_record.key,
                    ),
                    on_delivery=on_delivery,
                )
        except (BufferError, KafkaException) as error:
            failures.append(str(error))
        waiting = self._producer.flush(FLUSH_S + 1)
        if waiting and not failures:
            failures.append(f"no answer within {FLUSH_S:g} s")
        return failures[0] if failures else None
