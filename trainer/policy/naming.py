"""Deterministic ids of jobs and events, and names of challengers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from producer.names import MAX_NAME_BYTES, escape, truncated_with_hash
from trainer.contracts import Step

_MAX_STEM: Final = MAX_NAME_BYTES - 16


def derived_id(*parts: str) -> str:
    """Derive an id from its parts.

    >>> derived_id("a", "b") == derived_id("a", "b") != derived_id("ab")
    True
    """
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def job_id_of(caused_by: str) -> str:
    """Return the id of the job of an alert or of a person's request."""
    return derived_id("job", caused_by)


def event_id(job_id: str, step: Step) -> str:
    """Return the id of the event about ``step`` of a job."""
    return derived_id("event", job_id, step)


def next_version(champion: str, taken: Iterable[str] = ()) -> str:
    """Return a name for the challenger of ``champion`` that is not in ``taken``.

    >>> next_version("3"), next_version("3", ["4", "5"])
    ('4', '6')
    >>> next_version("2024-spring"), next_version("2024-spring", ["2024-spring-r1"])
    ('2024-spring-r1', '2024-spring-r2')
    >>> next_version("2024-spring-r1")
    '2024-spring-r2'
    """
    names = {champion, *taken}
    if _is_number(champion):
        return str(1 + max(int(name) for name in names if _is_number(name)))
    stem, mark, count = champion.rpartition("-r")
    if not mark or not _is_number(count):
        stem, count = champion, "0"
    number = int(count) + 1
    if len(stem.encode()) > _MAX_STEM:
        stem = truncated_with_hash(escape(stem), stem, _MAX_STEM)
    while f"{stem}-r{number}" in names:
        number += 1
    return f"{stem}-r{number}"


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < MAX_NAME_BYTES
