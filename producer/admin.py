"""One admin client for each cluster, kept for the life of the process.

librdkafka aborts the process when an admin client is destroyed while one of its requests still
waits for a broker (librdkafka issue 4605).  A client that is kept is not destroyed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from confluent_kafka.admin import AdminClient


def admin_client(client: Mapping[str, Any]) -> AdminClient:
    """The admin client of these settings: the same one each time."""
    return _kept(tuple(sorted({"log_level": 0, **client}.items())))


@cache
def _kept(settings: tuple[tuple[str, Any], ...]) -> AdminClient:
    return AdminClient(dict(settings))
