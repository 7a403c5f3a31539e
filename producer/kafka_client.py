"""The one place that creates Kafka clients: producers, consumers and admin clients.

Each function takes ``client``, the user's connection settings by librdkafka's names
(``bootstrap.servers``, ``security.protocol``, …).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]

from producer.events import MAX_RECORD_BYTES
from producer.routing import METADATA_REFRESH_MS

AUTH_ERROR_WAIT_S: Final = 3.0
"""How long an authentication error has to stand: another broker may accept the client."""

_PRODUCER_DEFAULTS: Final[dict[str, Any]] = {
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # places a key where the Java client places it
    "linger.ms": 5,
    "compression.type": "lz4",
    "message.timeout.ms": 60_000,
    "message.max.bytes": MAX_RECORD_BYTES,
    "topic.metadata.refresh.interval.ms": METADATA_REFRESH_MS,
}
_CONSUMER_SETTINGS: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 50,
    "fetch.error.backoff.ms": 50,  # a corrupt batch is fetched once for each of its records
}
_NO_LIBRARY_LOG: Final[dict[str, Any]] = {"log_level": 0}
_AUTH_ERRORS: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - public names
_BY_SPECIFICITY: Final = (*_AUTH_ERRORS, KafkaError._RESOLVE, KafkaError._TRANSPORT)  # noqa: SLF001


def producer_of(client: Mapping[str, Any], required: Mapping[str, Any] | None = None) -> Producer:
    """Create an idempotent producer.

    The settings of ``client`` win over driftline's defaults; those of ``required`` win over both.

    Raises:
        KafkaException: librdkafka rejects a setting.
    """
    return Producer({**_NO_LIBRARY_LOG, **_PRODUCER_DEFAULTS, **client, **(required or {})})


def service_producer(
    client: Mapping[str, Any], required: Mapping[str, Any] | None = None
) -> Producer:
    """Create the producer of the monitor or the trainer, whose defaults ``client`` cannot change.

    Raises:
        KafkaException: librdkafka rejects a setting.
    """
    return producer_of(client, {**_PRODUCER_DEFAULTS, "acks": "all", **(required or {})})


def consumer_of(
    client: Mapping[str, Any],
    *,
    group: str | None = None,
    required: Mapping[str, Any] | None = None,
) -> Consumer:
    """Create a consumer that commits only when its owner calls `Consumer.commit`.

    Without ``group`` it is a standalone consumer: its owner assigns partitions, and the random
    group id is never joined.  The settings of ``required`` win over all others.

    Raises:
        KafkaException: librdkafka rejects a setting.
    """
    return Consumer(
        {
            **_NO_LIBRARY_LOG,
            **client,
            **_CONSUMER_SETTINGS,
            "group.id": group or f"driftline-reader-{uuid.uuid4().hex}",
            **(required or {}),
        }
    )


def admin_client(client: Mapping[str, Any]) -> AdminClient:
    """Return the admin client of these settings: one for each cluster, kept until exit.

    Do not use its requests to the coordinator of a group (``describe_consumer_groups``,
    ``list_consumer_group_offsets`` and those that change groups) where the process has to survive
    an outage.  librdkafka aborts the process when such a request has timed out and its coordinator
    returns (librdkafka issue 4605), and crashes on an answer of another coordinator (issue 5040).
    """
    return _kept_admin_client(tuple(sorted({**_NO_LIBRARY_LOG, **client}.items())))


@cache
def _kept_admin_client(settings: tuple[tuple[str, Any], ...]) -> AdminClient:
    return AdminClient(dict(settings))


class ConnectedCluster(NamedTuple):
    """An admin client that a broker has answered, and the cluster's metadata."""

    admin: AdminClient
    cluster: ClusterMetadata


def connect_admin(client: Mapping[str, Any], timeout_s: float) -> ConnectedCluster:
    """Connect a new admin client within `AUTH_ERROR_WAIT_S` and ``timeout_s`` more.

    Where all brokers reject the password or the certificate, this raises after
    `AUTH_ERROR_WAIT_S`.

    Raises:
        KafkaException: no broker answers; the text is the most specific error of the connections,
            where librdkafka's own answer is only "transport failure".
    """
    errors: list[KafkaError] = []
    settings: dict[str, Any] = {**_NO_LIBRARY_LOG, **client, "error_cb": errors.append}
    admin = AdminClient(settings)
    waits_s = [timeout_s, AUTH_ERROR_WAIT_S]
    while True:
        try:
            return ConnectedCluster(admin, admin.list_topics(timeout=waits_s.pop()))
        except KafkaException as error:
            admin.poll(0)
            reason = most_specific_error([error.args[0], *errors])
            down = any(one.code() == KafkaError._ALL_BROKERS_DOWN for one in errors)  # noqa: SLF001
            if not waits_s or (down and reason.code() in _AUTH_ERRORS):
                raise KafkaException(reason) from error


def is_reachable(client: Mapping[str, Any], timeout_s: float) -> bool:
    """Whether a broker answers a new connection within ``timeout_s``."""
    try:
        cluster = AdminClient({**_NO_LIBRARY_LOG, **client}).list_topics(timeout=timeout_s)
    except KafkaException:
        return False
    return bool(cluster.brokers)


def most_specific_error(errors: Sequence[KafkaError]) -> KafkaError:
    """Return the latest of the errors of a connection that name the most specific cause.

    >>> down, wrong = KafkaError(KafkaError._ALL_BROKERS_DOWN), KafkaError(KafkaError._SSL)
    >>> most_specific_error([wrong, down]).name()
    '_SSL'
    """

    def rank(error: KafkaError) -> int:
        return (
            _BY_SPECIFICITY.index(error.code())
            if error.code() in _BY_SPECIFICITY
            else len(_BY_SPECIFICITY)
        )

    best = min(map(rank, errors))
    return [error for error in errors if rank(error) == best][-1]
