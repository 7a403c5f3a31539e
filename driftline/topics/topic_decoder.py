"""Decode the records of a topic; unreadable records are skipped and counted.

Any producer with write access can write any bytes to a topic, and a compacted topic holds records
without a value.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from driftline.topics.topic_reader import Record

_Value = TypeVar("_Value")
_OURS: Final = "io.driftline."


class TopicDecoder(Generic[_Value]):
    """Decodes records of ``topic`` one by one.

    ``kind`` is their ``ce_type``.  Records with another ``ce_type`` of driftline are no errors:
    they are skipped without being counted.
    """

    def __init__(self, topic: str, of: type[_Value], *, kind: str | None = None) -> None:
        self._topic, self._kind = topic, kind
        self._decode = msgspec.json.Decoder(of).decode
        self.skipped = 0
        self._first = ""

    def of(self, record: Record) -> _Value | None:
        """Decode the value of a record; ``None`` if the record is skipped."""
        kind = record.kind
        if self._kind is not None and kind not in (None, self._kind) and kind.startswith(_OURS):
            return None
        if record.value is None:
            self._skip(record, "it has no value")
            return None
        try:
            return self._decode(record.value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._skip(record, str(error))
            return None

    def _skip(self, record: Record, why: str) -> None:
        self.skipped += 1
        self._first = self._first or f"partition {record.partition}, offset {record.offset}: {why}"

    def notes(self) -> list[str]:
        """Return a line about the skipped records, if there are any."""
        if not self.skipped:
            return []
        many = f"{self.skipped} record{'s' if self.skipped > 1 else ''}"
        return [f"{many} of {self._topic} could not be read and were skipped ({self._first})"]
