"""Classifies Kafka errors as permanent (no retry can succeed) or temporary."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

_PERMANENT_CODES: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._INVALID_ARG,  # noqa: SLF001 - librdkafka's own errors are named so
        KafkaError._INVALID_TYPE,  # noqa: SLF001
    }
)


def is_permanent(error: KafkaError) -> bool:
    """Whether a retry of the record cannot succeed."""
    return error.code() in _PERMANENT_CODES
