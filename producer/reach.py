"""Whether a cluster lets a client in; and if it does not, why.

librdkafka answers a question with "transport failure", and tells somebody else of the password.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

SURE_S: Final = 3.0
"""How long a refusal has to stand alone: another broker may let us in."""
_TICK_S: Final = 0.05
_REFUSED: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - public names
_TELLING: Final = (*_REFUSED, KafkaError._RESOLVE, KafkaError._TRANSPORT)  # noqa: SLF001


def reached(client: Mapping[str, Any], timeout_s: float) -> AdminClient:
    """A client that a broker has answered.

    Where all of them refuse a password or a certificate, that is told after `SURE_S`.

    Raises:
        KafkaException: no broker answers; the text is what was heard of the connections.
    """
    heard: list[KafkaError] = []
    settings: dict[str, Any] = {"log_level": 0, **client, "error_cb": heard.append}
    admin = AdminClient(settings)
    answer: list[KafkaException | None] = []

    def ask() -> None:
        try:
            admin.list_topics(timeout=timeout_s)
        except KafkaException as error:
            answer.append(error)
        else:
            answer.append(None)

    asking = threading.Thread(target=ask, name="reach", daemon=True)
    asking.start()
    sure = time.monotonic() + min(SURE_S, timeout_s)
    while not answer:
        admin.poll(_TICK_S)
        if time.monotonic() > sure and heard and most_telling(heard).code() in _REFUSED:
            raise KafkaException(most_telling(heard))
    admin.poll(0)
    (error,) = answer
    if error is not None:
        raise KafkaException(most_telling([error.args[0], *heard])) from error
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
