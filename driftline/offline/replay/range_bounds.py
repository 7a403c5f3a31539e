"""The bounds of a range of a topic: offsets or append times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from driftline.offline.tables.source_error import SourceError
from driftline.topics.topic_reader import Record


class Bound(NamedTuple):
    """The start or end of a range: an offset, or an append time (ms)."""

    offset: int | None
    time_ms: int | None

    def before(self, record: Record) -> bool:
        """Whether the bound is at or before a record."""
        if self.offset is not None:
            return self.offset <= record.offset
        return self.time_ms is not None and self.time_ms <= record.timestamp_ms


def parse_bound(text: str, option: str) -> Bound:
    """Parse an offset, or an ISO 8601 time; a time without a zone is UTC.

    Raises:
        SourceError: the text is neither.

    >>> parse_bound("1200", "--from"), parse_bound("1970-01-01T00:00:01", "--to")
    (Bound(offset=1200, time_ms=None), Bound(offset=None, time_ms=1000))
    """
    if text.isdecimal():
        return Bound(int(text), None)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SourceError(
            f"{option} {text!r} is neither an offset nor a time",
            fix="write an offset like 1200, or a time like 2024-05-01T12:00Z",
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Bound(None, round(moment.timestamp() * 1000))
