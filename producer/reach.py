"""Whether a cluster lets a client in; and if it does not, why.

librdkafka answers a question with "transport failure", and tells somebody else of the password.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

_FIRST_S: Final = 0.5
_LONGEST_S: Final = 4.0
_HOPELESS: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - public names
_TELLING: Final = (*_HOPELESS, KafkaError._RESOLVE, KafkaError._TRANSPORT)  # noqa: SLF001


def reached(client: Mapping[str, Any], timeout_s: float) -> AdminClient:
    """A client that a broker has answered.

    A wrong password or certificate is told at once, anything else after ``timeout_s``.

    Raises:
        KafkaException: no broker answers; the text is what was heard of the connections.
    """
    heard: list[KafkaError] = []
    settings: dict[str, Any] = {**client, "log_level": 0, "error_cb": heard.append}
    admin = AdminClient(settings)
    until, slice_s = time.monotonic() + timeout_s, _FIRST_S
    while True:
        try:
            admin.list_topics(timeout=max(0.1, min(slice_s, until - time.monotonic())))
        except KafkaException as error:
            admin.poll(0)
            reason = most_telling([error.args[0], *heard])
            if reason.code() in _HOPELESS or time.monotonic() > until:
                raise KafkaException(reason) from error
            slice_s = min(_LONGEST_S, 2 * slice_s)
        else:
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
