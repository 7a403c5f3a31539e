"""Errors of missing Kafka permissions, with the operation, the resource and the principal.

A broker's own error is only "Topic authorization failed".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from producer.kafka_client import admin_client

Needs: TypeAlias = Mapping[str, Sequence[str]]
"""Needed operations (``Read``, ``Write``, …) by the name of a topic or group."""
ASK_S: Final = 5.0
_UNENDING_S: Final = 3_600.0
"""librdkafka's longest timeout, because one that ends can crash the process: see `admin_client`."""
PERMISSIONS_FIX: Final = (
    "grant it (kafka-acls --add); SECURITY.md has a table of what each role needs"
)

_DENIALS: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)


def is_denied(error: KafkaError) -> bool:
    """Whether the error is a missing permission."""
    return error.code() in _DENIALS


def explained_denial(
    error: KafkaError, operation: str, resource: str, client: Mapping[str, Any]
) -> KafkaError:
    """Add permission, resource and principal to a denial; return any other error unchanged.

    >>> from confluent_kafka import KafkaError
    >>> error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    >>> explained_denial(error, "Write", "topic t", {"sasl.username": "scorer"}).str()
    'User:scorer has no permission Write on topic t'
    """
    if not is_denied(error):
        return error
    return KafkaError(error.code(), _sentence(operation, resource, client))


def _sentence(operation: str, resource: str, client: Mapping[str, Any]) -> str:
    user = client.get("sasl.username")
    who = "this client" if user is None else f"User:{user}"
    return f"{who} has no permission {operation} on {resource}"


def require_permissions(
    client: Mapping[str, Any], *, topics: Needs, groups: Needs | None = None
) -> None:
    """Check at the start of a process that it has the permissions it needs, by topic and group.

    A topic or group that does not exist passes, and so does a broker that cannot describe
    permissions.

    Raises:
        KafkaException: the text names each missing permission, its resource and the principal.
    """
    admin = admin_client(client)
    asked_topics = admin.describe_topics(
        TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=ASK_S
    )
    asked_groups = (
        admin.describe_consumer_groups(
            list(groups), include_authorized_operations=True, request_timeout=_UNENDING_S
        )
        if groups
        else {}
    )
    missing: list[str] = []
    for kind, needs, asked in (("topic", topics, asked_topics), ("group", groups, asked_groups)):
        for name, answer in asked.items():
            lacks = _lacking(answer, (needs or {})[name])
            missing += [_sentence(operation, f"{kind} {name}", client) for operation in lacks]
    if missing:
        code = KafkaError.TOPIC_AUTHORIZATION_FAILED
        raise KafkaException(KafkaError(code, "; ".join(missing)))


def _lacking(answer: Future[Any], needed: Sequence[str]) -> list[str]:
    """Return the operations that Kafka's answer does not allow; none without an answer."""
    try:
        allowed = answer.result(2 * ASK_S).authorized_operations
    except TimeoutError:
        return []
    except KafkaException as error:
        return list(needed) if is_denied(error.args[0]) else []  # each one implies Describe
    if allowed is None:
        return []
    names = {operation.name for operation in allowed}
    return [operation for operation in needed if operation.upper() not in names]


def is_of_unused_group(error: KafkaError) -> bool:
    """Whether the error concerns the group of a consumer that never joins it, and is harmless.

    librdkafka looks up the coordinator of any configured group.
    """
    return error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
