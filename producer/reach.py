"""Whether a cluster lets a client in; and if it does not, why.

librdkafka answers a question with "transport failure", and tells somebody else of the password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]

SURE_S: Final = 3.0
"""How long a refusal has to stand: another broker may let us in."""
_REFUSED: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - public names
_TELLING: Final = (*_REFUSED, KafkaError._RESOLVE, KafkaError._TRANSPORT)  # noqa: SLF001


class Reached(NamedTuple):
    """A client that a broker has answered, and what it told of the cluster."""

    admin: AdminClient
    cluster: ClusterMetadata


def reached(client: Mapping[str, Any], timeout_s: float) -> Reached:
    """A cluster that answers, within `SURE_S` and ``timeout_s`` more.

    Where all of them refuse a password or a certificate, that is told after `SURE_S`.

    Raises:
        KafkaException: no broker answers; the text is what was heard of the connections.
    """
    heard: list[KafkaError] = []
    settings: dict[str, Any] = {"log_level": 0, **client, "error_cb": heard.append}
    admin = AdminClient(settings)
    waits_s = [timeout_s, SURE_S]
    while True:
        try:
            return Reached(admin, admin.list_topics(timeout=waits_s.pop()))
        except KafkaException as error:
            admin.poll(0)
            reason = most_telling([error.args[0], *heard])
            down = any(one.code() == KafkaError._ALL_BROKERS_DOWN for one in heard)  # noqa: SLF001
            if not waits_s or (down and reason.code() in _REFUSED):
                raise KafkaException(reason) from error


def most_telling(heard: Sequence[KafkaError]) -> KafkaError:
    """Of errors of one connection the one that a person can do something about; the latest.

    >>> down, wrong = KafkaError(KafkaError._ALL_BROKERS_DOWN), KafkaError(KafkaError._SSL)
    >>> most_telling([wrong, down]).name()
    '_SSL'
    """

    def rank(error: KafkaError) -> int:
        return _TELLING.index(error.code()) if error.code() in _TELLING else len(_TELLING)

    best = min(map(rank, heard))
    return [error for error in heard if rank(error) == best][-1]
