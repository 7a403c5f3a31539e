"""Whether a cluster lets a client in; and if it does not, why.

librdkafka answers a question with "transport failure", and tells somebody else of the password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

SURE_S: Final = 3.0
"""How long a refusal has to stand: another broker may let us in."""
_REFUSED: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - public names
_TELLING: Final = (*_REFUSED, KafkaError._RESOLVE, KafkaError._TRANSPORT)  # noqa: SLF001


def reached(client: Mapping[str, Any], timeout_s: float) -> AdminClient:
    """A client that a broker has answered, within `SURE_S` and ``timeout_s`` more.

    Where all of them refuse a password or a certificate, that is told after `SURE_S`.

    Raises:
        KafkaException: no broker answers; the text is what was heard of the connections.
    """
    heard: list[KafkaError] = []
    settings: dict[str, Any] = {"log_level": 0, **client, "error_cb": heard.append}
    admin = AdminClient(settings)
    for wait_s, is_last in ((SURE_S, False), (timeout_s, True)):
        try:
            admin.list_topics(timeout=wait_s)
        except KafkaException as error:
            admin.poll(0)
            reason = most_telling([error.args[0], *heard])
            down = any(one.code() == KafkaError._ALL_BROKERS_DOWN for one in heard)  # noqa: SLF001
            if is_last or (down and reason.code() in _REFUSED):
                raise KafkaException(reason) from error
        else:
            break
    return admin


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
