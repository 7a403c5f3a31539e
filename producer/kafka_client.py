"""Whether a cluster lets a client in; and if it does not, why.

librdkafka answers a question with "transport failure", and tells somebody else of the password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]

AUTH_ERROR_WAIT_S: Final = 3.0
"""How long a refusal has to stand: another broker may let us in."""
_AUTH_ERRORS: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - public names
_BY_SPECIFICITY: Final = (*_AUTH_ERRORS, KafkaError._RESOLVE, KafkaError._TRANSPORT)  # noqa: SLF001


class ConnectedCluster(NamedTuple):
    """A client that a broker has answered, and what it told of the cluster."""

    admin: AdminClient
    cluster: ClusterMetadata


def connect_admin(client: Mapping[str, Any], timeout_s: float) -> ConnectedCluster:
    """A cluster that answers, within `AUTH_ERROR_WAIT_S` and ``timeout_s`` more.

    Where all of them refuse a password or a certificate, that is told after `AUTH_ERROR_WAIT_S`.

    Raises:
        KafkaException: no broker answers; the text is what was heard of the connections.
    """
    errors: list[KafkaError] = []
    settings: dict[str, Any] = {"log_level": 0, **client, "error_cb": errors.append}
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


def most_specific_error(errors: Sequence[KafkaError]) -> KafkaError:
    """Of errors of one connection the one that a person can do something about; the latest.

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
